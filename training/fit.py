"""Fit: a data set in, a version in the registry out.

Knows nothing of the command line. Decides for itself what a data set needs, and writes into the
manifest what it decided and why.

Shape legend: U users, N items, M trained items, D dims, F feature positions.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.manifest import AdaptationSpec, DatasetSpec, Lineage, Manifest
from recsvc.contract.registry import Registry, new_version
from recsvc.contract.schema import FeatureSchema
from training.checkpoint import Checkpoint
from training.content import blank_row, fill_missing
from training.datasets import Dataset, encode, fit_schema
from training.errors import DataError
from training.export import Exportable, export_bundle
from training.items.events import Events, positive_events
from training.items.learn import LearnedItems, learn_items
from training.items.states import MAX_SUPPORT, item_vectors
from training.kernel.train import KernelConfig
from training.methods import ColdUserData, minimum_positives
from training.outer_loop import Progress, TrainConfig, Trained
from training.served import DEFAULT_KERNEL, ServedModel, train_served, validation_figures
from training.tasks import Histories, automatic_window, positives
from training.version_report import version_report

SUPPORT_SIZES = (0, 1, 2, 3, 5, 10, 20)
_VALIDATION_SHARE = 0.1
_MAX_VALIDATION_USERS = 2000
_GOLDEN_SOURCE_ROWS = 64


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set ready for meta-training, and what was decided on the way."""

    data: ColdUserData
    user_schema: FeatureSchema
    item_schema: FeatureSchema
    item_features: csr_matrix
    """(N, F) of all item codes."""
    histories: Histories
    train_users: NDArray[np.int64]
    """User codes, rows as in `data.train`."""
    decisions: dict[str, str]


def prepare(dataset: Dataset, seed: int, held_out: NDArray[np.integer] | None = None) -> Prepared:
    """Split off validation users, choose the window, fit the feature schemas, encode.

    Args:
        dataset: what to learn from.
        seed: of the split.
        held_out: user codes that take no part at all.

    Raises:
        DataError: too few users with positive interactions.
    """
    histories = positives(dataset)
    window = automatic_window(histories.lengths_U)
    train_users, validation_users = _split(histories, window, seed, held_out)
    train_rows = np.zeros(dataset.n_users, dtype=np.bool_)
    train_rows[train_users] = True
    user_schema = fit_schema(dataset.users, dataset.config.user_columns, train_rows)
    item_schema = fit_schema(dataset.items, dataset.config.item_columns)
    user_features = encode(dataset.users, user_schema, dataset.n_users)
    item_features = encode(dataset.items, item_schema, dataset.n_items)
    train = histories.take(train_users)
    data = ColdUserData(
        train=train,
        train_features=user_features[train_users],
        validation=histories.take(validation_users),
        validation_features=user_features[validation_users],
        window=window,
        sizes=tuple(n for n in SUPPORT_SIZES if n <= window),
        candidates_N=train.counts() > 0,
        item_features=item_features,
        seed=seed,
    )
    usable = histories.lengths_U[histories.lengths_U >= 5]
    median = int(np.median(usable)) if len(usable) else 0
    decisions = {
        "window": f"{window}: users with 5 positives or more have a median of {median}",
        "validation_users": f"{len(validation_users)} of those with "
        f"{minimum_positives(window)} positives or more, held out for early stopping",
        **{f"data.{i}": guess for i, guess in enumerate(dataset.report.guesses)},
    }
    return Prepared(
        data, user_schema, item_schema, item_features, histories, train_users, decisions
    )


