"""The network as a policy: the consensus determines the length of a chunk, and a short chunk gives a short plan."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from policy.small_network import JOINTS, config, model, observation

from vla_ros.core.records import NS, Chunk, Observation, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner
from vla_ros.policy.base import PolicyContext, make_policy
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.network.checkpoint import CheckpointInfo, save_checkpoint
from vla_ros.policy.network.horizon_consensus import ConsensusConfig
from vla_ros.safety.limit_certificate import certify

LIMITS = Limits(JOINTS, [-3.0] * 3, [3.0] * 3, [2.0] * 3, [10.0] * 3, [150.0] * 3)
START = np.array([0.1, 0.3, -0.2])


def make_observation(stamp_ns: int = NS, seed: int = 0) -> Observation:
    image = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    return Observation(stamp_ns, {"front": image}, JOINTS, START, "go")


def make_checkpoint_policy(head: str = "regression", mixed: bool = True, **choices: object) -> CheckpointPolicy:
    net = model(head, mixed, **choices)
    return CheckpointPolicy.from_model(net, CheckpointInfo("toy", "go", net.config))


@pytest.mark.parametrize("head", ["regression", "flow", "beast", "beast_tokens"])
def test_only_the_waypoints_of_the_consensus_are_sent(head: str) -> None:
    minimum = ConsensusConfig(1.2, min_steps=3, min_horizons=1, max_deviation_rad=1e-12)
    short = make_checkpoint_policy(head, consensus=minimum)
    complete = make_checkpoint_policy(head, consensus=ConsensusConfig(fixed_steps=12))
    one, other = short.infer(make_observation()), complete.infer(make_observation())
    assert one.is_curve == head.startswith("beast")
    assert one.offsets_s[-1] == pytest.approx(0.15)
    times = 0.05 * np.arange(1, 4)
    np.testing.assert_allclose(one.sample(times), other.sample(times), atol=1e-9)
    assert short.uncertainty_rad is not None
    assert short.uncertainty_rad > 0.0
    short.reset()
    assert short.uncertainty_rad is None


def test_a_single_horizon_sends_all_waypoints_and_no_uncertainty() -> None:
    policy = make_checkpoint_policy(mixed=False)
    assert policy.infer(make_observation()).positions.shape == (12, 3)
    assert policy.uncertainty_rad is None


def test_a_flow_is_deterministic_for_an_observation() -> None:
    policy = make_checkpoint_policy("flow")
    one, two, later = (
        policy.infer(make_observation()),
        policy.infer(make_observation()),
        policy.infer(make_observation(2 * NS)),
    )
    np.testing.assert_array_equal(one.positions, two.positions)
    assert later.positions.shape != one.positions.shape or np.abs(later.positions - one.positions).max() > 0.0


def test_a_checkpoint_with_a_mixture_is_a_policy_by_name(tmp_path: Path) -> None:
    net = model("beast", mixed=True)
    path = tmp_path / "mixed.safetensors"
    save_checkpoint(path, net, CheckpointInfo("toy", "go", config("beast", (4, 5, 6))))
    chunk = make_policy("learned", PolicyContext(JOINTS, "toy", path)).infer(make_observation())
    assert 0.4 <= chunk.offsets_s[-1] + 1e-9 <= 0.6 + 2e-9


def gentle_chunk(count: int, stamp_ns: int) -> Chunk:
    """A gentle motion of `count` waypoints from `START`."""
    ramp = np.linspace(1 / 12, 1.0, 12)[:count, None]
    return Chunk.from_rate(stamp_ns, JOINTS, START + 0.15 * ramp, 0.05)


def test_a_shorter_chunk_gives_a_shorter_certified_plan_that_ends_at_rest() -> None:
    planner, hold = Planner(LIMITS), Plan.hold(JOINTS, START, start_ns=NS)
    plans = [planner.plan(gentle_chunk(k, NS), hold, NS + NS // 20) for k in (4, 8, 12)]
    for plan in plans:
        assert isinstance(plan, Plan)
        assert not isinstance(certify(plan, LIMITS), Refusal)
        assert not plan.velocities[-1].any()
    ends = [int(p.offsets_ns[-1]) for p in plans if isinstance(p, Plan)]
    assert all(b > a for a, b in pairwise(ends))


def test_the_next_plan_starts_from_the_active_plan_and_not_from_the_last_prediction() -> None:
    planner, hold = Planner(LIMITS), Plan.hold(JOINTS, START, start_ns=NS)
    first = planner.plan(gentle_chunk(6, NS), hold, NS + NS // 20)
    assert isinstance(first, Plan)
    now = first.start_ns + NS // 8
    second = planner.plan(gentle_chunk(12, now - NS // 20), first, now)
    assert isinstance(second, Plan)
    before, after = first.at(second.start_ns), second.at(second.start_ns)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    assert np.abs(before.velocity).max() > 0.01


def test_a_chunk_that_ends_before_it_arrives_is_refused() -> None:
    planner, hold = Planner(LIMITS), Plan.hold(JOINTS, START, start_ns=NS)
    late = planner.plan(gentle_chunk(4, NS), hold, NS + NS // 2)
    assert isinstance(late, Refusal)
    assert late.reason == "stale"


def test_arm_targets_are_relative_to_the_measured_joints_and_gripper_targets_absolute() -> None:
    """A network that predicts the mean of its data: the targets of the arm move with the arm."""
    net = model("beast")
    for layer in (net.head.readout.arm, net.head.readout.gripper):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    images, joints, instruction = observation(1)
    shift = torch.tensor([[0.3, 0.3, 0.3]])
    with torch.no_grad():
        here, there = (
            net.predict(images, joints, instruction).waypoints,
            net.predict(images, joints + shift, instruction).waypoints,
        )
    torch.testing.assert_close(there - here, torch.tensor([0.3, 0.0, 0.3]).expand(1, 12, 3), atol=1e-6, rtol=0.0)
