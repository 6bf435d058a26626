"""Bring a data set from any format that is understood into our layout.

Knows nothing of what stands in it: reading is `load`, writing is `store`.
"""

from pathlib import Path

from training.datasets.dataset import Dataset, OnBadRow
from training.datasets.load import load
from training.datasets.store import refuse_existing, write_dataset


def import_dataset(source: Path, out: Path, *, on_bad_row: OnBadRow = "fail") -> Dataset:
    """Read `source` and write it to `out` with a complete dataset.toml, all of it or nothing.

    Raises:
        DataError: the source is not usable, or `out` exists already.
    """
    refuse_existing(out)
    dataset = load(source, on_bad_row=on_bad_row)
    write_dataset(dataset, out)
    return dataset
