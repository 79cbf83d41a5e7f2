"""Real-time chunking: a spline is pinned to the active plan at the handover, a flow is guided to it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from policy.small_network import JOINTS, model
from policy.test_checkpoint_policy import LIMITS, START, make_observation

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, Chunk
from vla_ros.core.splines import uniform_basis
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.checkpoint_policy import CheckpointPolicy, find_device
from vla_ros.policy.heads.flow import guided_velocity
from vla_ros.policy.network.checkpoint import CheckpointInfo
from vla_ros.policy.network.horizon_consensus import ConsensusConfig
from vla_ros.policy.real_time_chunking import MAX_PIN_ERROR_RAD, CommittedPrefix, pin_spline

SPLINE = SplineConfig(10, 4, 32, 0.05)
FREE = np.zeros(2, dtype=bool)


def active_plan(joints: tuple[str, ...] = JOINTS, start: np.ndarray = START, reach: float = 0.4) -> Plan:
    """A plan that moves every joint by `reach` [rad], active since before the observation of `make_observation`."""
    chunk = Chunk.from_rate(NS // 2, joints, start + reach * np.linspace(0.05, 1.0, 20)[:, None], 0.05)
    plan = Planner(LIMITS).plan(chunk, Plan.hold(joints, start, NS // 2), NS // 2)
    assert isinstance(plan, Plan)
    return plan


def committed(plan: Plan, after_s: float = 0.2, fade_s: float = 0.2, speed: float = 1.0) -> CommittedPrefix:
    """Handover `after_s` after the observation of `make_observation`."""
    return CommittedPrefix(plan, NS + round(after_s * NS), NS + round((after_s + fade_s) * NS), speed)


def make_checkpoint_policy(
    head: str, real_time_chunking: bool = True, mixed: bool = False, **choices: object
) -> CheckpointPolicy:
    net = model(head, mixed, **choices)
    return CheckpointPolicy.from_model(net, CheckpointInfo("toy", "go", net.config), real_time_chunking)


@given(seed=st.integers(0, 2**31), at=st.floats(0.0, 1.55), speed=st.floats(0.1, 1.0))
def test_a_pinned_curve_has_position_and_velocity_of_the_plan_at_the_handover(
    seed: int, at: float, speed: float
) -> None:
    rng = np.random.default_rng(seed)
    knots = np.array([0, 10, 30]) * NS
    plan = Plan(("a", "b"), NS, knots, *rng.normal(0.0, 0.1, (3, 3, 2)))
    prefix = CommittedPrefix(plan, NS + round(at / speed * NS), 0, speed)
    state = plan.at(prefix.handover_ns)
    control = rng.normal(0.0, 0.05, (10, 2)) + state.position
    pinned = pin_spline(control, SPLINE, prefix, NS, FREE)
    here, rate = (uniform_basis([at / 1.6], 10, 4, k)[0] / 1.6**k for k in range(2))
    if pinned is None:
        assert np.abs(here @ control - state.position).max() > MAX_PIN_ERROR_RAD
        return
    np.testing.assert_allclose(here @ pinned, state.position, atol=1e-7)
    np.testing.assert_allclose(rate @ pinned * speed, state.velocity, atol=1e-6)


def test_a_pin_changes_the_end_of_the_chunk_little_and_a_gripper_not_at_all() -> None:
    control = np.zeros((10, 2))
    plan = Plan.hold(("a", "b"), [0.1, 0.1], NS // 2)
    pinned = pin_spline(control, SPLINE, CommittedPrefix(plan, NS + NS // 5, 0), NS, np.array([False, True]))
    assert pinned is not None
    late = uniform_basis(np.linspace(0.6, 1.0, 20), 10, 4) @ pinned
    assert np.abs(late[:, 0]).max() < 0.01
    assert not pinned[:, 1].any()


@pytest.mark.parametrize(
    ("start_s", "handover_s", "target"),
    [(0.5, 2.61, 0.1), (0.5, 0.99, 0.1), (1.3, 1.2, 0.1), (0.5, 1.2, MAX_PIN_ERROR_RAD + 1e-6)],
    ids=["after its end", "before its stamp", "before the plan", "too far away"],
)
def test_a_spline_that_cannot_or_must_not_be_pinned_is_not_changed(
    start_s: float, handover_s: float, target: float
) -> None:
    plan = Plan.hold(("a", "b"), [0.0, target], round(start_s * NS))
    assert pin_spline(np.zeros((10, 2)), SPLINE, CommittedPrefix(plan, round(handover_s * NS), 0), NS, FREE) is None


def test_the_mask_is_one_until_the_handover_and_decreases_to_zero() -> None:
    plan = Plan.hold(("a",), [0.0], NS + NS // 10)
    times = 0.05 * np.arange(1, 13)
    mask = committed(plan, 0.2, 0.2).mask(NS, times)
    np.testing.assert_array_equal(mask[:4], [0.0, 1.0, 1.0, 1.0])  # 0.05 s is before the plan
    assert (np.diff(mask[3:8]) < 0.0).all()
    assert mask[5] == pytest.approx(0.5 * np.expm1(0.5) / np.expm1(1.0))
    np.testing.assert_array_equal(mask[7:], 0.0)
    slow = committed(plan, 0.2, 0.2, speed=0.5).mask(NS, times)
    np.testing.assert_array_equal(slow[:2], 1.0)
    np.testing.assert_array_equal(slow[4:], 0.0)
    np.testing.assert_array_equal(committed(plan, 0.2, 0.0).mask(NS, times)[3:], 0.0)


def handover_error(chunk: Chunk, prefix: CommittedPrefix) -> float:
    """Deviation of the arm's joints from the active plan at the handover [rad]."""
    deviation = np.abs(chunk.at(prefix.handover_ns) - prefix.plan.at(prefix.handover_ns).position)
    return float(deviation[[0, 2]].max())


