"""The adapt_item graph: torch, ONNX Runtime and plain numpy agree."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from tests.parity.reference import adapt_one_item
from training.export import AdaptItem, export_adapt_item
from training.posterior import PosteriorParameters

D, M = 6, 40

Feeds = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def parameters() -> PosteriorParameters:
    rng = np.random.default_rng(0)
    root_PP = np.tril(rng.normal(size=(D + 1, D + 1)) * 0.2) + 0.5 * np.eye(D + 1)
    return PosteriorParameters(
        torch.as_tensor(root_PP, dtype=torch.float32),
        torch.tensor(0.6),
        torch.tensor(30.0),
        torch.tensor(1.0),
        torch.tensor(-4.0),
        torch.tensor(0.3),
    )


@pytest.fixture(scope="module")
def session(
    parameters: PosteriorParameters, tmp_path_factory: pytest.TempPathFactory
) -> ort.InferenceSession:
    path: Path = tmp_path_factory.mktemp("graph") / "adapt_item.onnx"
    export_adapt_item(parameters, path)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def draw(seed: int, b: int, s: int, m: int = M) -> Feeds:
    """Items with supports of several sizes; the first has none, the second no known exposure."""
    rng = np.random.default_rng(seed)
    weight_BS = (rng.random((b, s)) > 0.4) * (0.5 + rng.random((b, s)))
    weight_BS[:1] = 0.0
    exposure_B = 10.0 ** rng.uniform(1, 4, b)
    exposure_B[:2] = 0.0
    feeds = {
        "prior_vectors_BD": rng.normal(size=(b, D)) * 0.3,
        "prior_bias_B": rng.normal(size=b),
        "support_states_BSD": rng.normal(size=(b, s, D)),
        "support_offset_BS": np.full((b, s), 7.0),
        "support_weight_BS": weight_BS,
        "exposure_B": exposure_B,
        "sample_states_MD": rng.normal(size=(m, D)),
        "sample_offset_M": rng.normal(size=m) + 7.0,
    }
    return {name: value.astype(np.float32) for name, value in feeds.items()}


@pytest.mark.parametrize(("b", "s", "m"), [(1, 0, M), (1, 1, M), (5, 3, 7), (8, 12, 200)])
def test_three_implementations_agree(
    parameters: PosteriorParameters, session: ort.InferenceSession, b: int, s: int, m: int
) -> None:
    """torch and ONNX Runtime are within 1e-5 relative of the formulas in plain numpy."""
    feeds = draw(b + s, b, s, m)
    with torch.no_grad():
        from_torch = AdaptItem(parameters)(**{k: torch.as_tensor(v) for k, v in feeds.items()})
    from_graph = session.run(None, feeds)
    wide = [p.double().numpy() for p in parameters]
    by_hand = np.stack(
        [
            adapt_one_item(
                np.append(feeds["prior_vectors_BD"][i], feeds["prior_bias_B"][i]).astype(float),
                feeds["support_states_BSD"][i].astype(float),
                feeds["support_weight_BS"][i].astype(float),
                float(feeds["exposure_B"][i]),
                feeds["sample_states_MD"].astype(float),
                feeds["sample_offset_M"].astype(float),
                wide[0],
                float(wide[1]),
                float(wide[2]),
                float(wide[3]),
                float(wide[4]),
                float(wide[5]),
            )
            for i in range(b)
        ]
    )
    scale = np.abs(by_hand).max()
    for part, wanted in ((0, by_hand[:, :-1]), (1, by_hand[:, -1])):
        np.testing.assert_allclose(from_graph[part], wanted, rtol=1e-5, atol=1e-5 * scale)
        np.testing.assert_allclose(from_torch[part].numpy(), wanted, rtol=1e-5, atol=1e-5 * scale)


def test_without_support_and_exposure_the_graph_returns_the_prior(
    session: ort.InferenceSession,
) -> None:
    """n = 0 and E = 0: vectors and biases come back bit by bit."""
    feeds = draw(3, 4, 2)
    feeds["support_weight_BS"][:] = 0.0
    feeds["exposure_B"][:] = 0.0
    vectors_BD, bias_B = session.run(None, feeds)
    assert np.array_equal(vectors_BD, feeds["prior_vectors_BD"])
    assert np.array_equal(bias_B, feeds["prior_bias_B"])
