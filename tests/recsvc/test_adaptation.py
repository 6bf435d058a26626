"""Events to evidence to states."""

from pathlib import Path

import numpy as np
import pytest

from recsvc.adaptation import Evidence, Support, adapt, adapt_without_each, user_prior, weigh
from recsvc.bundle import Bundle, load_bundle
from recsvc.contract.errors import SchemaError
from recsvc.recommender import SessionEvent
from tests.recsvc.bundles import RULES, USER_SCHEMA, write_world


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    directory: Path = tmp_path_factory.mktemp("world")
    write_world(directory, "v1")
    return load_bundle(directory)


def random_support(bundle: Bundle, size: int, rng: np.random.Generator) -> Support:
    rows = rng.integers(0, len(bundle.item_ids), size)
    return Support(
        bundle.vectors_ND[rows],
        bundle.bias_N[rows],
        rng.integers(0, 2, size).astype(np.float32),
        rng.uniform(0.5, 2.0, size).astype(np.float32),
    )


def test_latest_event_of_an_item_decides() -> None:
    """An item counts once: label, weight and place are those of its latest event."""
    events = [
        SessionEvent("a", value=5.0),
        SessionEvent("b", event="buy"),
        SessionEvent("a", value=1.0),
    ]
    assert [Evidence("b", 1.0, 2.0), Evidence("a", 0.0, 1.0)] == weigh(events, RULES)


def test_events_of_weight_zero_are_no_evidence() -> None:
    """An event type of weight 0 neither counts nor overrides an earlier event."""
    events = [SessionEvent("a", value=5.0), SessionEvent("a", event="impression", value=1.0)]
    assert [Evidence("a", 1.0, 1.0)] == weigh(events, RULES)
    assert weigh(events[1:], RULES) == []


def test_a_batch_equals_its_singles(bundle: Bundle) -> None:
    """Padding to the longest support changes no user's state, empty supports included."""
    rng = np.random.default_rng(0)
    supports = [random_support(bundle, size, rng) for size in (3, 0, 7, 1)]
    prior_BD = rng.normal(size=(4, 2)).astype(np.float32)
    trained = (bundle.vectors_ND, bundle.bias_N)
    together = adapt(bundle.graphs, prior_BD, supports, 1, *trained)
    for b, support in enumerate(supports):
        alone = adapt(bundle.graphs, prior_BD[b : b + 1], [support], 1, *trained)
        np.testing.assert_allclose(together[b], alone[0], rtol=1e-6)


def test_no_steps_and_no_support_are_the_identity(bundle: Bundle) -> None:
    """Without steps, or without support, a user stays at the prior."""
    rng = np.random.default_rng(1)
    prior_BD = rng.normal(size=(1, 2)).astype(np.float32)
    trained = (bundle.vectors_ND, bundle.bias_N)
    support = random_support(bundle, 4, rng)
    empty = random_support(bundle, 0, rng)
    np.testing.assert_array_equal(prior_BD, adapt(bundle.graphs, prior_BD, [support], 0, *trained))
    np.testing.assert_array_equal(prior_BD, adapt(bundle.graphs, prior_BD, [empty], 1, *trained))


def test_leaving_a_row_out_equals_never_having_had_it(bundle: Bundle) -> None:
    """The states behind the reasons are those of the support without the row."""
    rng = np.random.default_rng(2)
    support = random_support(bundle, 5, rng)
    prior_D = rng.normal(size=2).astype(np.float32)
    trained = (bundle.vectors_ND, bundle.bias_N)
    without = adapt_without_each(bundle.graphs, prior_D, support, [1, 4], 1, *trained)
    for position, row in enumerate((1, 4)):
        kept = np.delete(np.arange(5), row)
        smaller = Support(
            support.vectors_SD[kept],
            support.bias_S[kept],
            support.label_S[kept],
            support.weight_S[kept],
        )
        expected = adapt(bundle.graphs, prior_D[None], [smaller], 1, *trained)
        np.testing.assert_allclose(expected[0], without[position], rtol=1e-5, atol=1e-7)


def test_prior_follows_the_features(bundle: Bundle) -> None:
    """A user of whom nothing is known starts at zero, a black one along black."""
    prior_BD = user_prior(bundle.graphs, USER_SCHEMA, [{}, {"side": "black"}, {"side": "green"}])
    assert prior_BD.tolist() == [[0.0, 0.0], [0.5, 0.0], [0.0, 0.0]]


def test_a_wrong_feature_is_refused(bundle: Bundle) -> None:
    """A value that is not of its column's kind names the column."""
    from recsvc.contract.schema import Column, FeatureSchema

    schema = FeatureSchema(columns=(Column(name="age", kind="numeric"),))
    with pytest.raises(SchemaError, match="age"):
        user_prior(bundle.graphs, schema, [{"age": "old"}])
