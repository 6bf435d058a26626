"""The outer loop learns what is there, and an interrupted run ends where an unbroken one does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from tests.training.worlds import GROUP, checkerboard_data
from training.checkpoint import Checkpoint
from training.errors import SettingError, TrainingError
from training.meta_learned import MetaLearned
from training.outer_loop import (
    MetaTrainer,
    Progress,
    TrainConfig,
    late_popularity_bias,
    pick_device,
)
from training.tasks import from_pairs

SMALL = TrainConfig(dims=8, max_epochs=15, patience_epochs=15, batch_users=50, device="cpu")


def test_one_click_reveals_the_taste_on_a_checkerboard() -> None:
    """After one item of a taste, the ten best items are of that taste."""
    method = MetaLearned(TrainConfig(dims=8, max_epochs=30, batch_users=50, device="cpu"))
    method.fit(checkerboard_data())
    clicks = np.array([[3], [GROUP + 3]], dtype=np.int32)
    scores = method.score(clicks, csr_matrix(np.ones((2, 1), np.float32)), 1)
    best = np.argsort(-scores, axis=1)[:, :10]
    assert (best[0] < GROUP).all()
    assert (best[1] >= GROUP).all()


def test_the_inner_loop_learns_vectors_of_its_own_where_supports_are_large() -> None:
    """What an item says of who took it differs from the vector it is scored by; not with a small
    window, nor in plain MAML."""
    wide = replace(checkerboard_data(), window=5, sizes=(0, 1, 2, 3, 5))
    assert MetaTrainer(wide, SMALL).run().model.inner_shift_ND.abs().max() > 0.01
    for data, config in ((wide, replace(SMALL, plain=True)), (checkerboard_data(), SMALL)):
        assert not MetaTrainer(data, config).run().model.inner_shift_ND.any()


def test_the_same_seed_gives_the_same_model() -> None:
    """Two runs with one seed agree to the bit; another seed differs."""
    first, again = (MetaTrainer(checkerboard_data(), SMALL).run() for _ in range(2))
    other = MetaTrainer(checkerboard_data(seed=1), SMALL).run()
    assert torch.equal(first.model.item_id_ND, again.model.item_id_ND)
    assert not torch.equal(first.model.item_id_ND, other.model.item_id_ND)


def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    """Ctrl-C after the fourth epoch, then the same call again: the same weights."""
    unbroken = MetaTrainer(checkerboard_data(), SMALL).run()
    checkpoint = Checkpoint(tmp_path / "run.pt", "the-same-run")

    def interrupt(progress: Progress) -> None:
        if progress.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MetaTrainer(checkerboard_data(), SMALL).run(interrupt, checkpoint)
    seen: list[int] = []
    resumed = MetaTrainer(checkerboard_data(), SMALL).run(
        lambda p: seen.append(p.epoch), checkpoint
    )
    assert seen[0] == 5
    assert torch.equal(resumed.model.item_id_ND, unbroken.model.item_id_ND)
    assert resumed.validation == unbroken.validation


def test_another_run_does_not_take_over_a_checkpoint(tmp_path: Path) -> None:
    """A checkpoint with another fingerprint is as good as none."""
    Checkpoint(tmp_path / "run.pt", "one").save({"epoch": 3})
    assert Checkpoint(tmp_path / "run.pt", "two").load(torch.device("cpu")) is None


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    """A truncated file is refused with its path and the remedy."""
    checkpoint = Checkpoint(tmp_path / "run.pt", "one")
    checkpoint.save({"weights": torch.zeros(1000)})
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:500])
    with pytest.raises(TrainingError, match=r"run\.pt is damaged .*delete it"):
        checkpoint.load(torch.device("cpu"))


def test_a_checkpoint_that_cannot_be_written_keeps_the_old_one(tmp_path: Path) -> None:
    """A path that cannot be replaced is an error with a remedy, and leaves nothing behind."""
    (tmp_path / "run.pt").mkdir()
    with pytest.raises(TrainingError, match="cannot be written"):
        Checkpoint(tmp_path / "run.pt", "one").save({})
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


def test_a_diverging_run_stops_with_the_remedy() -> None:
    """A learning rate far too high ends in an error that names it, not in NaN vectors."""
    config = TrainConfig(dims=8, learning_rate=1e12, batch_users=50, device="cpu")
    with pytest.raises(TrainingError, match="lower learning_rate"):
        MetaTrainer(checkerboard_data(), config).run()


def test_settings_are_checked() -> None:
    """A setting out of range is named with its value."""
    with pytest.raises(SettingError, match="dims is 0; it must be at least 1"):
        TrainConfig(dims=0)
    with pytest.raises(SettingError, match="learning_rate is -1"):
        TrainConfig(learning_rate=-1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused() -> None:
    """No silent fall-back when a GPU is asked for."""
    with pytest.raises(SettingError, match="no CUDA device"):
        pick_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_training_on_cuda_learns_the_checkerboard() -> None:
    """bf16 autocast on a GPU reaches the same lists."""
    method = MetaLearned(TrainConfig(dims=8, max_epochs=30, batch_users=50, device="cuda"))
    method.fit(checkerboard_data())
    scores = method.score(
        np.array([[3]], dtype=np.int32), csr_matrix(np.ones((1, 1), np.float32)), 1
    )
    assert scores[0, :GROUP].mean() > scores[0, GROUP:].mean()


def test_late_popularity_is_conditional_on_what_was_not_taken_first() -> None:
    """Of two items equally popular later, the one that most took at first has the better odds."""
    users = np.repeat(np.arange(10), 4)
    items = np.concatenate([[0, 1, 2, 3] if u < 5 else [0, 2, 1, 4] for u in range(10)])
    bias = late_popularity_bias(from_pairs(users, items, 10, 5), window=2)
    late, early = np.array([0, 5, 5, 5, 5]), np.array([10, 5, 5, 0, 0])
    odds = np.log((late + 0.5) / (10 - early + 1))
    np.testing.assert_allclose(bias, odds - odds.mean(), rtol=1e-5)
    assert bias[1] > bias[3]


def test_a_set_without_pairs_is_refused() -> None:
    """Users with one positive each hold no task."""
    lonely = from_pairs(np.arange(40), np.arange(40), 40, 40)
    data = checkerboard_data(users=40)
    broken = type(data)(
        train=lonely,
        **{name: getattr(data, name) for name in data.__dataclass_fields__ if name != "train"},
    )
    with pytest.raises(TrainingError, match="two positive interactions"):
        MetaTrainer(broken, SMALL)
