"""The policy network and its action heads: outputs, losses, statistics, and configurations that are refused."""

import numpy as np
import pytest
import torch
from policy.small_network import HORIZONS, JOINTS, STEPS, config, data, model, observation

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.heads.action_encoding import MIN_STD_RAD, ActionEncoding
from vla_ros.policy.heads.base import action_heads
from vla_ros.policy.heads.flow import integrate_euler
from vla_ros.policy.network.config import NetworkConfig
from vla_ros.policy.network.horizon_consensus import ConsensusConfig
from vla_ros.policy.network.mixture_of_horizons import balance_loss
from vla_ros.policy.network.model import RawOutput, VlaNetwork
from vla_ros.policy.network.resolve import default_horizons, resolve

HEADS = tuple(STEPS)
BOTH = pytest.mark.parametrize("mixed", [False, True], ids=["single", "mixed"])
EVERY = pytest.mark.parametrize("head", HEADS)


def test_these_are_all_heads() -> None:
    assert set(action_heads) == set(HEADS)
    for name in HEADS:
        assert action_heads.get(name).predicts_control_points == name.startswith("beast")
    with pytest.raises(UnknownName, match='did you mean "beast_flow"'):
        action_heads.get("beast_flo")


def test_open_horizons_end_after_a_third_two_thirds_and_all_of_the_chunk() -> None:
    assert default_horizons(10, 4) == (6, 8, 10)
    assert default_horizons(32, 0) == (10, 21, 32)
    assert default_horizons(5, 4) == (5,)
    for head, horizons in (("beast", (4, 5, 6)), ("flow", (4, 8, 12))):
        resolved = resolve(config(head, "auto")).network
        assert resolved.mixture.horizons == horizons
        assert VlaNetwork(config(head, "auto")).mixture.horizons == horizons


@BOTH
@EVERY
def test_a_chunk_is_finite_and_deterministic(head: str, mixed: bool) -> None:
    net = model(head, mixed)
    with torch.no_grad():
        one, two, other = net.predict(*observation()), net.predict(*observation()), net.predict(*observation(), seed=1)
    assert one.waypoints.shape == (2, 12, 3)
    assert torch.isfinite(one.waypoints).all()
    assert torch.equal(one.waypoints, two.waypoints)
    assert torch.equal(one.waypoints, other.waypoints) == (not net.head.needs_noise)


@BOTH
@EVERY
def test_a_sample_does_not_depend_on_its_neighbours(head: str, mixed: bool) -> None:
    net = model(head, mixed)
    images, joints, instruction = observation(3)
    with torch.no_grad():
        together = net.predict(images, joints, instruction)
        alone = net.predict([i[:1] for i in images], joints[:1], instruction[:1])
    torch.testing.assert_close(alone.waypoints[0], together.waypoints[0], atol=1e-5, rtol=0.0)
    assert alone.execute[0] == together.execute[0]


@BOTH
@EVERY
def test_the_loss_is_finite_and_reaches_every_weight(head: str, mixed: bool) -> None:
    net = model(head, mixed).train()
    joints, labels = data(4)
    weights = net.loss_weights(*data(), np.ones(3), 0.5)
    loss = net.loss(net.encode(*observation(4)), torch.from_numpy(joints), torch.from_numpy(labels), weights)
    assert loss.shape == (4,)
    loss.mean().backward()
    for name, value in net.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name


