"""For any chunk the plan starts on the active plan, keeps every limit and ends at rest; or the chunk is refused."""

import numpy as np
import pytest
from core.generators import SEED, T0, arm_limits, instants, names, random_chunk, random_limits, rng_of
from hypothesis import example, given, settings

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, Chunk, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner, PlannerConfig, rest_time_s
from vla_ros.safety.limit_certificate import certify

NO_HANDOVER_LIMIT = PlannerConfig(max_handover_error_rad=1e6)


def check(plan: Plan, active_plan: Plan, limits: Limits) -> None:
    """Every property of a plan, by the certificate and by samples."""
    before = active_plan.at(plan.start_ns)
    for expected, actual in zip(before, (plan.positions[0], plan.velocities[0], plan.accelerations[0]), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)
    assert certify(plan, limits).permitted, certify(plan, limits)
    assert not plan.velocities[-1].any()
    assert not plan.accelerations[-1].any()
    times = instants(plan.start_ns, plan.end_ns, 2000)
    p, *derivatives = (plan.derivative(times, order) for order in range(4))
    slack = 1e-9 * (limits.upper - limits.lower)
    assert (limits.lower - slack <= p).all()
    assert (p <= limits.upper + slack).all()
    for values, maximum in zip(derivatives, (limits.velocity, limits.acceleration, limits.jerk), strict=True):
        assert (np.abs(values) <= maximum * (1 + 1e-6)).all()


@pytest.mark.parametrize(
    "config", [NO_HANDOVER_LIMIT, PlannerConfig(max_handover_error_rad=1e6, ensemble_weight=0.9, control_points=40)]
)
@given(seed=SEED)
def test_a_sequence_of_random_chunks_gives_valid_plans(config: PlannerConfig, seed: int) -> None:
    rng = rng_of(seed)
    limits = random_limits(rng)
    planner, now = Planner(limits, config), T0
    active_plan = Plan.hold(limits.joints, rng.uniform(limits.lower, limits.upper), now)
    for _ in range(30):
        now += int(rng.uniform(0.01, 0.6) * NS)
        plan = planner.plan(random_chunk(rng, limits, now), active_plan, now)
        if isinstance(plan, Refusal):
            assert plan.reason in ("infeasible", "stale"), plan
        else:
            check(plan, active_plan, limits)
            active_plan = plan


@given(seed=SEED)
def test_a_plan_exists_from_every_pose_at_rest(seed: int) -> None:
    rng = rng_of(seed)
    limits = random_limits(rng)
    pose = np.where(rng.random(len(limits.joints)) < 0.5, limits.lower, limits.upper)
    pose += rng.choice([0.0, 1e-6, 1e-3]) * ((limits.lower + limits.upper) / 2 - pose)
    active_plan = Plan.hold(limits.joints, pose, T0)
    for _ in range(5):
        chunk = random_chunk(rng, limits, T0 + NS)
        plan = Planner(limits, NO_HANDOVER_LIMIT).plan(chunk, active_plan, T0 + NS)
        if isinstance(plan, Refusal):
            assert plan.reason == "stale", plan
        else:
            check(plan, active_plan, limits)


def motion(t: np.ndarray, joints: int = 6) -> np.ndarray:
    """A slow motion inside `arm_limits`, (n, J)."""
    phase = np.arange(joints)
    return 0.8 * np.sin(2 * np.pi * 0.25 * np.asarray(t)[:, None] + phase) + 0.1 * np.sin(2 * t[:, None] + 2 * phase)


