"""What new items adapt to: states of their takers are the same in training and in the service."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from recsvc.bundle import load_bundle
from recsvc.contract.registry import Registry
from recsvc.recommender.item_records import record_of, user_states
from recsvc.recommender.model import ServingModel
from recsvc.recommender.values import SessionEvent
from recsvc.telemetry import Metrics
from training.datasets import load
from training.datasets.synth import SynthSpec, write_synth
from training.fit import blank_user, fit, prepare, training_events
from training.items.states import states_before
from training.outer_loop import TrainConfig

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_states_before_an_event_are_those_of_the_service(tmp_path: Path) -> None:
    """For users with no item before, with a few, and with more than a record keeps."""
    write_synth(SynthSpec(users=150, items=120, interactions=7_000), 0, tmp_path / "data")
    dataset = load(tmp_path / "data")
    config = TrainConfig(dims=8, max_epochs=3, device="cpu")
    fitted = fit(dataset, Registry(tmp_path / "registry"), config, NOW, kernel=None)
    served = ServingModel(load_bundle(tmp_path / "registry" / fitted.manifest.version), Metrics())
    prepared = prepare(dataset, config.seed)
    events = training_events(dataset, prepared)
    longest = int(np.argmax(np.bincount(events.user_E)))
    own = np.flatnonzero(events.user_E == longest)
    at_K = own[[0, 1, 7, 31, 32, 33, len(own) - 1]]
    trained, rows_N = fitted.model.trained, fitted.model.rows_N
    found = states_before(trained, rows_N, events, at_K, blank_user(prepared))

    rules = served.manifest.dataset.rules
    positive = None if rules.positive is None else rules.positive.threshold
    ids = [dataset.item_ids[i] for i in events.item_E[own]]
    records = []
    for at in at_K:
        until = ids[: int(np.searchsorted(own, at)) + 1]
        history = [SessionEvent(item_id, None, positive) for item_id in until]
        record = record_of(until[-1], history, rules)
        assert record is not None
        records.append(record)
    states_KD, offset_K = user_states(served, records)
    scale = np.abs(found.states_UD).max()
    np.testing.assert_allclose(states_KD, found.states_UD, rtol=1e-4, atol=1e-4 * scale)
    np.testing.assert_allclose(offset_K, found.offset_U, rtol=1e-5)
