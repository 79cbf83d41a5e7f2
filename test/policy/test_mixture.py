"""Mixture of horizons: reference values of facts C.2, checks 1 to 8."""

import pytest
import torch
from policy.small import model, seen

from vla_ros.core.errors import ConfigError
from vla_ros.policy.heads.action_heads import FlowAction
from vla_ros.policy.network.mixture_of_horizons import Mixture, activity, balance_loss, choose, horizon_loss, mix

TEN = tuple(range(3, 31, 3))
HEADS = ("regression", "flow", "bins", "beast", "beast_flow", "beast_tokens")


def test_active_horizons_per_step() -> None:
    assert activity(TEN, 30).sum(dim=0).tolist() == [n for n in range(10, 0, -1) for _ in range(3)]


@pytest.mark.parametrize("horizons", [(10, 20), (), (10, 31)])
def test_the_last_horizon_is_the_whole_chunk(horizons) -> None:
    with pytest.raises(ConfigError, match="the last of the horizons must be the 30 steps"):
        activity(horizons, 30)


@pytest.mark.parametrize("fusion", ["gate", "mean"])
@pytest.mark.parametrize("slots_per_step", [1, 3])
def test_weights_of_the_gate(fusion: str, slots_per_step: int) -> None:
    torch.manual_seed(0)
    mixture = Mixture(16, 30, TEN, fusion)
    weights = mixture.weights(5.0 * torch.randn(2, 10, 30 * slots_per_step, 16))
    assert (weights >= 0.0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 30))
    assert (weights[:, ~mixture.active] == 0.0).all()
    even = mixture.active / mixture.active.sum(dim=0)
    if mixture.gate is not None:
        assert (weights - even).abs().max() > 0.05
        torch.nn.init.zeros_(mixture.gate.weight)
        weights = mixture.weights(torch.randn(2, 10, 30 * slots_per_step, 16))
    torch.testing.assert_close(weights, even.expand(2, -1, -1))


@pytest.mark.parametrize("fuse", [mix, choose])
def test_fusion(fuse) -> None:
    torch.manual_seed(0)
    active = activity(TEN, 30)
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
    """Check 3 for heads that classify; a horizon that does not reach a step counts nothing there."""
    net = model(head, mixed=True)
    shape = (2, 3, net.code.steps, 3, 64)
    outputs = torch.randn(shape, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    weights = net.mixture.weights(5.0 * torch.randn(2, 3, net.code.steps * 3, 32))
    wanted = (outputs.exp() * weights[..., None, None]).sum(dim=1)
    torch.testing.assert_close(net.head.fuse(outputs, weights).exp(), wanted)
    torch.testing.assert_close(net.head.fuse(outputs, weights)[:, -1], outputs[:, -1, -1])


def test_what_must_not_be_averaged_is_one_of_the_values() -> None:
    values = torch.tensor([-0.06, -0.06, 0.62]).view(1, 3, 1, 1)
    assert choose(values, torch.tensor([0.2, 0.2, 0.6]).view(1, 3, 1)).item() == pytest.approx(0.62)
    assert choose(values, torch.tensor([0.3, 0.3, 0.4]).view(1, 3, 1)).item() == pytest.approx(-0.06)
    assert choose(values, torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1)).item() == pytest.approx(0.62)


