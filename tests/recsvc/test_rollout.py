"""Following the registry: swap, refuse, roll back, try again."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recsvc.bundle import Bundle
from recsvc.contract.errors import BundleCorruptError, RegistryError
from recsvc.contract.registry import CURRENT_FILE, Registry
from recsvc.rollout import Rollout
from recsvc.telemetry import Metrics
from tests.recsvc.bundles import NOW, publish_world

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Followed:
    """A rollout of versions, and what it did."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.prepared: list[str] = []
        self.brought_up: list[str] = []
        self.installed: list[str] = []
        self.rollout: Rollout[str] = Rollout(
            Registry(root),
            self._prepare,
            self._bring_up,
            self.installed.append,
            1.0,
            self.clock,
            self.metrics,
        )

    @property
    def active(self) -> str | None:
        return self.rollout.active.model if self.rollout.active else None

    async def _bring_up(self, model: str) -> None:
        assert self.active != model
        self.brought_up.append(model)

    def _prepare(self, bundle: Bundle) -> str:
        self.prepared.append(bundle.version)
        return bundle.version


@contextmanager
def flipped_bit(path: Path) -> Iterator[None]:
    """A file with its first bit flipped, repaired afterwards."""
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    yield
    path.write_bytes(good)


async def test_start_serves_the_current_version(tmp_path: Path) -> None:
    """The version that CURRENT names is loaded before anything is served."""
    publish_world(tmp_path, "v1")
    publish_world(tmp_path, "v2", promote=False)
    followed = Followed(tmp_path)
    await followed.rollout.start()
    assert followed.active == "v1"


async def test_an_empty_registry_names_the_remedy(tmp_path: Path) -> None:
    """Without any version a person is told to train one; without CURRENT, to activate one."""
    with pytest.raises(RegistryError, match="recsvc-train fit"):
        await Followed(tmp_path).rollout.start()
    publish_world(tmp_path, "v1", promote=False)
    with pytest.raises(RegistryError, match="recsvc models activate v1"):
        await Followed(tmp_path).rollout.start()


async def test_a_corrupt_version_does_not_start(tmp_path: Path) -> None:
    """A service does not start on a bundle with a flipped bit."""
    publish_world(tmp_path, "v1")
    with (
        flipped_bit(tmp_path / "v1" / "item_bias.npy"),
        pytest.raises(BundleCorruptError, match="item_bias"),
    ):
        await Followed(tmp_path).rollout.start()


async def test_a_promoted_version_takes_over(tmp_path: Path) -> None:
    """The next look after a promotion swaps, and keeps the one before."""
    registry = publish_world(tmp_path, "v1")
    followed = Followed(tmp_path)
    await followed.rollout.start()
    await followed.rollout.check()
    publish_world(tmp_path, "v2")
    await followed.rollout.check()
    assert followed.installed == ["v1", "v2"]
    status = await followed.rollout.status()
    assert (status.active, status.previous, status.current) == ("v2", "v1", "v2")
    assert tuple(registry.versions()) == status.versions


async def test_a_rollback_needs_no_loading(tmp_path: Path) -> None:
    """The version before is still in memory, even without its files; it catches up first."""
    registry = publish_world(tmp_path, "v1")
    followed = Followed(tmp_path)
    await followed.rollout.start()
    publish_world(tmp_path, "v2")
    await followed.rollout.check()
    registry.rollback(NOW)
    shutil.rmtree(tmp_path / "v1")
    await followed.rollout.check()
    assert followed.active == "v1"
    assert followed.prepared == ["v1", "v2"]
    assert followed.brought_up == ["v1", "v2", "v1"]


async def test_a_broken_version_leaves_the_serving_one(tmp_path: Path) -> None:
    """A flipped bit in the new version is shown and counted; the old one serves on."""
    publish_world(tmp_path, "v1")
    followed = Followed(tmp_path)
    await followed.rollout.start()
    publish_world(tmp_path, "v2")
    with flipped_bit(tmp_path / "v2" / "adapt_user.onnx"):
        await followed.rollout.check()
        assert followed.active == "v1"
        status = await followed.rollout.status()
        assert "adapt_user.onnx" in status.failures["v2"]
        body, _ = followed.metrics.render()
        assert b"recsvc_model_load_failures_total 1.0" in body


async def test_a_repaired_version_is_tried_again_later(tmp_path: Path) -> None:
    """A failed version is not tried at every look, but again after a while."""
    publish_world(tmp_path, "v1")
    followed = Followed(tmp_path)
    await followed.rollout.start()
    publish_world(tmp_path, "v2")
    with flipped_bit(tmp_path / "v2" / "adapt_user.onnx"):
        await followed.rollout.check()
    await followed.rollout.check()
    assert followed.active == "v1"
    followed.clock.now += timedelta(seconds=3)
    await followed.rollout.check()
    assert followed.active == "v2"
    assert (await followed.rollout.status()).failures == {}


async def test_promoting_again_tries_at_once(tmp_path: Path) -> None:
    """A new promotion of a repaired version does not wait."""
    registry = publish_world(tmp_path, "v1")
    followed = Followed(tmp_path)
    await followed.rollout.start()
    publish_world(tmp_path, "v2")
    with flipped_bit(tmp_path / "v2" / "adapt_user.onnx"):
        await followed.rollout.check()
    registry.promote("v1", NOW)
    registry.promote("v2", NOW + timedelta(seconds=1))
    await followed.rollout.check()
    assert followed.active == "v2"


async def test_an_unreachable_registry_leaves_the_serving_one(tmp_path: Path) -> None:
    """A registry that is gone, or whose pointer is garbage, is shown; the version serves on."""
    root = tmp_path / "registry"
    publish_world(root, "v1")
    followed = Followed(root)
    await followed.rollout.start()
    (root / CURRENT_FILE).write_text("garbage")
    await followed.rollout.check()
    status = await followed.rollout.status()
    assert "CURRENT is unreadable" in str(status.registry_error)
    shutil.rmtree(root)
    await followed.rollout.check()
    assert followed.active == "v1"
