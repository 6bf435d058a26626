"""The items that can be recommended: those of the bundle, and those added since it was trained.

Trained vectors stay memory-mapped; all others, of added items and of the bundle's items without
training, live in one contiguous block that grows, so a scan is two matrix products at any size.
Hidden items keep their row and are not allowed in an answer. An item that is trained keeps its
learned vector when its features change; only its attributes follow.

Knows nothing of users, of Redis or of HTTP. Not thread-safe: one thread changes and reads it, but
`encode` and `check` are for any.

Shape legend: M trained items, B some items, R rows, D dims, F feature positions.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsvc.attributes import AttributeIndex
from recsvc.bundle import Bundle
from recsvc.contract.errors import SchemaError
from recsvc.contract.schema import Column
from recsvc.untrained_rows import UntrainedRows

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

ENCODE_ROWS = 1024
"""Items encoded at once: bounds the dense feature matrix."""
Content = tuple[Floats, np.float32]
"""The vector (D,) and the bias that an item's features say."""
_CATEGORICAL = ("categorical", "multi-categorical")


class Catalogue:
    """All items of one model version.

    Args:
        bundle: where the trained items come from.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._schema = bundle.manifest.dataset.item_features
        self._kinds: dict[str, Column] = {c.name: c for c in self._schema.columns}
        self.n_trained = bundle.catalogue_items
        self._n_bundle = len(bundle.item_ids)
        self.ids: list[str] = list(bundle.item_ids)
        self._row = {item_id: row for row, item_id in enumerate(self.ids)}
        trained = slice(self.n_trained)
        self._trained = bundle.vectors_ND[trained], bundle.bias_N[trained]
        beyond = slice(self.n_trained, None)
        self._untrained = UntrainedRows(bundle.vectors_ND[beyond], bundle.bias_N[beyond])
        self._visible = np.ones(self._n_bundle, dtype=bool)
        self._changed: dict[int, Mapping[str, Any]] = {}
        self._attributes = AttributeIndex(self._schema.columns, bundle.attributes, self._n_bundle)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def filterable(self) -> list[str]:
        """Names of the columns that a filter may use."""
        return sorted({*self._bundle.attributes, *self._kinds})

    @property
    def categorical(self) -> list[str]:
        """Names of the columns that hold categories."""
        return sorted(name for name, c in self._kinds.items() if c.kind in _CATEGORICAL)

    @property
    def blocks(self) -> list[tuple[Floats, Floats]]:
        """(vectors, biases) of the trained and of the other rows."""
        return [self._trained, self._untrained.block] if len(self._untrained) else [self._trained]

    @property
    def visible(self) -> Mask:
        """Rows that are not hidden."""
        return self._visible[: len(self)]

    @property
    def n_visible(self) -> int:
        return int(self.visible.sum())

    def row(self, item_id: str) -> int | None:
        """The row of an item that can be recommended; None for an unknown or hidden one."""
        row = self._row.get(item_id)
        return row if row is not None and self._visible[row] else None

    def evidence_row(self, item_id: str) -> int | None:
        """The row of an item that speaks about a user: a hidden one of the bundle still does.

        A hidden added item does not: its features are gone, and a new replica never knew it.
        (All items of the bundle are known to a new replica.)
        """
        row = self._row.get(item_id)
        return row if row is not None and (row < self._n_bundle or self._visible[row]) else None

    def trained_row(self, item_id: str) -> int | None:
        """The row of an item that training learned, hidden or not; safe beside other threads."""
        row = self._row.get(item_id)
        return row if row is not None and row < self.n_trained else None

    def untrained_row(self, item_id: str) -> int | None:
        """The row of an item that training did not learn and that can be recommended."""
        row = self.row(item_id)
        return row if row is not None and row >= self.n_trained else None

    def is_of_bundle(self, item_id: str) -> bool:
        """Whether the item came with the bundle, trained or not."""
        return self._row.get(item_id, self._n_bundle) < self._n_bundle

    def priors(self, rows: Sequence[int]) -> tuple[Floats, Floats]:
        """What the content of untrained rows says: vectors (R, D) and biases (R,); copies."""
        return self._untrained.priors([row - self.n_trained for row in rows])

    def move(self, row: int, vector_D: Floats, bias: np.float32) -> None:
        """Move an untrained row away from what its content says, until its features change."""
        self._untrained.move(row - self.n_trained, vector_D, bias)

    def restore(self, row: int) -> None:
        """Put an untrained row back to what its content says."""
        self._untrained.restore(row - self.n_trained)

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Floats:
        """Vectors of some rows: (len(rows), D)."""
        return self._gather(rows, *(vectors for vectors, _ in self.blocks))

    def inner_vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Floats:
        """Vectors of some rows as the inner loop sees them: (len(rows), D)."""
        index = np.asarray(rows, dtype=np.int64)
        inner_MD = self._bundle.inner_vectors_MD
        is_trained = index < len(inner_MD)
        if is_trained.all():
            return inner_MD[index]
        vectors = self.vectors(index)
        vectors[is_trained] = inner_MD[index[is_trained]]
        return vectors

    def biases(self, rows: Sequence[int] | NDArray[np.int64]) -> Floats:
        """Biases of some rows."""
        return self._gather(rows, *(biases for _, biases in self.blocks))

    def features(self, row: int) -> dict[str, Any]:
        """Raw feature values of a row, as they were given; columns without a value are left out."""
        if row in self._changed:
            return dict(self._changed[row])
        columns = self._bundle.attributes.items()
        return {name: values[row] for name, values in columns if values[row] is not None}

    def check(self, features: Mapping[str, Any]) -> list[str]:
        """Names that are no columns of the data set (kept, but without effect on the vector).

        Raises:
            SchemaError: a value is not of its column's kind, or too large to compute with.
        """
        self._encode([features])
        return sorted(set(features) - set(self.filterable))

    def encode(self, items: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Content | None]:
        """What the features of some items say; None where this bundle cannot encode them.

        Args:
            items: features by id; those to hide (None) are left out of the answer.
        """
        named = [(item_id, f) for item_id, f in items.items() if f is not None]
        contents: dict[str, Content | None] = {}
        for start in range(0, len(named), ENCODE_ROWS):
            contents |= self._contents(named[start : start + ENCODE_ROWS])
        return contents

    def apply(
        self,
        changes: Iterable[tuple[str, Mapping[str, Any] | None]],
        contents: Mapping[str, Content | None] | None = None,
    ) -> list[str]:
        """Add, change or hide items.

        Args:
            changes: (item id, features; None hides it), in order; a later change of one id wins.
            contents: what `encode` made of them; None: it is done here.

        Returns:
            Ids whose features this bundle cannot encode; they are hidden.
        """
        latest = dict(changes)
        contents = self.encode(latest) if contents is None else contents
        refused = []
        for item_id, features in latest.items():
            content = contents[item_id] if features is not None else None
            if features is not None and content is not None:
                self._put(item_id, features, content)
            else:
                self._hide(item_id)
            if features is not None and content is None:
                refused.append(item_id)
        return refused

    def mask(self, column: str, value: Any) -> Mask:
        """Rows whose attribute equals a value, or holds it where the column holds several.

        Args:
            column: one of `filterable`.
            value: compared as a category, so that 3, 3.0 and "3" are one value.
        """
        return self.any_of([(column, value)])

    def any_of(self, pairs: Iterable[tuple[str, Any]]) -> Mask:
        """Rows that have at least one of some (column, value) pairs; see `mask`."""
        return self._attributes.any_of(pairs, len(self))

    def _gather(self, rows: Any, trained: Floats, untrained: Floats | None = None) -> Floats:
        index = np.asarray(rows, dtype=np.int64)
        is_beyond = index >= self.n_trained
        if untrained is None or not is_beyond.any():
            return trained[index]
        values = np.empty((len(index), *trained.shape[1:]), dtype=np.float32)
        values[~is_beyond] = trained[index[~is_beyond]]
        values[is_beyond] = untrained[index[is_beyond] - self.n_trained]
        return values

    def _hide(self, item_id: str) -> None:
        row = self._row.get(item_id)
        if row is not None:
            self._visible[row] = False

    def _put(self, item_id: str, features: Mapping[str, Any], content: Content) -> None:
        row = self._row_for(item_id)
        if row >= self.n_trained:
            self._untrained.start(row - self.n_trained, *content)
        self._changed[row] = features
        self._visible[row] = True
        self._attributes.put(row, features)

    def _contents(
        self, items: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> dict[str, Content | None]:
        try:
            encoded = self._encode([features for _, features in items])
        except SchemaError:
            if len(items) == 1:
                return {items[0][0]: None}
            return {k: v for item in items for k, v in self._contents([item]).items()}
        ids = [item_id for item_id, _ in items]
        return dict(zip(ids, zip(*encoded, strict=True), strict=True))

    def _encode(self, features: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats]:
        with np.errstate(over="ignore"):  # an overflow is found below, in the vectors themselves
            features_BF = self._schema.encode(features)
        vectors_BD, bias_B = self._bundle.graphs.item_prior(features_BF)
        if not (np.isfinite(vectors_BD).all() and np.isfinite(bias_B).all()):
            raise SchemaError(
                "item features: a number is too large to compute with; "
                "send it in the data set's unit"
            )
        return vectors_BD, bias_B

    def _row_for(self, item_id: str) -> int:
        row = self._row.get(item_id)
        if row is not None:
            return row
        row = self.n_trained + self._untrained.append()
        if row == len(self._visible):
            self._visible = np.pad(self._visible, (0, max(64, row // 8)))
        self.ids.append(item_id)
        self._row[item_id] = row
        return row
