"""The action transformer and its heads: what they say, what they keep, what they refuse."""

import numpy as np
import pytest
import torch
from policy.small import JOINTS, MIXED, STEPS, config, data, model, seen

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.heads.action_encoding import LEAST_STD_RAD, ActionCode
from vla_ros.policy.heads.action_heads import euler
from vla_ros.policy.heads.base import action_heads, find_action_head
from vla_ros.policy.network.build import make_model
from vla_ros.policy.network.config import Answer, ModelConfig, VlaModel
from vla_ros.policy.network.mixture_of_horizons import balance_loss
from vla_ros.policy.network.model import ActorModel
from vla_ros.policy.network.transformer_config import ActorConfig

HEADS = tuple(STEPS)
BOTH = pytest.mark.parametrize("mixed", [False, True], ids=["single", "mixed"])
EVERY = pytest.mark.parametrize("head", HEADS)


def test_these_are_all_heads() -> None:
    assert set(action_heads()) == set(HEADS)
    with pytest.raises(UnknownName, match='did you mean "beast_flow"'):
        find_action_head("beast_flo")


def test_the_configuration_chooses_the_network() -> None:
    assert isinstance(make_model(config()), ActorModel)
    assert isinstance(make_model(ModelConfig(JOINTS, ("front",), image_size=32)), VlaModel)


@BOTH
@EVERY
def test_a_chunk_is_finite_and_the_same_each_time(head: str, mixed: bool) -> None:
    net = model(head, mixed)
    with torch.no_grad():
        one, two, other = net.act(*seen()), net.act(*seen()), net.act(*seen(), seed=1)
    assert one.waypoints.shape == (2, 12, 3)
    assert torch.isfinite(one.waypoints).all()
    assert torch.equal(one.waypoints, two.waypoints)
    assert torch.equal(one.waypoints, other.waypoints) == (not net.head.noisy)


@BOTH
@EVERY
def test_a_sample_does_not_depend_on_its_neighbours(head: str, mixed: bool) -> None:
    net = model(head, mixed)
    images, joints, words = seen(3)
    with torch.no_grad():
        together = net.act(images, joints, words)
        alone = net.act([i[:1] for i in images], joints[:1], words[:1])
    torch.testing.assert_close(alone.waypoints[0], together.waypoints[0], atol=1e-5, rtol=0.0)
    assert alone.execute[0] == together.execute[0]


@BOTH
@EVERY
def test_the_loss_is_finite_and_reaches_every_weight(head: str, mixed: bool) -> None:
    net = model(head, mixed).train()
    joints, labels = data(4)
    weights = net.loss_weights(*data(), np.ones(3), 0.5)
    loss = net.loss(net.features(*seen(4)), torch.from_numpy(joints), torch.from_numpy(labels), weights)
    assert loss.shape == (4,)
    loss.mean().backward()
    for name, value in net.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name


@EVERY
def test_a_mixture_loses_the_mix_and_each_horizon_and_the_balance(head: str) -> None:
    """One horizon of a mixture with equal heads loses what the head alone loses, so the parts can be told apart."""
    net = model(head, mixed=True, fusion="mean", balance=0.0)
    points = net.code.points(torch.from_numpy(data(4)[1]) - net.origin(torch.from_numpy(data(4)[0])))
    weights = net.loss_weights(*data(), np.ones(3), 1.0)
    with torch.no_grad():
        run = net.pass_from(net.features(*seen(4)))
        torch.manual_seed(3)
        outputs, shares, target = net.head.train_pass(run, points)
        mixed = net.head.errors(net.head.fuse(outputs, shares), target, weights)
        each = net.head.errors(outputs, target[:, None], weights)
        reach = net.head.reach(net.mixture.active)
        wanted = mixed.mean(dim=1) + sum(each[:, n, r].mean(dim=1) for n, r in enumerate(reach))
        torch.manual_seed(3)
        joints, labels = (torch.from_numpy(x) for x in data(4))
        torch.testing.assert_close(net.loss(net.features(*seen(4)), joints, labels, weights), wanted)


def test_the_balance_of_the_gate_is_lost_as_much_as_its_weight_says() -> None:
    joints, labels = (torch.from_numpy(x) for x in data(4))
    lost = []
    for balance in (0.0, 0.5):
        net = model("regression", mixed=True, balance=balance)
        torch.nn.init.normal_(net.mixture.gate.weight, generator=torch.Generator().manual_seed(0))
        weights = net.loss_weights(*data(), np.ones(3), 1.0)
        with torch.no_grad():
            prefix = net.features(*seen(4))
            lost.append(net.loss(prefix, joints, labels, weights))
            shares = net.pass_from(prefix)(net.head.ask(4))[1]
    uneven = balance_loss(shares, net.mixture.horizons)
    assert uneven > 0.01
    torch.testing.assert_close(lost[1] - lost[0], (0.5 * uneven).expand(4), rtol=1e-3, atol=1e-4)


