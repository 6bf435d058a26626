"""How tests use the machine: one thread of numbers a process, here and in those that tests start.

Their matrices are small: with more threads than cores, which two test processes at a time make,
most of the time went into waiting for one another.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