@EVERY
def test_the_loss_of_a_mixture_is_that_of_the_mixture_and_of_each_horizon(head: str) -> None:
    """The loss is the sum of its parts, computed here one by one."""
    net = model(head, mixed=True, mixture={"fusion": "mean", "balance": 0.0})
    steps = net.encoding.to_steps(torch.from_numpy(data(4)[1]) - net.reference(torch.from_numpy(data(4)[0])))
    weights = net.loss_weights(*data(), np.ones(3), 1.0)
    with torch.no_grad():
        forward = net.forward_pass(net.encode(*observation(4)))
        torch.manual_seed(3)
        outputs, shares, target = net.head.train_pass(forward, steps)
        mixed = net.head.errors(net.head.fuse(outputs, shares), target, weights)
        each = net.head.errors(outputs, target[:, None], weights)
        reach = net.head.horizon_rows(net.mixture.active)
        expected = mixed.mean(dim=1) + sum(each[:, n, r].mean(dim=1) for n, r in enumerate(reach))
        torch.manual_seed(3)
        joints, labels = (torch.from_numpy(x) for x in data(4))
        torch.testing.assert_close(net.loss(net.encode(*observation(4)), joints, labels, weights), expected)


def test_the_balance_loss_counts_with_its_weight() -> None:
    joints, labels = (torch.from_numpy(x) for x in data(4))
    losses = []
    for balance in (0.0, 0.5):
        net = model("regression", mixed=True, mixture={"balance": balance})
        torch.nn.init.normal_(net.mixture.gate.weight, generator=torch.Generator().manual_seed(0))
        weights = net.loss_weights(*data(), np.ones(3), 1.0)
        with torch.no_grad():
            context = net.encode(*observation(4))
            losses.append(net.loss(context, joints, labels, weights))
            shares = net.forward_pass(context)(net.head.query(4))[1]
    uneven = balance_loss(shares, net.mixture.horizons)
    assert uneven > 0.01
    torch.testing.assert_close(losses[1] - losses[0], (0.5 * uneven).expand(4), rtol=1e-3, atol=1e-4)


def test_ten_euler_steps_recover_the_target_of_a_constant_velocity() -> None:
    """Check 9."""
    torch.manual_seed(0)
    noise, target, times = torch.randn(2, 5, 3), torch.randn(2, 5, 3), []

    def velocity(_x: torch.Tensor, t: float) -> torch.Tensor:
        times.append(t)
        return noise - target

    torch.testing.assert_close(integrate_euler(velocity, noise, 10), target, atol=1e-6, rtol=0.0)
    assert times == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert NetworkConfig().euler_steps == 10