def test_ten_euler_steps_recover_the_target_of_a_constant_velocity() -> None:
    """Check 9."""
    torch.manual_seed(0)
    noise, target, times = torch.randn(2, 5, 3), torch.randn(2, 5, 3), []

    def velocity(_x: torch.Tensor, t: float) -> torch.Tensor:
        times.append(t)
        return noise - target

    torch.testing.assert_close(euler(velocity, noise, 10), target, atol=1e-6, rtol=0.0)
    assert times == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert ActorConfig().euler_steps == 10


def test_a_flow_that_knows_its_target_says_it_and_its_gripper_is_the_last_readout() -> None:
    net = model("flow", mixed=True)
    noise, target = torch.randn(2, 12, 3), torch.randn(2, 12, 3)
    shares = net.mixture.weights(torch.zeros(2, 3, 12, 32))
    calls = []

    def run(_slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(0)
        out = torch.where(net.head.hand, torch.full_like(noise, len(calls) / 10), noise - target)
        return out[:, None].expand(-1, 3, -1, -1), shares

    with torch.no_grad():
        said = net.head.say(run, noise)
    wanted = torch.where(net.head.hand, torch.ones_like(target), target)
    torch.testing.assert_close(net.code.normalise(said.fused), wanted, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(said.heads, said.fused[:, None].expand(-1, 3, -1, -1), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("head", ["flow", "beast_flow"])
def test_a_flow_is_trained_on_the_velocity_that_its_sampler_follows(head: str, monkeypatch) -> None:
    """x - t v is the action at every time; times are openpi's, 0.001 + 0.999 Beta(1.5, 1), of mean 0.6004."""
    net, asked = model(head), []
    monkeypatch.setattr(net.head, "ask_at", lambda x, t: asked.append((x, t)) or x)
    joints, labels = (torch.from_numpy(x) for x in data(2000))
    points = net.code.points(labels - net.origin(joints))
    _, _, velocity = net.head.train_pass(lambda x: (x, x), points)
    (x, t), action, arm = asked[0], net.code.normalise(points), net.arm
    torch.testing.assert_close((x - t[:, None, None] * velocity)[..., arm], action[..., arm], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(velocity[..., ~arm], action[..., ~arm])
    assert t.min() >= 0.001
    assert t.max() <= 1.0
    assert t.mean().item() == pytest.approx(0.6004, abs=0.02)


@pytest.mark.parametrize("head", ["bins", "beast_tokens"])
def test_tokens_are_those_of_the_tokenizer_and_basis_major(head: str) -> None:
    net = model(head)
    joints, labels = (torch.from_numpy(x) for x in data(3))
    relative = labels - net.origin(joints)
    wanted = net.code.tokenizer.encode(relative.numpy())
    target = net.head.train_pass(lambda _slots: (torch.zeros(0), torch.zeros(0)), net.code.points(relative))[2]
    np.testing.assert_array_equal(target.flatten(1).numpy(), wanted)
    # Slot s J + j speaks for step s of joint j, and a net sure of the right tokens says the decoded chunk.
    right = torch.nn.functional.one_hot(target, 64).float().clamp_min(1e-9).log()[:, None]
    said = net.head.say(lambda _slots: (right, torch.ones(3, 1, right.shape[2])), torch.zeros(3, 1, 1))
    np.testing.assert_allclose(net.code.waypoints(said.fused).numpy(), net.code.tokenizer.decode(wanted), atol=1e-5)
    hidden = torch.randn(1, net.code.steps * 3, 32)
    moved = hidden.clone()
    moved[:, 2 * 3 + 1] += 1.0
    changed = (net.head.read(moved) - net.head.read(hidden)).abs().amax(dim=(0, 3)) > 1e-6
    assert changed.nonzero().tolist() == [[2, 1]]


@pytest.mark.parametrize("as_spline", [False, True])
def test_a_code_gives_back_what_it_was_given(as_spline: bool) -> None:
    code = ActionCode(JOINTS, SplineConfig(8, 3, 16, 0.05), as_spline, ("gripper",), 256)
    t = np.arange(1, 17) / 16
    phase = np.random.default_rng(0).uniform(0, 6, (300, 1, 3))
    targets = 0.3 * np.sin(2 * np.pi * 0.7 * t[None, :, None] + phase)
    targets[:, :, 1] = np.where(np.arange(16)[None] // 2 * 2 < 16 * phase[:, :, 1] / 6, 0.6, -0.06)
    code.fit(targets.astype(np.float32))
    given = torch.from_numpy(targets[:5])
    values = code.normalise(code.points(given))
    assert values.std() < 2.0
    # Each step of each joint has statistics of its own: all of the data come to mean 0 and deviation 1.
    every = code.normalise(code.points(torch.from_numpy(targets)))
    moves = code.std > LEAST_STD_RAD
    assert moves.float().mean() > 0.9
    torch.testing.assert_close(every.mean(dim=0)[moves], torch.zeros(int(moves.sum())), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(every.std(dim=0, correction=0)[moves], torch.ones(int(moves.sum())), atol=1e-3, rtol=0.0)
    torch.testing.assert_close(code.waypoints(code.restore(values)), given.float(), atol=5e-3, rtol=0.0)


def test_a_waypoint_is_reached_by_the_control_points_it_needs() -> None:
    spline = ActionCode(JOINTS, SplineConfig(6, 3, 12, 0.05), True, ("gripper",), 64)
    # Degree 3, 6 points: spans end at 1/3, 2/3 and 1; a span needs four points.
    assert spline.reach.sum(dim=1).tolist() == [0, 0, 0, 4, 8, 12]
    shipped = ActionCode(JOINTS, SplineConfig(10, 4, 32, 0.05), True, ("gripper",), 64)
    assert shipped.reach.sum(dim=1)[4:].tolist() == [5, 10, 16, 21, 26, 32]  # as docs/policies/mixture_of_horizons.md says
    bins = ActionCode(JOINTS, SplineConfig(6, 3, 12, 0.05), False, ("gripper",), 64)
    assert bins.reach.sum(dim=1).tolist() == list(range(1, 13))


@EVERY
def test_an_arm_moves_from_where_it_is_and_a_gripper_does_not(head: str) -> None:
    net = model(head)
    joints = torch.tensor([[0.2, 0.3, -0.4]])
    torch.testing.assert_close(net.origin(joints)[0, 0], torch.tensor([0.2, 0.0, -0.4]))
    absolute = net.code.mean[:, 1]
    assert absolute.min() > -0.1
    assert net.code.upper[0, 1] - net.code.lower[0, 1] == pytest.approx(0.68, abs=1e-3)


@pytest.mark.parametrize("head", ["regression", "flow", "beast", "beast_flow"])
def test_a_gripper_is_never_averaged_over_horizons(head: str) -> None:
    """A mixture of tokens' probabilities may prefer what no horizon puts first; it is one bin too, not a mean."""
    net = model(head, mixed=True)
    with torch.no_grad():
        said = net.head.say(net.pass_from(net.features(*seen())), torch.randn(2, net.code.steps, 3))
    fused, heads = said.fused[:, :, None, 1], said.heads[:, :, :, 1].transpose(1, 2)
    nearest = (fused - heads).abs().masked_fill(~net.mixture.active.T, torch.inf).min(dim=2).values
    torch.testing.assert_close(nearest, torch.zeros_like(nearest), atol=1e-6, rtol=0.0)


@EVERY
def test_horizons_that_say_the_same_execute_everything_they_may(head: str) -> None:
    net = model(head, mixed=True, consensus={"least": 3, "voters": 2})
    with torch.no_grad():
        chunk = net.act(*seen())
    assert chunk.apart is not None
    assert chunk.apart.shape == (2, 12)
    assert all(3 <= k <= 8 for k in chunk.execute)
    same = net.judge(Answer(torch.zeros(1, 12, 3), None, torch.zeros(1, 3, 12, 3), torch.ones(1, 3, 12) / 3))
    assert same.execute == [8]


def test_one_horizon_is_no_vote() -> None:
    with torch.no_grad():
        chunk = model("regression").act(*seen())
        fixed = model("regression", consensus={"fixed": 5}).act(*seen())
    assert (chunk.apart, chunk.execute) == (None, [12, 12])
    assert fixed.execute == [5, 5]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"head": "flwo"}, 'unknown action head "flwo"; did you mean "flow"'),
        ({"gripper": ("hand",)}, 'unknown gripper "hand" in actor.gripper'),
        ({"gripper": JOINTS}, "needs a joint that is no gripper"),
        ({"horizons": (4, 8)}, "the last of the horizons must be the 12 steps"),
        ({"horizons": (8, 4, 12)}, "must be whole numbers that increase"),
        ({"horizons": (4.5, 12)}, "must be whole numbers"),
        ({"fusion": "median"}, 'did you mean "mean"'),
        ({"width": 30, "attention": 4}, "multiple of twice actor.attention"),
        ({"layers": 0}, "actor.layers must be at least 1"),
        ({"horizons": (4, 12), "consensus": {"voters": 3}}, "voters must not be more than the 2 horizons"),
        ({"consensus": {"ratoi": 1.0}}, 'did you mean "ratio"'),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ActorModel(config(**change))


def test_a_net_that_says_nan_gives_no_chunk() -> None:
    net = model("regression", mixed=True)
    torch.nn.init.constant_(net.head.out.arm.bias, float("nan"))
    with pytest.raises(RecordError, match="finite"), torch.no_grad():
        net.act(*seen())


def test_horizons_fit_the_small_model() -> None:
    for head, steps in STEPS.items():
        assert model(head, mixed=True).mixture.horizons == MIXED[steps]