def _split(
    histories: Histories, window: int, seed: int, held_out: NDArray[np.integer] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lengths_U = histories.lengths_U.copy()
    if held_out is not None:
        lengths_U[held_out] = 0
    active = np.flatnonzero(lengths_U > 0)
    if np.count_nonzero(lengths_U >= 2) < 2:
        raise DataError(
            f"only {np.count_nonzero(lengths_U >= 2)} users have two positive interactions or "
            "more; meta-training learns from users with a support and a query, and needs two"
        )
    long_enough = np.flatnonzero(lengths_U >= minimum_positives(window))
    wanted = min(int(len(long_enough) * _VALIDATION_SHARE), _MAX_VALIDATION_USERS)
    chosen = np.random.default_rng([seed, 1]).choice(long_enough, wanted, replace=False)
    return np.setdiff1d(active, chosen), np.sort(chosen)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A version that was written."""

    manifest: Manifest
    metrics: dict[str, Any]
    data: ColdUserData
    """What it was trained and validated on."""
    model: ServedModel
    """What was exported."""


def fit(
    dataset: Dataset,
    registry: Registry,
    config: TrainConfig,
    now: datetime,
    *,
    kernel: KernelConfig | None = DEFAULT_KERNEL,
    held_out: NDArray[np.integer] | None = None,
    parent: str | None = None,
    notes: Mapping[str, str] | None = None,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Fitted:
    """Meta-train on a data set and write a version; which one is CURRENT stays as it is.

    Args:
        dataset: what to learn from.
        registry: where the version goes; the run's checkpoint is kept there as well (in the
            temporary directory for an object store), so that the same call resumes.
        config: settings of the outer loop.
        now: the version's time.
        kernel: settings of the item-item kernel; None: none is tried.
        held_out: user codes that take no part at all.
        parent: the version that this one continues, if any.
        notes: further decisions for the manifest.
        on_epoch: called after every epoch.

    Raises:
        DataError: the data set has too little to learn from.
        TrainingError: training diverged, or a file could not be written.
        RegistryError: the registry cannot be read or written.
    """
    prepared = prepare(dataset, config.seed, held_out)
    checkpoint = _checkpoint(registry, dataset, config, held_out)
    model = train_served(prepared.data, config, kernel, on_epoch, checkpoint)
    trained = model.trained
    spec = _dataset_spec(dataset, prepared)
    items = learn_items(
        prepared.data,
        trained,
        model.rows_N,
        prepared.item_schema,
        training_events(dataset, prepared),
        blank_user(prepared),
        config,
    )
    lineage = _lineage(prepared, model, items, config, parent, notes or {})
    facts = spec.model_dump(include={"name", "users", "items", "interactions", "positives"})
    report = version_report(model, prepared.data, facts | lineage.decisions)
    figures = validation_figures(model, prepared.data)
    metrics = {
        "validation": {"ndcg@10": {str(n): v for n, v in figures.items()}},
        "epochs": trained.epochs,
    }
    manifest = export_bundle(
        registry,
        new_version(now),
        now,
        replace(exportable(dataset, prepared, model, items), report=report),
        adaptation_spec(trained),
        spec,
        lineage,
        metrics,
    )
    checkpoint.remove()
    return Fitted(manifest, metrics, prepared.data, model)


def training_events(dataset: Dataset, prepared: Prepared) -> Events:
    """Positives of the training users in order of time, by their rows in `Prepared.data.train`."""
    events = positive_events(dataset, np.random.default_rng([prepared.data.seed, 4]))
    row_U = np.full(dataset.n_users, -1, dtype=np.int64)
    row_U[prepared.train_users] = np.arange(len(prepared.train_users))
    kept = events.take(row_U[events.user_E] >= 0)
    return replace(kept, user_E=row_U[kept.user_E], n_users=len(prepared.train_users))


def blank_user(prepared: Prepared) -> NDArray[np.float32]:
    """The encoded row of a user of whom nothing is known, (F,)."""
    return blank_row(prepared.user_schema, _mean(prepared.data.train_features))


def _checkpoint(
    registry: Registry,
    dataset: Dataset,
    config: TrainConfig,
    held_out: NDArray[np.integer] | None,
) -> Checkpoint:
    without = [] if held_out is None else held_out.tolist()
    reading = dataset.config.model_dump(mode="json")
    code = [package_version("recsvc"), package_version("torch")]
    text = json.dumps([dataset.sha256, reading, asdict(config), without, code], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
    place = Path(registry.url) if registry.is_local else Path(tempfile.gettempdir())
    return Checkpoint(place / f".checkpoint-{fingerprint}.pt", fingerprint)


def _lineage(
    prepared: Prepared,
    model: ServedModel,
    items: LearnedItems,
    config: TrainConfig,
    parent: str | None,
    notes: Mapping[str, str],
) -> Lineage:
    strength = model.trained.shrinkage_strength
    own = {
        "shrinkage": f"strength {strength:g}: best on validation users",
        "item_item_kernel": model.decision,
        "item_adaptation": items.decision,
    }
    return Lineage(
        code_version=package_version("recsvc"),
        parent=parent,
        seed=config.seed,
        settings=asdict(config),
        decisions=prepared.decisions | own | dict(notes),
    )


def exportable(
    dataset: Dataset, prepared: Prepared, served: ServedModel, items: LearnedItems
) -> Exportable:
    """Everything a bundle holds: trained items first, then those with content alone."""
    trained = served.trained
    model = trained.model
    data = prepared.data
    vectors_MD, bias_M = item_vectors(trained)
    with torch.no_grad():
        inner_MD = model.inner_vectors(torch.as_tensor(vectors_MD)).numpy()
    user_prior_FD = fill_missing(
        model.user_prior.folded().numpy(), prepared.user_schema, _mean(data.train_features)
    )
    rest = np.setdiff1d(np.arange(dataset.n_items), trained.codes_M)
    cold_NP = items.prior.of(prepared.item_features[rest])
    order = np.concatenate([trained.codes_M, rest])
    head = slice(0, _GOLDEN_SOURCE_ROWS)
    return Exportable(
        item_ids=[dataset.item_ids[i] for i in order],
        item_vectors_ND=np.concatenate([vectors_MD, cold_NP[:, :-1]]).astype(np.float32),
        inner_vectors_MD=inner_MD,
        item_bias_N=np.concatenate([bias_M, cold_NP[:, -1]]).astype(np.float32),
        item_attributes=_attributes(dataset.items, order),
        item_features_NF=prepared.item_features[order[head]].toarray(),
        user_features_BF=data.train_features[head].toarray(),
        user_prior_FD=user_prior_FD,
        item_prior=items.prior,
        inner=model.inner,
        kernel=None if served.kernel is None else served.kernel.kernel,
        kernel_parameters={} if served.kernel is None else served.kernel.parameters,
        item_adaptation=items.adaptation,
    )


def adaptation_spec(trained: Trained) -> AdaptationSpec:
    """How the service must call the adapt graph."""
    c = trained.model.config
    return AdaptationSpec(
        algorithm="maml",
        dims=c.dims,
        state_dims=c.dims,
        steps=c.steps,
        max_steps=c.steps,
        window=c.window,
        max_support=max(MAX_SUPPORT, c.window),
        catalogue="full",
        catalogue_items=len(trained.codes_M),
        inner_vectors=c.shifted,
    )


def _dataset_spec(dataset: Dataset, prepared: Prepared) -> DatasetSpec:
    return DatasetSpec(
        name=dataset.name,
        users=dataset.n_users,
        items=dataset.n_items,
        interactions=len(dataset.interactions),
        positives=len(prepared.histories.item_E),
        sha256=dataset.sha256,
        rules=dataset.config.rules,
        user_features=prepared.user_schema,
        item_features=prepared.item_schema,
        title_column=dataset.config.title_column,
    )


def _attributes(frame: pl.DataFrame | None, order: NDArray[np.int64]) -> dict[str, list[Any]]:
    """Raw item columns in bundle order; dates as ISO 8601, absent values as None."""
    if frame is None:
        return {}
    rows = np.minimum(order, frame.height - 1)
    beyond = order >= frame.height
    columns: dict[str, list[Any]] = {}
    for name in frame.columns:
        values = frame[name][rows].to_list()
        columns[name] = [
            None if absent else _plain(value) for value, absent in zip(values, beyond, strict=True)
        ]
    return columns


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool | list):
        return None if isinstance(value, float) and not np.isfinite(value) else value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _mean(features: csr_matrix) -> NDArray[np.float64]:
    return np.asarray(features.mean(axis=0), dtype=np.float64).ravel()
