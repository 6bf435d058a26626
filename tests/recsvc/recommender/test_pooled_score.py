"""Lists, scores and reasons of a bundle with an item-item kernel."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recsvc.bundle import load_bundle
from recsvc.recommender import Query, Reason, SessionEvent
from recsvc.recommender.model import ServingModel
from recsvc.recommender.reasons import EXPLAINED_ROWS, REASONS
from recsvc.telemetry import Metrics
from tests.recsvc.bundles import BLACK, ITEM_IDS, MAX_SUPPORT, WHITE, write_world
from tests.recsvc.kernels import WorldKernel, random_kernel

N_TRAINED = 60
ADDED = [f"added-{n}" for n in range(3)]
Served = dict[str, float]


class World:
    """A model on a kernel bundle, with items that were added since."""

    def __init__(self, directory: Path, kernel: WorldKernel | None) -> None:
        write_world(directory, "v1", kernel=kernel)
        self.kernel = kernel
        self.model = ServingModel(load_bundle(directory), Metrics())
        self.model.apply({i: {"colour": "white"} for i in ADDED})

    def served(self, events: Sequence[SessionEvent], **query: object) -> Served:
        """Scores of a list, best first; of all items unless the query says otherwise."""
        everything = {"k": 100, "exclude_seen": False}
        view = self.model.view(events)
        state_P = self.model.adapt(self.model.prior({"side": "black"}), view)
        asked = Query(**{**everything, **query})  # type: ignore[arg-type] # a test's own fields
        rows, scores_N = self.model.rank(asked, view, state_P)
        return {i.item_id: i.score for i in self.model.present(rows, scores_N, None)}

    def reasons(self, events: Sequence[SessionEvent], items: list[str]) -> list[tuple[Reason, ...]]:
        view = self.model.view(events)
        prior_D = self.model.prior({"side": "black"})
        rows = np.asarray([self.model.catalogue.row(i) for i in items])
        return self.model.reasons(rows, view, prior_D, self.model.adapt(prior_D, view))

    def by_hand(self, events: Sequence[SessionEvent]) -> Served:
        """The scores from the formula, item by item."""
        view, ids = self.model.view(events), self.model.catalogue.ids
        state_P = self.model.adapt(self.model.prior({"side": "black"}), view)
        every = range(len(ids))
        z_N = self.model.catalogue.vectors(every) @ state_P + self.model.catalogue.biases(every)
        if self.kernel is not None:
            weight_S = (view.support.weight_S * view.support.label_S).tolist()
            z_N = np.asarray(self.kernel.served(z_N, view.rows, weight_S))
        return {item: float(z) for item, z in zip(ids, z_N, strict=True)}


@pytest.fixture(scope="module", params=[0.0, 0.6, None], ids=["theta=0", "theta=.6", "no kernel"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    kernel = None if request.param is None else random_kernel(N_TRAINED, 7, request.param)
    return World(tmp_path_factory.mktemp("world"), kernel)


def draw(size: int, seed: int) -> list[SessionEvent]:
    """Events on trained, untrained and added items; some dislikes, some purchases."""
    rng = np.random.default_rng(seed)
    items = rng.choice([*ITEM_IDS, *ADDED], size, replace=False)
    values = rng.choice([1.0, 5.0, 5.0], size)
    return [
        SessionEvent(str(item), str(rng.choice(["buy", "click"])), float(value))
        for item, value in zip(items, values, strict=True)
    ]


def without_each(events: list[SessionEvent]) -> list[tuple[str, list[SessionEvent]]]:
    """Each event that reasons are looked for in, and the history without it."""
    recent = range(max(0, len(events) - EXPLAINED_ROWS), len(events))
    return [(events[s].item_id, events[:s] + events[s + 1 :]) for s in recent]


@pytest.mark.parametrize("size", [0, 1, 2, 5, 20, 30])
def test_scores_are_the_formula_s(world: World, size: int) -> None:
    """Every item's score is the formula's, added items and those without edges included."""
    events = draw(size, size)
    actual, expected = world.served(events), world.by_hand(events)
    assert expected.keys() == actual.keys()
    assert actual == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert sorted(expected.values(), reverse=True) == pytest.approx(list(actual.values()))


@pytest.mark.parametrize("size", [1, 2, 5, 20, MAX_SUPPORT, MAX_SUPPORT + 1, MAX_SUPPORT + 9])
def test_a_contribution_is_what_would_be_missing(world: World, size: int) -> None:
    """Reasons are the largest differences to the lists without one event each.

    Where the support is full, the list without an event rests on one that was too old before.
    """
    events = draw(size, 100 + size)
    whole = world.served(events)
    without = {item: world.served(rest) for item, rest in without_each(events)}
    items = list(whole)[:4] + list(whole)[-4:]
    for item, reasons in zip(items, world.reasons(events, items), strict=True):
        added = {i: whole[item] - served[item] for i, served in without.items()}
        raised = sorted((v for v in added.values() if v > 1e-5), reverse=True)[:REASONS]
        given = [r for r in reasons if r.contribution > 1e-5]
        assert [r.contribution for r in given] == pytest.approx(raised, abs=2e-5)
        for reason in given:
            assert reason.contribution == pytest.approx(added[reason.item_id], abs=2e-5)


def test_only_what_was_liked_speaks(tmp_path: Path) -> None:
    """Dislikes, items without edges and no events at all leave the vector's scores alone."""
    pooled = World(tmp_path, random_kernel(N_TRAINED, 7))
    (tmp_path / "plain").mkdir()
    plain = World(tmp_path / "plain", None)
    silent = [SessionEvent(BLACK[0], value=1.0), SessionEvent(WHITE[31]), SessionEvent(ADDED[0])]
    for events in ([], silent[:1], silent):
        assert plain.served(events) == pooled.served(events)
    speaking = [*silent, SessionEvent(BLACK[1])]
    assert plain.served(speaking) != pooled.served(speaking)


def partner_kernel(strength: float) -> WorldKernel:
    """The last black item speaks for one white one, and nothing else says anything."""
    kernel = random_kernel(N_TRAINED, 0)
    strength_MM = np.zeros_like(kernel.strength_MM)
    strength_MM[ITEM_IDS.index(BLACK[-1]), ITEM_IDS.index(WHITE[20])] = strength
    return WorldKernel(strength_MM, kernel.pooling)


def test_lists_of_every_kind_rest_on_the_pooled_score(tmp_path: Path) -> None:
    """The kernel's item leads plain, filtered, diverse and chosen lists, and can be left out."""
    world = World(tmp_path, partner_kernel(1e6))
    events = [SessionEvent(BLACK[-1])]
    queries: list[dict[str, object]] = [
        {},
        {"filters": {"colour": ("white",)}},
        {"diversity": 0.3},
        {"candidates": (WHITE[0], WHITE[20], BLACK[3])},
    ]
    for query in queries:
        assert WHITE[20] == next(iter(world.served(events, **query)))
    assert WHITE[20] not in world.served(events, exclude=(WHITE[20],))
    ((reason,),) = world.reasons(events, [WHITE[20]])
    assert BLACK[-1] == reason.item_id
    explored = [next(iter(world.served(events, k=1, explore=seed))) for seed in range(20)]
    assert WHITE[20] in explored
    assert explored[:3] == [
        next(iter(world.served(events, k=1, explore=seed))) for seed in range(3)
    ]
