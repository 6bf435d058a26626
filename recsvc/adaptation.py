"""From a user's events to an adapted state: the rules, the padding, and the call of the graph.

Pure functions around the bundle's graphs. Knows nothing of the catalogue's rows beyond the arrays
it is given, nothing of Redis and nothing of HTTP.

Shape legend: B users, S support rows, M catalogue rows, F feature positions, D dims, P state width.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from recsvc.bundle import Graphs
from recsvc.contract.errors import SchemaError
from recsvc.contract.manifest import InteractionRules
from recsvc.contract.schema import FeatureSchema

Floats = NDArray[np.float32]


class Interaction(Protocol):
    """What the rules look at in an event, wherever it came from."""

    @property
    def item_id(self) -> str: ...
    @property
    def event(self) -> str | None: ...
    @property
    def value(self) -> float | None: ...


class Evidence(NamedTuple):
    """What one item says about a user."""

    item_id: str
    label: float
    """1 positive, 0 negative."""
    weight: float
    """Never 0: that is no evidence."""


@dataclass(frozen=True, slots=True)
class Support:
    """The support rows of one user as arrays, oldest first."""

    vectors_SD: Floats
    bias_S: Floats
    label_S: Floats
    weight_S: Floats

    def __len__(self) -> int:
        return len(self.label_S)


def weigh(events: Iterable[Interaction], rules: InteractionRules) -> list[Evidence]:
    """Apply the data set's rules to events: one row an item, decided by its latest event.

    Args:
        events: oldest first.
        rules: the same that training used.

    Returns:
        Rows in the order of the deciding events. Events of weight 0 are as if they never happened.
    """
    latest: dict[str, Evidence] = {}
    for event in events:
        weight = rules.weight(event.event)
        if weight == 0:
            continue
        latest.pop(event.item_id, None)
        latest[event.item_id] = Evidence(event.item_id, rules.label(event.value), weight)
    return list(latest.values())


def user_prior(
    graphs: Graphs, schema: FeatureSchema, features: Sequence[Mapping[str, Any]]
) -> Floats:
    """Where users start, from their raw features: (B, D).

    Raises:
        SchemaError: a value is not of its column's kind, or far beyond what can be computed.
    """
    with np.errstate(over="ignore"):  # an overflow is found below, in the vector itself
        features_BF = schema.encode(features)
    prior_BD = graphs.user_prior(features_BF)
    if not np.isfinite(prior_BD).all():
        raise SchemaError(
            "user features: a number is too large to compute with; send it in the data set's unit"
        )
    return prior_BD


def adapt(
    graphs: Graphs,
    prior_BD: Floats,
    supports: Sequence[Support],
    steps: int,
    catalogue_vectors_MD: Floats,
    catalogue_bias_M: Floats,
) -> Floats:
    """Adapt a batch of users, supports of any lengths, in one run of the graph.

    Args:
        graphs: the bundle's.
        prior_BD: where each user starts.
        supports: B supports; an empty one leaves its user at the prior.
        steps: K.
        catalogue_vectors_MD: trained items, for the inner loss.
        catalogue_bias_M: their biases.

    Returns:
        The adapted states, (B, P).
    """
    vectors_BSD, bias_BS, label_BS, weight_BS = _pad(supports, prior_BD.shape[1])
    return graphs.adapt_user(
        prior_BD,
        vectors_BSD,
        bias_BS,
        label_BS,
        weight_BS,
        steps,
        catalogue_vectors_MD,
        catalogue_bias_M,
    )


def adapt_without_each(
    graphs: Graphs,
    prior_D: Floats,
    support: Support,
    rows: Sequence[int],
    steps: int,
    catalogue_vectors_MD: Floats,
    catalogue_bias_M: Floats,
) -> Floats:
    """The states the user would have without one support row each: (len(rows), P).

    The difference of two scores is what the row contributed: exact for any adapt graph, because
    nothing is assumed about it.
    """
    n = len(rows)
    weight_BS = np.repeat(support.weight_S[None], n, axis=0)
    weight_BS[np.arange(n), rows] = 0.0
    return graphs.adapt_user(
        np.repeat(prior_D[None], n, axis=0),
        np.repeat(support.vectors_SD[None], n, axis=0),
        np.repeat(support.bias_S[None], n, axis=0),
        np.repeat(support.label_S[None], n, axis=0),
        weight_BS,
        steps,
        catalogue_vectors_MD,
        catalogue_bias_M,
    )


def _pad(supports: Sequence[Support], n_dims: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Stack supports to the longest one, at least one row; padding has weight 0."""
    shape = (len(supports), max(1, max(map(len, supports), default=0)))
    vectors_BSD = np.zeros((*shape, n_dims), dtype=np.float32)
    bias_BS, label_BS, weight_BS = (np.zeros(shape, dtype=np.float32) for _ in range(3))
    for b, support in enumerate(supports):
        size = len(support)
        vectors_BSD[b, :size] = support.vectors_SD
        bias_BS[b, :size] = support.bias_S
        label_BS[b, :size] = support.label_S
        weight_BS[b, :size] = support.weight_S
    return vectors_BSD, bias_BS, label_BS, weight_BS