def test_the_handover_error_of_a_pinned_spline_is_zero() -> None:
    prefix = committed(active_plan(reach=0.1))
    free, bound = (
        make_checkpoint_policy("beast", active).infer(make_observation(), prefix) for active in (False, True)
    )
    assert 0.01 < handover_error(free, prefix) < MAX_PIN_ERROR_RAD
    assert handover_error(bound, prefix) < 1e-6
    grip = JOINTS.index("gripper")
    times = 0.05 * np.arange(1, 13)
    np.testing.assert_allclose(bound.sample(times)[:, grip], free.sample(times)[:, grip], atol=1e-12)


@pytest.mark.parametrize("mixed", [False, True])
def test_waypoints_of_a_guided_flow_follow_the_plan_until_the_handover(mixed: bool) -> None:
    prefix = committed(active_plan(), 0.25)
    times = 0.05 * np.arange(1, 6)
    deviations = []
    for active in (False, True):
        policy = make_checkpoint_policy("flow", active, mixed, consensus=ConsensusConfig(fixed_steps=12))
        chunk = policy.infer(make_observation(), prefix)
        deviations.append(np.abs(chunk.sample(times) - prefix.targets(NS, times))[:, [0, 2]].max())
    free, bound = deviations
    assert free > 0.1
    assert bound < 0.02


def test_guidance_reduces_the_handover_error_of_a_spline_flow() -> None:
    prefix = committed(active_plan(), 0.25)
    free, bound = (
        handover_error(make_checkpoint_policy("beast_flow", c).infer(make_observation(), prefix), prefix)
        for c in (False, True)
    )
    assert bound < free / 3


@pytest.mark.parametrize("head", ["flow", "beast_flow", "beast"])
def test_without_a_committed_prefix_nothing_changes(head: str) -> None:
    free, bound = (make_checkpoint_policy(head, active).infer(make_observation()) for active in (False, True))
    np.testing.assert_allclose(bound.positions, free.positions, atol=1e-6)
    prefix = committed(active_plan(), 0.25)
    np.testing.assert_array_equal(
        make_checkpoint_policy(head, False).infer(make_observation(), prefix).positions, free.positions
    )


def test_guidance_without_error_changes_nothing_and_a_constant_flow_is_attracted() -> None:
    """With velocity 0 the end point is x itself, and each step reduces the error by a tenth of its weight."""
    shifts: list[torch.Tensor] = []
    unguided = guided_velocity(lambda x, t: 0.3 * x, torch.zeros_like, shifts)
    x = torch.ones(1, 2, 2)
    torch.testing.assert_close(unguided(x, 0.5), 0.3 * x)
    attracted = guided_velocity(lambda x, t: 0.0 * x, lambda end: 2.0 - end, shifts)
    for k in range(10):
        x = x - attracted(x, 1.0 - k / 10) / 10
    weights = [min(5.0, ((1 - t) ** 2 + t**2) / max((1 - t) * t, 1e-9)) for t in 1.0 - np.arange(10) / 10]
    torch.testing.assert_close(2.0 - x, torch.full_like(x, float(np.prod(1.0 - np.array(weights) / 10))))


@pytest.mark.parametrize("head", ["regression", "bins"])
def test_heads_that_do_not_support_real_time_chunking_are_refused(head: str) -> None:
    with pytest.raises(ConfigError, match="needs a flow, or a spline"):
        make_checkpoint_policy(head)


@pytest.mark.parametrize(
    ("name", "message"),
    [("cuda:99", r"finds \d+ GPUs"), ("gpu", "must be"), ("cuda:x", "must be"), ("cpu:1", "must be"), ("", "must be")],
)
def test_a_missing_device_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        find_device(name)
    assert str(caught.value).endswith(".")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_refused_before_a_file_is_read() -> None:
    with pytest.raises(ConfigError, match=r'device "cuda": torch .* finds 0 GPUs on this machine; use device "cpu"'):
        CheckpointPolicy("no such file", device="cuda")


def test_a_warm_up_does_not_change_later_chunks() -> None:
    policy = make_checkpoint_policy("flow", mixed=True)
    cold = policy.infer(make_observation())
    policy.warm_up()
    assert policy.uncertainty_rad is None
    np.testing.assert_array_equal(policy.infer(make_observation()).positions, cold.positions)
