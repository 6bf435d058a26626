"""What is kept of a user who took an item, and what a model makes of it.

A record names the user's other items and how each was judged, as events say it, so any model can
compute its own state from it: from trained items alone, so that the state depends on nothing that
changes while the model serves. Neither the user's features nor the user's id are part of it. Pure
functions; knows nothing of Redis.

Shape legend: S users of an item, R users, K users at once, D dims, M trained items.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recsvc.adaptation import Floats, Interaction, adapt, weigh
from recsvc.candidates import log_totals
from recsvc.contract.manifest import MAX_OTHER_ITEMS, InteractionRules
from recsvc.recommender.model import ServingModel
from recsvc.recommender.support import gather

_USERS_AT_ONCE = 64

Record = Mapping[str, Any]


class _Judged(NamedTuple):
    """An item and the event that decides what it says about a user."""

    item_id: str
    event: str | None
    value: float | None


def record_of(
    item_id: str, events: Iterable[Interaction], rules: InteractionRules
) -> Record | None:
    """What to keep of a user who took an item.

    Args:
        item_id: the item.
        events: the user's, oldest first; the latest one on the item decides.
        rules: of the model that serves.

    Returns:
        None where the user's last word on the item is no positive one.
    """
    deciding: dict[str, Interaction] = {}
    for event in events:
        if rules.weight(event.event) != 0:
            deciding.pop(event.item_id, None)
            deciding[event.item_id] = event
    own = deciding.pop(item_id, None)
    if own is None or rules.label(own.value) != 1.0:
        return None
    others = _most_telling(list(deciding.values()), rules)
    return {
        "event": own.event,
        "value": own.value,
        "others": [[e.item_id, e.event, e.value] for e in others],
    }


def _most_telling(others: Sequence[Interaction], rules: InteractionRules) -> list[Interaction]:
    """The latest positive ones, as training takes them; where there is room the latest others."""
    places = {True: list[int](), False: list[int]()}
    for place, event in enumerate(others):
        places[rules.label(event.value) == 1.0].append(place)
    liked = places[True][-MAX_OTHER_ITEMS:]
    room = MAX_OTHER_ITEMS - len(liked)
    rest = places[False][len(places[False]) - min(room, len(places[False])) :]
    return [others[place] for place in sorted([*liked, *rest])]


def speaks(record: Record, rules: InteractionRules) -> bool:
    """Whether a record's user took the item, by a model's rules."""
    return rules.weight(record["event"]) > 0 and rules.label(record["value"]) == 1.0


def user_states(model: ServingModel, records: Sequence[Record]) -> tuple[Floats, Floats]:
    """States (R, D) of the users behind records, and the offset of each (R,): the log of the summed
    exponentials of all trained items' scores.

    May run beside the thread that changes the catalogue: it reads trained items alone.
    """
    n_dims = model.manifest.adaptation.dims
    trained = model.trained
    blank_D = model.prior({})
    states_RD = np.empty((len(records), n_dims), dtype=np.float32)
    offset_R = np.empty(len(records), dtype=np.float32)
    for start in range(0, len(records), _USERS_AT_ONCE):
        block = slice(start, start + _USERS_AT_ONCE)
        supports = [_support(model, record) for record in records[block]]
        prior_KD = np.repeat(blank_D[None], len(supports), axis=0)
        steps = model.manifest.adaptation.steps
        inner = model.bundle.inner_catalogue
        states_KP = adapt(model.bundle.graphs, prior_KD, supports, steps, *inner)
        states_RD[block] = states_KP[:, :n_dims]
        offset_R[block] = log_totals(states_RD[block], *trained)
    return states_RD, offset_R


def _support(model: ServingModel, record: Record) -> Any:
    evidence = weigh([_Judged(*other) for other in record["others"]], model.manifest.dataset.rules)
    rows = [(model.catalogue.trained_row(e.item_id), e) for e in evidence]
    known = [(row, e) for row, e in rows if row is not None]
    return gather(model.catalogue, known[-model.manifest.adaptation.max_support :])[1]
