"""One model version with its catalogue: turns events and features into a ranked list.

Pure computation: no waiting, no clock, no Redis, no HTTP.

Shape legend: N items, C candidates, D dims, P state width.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsvc.adaptation import (
    Evidence,
    Floats,
    Interaction,
    Support,
    adapt,
    user_prior,
    weigh,
)
from recsvc.bundle import Bundle
from recsvc.candidates import Mask, Rows, cosine, top_k
from recsvc.catalogue import Catalogue, Content
from recsvc.errors import InvalidInputError, ItemNotFoundError
from recsvc.ranking import diversify, explore
from recsvc.recommender.reasons import reasons_of
from recsvc.recommender.scoring import score
from recsvc.recommender.support import gather, known_rows, positive_weights
from recsvc.recommender.values import Query, RankedItem, Reason
from recsvc.telemetry import Metrics

POOL_FACTOR = 4
"""Diversity and exploration choose among this many times k candidates."""
MIN_POOL = 100


@dataclass(frozen=True, slots=True)
class UserView:
    """A user as one model sees them."""

    evidence: list[Evidence]
    rows: list[int]
    """Catalogue rows of the support, oldest first, at most the manifest's max_support."""
    support: Support
    skipped: int

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Adapted:
    """What an untrained item was moved by."""

    number: int
    """Of the latest change of its support."""
    exposure: int
    """As it was given to the graph."""
    interactions: int


