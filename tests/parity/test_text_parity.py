"""Text through word vectors: training and service encode alike, through the files of a bundle."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from recsvc.bundle import load_bundle
from recsvc.contract.errors import BundleRefusedError
from recsvc.contract.manifest import hash_file, read_manifest, write_manifest
from recsvc.contract.registry import Registry
from tests.recsvc.service_process import ServiceProcess
from training.bundle_scores import BundleScorer
from training.datasets import Dataset, encode, load
from training.datasets.synth import SynthSpec, write_synth
from training.fit import Fitted, fit
from training.outer_loop import TrainConfig

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORDS = ["ship", "ocean", "whale", "court", "judge", "crime", "dragon", "castle", "sword", "robot"]
NEW = ["lawyer of the prison", "sailor's boat", "戰爭電影 🎉", "cyberpunk 2077", "🎊 🎉", ""]
CONFIG = """
[items]
columns.plot = { kind = "text", encoder = "both" }
[users]
columns.about = { kind = "text", encoder = "words" }
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A world with plots; of the items that nobody touched, six have plots of new words."""
    path = tmp_path_factory.mktemp("world")
    write_synth(SynthSpec(users=200, items=60, interactions=5000), 0, path)
    rng = np.random.default_rng(0)
    for name in ("items", "users"):
        frame = pl.read_parquet(path / f"{name}.parquet")
        texts = [" ".join(rng.choice(WORDS, 4)) for _ in range(len(frame))]
        column = "plot" if name == "items" else "about"
        frame = frame.with_columns(pl.Series(column, texts))
        if name == "items":
            new = pl.DataFrame({"item_id": [f"new-{i}" for i in range(len(NEW))], "plot": NEW})
            frame = pl.concat([frame, new], how="diagonal")
        frame.write_parquet(path / f"{name}.parquet")
    (path / "dataset.toml").write_text(CONFIG)
    return load(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def fitted(dataset: Dataset, place: Path) -> Fitted:
    config = TrainConfig(dims=8, max_epochs=2, device="cpu")
    result = fit(dataset, Registry(place), config, NOW, kernel=None)
    Registry(place).promote(result.manifest.version, NOW)
    return result


@pytest.fixture(scope="module")
def http(fitted: Fitted, place: Path) -> Iterator[httpx.Client]:
    with ServiceProcess(place, data_dir=place / "d") as service:
        yield service.http


def test_an_item_put_into_the_service_scores_as_training_encoded_it(http: httpx.Client) -> None:
    """The twin of an item that nobody touched, sent with its plot, has its score."""
    scores = {}
    for i, plot in enumerate(NEW):
        answer = http.put(f"/v1/items/twin-{i}", json={"features": {"plot": plot}})
        assert answer.status_code == 200, answer.text
    names = [f"{kind}-{i}" for i in range(len(NEW)) for kind in ("new", "twin")]
    for about in ("a captain of the harbor", "🎉"):
        body = {"k": len(names), "candidates": names, "user_features": {"about": about}}
        answer = http.post("/v1/recommendations", json=body)
        assert answer.status_code == 200, answer.text
        scores = {item["item_id"]: item["score"] for item in answer.json()["items"]}
        own = [scores[f"new-{i}"] for i in range(len(NEW))]
        np.testing.assert_allclose(
            [scores[f"twin-{i}"] for i in range(len(NEW))], own, rtol=0, atol=1e-6
        )
        assert len({round(score, 6) for score in own[:4]}) == 4, "each plot says something else"
        assert own[4] == pytest.approx(own[5]), "no known word is as no text"


def test_a_bundles_schemas_encode_as_training_did(
    fitted: Fitted, dataset: Dataset, place: Path
) -> None:
    """The service's and the gate's schemas, word vectors from files, give training's features."""
    directory = Registry(place).open(fitted.manifest.version)
    assert {"item_words.npy", "item_words.json", "user_words.npy"} <= fitted.manifest.files.keys()
    trained = fitted.manifest.dataset
    served = load_bundle(directory).manifest.dataset
    gated = BundleScorer(directory, dataset.item_ids).manifest.dataset
    for opened in (served, gated):
        for frame, ours, theirs in (
            (dataset.items, trained.item_features, opened.item_features),
            (dataset.users, trained.user_features, opened.user_features),
        ):
            assert frame is not None
            expected = encode(frame, ours, len(frame)).toarray()
            np.testing.assert_array_equal(theirs.encode(frame.to_dicts()), expected)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("item_words.npy", np.zeros((3, 4), np.float16), "one finite float16 row for each piece"),
        ("item_words.npy", np.full((2, 4), np.nan, np.float16), "one finite float16 row"),
        ("item_words.npy", np.zeros((2, 4), np.float32), "holds float32 of shape"),
        ("item_words.npy", np.zeros((2, 4), np.float16), "4 numbers a piece, the item features"),
        ("item_words.npy", None, "the manifest lists no item_words.npy"),
        ("user_words.json", b"{", "no table of word vectors"),
    ],
)
def test_word_vectors_that_do_not_fit_are_refused(
    fitted: Fitted, place: Path, tmp_path: Path, name: str, content: object, message: str
) -> None:
    """A table of another shape, or none, is named before anything is served."""
    directory = tmp_path / "bundle"
    shutil.copytree(Registry(place).open(fitted.manifest.version), directory)
    (directory / "item_words.json").write_text(json.dumps(["a", "b"]))
    if isinstance(content, np.ndarray):
        np.save(directory / name, content)
    elif isinstance(content, bytes):
        (directory / name).write_bytes(content)
    else:
        (directory / name).unlink()
    manifest = read_manifest(directory)
    present = [n for n in manifest.files if (directory / n).exists()]
    files = {n: hash_file(directory / n) for n in present}
    write_manifest(directory, manifest.model_copy(update={"files": files}))
    with pytest.raises(BundleRefusedError, match=message):
        load_bundle(directory)
