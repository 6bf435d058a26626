"""`recsvc-train`: one thin function a command.

Knows nothing of how anything is done. What is heavy is imported inside a command, so that `--help`
answers at once. An error that is meant for a person is one line on standard error; exit code 2
means that the input is at fault, 1 that something else is, 130 that Ctrl-C was pressed.
"""

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer

from recsvc.contract.errors import ContractError
from training.errors import SettingError, TrainingError
from training.progress import progress

app = typer.Typer(
    name="recsvc-train",
    help="Data sets, meta-training, evaluation and retraining for recsvc.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(
    help="Get, import, describe and generate data sets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
BadRows = Annotated[
    Literal["fail", "skip"],
    typer.Option("--on-bad-row", help="Refuse the data at the first bad row, or skip and count."),
]


@data_app.command("fetch")
def data_fetch(
    name: Annotated[Literal["movielens-100k"], typer.Argument(help="Which data set.")],
    out: Annotated[
        Path | None, typer.Option(help="Directory to write.  [default: data/NAME]")
    ] = None,
    json: Json = False,
) -> None:
    """Download a public data set into the layout that `fit` reads."""
    from training.datasets.fetch import fetch_movielens_100k

    fetched = fetch_movielens_100k(out or Path("data") / name, say=tell)
    if json:
        emit(
            {
                "directory": str(fetched.directory),
                "source": fetched.source,
                "already_there": fetched.already_there,
                "terms": fetched.terms,
            }
        )
        return
    there = " (was there already)" if fetched.already_there else ""
    typer.echo(f"{fetched.directory}{there}\nSource: {fetched.source}\n\n{fetched.terms}", nl=False)


@data_app.command("import")
def data_import(
    source: Annotated[Path, typer.Argument(help="Directory, or one file of interactions.")],
    out: Annotated[Path, typer.Option(help="Directory to write; must not exist yet.")],
    on_bad_row: BadRows = "fail",
    json: Json = False,
) -> None:
    """Bring CSV, Parquet, MovieLens or RecBole files into our layout.

    The result is read without any guess; docs/data.md describes it.
    """
    from training.datasets.describe import describe, lines
    from training.datasets.importing import import_dataset

    with progress(f"importing {source}"):
        dataset = import_dataset(source, out, on_bad_row=on_bad_row)
    facts = describe(dataset)
    if json:
        emit({"directory": str(out), **facts})
    else:
        typer.echo("\n".join([*lines(facts), f"written to {out}"]))


@data_app.command("describe")
def data_describe(
    directory: Annotated[Path, typer.Argument(help="Directory, or one file of interactions.")],
    write: Annotated[
        bool, typer.Option("--write", help="Write what was inferred to DIRECTORY/dataset.toml.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --write: replace a dataset.toml that is there.")
    ] = False,
    on_bad_row: BadRows = "fail",
    json: Json = False,
) -> None:
    """Check a data set: what it holds, what was guessed.

    What was guessed is overruled in dataset.toml; docs/data.md describes it.
    """
    from training.datasets.config import save_config
    from training.datasets.describe import describe, lines
    from training.datasets.load import load

    if force and not write:
        raise SettingError("--force says that --write may replace dataset.toml; give both")
    dataset = load(directory, on_bad_row=on_bad_row)
    facts = describe(dataset)
    if write:
        path = save_config(directory, dataset.config, dataset.report.guesses, force=force)
        facts["written"] = str(path)
        tell(f"written to {path}")
    if json:
        emit(facts)
    else:
        typer.echo("\n".join(lines(facts)))


@data_app.command("synth")
def data_synth(
    out: Annotated[Path, typer.Option(help="Directory to write; must not exist yet.")],
    users: Annotated[int, typer.Option(help="Number of users.")] = 1000,
    items: Annotated[int, typer.Option(help="Number of items.")] = 500,
    interactions: Annotated[int, typer.Option(help="Number of interactions.")] = 50_000,
    dims: Annotated[int, typer.Option(help="Latent factors of each user and item.")] = 8,
    ratings: Annotated[bool, typer.Option("--ratings", help="Add a rating of 1 to 5.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 0,
    json: Json = False,
) -> None:
    """Generate a data set from known latent factors.

    They are kept beside it in truth.npz.
    """
    from training.datasets.synth import SynthSpec, write_synth

    spec = SynthSpec(users, items, interactions, dims, ratings)
    with progress("generating interactions", interactions) as tracker:
        write_synth(spec, seed, out, tracker.advance)
    if json:
        emit({"directory": str(out), "users": users, "items": items, "interactions": interactions})
    else:
        typer.echo(f"{interactions:,} interactions written to {out}")


@app.command("fit")
def fit_command(
    data: Annotated[Path, typer.Option(help="Directory of the data set.")],
    registry: Annotated[str, typer.Option(help="Directory or URL that versions are written to.")],
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train; auto: CUDA if any.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same model.")] = 0,
    steps: Annotated[int, typer.Option(help="Gradient steps K of the inner loop.")] = 2,
    dims: Annotated[int, typer.Option(help="Width of user and item vectors.")] = 64,
    max_epochs: Annotated[int, typer.Option(help="Most epochs; early stopping ends sooner.")] = 60,
    kernel_epochs: Annotated[
        int, typer.Option(min=0, help="Most epochs of the item-item kernel; 0: none is tried.")
    ] = 40,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the version CURRENT even where there is one.")
    ] = False,
    on_bad_row: BadRows = "fail",
    json: Json = False,
) -> None:
    """Meta-train on a data set and write a version.

    The first one becomes CURRENT, which `recsvc serve` serves. Interrupted, the same command goes
    on from the last epoch.
    """
    from datetime import UTC, datetime

    from recsvc.contract.registry import Registry
    from training.checkpoint import remove_abandoned
    from training.datasets.load import load
    from training.fit import fit
    from training.kernel.train import KernelConfig
    from training.outer_loop import TrainConfig

    now = datetime.now(UTC)
    versions = Registry(registry)
    config = TrainConfig(dims=dims, steps=steps, max_epochs=max_epochs, device=device, seed=seed)
    dataset = load(data, on_bad_row=on_bad_row)
    with progress(f"meta-training on {dataset.name}", max_epochs) as tracker:
        fitted = fit(
            dataset,
            versions,
            config,
            now,
            kernel=KernelConfig(max_epochs=kernel_epochs) if kernel_epochs else None,
            on_epoch=lambda p: tracker.advance(
                note=f"validation {p.validation:.4f} (best {p.best:.4f})"
            ),
        )
    remove_abandoned(versions)
    pointer = versions.current()
    if promote or pointer is None:
        pointer = versions.promote(fitted.manifest.version, now)
    facts = {
        "version": fitted.manifest.version,
        "registry": registry,
        "current": pointer.version,
        "validation": fitted.metrics["validation"],
        "decisions": fitted.manifest.lineage.decisions,
    }
    if json:
        emit(facts)
        return
    figures = "  ".join(
        f"n={n} {v:.4f}" for n, v in fitted.metrics["validation"]["ndcg@10"].items()
    )
    tell(f"validation nDCG@10 by number of interactions: {figures or 'too few users'}")
    tell(f"item-item kernel: {fitted.manifest.lineage.decisions['item_item_kernel']}")
    state = "is CURRENT"
    if pointer.version != fitted.manifest.version:
        state = f"written; CURRENT stays {pointer.version} (`recsvc models activate` changes it)"
    typer.echo(f"{fitted.manifest.version} {state} in {registry}")


@app.command("refresh")
def refresh_command(
    data: Annotated[Path, typer.Option(help="Directory of the data set to count.")],
    registry: Annotated[str, typer.Option(help="Directory or URL of the versions.")],
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the new version CURRENT.")
    ] = False,
    on_bad_row: BadRows = "fail",
    json: Json = False,
) -> None:
    """Count item pairs again for the kernel, without training.

    Writes a version that differs from the current one by its edges. Where that one serves no kernel
    there is nothing to refresh: a line says why, and the exit code is 0.
    """
    from datetime import UTC, datetime

    from recsvc.contract.registry import Registry
    from training.datasets.load import load
    from training.refresh import nothing_to_refresh, refresh_kernel

    now = datetime.now(UTC)
    versions = Registry(registry)
    if (reason := nothing_to_refresh(versions)) is not None:
        if json:
            emit({"version": None, "promoted": False, "edges": None, "reason": reason})
        else:
            typer.echo(f"nothing to refresh: {reason}")
        return
    manifest = refresh_kernel(load(data, on_bad_row=on_bad_row), versions, now)
    if promote:
        versions.promote(manifest.version, now)
    note = manifest.lineage.decisions["item_item_edges"]
    if json:
        done = {"version": manifest.version, "promoted": promote, "edges": note, "reason": None}
        emit(done)
        return
    state = "is CURRENT" if promote else "written; `recsvc models activate` makes it CURRENT"
    typer.echo(f"{manifest.version} {state} in {registry}: edges {note}")


@app.command("retrain")
def retrain_command(
    data: Annotated[Path, typer.Option(help="Directory of the base data set.")],
    registry: Annotated[str, typer.Option(help="Directory or URL of the versions.")],
    archive: Annotated[Path, typer.Option(help="Directory of the archived event log.")],
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="RECSVC_REDIS_URL",
            help="Drain the event log from this Redis first; without it, the archive as it is.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Retrain now, then end.")] = False,
    cron: Annotated[
        str | None, typer.Option(help="Retrain on this schedule (UTC), e.g. '15 3 * * *'.")
    ] = None,
    min_new_events: Annotated[
        int, typer.Option(help="Skip with fewer events since the last one.")
    ] = 1,
    margin: Annotated[
        float, typer.Option(help="nDCG@10 that a new version may lose and still be promoted.")
    ] = 0.005,
    min_users: Annotated[
        int, typer.Option(help="Fewest held-out new users to compare on; with fewer, skip.")
    ] = 20,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train; auto: CUDA if any.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same model.")] = 0,
    max_epochs: Annotated[int, typer.Option(help="Most epochs of training.")] = 60,
    kernel_epochs: Annotated[
        int, typer.Option(min=0, help="Most epochs of the item-item kernel; 0: none is tried.")
    ] = 40,
    on_bad_row: BadRows = "fail",
    json: Json = False,
) -> None:
    """Learn from what the service logged; promote what is not worse.

    One of --once and --cron is needed. Exit code 0 whether promoted, refused or skipped; the last
    line says which, and why.
    """
    from datetime import UTC, datetime

    from training.gate import GateConfig
    from training.kernel.train import KernelConfig
    from training.outer_loop import TrainConfig
    from training.retrain import RetrainConfig, retrain
    from training.schedule import run_on_schedule

    if once == (cron is not None):
        raise SettingError("retrain needs one of --once and --cron EXPR")
    config = RetrainConfig(data, registry, archive, redis_url, min_new_events, on_bad_row)
    train = TrainConfig(max_epochs=max_epochs, device=device, seed=seed)
    gate = GateConfig(margin, min_users)
    if cron is not None:
        again = [a for a in sys.argv[1:] if a != cron and not a.startswith("--cron")]
        run_on_schedule(cron, [*again, "--once"], tell)
        return
    with progress("retraining", max_epochs) as tracker:
        result = retrain(
            config,
            train,
            gate,
            datetime.now(UTC),
            kernel=KernelConfig(max_epochs=kernel_epochs) if kernel_epochs else None,
            say=tell,
            on_epoch=lambda p: tracker.advance(note=f"validation {p.validation:.4f}"),
        )
    if json:
        emit(result.document())
    else:
        typer.echo(f"{result.outcome}: {result.version or 'no new version'}: {result.reason}")