@pytest.mark.parametrize("head", HEADS)
def test_a_horizon_does_not_see_beyond_itself(head: str) -> None:
    """Check 4: other inputs beyond h change nothing at or before h for the horizon h, and do for the longest."""
    net = model(head, mixed=True)
    run = net.pass_from(net.features(*seen()))
    slots = net.head.ask(2).detach().clone()
    for n, h in enumerate(net.mixture.horizons[:-1]):
        other = slots.clone()
        other[:, h * net.head.slots_per_step :] += torch.randn(other[:, h * net.head.slots_per_step :].shape)
        with torch.no_grad():
            (before, _), (after, _) = run(slots), run(other)
        torch.testing.assert_close(after[:, n, :h], before[:, n, :h], atol=1e-6, rtol=0.0)
        assert (after[:, -1, :h] - before[:, -1, :h]).abs().max() > 1e-4


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("head", HEADS)
def test_a_horizon_alone_is_its_part_of_the_batch(head: str, batch: int) -> None:
    """Check 5: the net is run on each sample and each horizon's own slots by themselves."""
    net = model(head, mixed=True)
    g = net.head.slots_per_step
    with torch.no_grad():
        prefix = net.features(*seen(batch))
        slots = torch.randn(batch, net.code.steps * g, 32)
        together, _ = net.pass_from(prefix)(slots)
        for b in range(batch):
            memory = net.body.remember(prefix[b : b + 1])
            for n, h in enumerate(net.mixture.horizons):
                hidden = net.body(slots[b : b + 1, : h * g], memory)
                rest = torch.zeros(1, (net.code.steps - h) * g, 32)
                alone = net.head.read(torch.cat([hidden, rest], dim=1))
                torch.testing.assert_close(together[b, n, :h], alone[0, :h], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_what_is_seen_is_encoded_once(head: str) -> None:
    """Check 6: one encoder call and one set of keys and values, whatever the horizons and Euler steps."""
    net = model(head, mixed=True)
    calls = {"encoder": 0, "seen": 0, "body": 0, "memory": 0}

    def count(name: str):
        def hook(*_args) -> None:
            calls[name] += 1

        return hook

    net.encoders[0].register_forward_hook(count("encoder"))
    net.seen.register_forward_hook(count("seen"))
    net.body.register_forward_hook(count("body"))
    net.body.layers[0].memory.register_forward_hook(count("memory"))
    with torch.no_grad():
        net.act(*seen())
    passes = 10 if isinstance(net.head, FlowAction) else 1
    assert calls == {"encoder": 1, "seen": 1, "body": passes, "memory": 1}


def test_balance_loss() -> None:
    """Check 7: 0 for even weights, n for one horizon of n, pieces with one horizon left out."""
    active = activity(TEN, 30)
    even = (active / active.sum(dim=0)).expand(2, -1, -1)
    assert balance_loss(even, TEN).item() == pytest.approx(0.0, abs=1e-9)
    one = torch.zeros(2, 10, 30)
    one[:, 9] = 1.0
    assert balance_loss(one, TEN).item() == pytest.approx(sum(range(2, 11)) / 9, rel=1e-5)
    assert balance_loss(torch.ones(2, 1, 30), (30,)).item() == 0.0
    # It is the mean over the batch that is to be even: two samples that lean to different sides are.
    leaning = torch.tensor([[[0.9], [0.1]], [[0.1], [0.9]]]).expand(2, 2, 4).clone()
    assert balance_loss(leaning, (4, 8)).item() == pytest.approx(0.0, abs=1e-9)
    assert balance_loss(leaning[:1], (4, 8)).item() == pytest.approx(2 * 0.8**2, rel=1e-5)
    # Weights between 8.9 and 10.3 % of ten horizons, the range of the published ones.
    spread = torch.linspace(0.089, 0.103, 10)
    near = torch.where(active, spread[:, None], torch.zeros(())) / torch.where(active, spread[:, None], 0.0).sum(dim=0)
    assert 0.9e-3 < balance_loss(near.expand(2, -1, -1), TEN).item() < 1.7e-3  # 1.1e-3 to 1.5e-3 of the published ones


def test_weight_of_each_step_in_the_losses_of_the_horizons() -> None:
    """Check 8: the sum of 1/h over the horizons that reach it."""
    at = [horizon_loss(torch.eye(30)[k].expand(1, 10, 30), activity(TEN, 30)).item() for k in (0, 4, 29)]
    assert at == pytest.approx([0.9763, 0.6430, 0.0333], abs=1e-4)
