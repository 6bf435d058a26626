# recsvc: every command a person needs. `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= .demo
PORT   ?= 8000
# Processes of the tests. A file stays in one: its tests share what is dear to make.
JOBS   ?= 2

# Threads of torch that wait must not spin: with few cores they would starve each other.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test check serve env clean

help:
	@echo "make demo    environment, MovieLens-100K, meta-training, evaluation, service; two new users' lists before and after three clicks"
	@echo "make test    environment, then every check and test"
	@echo "make check   formatting, lint, types, layers, tests, in the environment that is there"
	@echo "make serve   serve the demo's model on port PORT ($(PORT))"
	@echo "make clean   remove the environment and the demo's files"

env: $(VENV)/.complete

$(VENV)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[training,dev]'
	@touch $@

demo: env
	$(BIN)/recsvc-train demo --work $(DEMO) --port $(PORT)

test: env
	$(MAKE) check

check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

serve: env
	$(BIN)/recsvc serve --registry $(DEMO)/registry --data-dir $(DEMO)/state --port $(PORT)

clean:
	rm -rf $(VENV) $(DEMO)
