"""The adapt_item graph: torch, ONNX Runtime and plain numpy agree, and the tables are read."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from training.export import export_graph
from training.items.graph import OUTPUTS, AdaptItem, example

D = 6
BY_SIZE = {
    0: {"prior": 2.0, "flatness": 0.75, "strength": 0.03, "weight": 4.0},
    1: {"prior": 1.4, "flatness": 0.25, "strength": 0.1, "weight": 2.0},
    3: {"prior": 0.7, "flatness": 0.0, "strength": 0.4, "weight": 8.0},
}
SETTINGS = {n: {**s, "scale": 1.0 + 0.1 * n, "norm_power": 0.2 * n} for n, s in BY_SIZE.items()}

Feeds = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def module() -> AdaptItem:
    rng = np.random.default_rng(0)
    basis_DD = torch.as_tensor(rng.normal(size=(D, D)) + 2 * np.eye(D), dtype=torch.float32)
    gram_D = torch.as_tensor(rng.random(D) + 0.2, dtype=torch.float32)
    return AdaptItem(basis_DD, gram_D, SETTINGS)


@pytest.fixture(scope="module")
def session(module: AdaptItem, tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    path: Path = tmp_path_factory.mktemp("graph") / "adapt_item.onnx"
    inputs, dynamic = example(D)
    export_graph(module, inputs, dynamic, list(OUTPUTS), path)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def draw(seed: int, b: int, s: int) -> Feeds:
    rng = np.random.default_rng(seed)
    feeds = {
        "prior_BD": rng.normal(size=(b, D)),
        "flat_prior_BD": rng.normal(size=(b, D)),
        "support_vectors_BSD": rng.normal(size=(b, s, D)) * 0.3,
        "support_weight_BS": (rng.random((b, s)) > 0.4) * (0.5 + rng.random((b, s))),
        "exposure_B": rng.random(b),
    }
    return {name: value.astype(np.float32) for name, value in feeds.items()}


def by_numpy(feeds: Feeds, module: AdaptItem) -> NDArray[np.float64]:
    """Two conjugate-gradient steps of one item at a time, from the formulas alone."""
    basis = module.get_buffer("basis_DD").double().numpy()
    gram = module.get_buffer("gram_D").double().numpy()
    out = []
    for b in range(len(feeds["prior_BD"])):
        at = {name: value[b].astype(np.float64) for name, value in feeds.items()}
        weights = at["support_weight_BS"]
        size = int((weights > 0).sum())
        own = SETTINGS[max(n for n in SETTINGS if n <= size)]
        mixed = (1 - own["flatness"]) * at["prior_BD"] + own["flatness"] * at["flat_prior_BD"]
        prior = own["prior"] * mixed @ np.linalg.inv(basis)
        rows = at["support_vectors_BSD"] @ basis.T
        strength = own["strength"] * gram.mean()
        diagonal = (at["exposure_B"] if size else 0.0) * gram + strength
        left = np.diag(diagonal) + own["weight"] * (rows.T * weights) @ rows
        right = (own["weight"] + 1) * weights @ rows + strength * prior
        v, residual = prior, right - left @ prior
        direction = z = residual / diagonal
        for _ in range(2):
            energy = residual @ z
            step = energy / max(direction @ left @ direction, 1e-12)
            v = v + step * direction
            residual = residual - step * left @ direction
            z = residual / diagonal
            direction = z + residual @ z / max(energy, 1e-12) * direction
        out.append(v @ basis)
    return np.stack(out)


@pytest.mark.parametrize("shape", [(1, 0), (1, 1), (5, 2), (64, 12), (3, 40)])
def test_three_implementations_agree(
    module: AdaptItem, session: ort.InferenceSession, shape: tuple[int, int]
) -> None:
    """Any batch and support size, none included; vectors in the users' own basis."""
    feeds = draw(sum(shape), *shape)
    expected = by_numpy(feeds, module)
    scale = max(float(np.abs(expected).max()), 1e-6)
    with torch.no_grad():
        found = module(**{name: torch.as_tensor(value) for name, value in feeds.items()})
    in_onnx = session.run(list(OUTPUTS), feeds)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-4 * scale)
    np.testing.assert_allclose(in_onnx[0], expected, rtol=0, atol=1e-4 * scale)
    for torch_value, onnx_value in zip(found[1:], in_onnx[1:], strict=True):
        np.testing.assert_allclose(onnx_value, torch_value.numpy(), rtol=1e-6)


def test_an_item_without_interactions_is_its_mixed_prior(session: ort.InferenceSession) -> None:
    """Exposure alone changes nothing; scale and power are those of size 0."""
    feeds = draw(1, 4, 3)
    feeds["support_weight_BS"] = np.zeros((4, 3), np.float32)
    vectors, scale, power = session.run(list(OUTPUTS), feeds)
    mixed = 0.25 * feeds["prior_BD"] + 0.75 * feeds["flat_prior_BD"]
    np.testing.assert_allclose(vectors, 2.0 * mixed, rtol=1e-4, atol=1e-4)
    assert scale.tolist() == [1.0] * 4
    assert power.tolist() == [0.0] * 4


def test_sizes_between_take_the_smaller_ones_settings(session: ort.InferenceSession) -> None:
    """Two rows are adapted as one was learned, ten as three."""
    for rows, expected in ((1, 1.1), (2, 1.1), (3, 1.3), (10, 1.3)):
        feeds = draw(2, 1, rows)
        feeds["support_weight_BS"] = np.ones((1, rows), np.float32)
        assert session.run(["scale_B"], feeds)[0][0] == pytest.approx(expected)