def test_a_flow_with_the_true_velocity_reaches_its_target_and_grippers_are_the_last_readout() -> None:
    net = model("flow", mixed=True)
    noise, target = torch.randn(2, 12, 3), torch.randn(2, 12, 3)
    shares = net.mixture.weights(torch.zeros(2, 3, 12, 32))
    calls = []

    def forward(_tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(0)
        out = torch.where(net.head.gripper, torch.full_like(noise, len(calls) / 10), noise - target)
        return out[:, None].expand(-1, 3, -1, -1), shares

    with torch.no_grad():
        actions = net.head.decode(forward, noise)
    expected = torch.where(net.head.gripper, torch.ones_like(target), target)
    torch.testing.assert_close(net.encoding.normalise(actions.mixture), expected, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(actions.horizons, actions.mixture[:, None].expand(-1, 3, -1, -1), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("head", ["flow", "beast_flow"])
def test_a_flow_is_trained_on_the_velocity_that_its_sampler_follows(head: str, monkeypatch) -> None:
    """x - t v is the action at every time; times are openpi's, 0.001 + 0.999 Beta(1.5, 1), of mean 0.6004."""
    net, queries = model(head), []
    monkeypatch.setattr(net.head, "query_at", lambda x, t: queries.append((x, t)) or x)
    joints, labels = (torch.from_numpy(x) for x in data(2000))
    steps = net.encoding.to_steps(labels - net.reference(joints))
    _, _, velocity = net.head.train_pass(lambda x: (x, x), steps)
    (x, t), action, arm = queries[0], net.encoding.normalise(steps), net.arm
    torch.testing.assert_close((x - t[:, None, None] * velocity)[..., arm], action[..., arm], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(velocity[..., ~arm], action[..., ~arm])
    assert t.min() >= 0.001
    assert t.max() <= 1.0
    assert t.mean().item() == pytest.approx(0.6004, abs=0.02)


@pytest.mark.parametrize("head", ["bins", "beast_tokens"])
def test_tokens_are_those_of_the_tokenizer_and_basis_major(head: str) -> None:
    net = model(head)
    joints, labels = (torch.from_numpy(x) for x in data(3))
    relative = labels - net.reference(joints)
    expected = net.encoding.tokenizer.encode(relative.numpy())
    target = net.head.train_pass(lambda _tokens: (torch.zeros(0), torch.zeros(0)), net.encoding.to_steps(relative))[2]
    np.testing.assert_array_equal(target.flatten(1).numpy(), expected)
    # Token s J + j is that of step s of joint j, and certain logits give the decoded chunk.
    right = torch.nn.functional.one_hot(target, 64).float().clamp_min(1e-9).log()[:, None]
    actions = net.head.decode(lambda _tokens: (right, torch.ones(3, 1, right.shape[2])), torch.zeros(3, 1, 1))
    np.testing.assert_allclose(
        net.encoding.waypoints(actions.mixture).numpy(), net.encoding.tokenizer.decode(expected), atol=1e-5
    )
    hidden = torch.randn(1, net.encoding.steps * 3, 32)
    moved = hidden.clone()
    moved[:, 2 * 3 + 1] += 1.0
    changed = (net.head.read(moved) - net.head.read(hidden)).abs().amax(dim=(0, 3)) > 1e-6
    assert changed.nonzero().tolist() == [[2, 1]]


@pytest.mark.parametrize("as_spline", [False, True])
def test_an_encoding_is_inverted_by_its_decoding(as_spline: bool) -> None:
    encoding = ActionEncoding(JOINTS, SplineConfig(8, 3, 16, 0.05), as_spline, ("gripper",), 256)
    t = np.arange(1, 17) / 16
    phase = np.random.default_rng(0).uniform(0, 6, (300, 1, 3))
    targets = 0.3 * np.sin(2 * np.pi * 0.7 * t[None, :, None] + phase)
    targets[:, :, 1] = np.where(np.arange(16)[None] // 2 * 2 < 16 * phase[:, :, 1] / 6, 0.6, -0.06)
    encoding.fit(targets.astype(np.float32))
    given = torch.from_numpy(targets[:5])
    values = encoding.normalise(encoding.to_steps(given))
    assert values.std() < 2.0
    # Each step of each joint has statistics of its own: all of the data come to mean 0 and deviation 1.
    every = encoding.normalise(encoding.to_steps(torch.from_numpy(targets)))
    moves = encoding.std > MIN_STD_RAD
    assert moves.float().mean() > 0.9
    torch.testing.assert_close(every.mean(dim=0)[moves], torch.zeros(int(moves.sum())), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(every.std(dim=0, correction=0)[moves], torch.ones(int(moves.sum())), atol=1e-3, rtol=0.0)
    torch.testing.assert_close(encoding.waypoints(encoding.denormalise(values)), given.float(), atol=5e-3, rtol=0.0)


def test_a_waypoint_is_determined_by_the_control_points_of_its_span() -> None:
    spline = ActionEncoding(JOINTS, SplineConfig(6, 3, 12, 0.05), True, ("gripper",), 64)
    # Degree 3, 6 points: spans end at 1/3, 2/3 and 1; a span needs four points.
    assert spline.determined.sum(dim=1).tolist() == [0, 0, 0, 4, 8, 12]
    shipped = ActionEncoding(JOINTS, SplineConfig(10, 4, 32, 0.05), True, ("gripper",), 64)
    assert shipped.determined.sum(dim=1)[4:].tolist() == [
        5,
        10,
        16,
        21,
        26,
        32,
    ]
    bins = ActionEncoding(JOINTS, SplineConfig(6, 3, 12, 0.05), False, ("gripper",), 64)
    assert bins.determined.sum(dim=1).tolist() == list(range(1, 13))


@EVERY
def test_targets_of_an_arm_are_relative_and_those_of_a_gripper_absolute(head: str) -> None:
    net = model(head)
    joints = torch.tensor([[0.2, 0.3, -0.4]])
    torch.testing.assert_close(net.reference(joints)[0, 0], torch.tensor([0.2, 0.0, -0.4]))
    absolute = net.encoding.mean[:, 1]
    assert absolute.min() > -0.1
    assert net.encoding.upper[0, 1] - net.encoding.lower[0, 1] == pytest.approx(0.68, abs=1e-3)


@pytest.mark.parametrize("head", ["regression", "flow", "beast", "beast_flow"])
def test_a_gripper_is_never_averaged_over_horizons(head: str) -> None:
    """A mixture of token probabilities is one bin as well, not a mean, so heads that classify need no test here."""
    net = model(head, mixed=True)
    with torch.no_grad():
        actions = net.head.decode(net.forward_pass(net.encode(*observation())), torch.randn(2, net.encoding.steps, 3))
    mixture, horizons = actions.mixture[:, :, None, 1], actions.horizons[:, :, :, 1].transpose(1, 2)
    nearest = (mixture - horizons).abs().masked_fill(~net.mixture.active.T, torch.inf).min(dim=2).values
    torch.testing.assert_close(nearest, torch.zeros_like(nearest), atol=1e-6, rtol=0.0)


@EVERY
def test_equal_horizons_execute_all_waypoints_that_enough_of_them_determine(head: str) -> None:
    net = model(head, mixed=True, consensus=ConsensusConfig(1.2, min_steps=3, min_horizons=2))
    with torch.no_grad():
        chunk = net.predict(*observation())
    assert chunk.deviation_rad is not None
    assert chunk.deviation_rad.shape == (2, 12)
    assert all(3 <= k <= 8 for k in chunk.execute)
    same = net.apply_consensus(
        RawOutput(torch.zeros(1, 12, 3), None, torch.zeros(1, 3, 12, 3), torch.ones(1, 3, 12) / 3)
    )
    assert same.execute == [8]


def test_a_single_horizon_needs_no_consensus() -> None:
    with torch.no_grad():
        chunk = model("regression").predict(*observation())
        fixed = model("regression", consensus=ConsensusConfig(fixed_steps=5)).predict(*observation())
    assert (chunk.deviation_rad, chunk.execute) == (None, [12, 12])
    assert fixed.execute == [5, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "flwo"}, 'unknown action head "flwo"; did you mean "flow"'),
        ({"grippers": ("hand",)}, 'unknown gripper "hand" in network.grippers'),
        ({"grippers": JOINTS}, "needs a joint that is not a gripper"),
        ({"horizons": (4, 8)}, r"the last of mixture.horizons must be all 12 steps .*waypoints.*; got \[4, 8\]"),
        ({"head": "beast", "horizons": (4, 12)}, "must be all 6 steps of the head"),
        ({"horizons": (8, 4, 12)}, "integers that increase"),
        ({"horizons": (4.5, 12)}, "integers that increase"),
        ({"horizons": "all"}, 'must be "auto" or integers'),
        ({"mixture": {"fusion": "median"}}, 'did you mean "mean"'),
        ({"transformer": {"width": 30, "attention_heads": 4}}, "multiple of twice transformer.attention_heads"),
        ({"transformer": {"layers": 0}}, "transformer.layers must be at least 1"),
        (
            {"horizons": (4, 12), "consensus": ConsensusConfig(min_horizons=3)},
            "min_horizons must not be greater than the number of horizons, 2",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VlaNetwork(config(**change))


def test_a_network_with_nan_gives_no_chunk() -> None:
    net = model("regression", mixed=True)
    torch.nn.init.constant_(net.head.readout.arm.bias, float("nan"))
    with pytest.raises(RecordError, match="finite"), torch.no_grad():
        net.predict(*observation())


def test_horizons_fit_the_small_network() -> None:
    for head, steps in STEPS.items():
        assert model(head, mixed=True).mixture.horizons == HORIZONS[steps]
