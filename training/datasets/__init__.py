"""Data sets: read, check, import, describe and generate them. Knows nothing of models."""

from training.datasets.dataset import (
    ColumnConfig,
    Dataset,
    DatasetConfig,
    Interactions,
    LoadReport,
    OnBadRow,
    labels,
)
from training.datasets.features import encode, fit_schema
from training.datasets.load import load

__all__ = [
    "ColumnConfig",
    "Dataset",
    "DatasetConfig",
    "Interactions",
    "LoadReport",
    "OnBadRow",
    "encode",
    "fit_schema",
    "labels",
    "load",
]
