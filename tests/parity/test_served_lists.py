"""What is evaluated in torch is what the service answers over HTTP: the same lists."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.registry import Registry
from tests.recsvc.service_process import ServiceProcess
from tests.training.worlds import CLUSTER, neighbourhoods
from training.bundle_scores import BundleScorer
from training.datasets import Dataset, load
from training.fit import Fitted, fit
from training.kernel.train import KernelConfig
from training.metrics import top_items
from training.outer_loop import TrainConfig
from training.served import ServedScorer
from training.tasks import Histories, from_pairs

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
USERS, LIST = 200, 20
SPARSE_WINDOW = 3


def tastes(users: int, items: int, seed: int) -> Histories:
    """Dense data: every user takes a third of all items, most of them from one half."""
    rng = np.random.default_rng(seed)
    item_UI = np.array(
        [
            rng.choice(items, items // 3, replace=False, p=np.roll(share, (items // 2) * (u % 2)))
            for share in [np.repeat([1.8, 0.2], items // 2) / items]
            for u in range(users)
        ]
    )
    return from_pairs(np.repeat(np.arange(users), items // 3), item_UI.ravel(), users, items)


@pytest.fixture(scope="module", params=["sparse", "dense"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Interactions with user and item features; some items nobody has touched."""
    histories = (
        neighbourhoods(users=700, clusters=60, seed=3)
        if request.param == "sparse"
        else tastes(users=700, items=60 * CLUSTER, seed=3)
    )
    directory = tmp_path_factory.mktemp("world")
    place = np.arange(len(histories.item_E))
    pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in histories.user_E],
            "item_id": [f"i{i}" for i in histories.item_E],
            "timestamp": 1_700_000_000 + place,
        }
    ).write_parquet(directory / "interactions.parquet")
    items = np.arange(60 * CLUSTER + 20)
    pl.DataFrame(
        {"item_id": [f"i{i}" for i in items], "shelf": [f"s{i // 50}" for i in items]}
    ).write_parquet(directory / "items.parquet")
    pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in range(700)],
            "region": ["north" if u % 2 else "south" for u in range(700)],
        }
    ).write_parquet(directory / "users.parquet")
    return load(directory)


@pytest.fixture(scope="module")
def place(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(f"registry-{dataset.sha256[:8]}")


@pytest.fixture(scope="module")
def fitted(dataset: Dataset, place: Path) -> Fitted:
    result = fit(
        dataset,
        Registry(place),
        TrainConfig(dims=8, max_epochs=3, device="cpu"),
        NOW,
        kernel=KernelConfig(max_epochs=3),
    )
    Registry(place).promote(result.manifest.version, NOW)
    dense = result.manifest.adaptation.window > SPARSE_WINDOW
    assert result.manifest.adaptation.inner_vectors == dense
    assert dense or result.manifest.kernel is not None, "that world is made for a kernel"
    return result


@pytest.fixture(scope="module")
def http(fitted: Fitted, place: Path) -> Iterator[httpx.Client]:
    with ServiceProcess(place, data_dir=place / "d") as service:
        yield service.http


def supports(dataset: Dataset) -> NDArray[np.int32]:
    """Supports of 0 to 5 items for new users, -1 behind."""
    rng = np.random.default_rng(11)
    known = np.unique(dataset.interactions.item_E)
    rows = np.full((USERS, 5), -1, np.int32)
    for u in range(USERS):
        size = u % 6
        rows[u, :size] = rng.choice(known, size, replace=False)
    return rows


def encoded(fitted: Fitted, regions: list[str]) -> csr_matrix:
    """Features of users of some regions."""
    schema = fitted.manifest.dataset.user_features
    return csr_matrix(schema.encode([{"region": region} for region in regions]))


def test_the_service_answers_the_lists_that_were_evaluated(
    fitted: Fitted, dataset: Dataset, http: httpx.Client
) -> None:
    """For 200 users the first 20 of HTTP have the scores of torch's first 20, rank by rank."""
    scorer = ServedScorer(fitted.model)
    for u, support_S in enumerate(supports(dataset)):
        support = support_S[support_S >= 0]
        region = ("north", "south")[u % 2]
        features = encoded(fitted, [region])
        scores_N = scorer.score(support[None], features, len(support))[0].astype(np.float64)
        open_N = fitted.data.candidates_N.copy()
        open_N[support] = False
        expected = top_items(scores_N[None], ~open_N[None], LIST)[0]
        answer = http.post(
            "/v1/recommendations",
            json={
                "k": LIST,
                "user_features": {"region": region},
                "support": [{"item_id": dataset.item_ids[i]} for i in support],
                "candidates": [dataset.item_ids[i] for i in np.flatnonzero(open_N)],
            },
        ).json()
        listed = [dataset.item_ids.index(item["item_id"]) for item in answer["items"]]
        spread = float(np.ptp(scores_N[open_N]))
        np.testing.assert_allclose(scores_N[listed], scores_N[expected], rtol=0, atol=1e-5 * spread)


def test_the_gate_sees_the_scores_that_were_evaluated(
    fitted: Fitted, dataset: Dataset, place: Path
) -> None:
    """ONNX and the bundle's arrays against torch, over the items that took part in training."""
    directory = Registry(place).open(fitted.manifest.version)
    codes = np.flatnonzero(fitted.data.candidates_N)
    support_BS = supports(dataset)
    features = encoded(fitted, ["north", "south"] * (USERS // 2))
    torch_BM = ServedScorer(fitted.model).score(support_BS, features, 5)[:, codes]
    bundle = BundleScorer(directory, dataset.item_ids)
    onnx_BM = bundle.score(support_BS, features, 5)[:, codes]
    np.testing.assert_allclose(onnx_BM, torch_BM, rtol=0, atol=1e-4 * float(np.ptp(torch_BM)))
