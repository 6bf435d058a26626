"""The demo's last step: lists before and after clicks, and what it says about them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.recsvc.bundles import BLACK, WHITE, publish_world
from tests.recsvc.service_process import ServiceProcess
from training.demo import show_adaptation


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The checkerboard world, served with its embedded Redis."""
    place = tempfile.TemporaryDirectory(prefix="recsvc-", ignore_cleanup_errors=True)
    with place as name:
        publish_world(Path(name) / "registry", "v1")
        with ServiceProcess(Path(name) / "registry", data_dir=Path(name) / "d") as service:
            yield str(service.http.base_url)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Titles of the world's items."""
    ids = [*BLACK, *WHITE]
    frame = pl.DataFrame({"item_id": ids, "title": [f"The {i}" for i in ids]})
    frame.write_parquet(tmp_path / "items.parquet")
    return tmp_path


@pytest.mark.parametrize("clicks", [(WHITE[0], WHITE[1], WHITE[2]), (BLACK[3], BLACK[4], BLACK[5])])
def test_what_is_new_is_counted(address: str, data: Path, clicks: tuple[str, ...]) -> None:
    """Both lists stand side by side; the counts are those of the lists, run by run the same."""
    said: list[str] = []
    titles = tuple(f"The {i}" for i in clicks)
    for _ in range(2):
        said.clear()
        show_adaptation(address, data, "one colour", titles, said.append)
        assert all(title in said[0] for title in titles)
        rows = [line.split() for line in said[2:-1]]
        before = [row[2] for row in rows]
        after = [row[6] for row in rows]
        assert [row[0] for row in rows] == [str(n) for n in range(1, 11)]
        assert before == [f"{c}-0{n}" for n in range(5) for c in ("black", "white")]
        assert {i.partition("-")[0] for i in after} == {clicks[0].partition("-")[0]}
        assert not set(after) & set(clicks)
        new = len(set(after) - set(before))
        moved = sum(a != b for a, b in zip(before, after, strict=True))
        assert said[-1].strip() == f"{new} of 10 titles are new, {moved} of 10 places changed"
        assert sum("(new)" in line for line in said) == new
