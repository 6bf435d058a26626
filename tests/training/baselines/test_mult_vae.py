"""Mult-VAE: its encoder and its bound against plain formulas, and training that can go on."""

import numpy as np
import pytest
import torch

from tests.training.worlds import GROUP, checkerboard_data
from training.baselines import mult_vae
from training.baselines.mult_vae import MultVAE

SETTINGS = {"steps": 120.0, "dropout": 0.5, "beta": 0.1, "dims": 8.0}


def test_one_item_tells_the_taste() -> None:
    """On the checkerboard the best ten items after one of a taste are all of that taste."""
    model = MultVAE().fit(checkerboard_data(), SETTINGS)
    scores = model(np.array([[3], [GROUP + 3]], dtype=np.int32))
    best = np.argsort(-scores, axis=1)[:, :10]
    assert (best // GROUP).tolist() == [[0] * 10, [1] * 10]


def test_more_steps_go_on_from_fewer() -> None:
    """Stopping on the way changes nothing, and neither does asking for fewer steps later."""
    data, support = checkerboard_data(), np.array([[1, 2, -1]], dtype=np.int32)
    family = MultVAE()
    short = family.fit(data, {**SETTINGS, "steps": 60.0})
    before = short(support)
    long = family.fit(data, SETTINGS)(support)
    assert np.array_equal(long, MultVAE().fit(data, SETTINGS)(support))
    assert np.array_equal(short(support), before)
    assert np.array_equal(family.fit(data, {**SETTINGS, "steps": 60.0})(support), before)


def test_the_encoder_sees_normalised_items() -> None:
    """A user's input is the mean direction of their items; padding is no item, none is nobody."""
    network = mult_vae._Network(5, 2, torch.Generator().manual_seed(1))
    items, lengths = np.array([1, 4], dtype=np.int32), np.array([2, 0])
    mean, log_variance = network.encode(*mult_vae._bags(items, lengths))
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    seen = np.array([[0, 1, 0, 0, 1], [0, 0, 0, 0, 0]]) / np.sqrt(2)
    hidden = np.tanh(seen @ weights["items_NH"] + weights["encoder_bias_H"])
    expected = hidden @ weights["latent_HD"] + weights["latent_bias_D"]
    found = np.hstack([mean.detach().numpy(), log_variance.detach().numpy()])
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_loss_is_the_evidence_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minus the log likelihood of all items plus beta times torch's own divergence, a user."""
    run = mult_vae._Run(checkerboard_data(), 0.0, 1.0, 4.0)
    users = run._histories.take(np.arange(3))
    monkeypatch.setattr(torch, "randn", lambda shape, generator: torch.zeros(shape))
    found = float(run._loss(users, 0.7).detach())
    mean, log_variance = run.network.encode(*mult_vae._bags(users.item_E, users.lengths_U))
    standard = torch.distributions.Normal(0.0, 1.0)
    posterior = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    divergence = torch.distributions.kl_divergence(posterior, standard).sum()
    share = torch.log_softmax(run.network.decode(mean), dim=1).detach().numpy()
    likelihood = sum(share[u, users.items(u)].sum() for u in range(3))
    assert found == pytest.approx((0.7 * float(divergence.detach()) - likelihood) / 3, rel=1e-4)