class ServingModel:
    """A bundle and the catalogue built on it.

    Args:
        bundle: verified.
        metrics: times the adaptation.
    """

    def __init__(self, bundle: Bundle, metrics: Metrics) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.version = bundle.version
        self.catalogue = Catalogue(bundle)
        self._metrics = metrics
        self._dims = bundle.manifest.adaptation.dims
        self._applied: dict[str, Mapping[str, Any] | None] = {}
        self._blank_D = self._prior({})
        self.adapted: dict[str, Adapted] = {}
        """By id, the untrained items that were moved from what their content says."""

    def missing(
        self, items: Mapping[str, Mapping[str, Any] | None]
    ) -> dict[str, Mapping[str, Any] | None]:
        """Those of some run-time items that are not in the catalogue as they are now."""
        known = self._applied
        return {i: f for i, f in items.items() if i not in known or known[i] is not f}

    def apply(
        self,
        items: Mapping[str, Mapping[str, Any] | None],
        contents: Mapping[str, Content | None] | None = None,
    ) -> list[str]:
        """Bring run-time items into the catalogue; those that are there already cost nothing.

        Args:
            items: features by id; None hides the item.
            contents: what the catalogue's `encode` made of them; None: not encoded yet.

        Returns:
            Ids whose features this model cannot encode; they are hidden.
        """
        changed = self.missing(items)
        self._applied.update(changed)
        for item_id in changed:
            self.adapted.pop(item_id, None)
        return self.catalogue.apply(changed.items(), contents)

    def view(self, events: Iterable[Interaction]) -> UserView:
        """Reduce events, oldest first, to the support of this model."""
        evidence = weigh(events, self.manifest.dataset.rules)
        known = known_rows(self.catalogue, evidence)
        rows, support = gather(self.catalogue, known[-self.manifest.adaptation.max_support :])
        return UserView(evidence, rows, support, len(evidence) - len(known))

    def is_cacheable(self, view: UserView) -> bool:
        """Whether the state is a function of the model and the events alone.

        Not with items that were added (their features may change) or are unknown (they may come).
        """
        return not view.skipped and all(row < self.catalogue.n_trained for row in view.rows)

    def prior(self, features: Mapping[str, Any]) -> Floats:
        """Where a user with these raw features starts: (D,).

        Raises:
            SchemaError: a value is wrong.
        """
        return self._prior(features) if features else self._blank_D

    def _prior(self, features: Mapping[str, Any]) -> Floats:
        schema = self.manifest.dataset.user_features
        prior_D: Floats = user_prior(self.bundle.graphs, schema, [features])[0]
        return prior_D

    def adapt(self, prior_D: Floats, view: UserView) -> Floats:
        """The state after the manifest's steps: (P,). Without support it is the prior."""
        if not len(view) and self.manifest.adaptation.state_dims == self._dims:
            return prior_D
        started = time.perf_counter()
        steps = self.manifest.adaptation.steps
        state_BP = adapt(
            self.bundle.graphs, prior_D[None], [view.support], steps, *self.bundle.inner_catalogue
        )
        self._metrics.adaptation_seconds.observe(time.perf_counter() - started)
        state_P: Floats = state_BP[0]
        return state_P

    def has_adapted(self, view: UserView, prior_D: Floats, state_P: Floats) -> bool:
        """Whether the support moved the scores; a graph may leave out rows, such as negatives."""
        if not len(view):
            return False
        speaks = self.bundle.kernel is not None and bool(positive_weights(view.support).any())
        return speaks or not np.array_equal(state_P[: self._dims], prior_D)

    def rank(self, query: Query, view: UserView, state_P: Floats) -> tuple[Rows, Floats]:
        """The rows of the answer, best first, and the scores of all items.

        Raises:
            InvalidInputError: a filter names no column.
        """
        scores_N = score(self.bundle, self.catalogue, state_P, view.rows, view.support)
        allowed_N = self._allowed(query, view)
        if query.diversity == 0 and query.explore is None:
            return top_k(scores_N, allowed_N, query.k, self.catalogue.ids), scores_N
        pool_size = max(POOL_FACTOR * query.k, MIN_POOL)
        pool_C = top_k(scores_N, allowed_N, pool_size, self.catalogue.ids)
        order_C = scores_N[pool_C]
        if query.explore is not None:
            order_C = explore(order_C, len(view), query.explore)
            by_noise = np.argsort(-order_C, kind="stable")
            pool_C, order_C = pool_C[by_noise], order_C[by_noise]
        if query.diversity > 0:
            vectors_CD = self.catalogue.vectors(pool_C)
            pool_C = pool_C[diversify(order_C, vectors_CD, query.k, query.diversity)]
        return pool_C[: query.k], scores_N

    def present(
        self, rows: Rows, scores_N: Floats, reasons: list[tuple[Reason, ...]] | None
    ) -> tuple[RankedItem, ...]:
        """The answer's items."""
        ids = self.catalogue.ids
        return tuple(
            RankedItem(ids[row], float(scores_N[row]), reasons[i] if reasons is not None else None)
            for i, row in enumerate(rows.tolist())
        )

    def reasons(
        self, rows: Rows, view: UserView, prior_D: Floats, state_P: Floats
    ) -> list[tuple[Reason, ...]]:
        """For each row the support items that raised its score most, strongest first.

        See `recsvc.recommender.reasons`.
        """
        known = known_rows(self.catalogue, view.evidence)
        return reasons_of(self.bundle, self.catalogue, rows, known, prior_D, state_P)

    def similar(self, item_id: str, k: int) -> tuple[RankedItem, ...]:
        """The items whose vectors point most nearly the same way, by cosine.

        Raises:
            ItemNotFoundError: there is no such item.
        """
        row = self.catalogue.row(item_id)
        if row is None:
            raise item_not_found(item_id)
        cosines_N = cosine(self.catalogue.vectors([row])[0], self.catalogue.blocks)
        allowed_N = self.catalogue.visible.copy()
        allowed_N[row] = False
        rows = top_k(cosines_N, allowed_N, k, self.catalogue.ids)
        return self.present(rows, cosines_N, None)

    @property
    def trained(self) -> tuple[Floats, Floats]:
        """Vectors and biases of the trained items."""
        trained = slice(self.bundle.catalogue_items)
        return self.bundle.vectors_ND[trained], self.bundle.bias_N[trained]

    def _allowed(self, query: Query, view: UserView) -> Mask:
        catalogue = self.catalogue
        if query.candidates is None:
            allowed_N = catalogue.visible.copy()
        else:
            allowed_N = np.zeros(len(catalogue), dtype=bool)
            allowed_N[self._rows(query.candidates)] = True
        allowed_N[self._rows(query.exclude)] = False
        if query.exclude_seen:
            allowed_N[self._rows([e.item_id for e in view.evidence])] = False
        for column, values in query.filters.items():
            if column not in catalogue.filterable:
                raise InvalidInputError(
                    f"filter names {column!r}, which is no item column; "
                    f"this model has {catalogue.filterable}"
                )
            allowed_N &= catalogue.any_of([(column, value) for value in values])
        if query.categories:
            allowed_N &= catalogue.any_of(
                [(c, v) for c in catalogue.categorical for v in query.categories]
            )
        return allowed_N

    def _rows(self, item_ids: Iterable[str]) -> list[int]:
        return [row for i in item_ids if (row := self.catalogue.row(i)) is not None]


def item_not_found(item_id: str) -> ItemNotFoundError:
    """The error for an item that is unknown or hidden."""
    return ItemNotFoundError(
        f"item {item_id!r} is not in the catalogue; add it with PUT /v1/items/{{id}}"
    )