def follow(seed: int, bias: float, plans: int) -> tuple[float, int]:
    """Largest tracking error after the first second, and refusals, over a stream of late chunks of `motion`."""
    rng, limits = rng_of(seed), arm_limits()
    planner, refused, worst = Planner(limits, NO_HANDOVER_LIMIT), 0, 0.0
    active_plan, now = Plan.hold(limits.joints, motion(np.zeros(1))[0], T0), T0
    for _ in range(plans):
        stamp, now = now, now + int(rng.uniform(0.08, 0.3) * NS)
        t = (stamp - T0) / NS + np.arange(1, 51) / 30
        targets = motion(t) + rng.normal(0.0, bias, 6) + rng.normal(0.0, bias / 10, (50, 6))
        plan = planner.plan(Chunk.from_rate(stamp, limits.joints, targets, 1 / 30), active_plan, now)
        if isinstance(plan, Refusal):
            refused += 1
            continue
        check(plan, active_plan, limits)
        active_plan = plan
        times = instants(plan.start_ns, plan.start_ns + 3 * NS // 10, 50)
        if now > T0 + NS:
            worst = max(worst, np.abs(plan.at(times).position - motion((times - T0) / NS)).max())
    return worst, refused


def test_a_slow_target_is_followed_closely() -> None:
    worst, refused = follow(seed=0, bias=0.0, plans=60)
    assert worst < 2.5e-3
    assert refused == 0


@pytest.mark.parametrize("seed", range(3))
def test_motions_inside_the_limits_are_never_refused(seed: int) -> None:
    _, refused = follow(seed, bias=0.02, plans=150)
    assert refused == 0


def test_joints_are_matched_by_name() -> None:
    limits = arm_limits(3)
    active_plan = Plan.hold(limits.joints, np.zeros(3), T0)
    targets = np.linspace(0.0, 1.0, 30)[:, None] * [0.1, 0.2, 0.3]
    planner = Planner(limits)
    straight = planner.plan(Chunk.from_rate(T0, limits.joints, targets, 0.03), active_plan, T0)
    permuted = planner.plan(Chunk.from_rate(T0, limits.joints[::-1], targets[:, ::-1], 0.03), active_plan, T0)
    assert isinstance(straight, Plan)
    assert isinstance(permuted, Plan)
    assert permuted.joints == limits.joints
    np.testing.assert_array_equal(permuted.positions, straight.positions)


@pytest.mark.parametrize(
    ("reason", "joints", "stamp_s", "target"),
    [
        ("joints", ("joint_0",), 0.0, 0.0),
        ("joints", ("joint_0", "joint_1", "joint_2"), 0.0, 0.0),
        ("joints", ("joint_0", "other"), 0.0, 0.0),
        ("future", names(2), 0.06, 0.0),
        ("future", names(2), 1e9, 0.0),
        ("stale", names(2), -2.01, 0.0),
        ("stale", names(2), -1.01, 0.0),
        ("stale", names(2), -1e9, 0.0),
        ("handover_error", names(2), 0.0, 0.61),
        ("handover_error", names(2), 0.0, 1e300),
    ],
)
def test_an_invalid_chunk_is_refused_with_its_reason(
    reason: str, joints: tuple[str, ...], stamp_s: float, target: float
) -> None:
    limits = arm_limits(2)
    chunk = Chunk.from_rate(T0 + int(stamp_s * NS), joints, np.full((30, len(joints)), target), 1 / 30)
    refusal = Planner(limits).plan(chunk, Plan.hold(limits.joints, np.zeros(2), T0 - NS), T0)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert refusal.detail.endswith(".")


def test_a_start_outside_the_limits_is_infeasible() -> None:
    limits = arm_limits(2)
    fast = Plan(limits.joints, T0, [0, NS], np.zeros((2, 2)), [[0.0, 2.5], [0.0, 0.0]], np.zeros((2, 2)))
    refusal = Planner(limits).plan(Chunk.from_rate(T0, limits.joints, np.zeros((30, 2)), 0.03), fast, T0)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, "joint_1" in refusal.detail) == ("infeasible", True)


@pytest.mark.parametrize(
    "offsets",
    [
        [1e-9],
        [0.031],
        [0.0300000001],
        [1e-3, 3.0],
        [5.0],
        [1e3],
        [1e12],
        [1e300],
        [0.0, 1e300],
        list(0.001 * np.arange(1, 501)),
        list(3.0 * np.arange(1, 20)),
        list(0.1 * np.arange(1, 501)),
        list(np.geomspace(1e-6, 1e6, 100)),
    ],
    ids=lambda offsets: f"{len(offsets)} to {offsets[-1]:g} s",
)
@pytest.mark.parametrize("target", [0.0, 0.1, 1e3, 1e300, -1.7e308])
def test_extreme_but_valid_chunks_make_a_plan_or_a_refusal(offsets: list[float], target: float) -> None:
    limits = arm_limits(2)
    positions = np.zeros((len(offsets), 2))
    positions[-1, 0] = target
    active_plan = Plan.hold(limits.joints, np.zeros(2), T0)
    chunk = Chunk(T0, limits.joints, np.array(offsets), positions)
    plan = Planner(limits).plan(chunk, active_plan, T0)
    if isinstance(plan, Refusal):
        assert plan.reason in ("stale", "handover_error")
    else:
        check(plan, active_plan, limits)