@app.command("evaluate")
def evaluate_command(
    data: Annotated[Path, typer.Option(help="Directory of the data set.")],
    protocol: Annotated[
        str,
        typer.Option(
            help="What is held out: cold-user, cold-item, both-cold, time, ratings, "
            "ratings-new-items, or all."
        ),
    ] = "cold-user",
    seeds: Annotated[int, typer.Option(min=1, help="Splits: seeds 0, 1, ...")] = 3,
    methods: Annotated[
        str,
        typer.Option(help="Names, separated by commas; a wrong one lists them.  [default: all]"),
    ] = "",
    window: Annotated[
        str | None, typer.Option(help="Largest support: a number, or auto.  [default: auto]")
    ] = None,
    supports: Annotated[
        str | None,
        typer.Option(
            help="Of cold-user: positives, or all-ratings, low ones as well.  [default: positives]"
        ),
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option(
            help="Of time: a date, or the share of interactions before it.  [default: 0.8]"
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Of cold-item: random, or time for the latest to appear.  [default: random]"
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Where finished runs are kept and found again.  "
            "[default: ~/.cache/recsvc/evaluate]"
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with plots and all tables to this file.")
    ] = None,
    on_bad_row: BadRows = "fail",
    json: Json = False,
) -> None:
    """Compare our model with tuned baselines on held-out data.

    Interrupted, the same command goes on after the last finished method and seed.
    """
    from dataclasses import replace

    from training.datasets.load import load
    from training.protocols.available import find_protocols, requested_runs, run_protocols
    from training.protocols.protocol import Request
    from training.protocols.run_store import default_directory
    from training.protocols.table import render

    protocols = find_protocols(protocol)
    if html is not None:
        check_page(html)
    given = {"window": window, "supports": supports, "cut": cut, "split": split}
    request = Request(
        load(data, on_bad_row=on_bad_row),
        range(seeds),
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        options={name: value for name, value in given.items() if value is not None},
        work=work or default_directory(),
    )
    total = requested_runs(protocols, request)
    with progress(f"{protocol} on {request.dataset.name}", total) as tracker:
        request = replace(request, on_run=lambda note: tracker.advance(note=note))
        findings = run_protocols(protocols, request)
    for name, reason in findings.skipped.items():
        tell(f"{name} was skipped: {reason}")
    if html is not None:
        write_page(html, findings.to_json())
    if json:
        emit(findings.to_json() if len(protocols) > 1 else findings.results[0].to_json())
    else:
        typer.echo("\n\n\n".join(render(found) for found in findings.results))


@app.command("demo")
def demo_command(
    work: Annotated[Path, typer.Option(help="Directory for all that the demo makes.")] = Path(
        ".demo"
    ),
    port: Annotated[int, typer.Option(help="Of the service; 0 takes a free one.")] = 8000,
) -> None:
    """Show the product on MovieLens-100K, from the data to a list.

    Fetches, fits, evaluates, serves, and clicks as a new user. Stays up when run on a terminal.
    """
    from training.demo import run_demo

    run_demo(work, port, typer.echo, stay=sys.stdin.isatty())


def check_page(path: Path) -> None:
    """Raise SettingError where no page could be written; before the hours that it is about."""
    with _writing_page(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()


def write_page(path: Path, findings: dict[str, Any]) -> None:
    """Write results as one HTML page."""
    from training.report import render_all

    page = render_all(findings["results"], findings["skipped"])
    with _writing_page(path):
        path.write_text(page, encoding="utf-8")
    tell(f"page written to {path}")


@contextmanager
def _writing_page(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise SettingError(f"--html {path} cannot be written: {exc.strerror or exc}") from exc


def tell(sentence: str) -> None:
    """Say what is going on, on standard error."""
    typer.echo(sentence, err=True)


def emit(document: Any) -> None:
    """Print a command's result for machines: one JSON document."""
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        returned = app(args=list(arguments), prog_name="recsvc-train", standalone_mode=False)
    except TrainingError as exc:
        tell(f"error: {exc}")
        return exc.exit_code
    except ContractError as exc:
        tell(f"error: {exc}")
        return 1
    except (KeyboardInterrupt, typer.Abort):
        tell("interrupted")
        return 130
    except Exception as exc:
        if (explain := getattr(exc, "format_message", None)) is not None:
            return _usage_error(exc, explain())
        traceback.print_exc()
        tell(f"error: unexpected {type(exc).__name__}: {exc}. This is a bug.")
        return 1
    if returned == 130:
        tell("interrupted")
    return returned if isinstance(returned, int) else 0


def _usage_error(exc: Exception, message: str) -> int:
    """A wrong command line, in one line; a bare command shows its help instead."""
    context = getattr(exc, "ctx", None)
    if not message or type(exc).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help() if context is not None else message)
        return 2
    where = context.command_path if context is not None else "recsvc-train"
    tell(f"error: {message.rstrip('.')}. See `{where} --help`.")
    return int(getattr(exc, "exit_code", 2))


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))
