"""Mixture of horizons (arXiv:2511.19433): masks, gate, fusion and losses against reference values."""

import pytest
import torch
from policy.small_network import model, observation

from vla_ros.core.errors import ConfigError
from vla_ros.policy.heads.flow import FlowHead
from vla_ros.policy.network.mixture_of_horizons import (
    Mixture,
    active_steps,
    balance_loss,
    horizon_loss,
    weighted_mean,
    weighted_median,
)

TEN = tuple(range(3, 31, 3))
HEADS = ("regression", "flow", "bins", "beast", "beast_flow", "beast_tokens")


def test_active_horizons_per_step() -> None:
    assert active_steps(TEN, 30).sum(dim=0).tolist() == [n for n in range(10, 0, -1) for _ in range(3)]


@pytest.mark.parametrize("horizons", [(10, 20), (), (10, 31)])
def test_the_last_horizon_is_the_complete_chunk(horizons) -> None:
    with pytest.raises(ConfigError, match=r"the last of mixture.horizons must be all 30 steps"):
        active_steps(horizons, 30)


@pytest.mark.parametrize("fusion", ["gate", "mean"])
@pytest.mark.parametrize("tokens_per_step", [1, 3])
def test_weights_of_the_gate(fusion: str, tokens_per_step: int) -> None:
    torch.manual_seed(0)
    mixture = Mixture(16, 30, TEN, fusion)
    weights = mixture.weights(5.0 * torch.randn(2, 10, 30 * tokens_per_step, 16))
    assert (weights >= 0.0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 30))
    assert (weights[:, ~mixture.active] == 0.0).all()
    even = mixture.active / mixture.active.sum(dim=0)
    if mixture.gate is not None:
        assert (weights - even).abs().max() > 0.05
        torch.nn.init.zeros_(mixture.gate.weight)
        weights = mixture.weights(torch.randn(2, 10, 30 * tokens_per_step, 16))
    torch.testing.assert_close(weights, even.expand(2, -1, -1))


@pytest.mark.parametrize("fuse", [weighted_mean, weighted_median])
def test_fusion(fuse) -> None:
    torch.manual_seed(0)
    active = active_steps(TEN, 30)
    weights = torch.randn(2, 10, 30).masked_fill(~active, -torch.inf).softmax(dim=1)
    one = torch.randn(2, 1, 30, 4).expand(-1, 10, -1, -1)
    torch.testing.assert_close(fuse(one, weights), one[:, 0])
    heads = torch.randn(2, 10, 30, 4)
    alone = torch.zeros_like(weights)
    alone[:, 9] = 1.0
    torch.testing.assert_close(fuse(heads, alone), heads[:, 9])
    torch.testing.assert_close(fuse(heads, weights)[:, 29], heads[:, 9, 29])


@pytest.mark.parametrize("head", ["bins", "beast_tokens"])
def test_fusion_of_tokens_mixes_probabilities(head: str) -> None:
    """Heads that classify; a horizon that does not contain a step has no weight there."""
    net = model(head, mixed=True)
    shape = (2, 3, net.encoding.steps, 3, 64)
    outputs = torch.randn(shape, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    weights = net.mixture.weights(5.0 * torch.randn(2, 3, net.encoding.steps * 3, 32))
    expected = (outputs.exp() * weights[..., None, None]).sum(dim=1)
    torch.testing.assert_close(net.head.fuse(outputs, weights).exp(), expected)
    torch.testing.assert_close(net.head.fuse(outputs, weights)[:, -1], outputs[:, -1, -1])


def test_a_weighted_median_is_one_of_the_values() -> None:
    values = torch.tensor([-0.06, -0.06, 0.62]).view(1, 3, 1, 1)
    assert weighted_median(values, torch.tensor([0.2, 0.2, 0.6]).view(1, 3, 1)).item() == pytest.approx(0.62)
    assert weighted_median(values, torch.tensor([0.3, 0.3, 0.4]).view(1, 3, 1)).item() == pytest.approx(-0.06)
    assert weighted_median(values, torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1)).item() == pytest.approx(0.62)