@pytest.mark.parametrize("count", [12, 24, 60, 100])
@pytest.mark.parametrize("tail_s", [0.0, 1e-3])
def test_the_pieces_of_a_short_window_are_long_enough_for_the_certificate(count: int, tail_s: float) -> None:
    one = np.ones(2)
    limits = Limits(names(2), -one, one, 0.01 * one, 10.0 * one, 1000.0 * one)
    active_plan = Plan.hold(limits.joints, np.zeros(2), T0)
    chunk = Chunk(T0, limits.joints, np.array([0.04]), np.full((1, 2), 1e-4))
    plan = Planner(limits, PlannerConfig(control_points=count, tail_s=tail_s)).plan(chunk, active_plan, T0)
    assert isinstance(plan, Plan)
    check(plan, active_plan, limits)


def test_waypoints_past_the_horizon_are_left_for_the_next_chunk() -> None:
    limits = arm_limits(1)
    active_plan = Plan.hold(limits.joints, np.zeros(1), T0)
    chunk = Chunk.from_rate(T0, limits.joints, np.zeros((2000, 1)), 1 / 30)
    config = PlannerConfig(horizon_s=1.0, tail_s=0.5)
    plan = Planner(limits, config).plan(chunk, active_plan, T0)
    assert isinstance(plan, Plan)
    assert 1.4 * NS < plan.end_ns - plan.start_ns <= 1.55 * NS


@settings(max_examples=20)
@given(seed=SEED)
@example(seed=0)
def test_the_rest_time_suffices_from_full_speed_and_acceleration(seed: int) -> None:
    limits = random_limits(rng_of(seed), joints=1)
    v, a, j = limits.velocity[0], limits.acceleration[0], limits.jerk[0]
    dt = 1e-4
    time, speed, pull = 0.0, v, a
    while speed > 0.0 and time < 100.0:
        closing = pull < 0.0 and speed <= pull * pull / (2 * j)
        pull = min(pull + j * dt, 0.0) if closing else max(pull - j * dt, -a)
        speed, time = speed + pull * dt, time + dt
        if closing and pull == 0.0:
            break
    assert time <= rest_time_s(limits) * 1.01 + 0.01


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lead_s", 0.0),
        ("lead_s", float("nan")),
        ("horizon_s", -1.0),
        ("cutoff_hz", float("inf")),
        ("max_age_s", 0.0),
        ("max_handover_error_rad", 0.0),
        ("tail_s", -0.1),
        ("max_future_s", float("nan")),
        ("control_points", 11),
        ("control_points", 101),
        ("margin", 0.0),
        ("margin", 1.01),
        ("margin", float("nan")),
        ("ensemble_weight", -0.1),
        ("ensemble_weight", 1.0),
    ],
)
def test_every_bad_setting_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        PlannerConfig(**{name: value})


def test_the_handover_error_subtracts_what_full_speed_covers_before_the_first_waypoint():
    limits = arm_limits(2)
    hold = Plan.hold(limits.joints, np.zeros(2), T0)
    planner = Planner(limits, PlannerConfig(max_handover_error_rad=0.1))
    late = Chunk(T0, limits.joints, np.array([1.5]), np.full((1, 2), 1.0))
    assert planner.handover_error(late, hold, T0) == 0.0
    assert isinstance(planner.plan(late, hold, T0), Plan)
    soon = Chunk(T0, limits.joints, np.array([0.04]), np.full((1, 2), 1.0))
    refusal = planner.plan(soon, hold, T0)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "handover_error"
