"""From horizons to plans (facts C.3): K waypoints are sent, a short chunk is a short plan, and nothing else moves."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from policy.small import JOINTS, config, model, seen

from vla_ros.core.records import NS, Chunk, Observation, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner
from vla_ros.policy.base import PolicyContext, make_policy
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.network.checkpoint import CheckpointInfo, save_checkpoint
from vla_ros.safety.limit_certificate import certify

LIMITS = Limits(JOINTS, [-3.0] * 3, [3.0] * 3, [2.0] * 3, [10.0] * 3, [150.0] * 3)
START = np.array([0.1, 0.3, -0.2])


def see(stamp_ns: int = NS, seed: int = 0) -> Observation:
    image = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    return Observation(stamp_ns, {"front": image}, JOINTS, START, "go")


def wrapped(head: str = "regression", mixed: bool = True, **actor) -> CheckpointPolicy:
    net = model(head, mixed, **actor)
    return CheckpointPolicy.from_model(net, CheckpointInfo("toy", "go", net.config))


@pytest.mark.parametrize("head", ["regression", "flow", "beast", "beast_tokens"])
def test_the_waypoints_agreed_on_are_sent_and_no_more(head: str) -> None:
    least = {"least": 3, "voters": 1, "cap_rad": 1e-12}
    short, whole = wrapped(head, consensus=least), wrapped(head, consensus={"fixed": 12})
    one, all_of_it = short.infer(see()), whole.infer(see())
    assert one.curved == head.startswith("beast")
    assert one.offsets_s[-1] == pytest.approx(0.15)
    times = 0.05 * np.arange(1, 4)
    np.testing.assert_allclose(one.sample(times), all_of_it.sample(times), atol=1e-9)
    assert short.uncertainty_rad is not None
    assert short.uncertainty_rad > 0.0
    short.reset()
    assert short.uncertainty_rad is None


def test_a_single_horizon_sends_everything_and_claims_no_doubt() -> None:
    policy = wrapped(mixed=False)
    assert policy.infer(see()).positions.shape == (12, 3)
    assert policy.uncertainty_rad is None


def test_the_same_observation_gets_the_same_chunk_of_a_flow() -> None:
    policy = wrapped("flow")
    one, two, later = policy.infer(see()), policy.infer(see()), policy.infer(see(2 * NS))
    np.testing.assert_array_equal(one.positions, two.positions)
    assert later.positions.shape != one.positions.shape or np.abs(later.positions - one.positions).max() > 0.0


def test_a_checkpoint_with_horizons_is_a_policy_by_name(tmp_path: Path) -> None:
    net = model("beast", mixed=True)
    path = tmp_path / "mixed.safetensors"
    save_checkpoint(path, net, CheckpointInfo("toy", "go", config("beast", (4, 5, 6))))
    chunk = make_policy("learned", PolicyContext(JOINTS, "toy", path)).infer(see())
    assert 0.4 <= chunk.offsets_s[-1] + 1e-9 <= 0.6 + 2e-9


def near(count: int, stamp_ns: int) -> Chunk:
    """A gentle motion of `count` waypoints from `START`."""
    ramp = np.linspace(1 / 12, 1.0, 12)[:count, None]
    return Chunk.from_rate(stamp_ns, JOINTS, START + 0.15 * ramp, 0.05)


def test_a_shorter_chunk_is_a_shorter_plan_that_is_proved_and_ends_at_rest() -> None:
    planner, hold = Planner(LIMITS), Plan.hold(JOINTS, START, start_ns=NS)
    plans = [planner.plan(near(k, NS), hold, NS + NS // 20) for k in (4, 8, 12)]
    for plan in plans:
        assert isinstance(plan, Plan)
        assert not isinstance(certify(plan, LIMITS), Refusal)
        assert not plan.velocities[-1].any()
    ends = [int(p.offsets_ns[-1]) for p in plans if isinstance(p, Plan)]
    assert all(b > a for a, b in pairwise(ends))


def test_the_next_chunk_takes_over_from_the_plan_in_force_and_not_from_the_last_prediction() -> None:
    planner, hold = Planner(LIMITS), Plan.hold(JOINTS, START, start_ns=NS)
    first = planner.plan(near(6, NS), hold, NS + NS // 20)
    assert isinstance(first, Plan)
    now = first.start_ns + NS // 8
    second = planner.plan(near(12, now - NS // 20), first, now)
    assert isinstance(second, Plan)
    was, starts = first.at(second.start_ns), second.at(second.start_ns)
    for a, b in zip(was, starts, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    assert np.abs(was.velocity).max() > 0.01


def test_a_chunk_that_is_over_before_it_arrives_is_refused_and_the_tail_in_force_stays() -> None:
    planner, hold = Planner(LIMITS), Plan.hold(JOINTS, START, start_ns=NS)
    late = planner.plan(near(4, NS), hold, NS + NS // 2)
    assert isinstance(late, Refusal)
    assert late.reason == "stale"


def test_targets_are_absolute_before_any_spline() -> None:
    """A net that says the mean of its data moves an arm with the arm, and leaves a gripper where it was told."""
    net = model("beast")
    for layer in (net.head.out.arm, net.head.out.hand):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    images, joints, words = seen(1)
    shift = torch.tensor([[0.3, 0.3, 0.3]])
    with torch.no_grad():
        here, there = net.act(images, joints, words).waypoints, net.act(images, joints + shift, words).waypoints
    torch.testing.assert_close(there - here, torch.tensor([0.3, 0.0, 0.3]).expand(1, 12, 3), atol=1e-6, rtol=0.0)
