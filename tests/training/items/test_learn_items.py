"""What fit learns of new items: chosen where there is enough to judge by, and said why."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.datasets import Dataset, load
from training.datasets.synth import SynthSpec, write_synth
from training.fit import Prepared, blank_user, prepare, training_events
from training.items.learn import LearnedItems, learn_items
from training.outer_loop import MetaTrainer, TrainConfig, Trained

CONFIG = TrainConfig(dims=8, max_epochs=6, device="cpu")


def learned(
    dataset: Dataset, prepared: Prepared, trainer: MetaTrainer, trained: Trained
) -> LearnedItems:
    """What fit would learn of new items from this model."""
    return learn_items(
        prepared.data,
        trained,
        trainer.rows_N,
        prepared.item_schema,
        training_events(dataset, prepared),
        blank_user(prepared),
        CONFIG,
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("synth") / "data"
    write_synth(SynthSpec(users=500, items=300, interactions=20_000), 0, path)
    return load(path)


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> tuple[Prepared, MetaTrainer, Trained]:
    prepared = prepare(dataset, 0)
    trainer = MetaTrainer(prepared.data, CONFIG)
    return prepared, trainer, trainer.run()


def test_settings_are_chosen_on_items_that_play_new(
    dataset: Dataset, model: tuple[Prepared, MetaTrainer, Trained]
) -> None:
    """The decision names them, how many items and users judged, and figures that rise with n."""
    found = learned(dataset, *model)
    assert found.adaptation is not None
    assert "best of a search" in found.decision
    assert "60 items that a second model never saw" in found.decision
    figures = found.decision.partition("among new ones ")[2].split()[:4]
    assert float(figures[3]) > float(figures[0])
    assert found.adaptation.sample_states_MD.shape == (1024, 8)
    assert found.adaptation.spec.sample_users == 1024


def test_without_judges_the_defaults_stay(
    dataset: Dataset, model: tuple[Prepared, MetaTrainer, Trained]
) -> None:
    """No validation users: nothing is chosen, items adapt all the same, and the reason is given."""
    prepared, trainer, trained = model
    nobody = np.zeros(0, dtype=np.int64)
    data = replace(
        prepared.data,
        validation=prepared.data.validation.take(nobody),
        validation_features=prepared.data.validation_features[nobody],
    )
    found = learned(dataset, replace(prepared, data=data), trainer, trained)
    assert found.adaptation is not None
    assert "not chosen on this data" in found.decision


def test_a_handful_of_items_does_not_adapt(tmp_path: Path) -> None:
    """Twelve items in all: the bundle has no adapt_item graph, and says so."""
    write_synth(SynthSpec(users=60, items=12, interactions=300), 0, tmp_path / "data")
    few = load(tmp_path / "data")
    prepared = prepare(few, 0)
    trainer = MetaTrainer(prepared.data, replace(CONFIG, max_epochs=1))
    found = learned(few, prepared, trainer, trainer.run())
    assert found.adaptation is None
    assert found.decision.startswith("none: 12 trained items")
