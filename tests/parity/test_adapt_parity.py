"""torch, ONNX Runtime and plain numpy adapt alike, for any batch, support size and K."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from tests.parity.reference import adapt_one
from training.export import export_adapt_user
from training.inner_loop import InnerParameters, adapt

D, K, W = 8, 3, 5
RELATIVE = 1e-5

Feeds = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def inner() -> InnerParameters:
    generator = torch.Generator().manual_seed(3)
    return InnerParameters(
        rate_KD=torch.randn(K, D, generator=generator) * 0.3,
        size_rate_KW=torch.randn(K, W + 1, generator=generator) * 0.3,
        decay_K=torch.tensor([-2.0, -3.0, -1.0]),
        shrinkage_W=torch.tensor([0.0, 0.3, 0.6, 0.8, 0.9, 1.0]),
    )


@pytest.fixture(scope="module")
def session(
    inner: InnerParameters, tmp_path_factory: pytest.TempPathFactory
) -> ort.InferenceSession:
    path: Path = tmp_path_factory.mktemp("graph") / "adapt_user.onnx"
    export_adapt_user(inner, D, path)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def draw(rng: np.random.Generator, b: int, s: int, m: int, steps: int, *, start: float) -> Feeds:
    """A random batch; about a third of the rows are padding, a fifth negative."""
    return {
        "prior_BD": (rng.normal(size=(b, D)) * start).astype(np.float32),
        "support_vectors_BSD": rng.normal(size=(b, s, D)).astype(np.float32),
        "support_bias_BS": rng.normal(size=(b, s)).astype(np.float32),
        "support_label_BS": (rng.random((b, s)) > 0.2).astype(np.float32),
        "support_weight_BS": (rng.random((b, s)) * (rng.random((b, s)) > 0.3)).astype(np.float32),
        "steps": np.asarray(steps, dtype=np.int64),
        "catalogue_vectors_MD": rng.normal(size=(m, D)).astype(np.float32),
        "catalogue_bias_M": rng.normal(size=m).astype(np.float32),
    }


def by_numpy(feeds: Feeds, inner: InnerParameters) -> np.ndarray:
    double = {name: value.astype(np.float64) for name, value in feeds.items()}
    parameters = [p.double().numpy() for p in inner]
    return np.stack(
        [
            adapt_one(
                double["prior_BD"][b],
                double["support_vectors_BSD"][b],
                double["support_label_BS"][b],
                double["support_weight_BS"][b],
                int(feeds["steps"]),
                double["catalogue_vectors_MD"],
                double["catalogue_bias_M"],
                *parameters,
            )
            for b in range(len(feeds["prior_BD"]))
        ]
    )


def by_torch(feeds: Feeds, inner: InnerParameters) -> np.ndarray:
    tensors = {name: torch.as_tensor(value) for name, value in feeds.items()}
    return adapt(**tensors, parameters=inner).numpy()


def by_onnx(feeds: Feeds, session: ort.InferenceSession) -> np.ndarray:
    wanted = {i.name for i in session.get_inputs()}
    (state,) = session.run(["state_BP"], {n: v for n, v in feeds.items() if n in wanted})
    return np.asarray(state)


@pytest.mark.parametrize("steps", [0, 1, 2, K])
@pytest.mark.parametrize("shape", [(1, 0, 7), (1, 1, 1), (4, 1, 30), (64, 20, 50), (3, 9, 400)])
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_three_implementations_agree(
    inner: InnerParameters,
    session: ort.InferenceSession,
    shape: tuple[int, int, int],
    steps: int,
    start: float,
) -> None:
    """Random batches, supports of 0 and 1 included, from a zero start and elsewhere."""
    feeds = draw(np.random.default_rng([*shape, steps]), *shape, steps, start=start)
    expected = by_numpy(feeds, inner)
    scale = max(float(np.abs(expected).max()), 1e-6)
    np.testing.assert_allclose(by_torch(feeds, inner), expected, rtol=0, atol=RELATIVE * scale)
    np.testing.assert_allclose(by_onnx(feeds, session), expected, rtol=0, atol=RELATIVE * scale)


def test_all_padding_keeps_the_prior_exactly(
    inner: InnerParameters, session: ort.InferenceSession
) -> None:
    """Rows of weight 0 are not there, whatever they hold."""
    feeds = draw(np.random.default_rng(5), 6, 4, 20, K, start=1.0)
    feeds["support_weight_BS"] = np.zeros((6, 4), np.float32)
    np.testing.assert_array_equal(by_onnx(feeds, session), feeds["prior_BD"])
    np.testing.assert_array_equal(by_torch(feeds, inner), feeds["prior_BD"])


def test_the_graph_keeps_every_input_of_the_contract(session: ort.InferenceSession) -> None:
    """Inputs that this algorithm has no use for stay, so that callers need not know it."""
    names = [i.name for i in session.get_inputs()]
    feeds = draw(np.random.default_rng(0), 1, 1, 1, 1, start=0.0)
    assert names == list(feeds)