@pytest.mark.parametrize("head", HEADS)
def test_a_horizon_does_not_attend_beyond_its_end(head: str) -> None:
    """Other inputs beyond h change nothing up to h for horizon h, but do for the longest."""
    net = model(head, mixed=True)
    forward = net.forward_pass(net.encode(*observation()))
    tokens = net.head.query(2).detach().clone()
    for n, h in enumerate(net.mixture.horizons[:-1]):
        other = tokens.clone()
        other[:, h * net.head.tokens_per_step :] += torch.randn(other[:, h * net.head.tokens_per_step :].shape)
        with torch.no_grad():
            (before, _), (after, _) = forward(tokens), forward(other)
        torch.testing.assert_close(after[:, n, :h], before[:, n, :h], atol=1e-6, rtol=0.0)
        assert (after[:, -1, :h] - before[:, -1, :h]).abs().max() > 1e-4


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("head", HEADS)
def test_a_horizon_alone_is_its_part_of_the_batch(head: str, batch: int) -> None:
    """The network is run on the tokens of each sample and each horizon separately."""
    net = model(head, mixed=True)
    g = net.head.tokens_per_step
    with torch.no_grad():
        context = net.encode(*observation(batch))
        tokens = torch.randn(batch, net.encoding.steps * g, 32)
        together, _ = net.forward_pass(context)(tokens)
        for b in range(batch):
            cache = net.transformer.cache(context[b : b + 1])
            for n, h in enumerate(net.mixture.horizons):
                hidden = net.transformer(tokens[b : b + 1, : h * g], cache)
                rest = torch.zeros(1, (net.encoding.steps - h) * g, 32)
                alone = net.head.read(torch.cat([hidden, rest], dim=1))
                torch.testing.assert_close(together[b, n, :h], alone[0, :h], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_the_context_is_encoded_once(head: str) -> None:
    """One encoder call and one set of keys and values, for any number of horizons and Euler steps."""
    net = model(head, mixed=True)
    calls = {"encoder": 0, "context": 0, "transformer": 0, "cache": 0}

    def count(name: str):
        def hook(*_args) -> None:
            calls[name] += 1

        return hook

    net.context_encoder.encoders[0].register_forward_hook(count("encoder"))
    net.context_encoder.transformer.register_forward_hook(count("context"))
    net.transformer.register_forward_hook(count("transformer"))
    net.transformer.layers[0].context_kv.register_forward_hook(count("cache"))
    with torch.no_grad():
        net.predict(*observation())
    passes = 10 if isinstance(net.head, FlowHead) else 1
    assert calls == {"encoder": 1, "context": 1, "transformer": passes, "cache": 1}


def test_balance_loss() -> None:
    """0 for even weights, n for one horizon of n; pieces with one horizon do not count."""
    active = active_steps(TEN, 30)
    even = (active / active.sum(dim=0)).expand(2, -1, -1)
    assert balance_loss(even, TEN).item() == pytest.approx(0.0, abs=1e-9)
    one = torch.zeros(2, 10, 30)
    one[:, 9] = 1.0
    assert balance_loss(one, TEN).item() == pytest.approx(sum(range(2, 11)) / 9, rel=1e-5)
    assert balance_loss(torch.ones(2, 1, 30), (30,)).item() == 0.0
    # The mean over the batch counts: two samples with opposite preferences are even.
    leaning = torch.tensor([[[0.9], [0.1]], [[0.1], [0.9]]]).expand(2, 2, 4).clone()
    assert balance_loss(leaning, (4, 8)).item() == pytest.approx(0.0, abs=1e-9)
    assert balance_loss(leaning[:1], (4, 8)).item() == pytest.approx(2 * 0.8**2, rel=1e-5)
    # Weights between 8.9 and 10.3 % of ten horizons, the range of the published ones.
    spread = torch.linspace(0.089, 0.103, 10)
    near = torch.where(active, spread[:, None], torch.zeros(())) / torch.where(active, spread[:, None], 0.0).sum(dim=0)
    assert 0.9e-3 < balance_loss(near.expand(2, -1, -1), TEN).item() < 1.7e-3  # 1.1e-3 to 1.5e-3 of the published ones


def test_weight_of_each_step_in_the_losses_of_the_horizons() -> None:
    """The sum of 1/h over the horizons that contain it."""
    at = [horizon_loss(torch.eye(30)[k].expand(1, 10, 30), active_steps(TEN, 30)).item() for k in (0, 4, 29)]
    assert at == pytest.approx([0.9763, 0.6430, 0.0333], abs=1e-4)
