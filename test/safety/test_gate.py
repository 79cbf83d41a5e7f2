"""Acceptance checks of plans and commands, and the braking margin."""

import dataclasses

import numpy as np
import pytest
from core.generators import SEED, T0, arm_limits, chained_plan, instants, names, random_chunk, random_limits, rng_of
from hypothesis import given

from vla_ros.core.records import NS, Chunk
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan, State
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.gate import (
    POSITION_TOLERANCE_RAD,
    VELOCITY_TOLERANCE_RATIO,
    Command,
    check_certificate,
    check_timing,
    command_permitted,
    switch_discontinuity,
)
from vla_ros.safety.stopping import Brake, brake, emergency, path_stop

LIMITS = arm_limits(2)
BRAKING_MARGIN = 10.0**3 / (6 * 150.0**2)
MS = 1_000_000


def test_the_braking_margin_is_the_distance_to_release_the_acceleration() -> None:
    np.testing.assert_allclose(LIMITS.braking_margin, BRAKING_MARGIN)


def test_the_braking_margin_is_at_most_a_twentieth_of_the_range() -> None:
    one = np.ones(1)
    soft = Limits(("a",), -one, one, one, 100.0 * one, 10.0 * one)
    np.testing.assert_allclose(soft.braking_margin, 0.1)


def margin_is_not_limited(limits: Limits) -> bool:
    return bool((limits.acceleration**3 / (6 * limits.jerk**2) <= (limits.upper - limits.lower) / 20).all())


@given(seed=SEED)
def test_a_plan_can_be_braked_at_every_instant_inside_the_range(seed: int) -> None:
    rng = rng_of(seed)
    limits = random_limits(rng, 3)
    if not margin_is_not_limited(limits):
        limits = arm_limits(3)
    planner = Planner(limits, PlannerConfig(max_handover_error_rad=1e6))
    half = (limits.upper - limits.lower) / 2 - 2 * limits.braking_margin
    active_plan, now = (
        Plan.hold(limits.joints, (limits.lower + limits.upper) / 2 + rng.uniform(-1, 1, 3) * half, T0),
        T0,
    )
    for _ in range(3):
        plan = planner.plan(random_chunk(rng, limits, now), active_plan, now)
        if isinstance(plan, Plan):
            assert check_certificate(plan, limits) is None
            active_plan = plan
        now += int(rng.uniform(0.05, 0.5) * NS)
    for t in instants(active_plan.start_ns, active_plan.end_ns, 150):
        assert isinstance(emergency(active_plan, int(t), limits), Brake)
    start = int(instants(active_plan.start_ns, active_plan.end_ns, 7)[rng.integers(7)])
    stop = path_stop(active_plan, start, limits)
    for t in instants(start, stop.end_ns, 40):
        assert isinstance(emergency(stop, int(t), limits), Brake)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_brake_near_the_end_of_the_range_stays_inside(side: float) -> None:
    chunk = Chunk.from_rate(T0, LIMITS.joints, np.full((60, 2), side * 9.0), 1 / 30)
    plan = Planner(LIMITS, PlannerConfig(max_handover_error_rad=99.0)).plan(
        chunk, Plan.hold(LIMITS.joints, [0, 1], T0), T0
    )
    assert isinstance(plan, Plan)
    assert np.abs(plan.positions[-1] - side * (1.8 - BRAKING_MARGIN)).max() < 1e-3
    reached = []
    for t in range(plan.start_ns, plan.end_ns, 5 * MS):
        stop = emergency(plan, t, LIMITS)
        assert isinstance(stop, Brake)
        lower, upper = stop.position_range()
        assert (LIMITS.lower <= lower).all()
        assert (upper <= LIMITS.upper).all()
        reached.append(max(np.abs(lower).max(), np.abs(upper).max()))
    assert max(reached) > 1.78


def test_the_braking_margin_is_necessary() -> None:
    """A motion that reverses at the end of its range at the acceleration limit cannot be braked inside the range."""
    turning = State(np.array([1.79999]), np.array([1e-3]), np.array([-10.0]))
    limits = arm_limits(1)
    _, upper = brake(turning, T0, limits).position_range()
    assert upper[0] <= 1.8 + BRAKING_MARGIN
    diving = State(np.array([1.799]), np.array([0.3]), np.array([-10.0]))
    assert brake(diving, T0, limits).position_range()[1][0] > 1.8


def at_rest(position: list[float], end: list[float] | None = None, seconds: float = 4.0) -> Plan:
    p = np.array([position, end or position])
    return Plan(LIMITS.joints, T0, np.array([0, int(seconds * NS)]), p, np.zeros_like(p), np.zeros_like(p))


@pytest.mark.parametrize(
    ("start", "end", "permitted"),
    [
        (0.0, 1.8 - BRAKING_MARGIN - 1e-6, True),
        (0.0, 1.8 - BRAKING_MARGIN + 1e-6, False),
        (0.0, -1.8 + BRAKING_MARGIN - 1e-6, False),
        (1.8, 1.8, True),
        (1.8, 1.0, True),
        (1.799, 1.8, False),
        (-1.8, 0.0, True),
        (-1.799, -1.8, False),
        (1.801, 1.0, False),
        (-1.801, 0.0, False),
    ],
)
def test_a_plan_may_start_in_the_braking_margin_but_not_enter_it(start: float, end: float, permitted: bool) -> None:
    refusal = check_certificate(at_rest([start, 0.0], [end, 0.0]), LIMITS)
    assert (refusal is None) is permitted
    if refusal:
        assert refusal.reason == "limits"


def test_an_uncertified_plan_is_refused_with_the_reason() -> None:
    plan = chained_plan(rng_of(3), LIMITS)
    assert check_certificate(plan, LIMITS) is None
    fast = Plan(plan.joints, T0, plan.offsets_ns // 3, plan.positions, plan.velocities, plan.accelerations)
    assert check_certificate(fast, LIMITS).reason == "limits"
    moving = dataclasses.replace(plan, velocities=plan.velocities + 1e-3)
    assert check_certificate(moving, LIMITS).reason == "not_at_rest"


def test_the_switch_discontinuity_is_the_maximum_step_of_each_quantity() -> None:
    plan = at_rest([0.1, 0.2])
    before = State(np.array([0.1, 0.5]), np.array([0.0, -2.0]), np.array([4.0, 0.0]))
    np.testing.assert_allclose(switch_discontinuity(plan, before), [0.3, 2.0, 4.0])


def command(p: float, v: float = 0.0, a: float = 0.0, at: int = T0) -> Command:
    return Command(at, State(np.array([0.0, p]), np.array([0.0, v]), np.array([0.0, a])))


NAN = float("nan")


@pytest.mark.parametrize(
    ("p", "v", "sent"),
    [
        (1.8, 0.0, True),
        (-1.8, 0.0, True),
        (1.8 + 0.9e-6, 0.0, True),
        (1.8 + 1.1e-6, 0.0, False),
        (-1.8 - 0.9e-6, 0.0, True),
        (-1.8 - 1.1e-6, 0.0, False),
        (0.0, 2.0, True),
        (0.0, -2.0, True),
        (0.0, 2.0019, True),
        (0.0, 2.0021, False),
        (0.0, -2.0021, False),
        (NAN, 0.0, False),
        (0.0, NAN, False),
        (float("inf"), 0.0, False),
    ],
)
def test_a_command_must_be_finite_and_inside_the_limits(p: float, v: float, sent: bool) -> None:
    assert command_permitted(command(p, v), None, LIMITS) is sent


@pytest.mark.parametrize(
    ("step", "ms", "sent"), [(0.0039, 2, True), (0.0041, 2, False), (-0.0041, 2, False), (0.01, 0, False), (0, 0, True)]
)
def test_a_command_must_be_near_the_previous_one(step: float, ms: int, sent: bool) -> None:
    assert command_permitted(command(0.5 + step, at=T0 + ms * MS), command(0.5), LIMITS) is sent
    assert not command_permitted(command(0.5, at=T0 + ms * MS), command(NAN), LIMITS)


@pytest.mark.parametrize(("wait_ms", "reason"), [(0, ""), (-1, "late"), (1000, ""), (1001, "early")])
def test_start_time_window_of_a_plan(wait_ms: int, reason: str) -> None:
    refusal = check_timing(at_rest([0, 0]), LIMITS, T0 - wait_ms * MS, None, 0.0, 1.0)
    assert (refusal.reason if refusal else "") == reason


@pytest.mark.parametrize(("late_ms", "permitted"), [(0, True), (499, True), (501, False)])
def test_maximum_lateness_of_a_plan(late_ms: int, permitted: bool) -> None:
    assert (check_timing(at_rest([0, 0]), LIMITS, T0 + late_ms * MS, None, 0.5, 1.0) is None) is permitted


def test_a_plan_with_other_joints_is_refused() -> None:
    other = dataclasses.replace(at_rest([0, 0]), joints=names(3)[1:])
    assert check_timing(other, LIMITS, T0, None, 0.0, 1.0).reason == "joints"


ONE_JOINT = arm_limits(1)


def one_joint_command(p: float, v: float = 0.0, ms: int = 0) -> Command:
    return Command(T0 + ms * MS, State(np.array([p]), np.array([v]), np.zeros(1)))


@pytest.mark.parametrize(
    ("step", "ms", "sent"),
    [
        (0.0040, 2, True),
        (0.0040045, 2, True),  # 2 rad/s for 2 ms, plus 0.1 %, plus the position tolerance
        (0.0040055, 2, False),
        (POSITION_TOLERANCE_RAD, 0, True),
        (-POSITION_TOLERANCE_RAD, 0, True),
        (1.001 * POSITION_TOLERANCE_RAD, 0, False),
    ],
)
def test_maximum_step_between_two_commands(step: float, ms: int, sent: bool) -> None:
    assert command_permitted(one_joint_command(step, ms=ms), one_joint_command(0.0), ONE_JOINT) is sent


@pytest.mark.parametrize(("p", "v"), [(1.8 + 2e-6, 0.0), (-1.8 - 2e-6, 0.0), (0.0, 2.01), (0.0, -2.01)])
def test_a_command_outside_the_limits_is_refused_though_near_the_previous_one(p: float, v: float) -> None:
    assert not command_permitted(one_joint_command(p, v), one_joint_command(p, v), ONE_JOINT)


def test_the_rounding_tolerances() -> None:
    assert (POSITION_TOLERANCE_RAD, VELOCITY_TOLERANCE_RATIO) == (1e-6, 1.001)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_rounding_tolerances_are_exact_to_the_last_bit(side: float) -> None:
    p, v = side * (1.8 + POSITION_TOLERANCE_RAD), side * 2.0 * VELOCITY_TOLERANCE_RATIO
    assert command_permitted(one_joint_command(p, v), None, ONE_JOINT)
    assert command_permitted(one_joint_command(p, v), one_joint_command(p, v), ONE_JOINT)
    assert not command_permitted(one_joint_command(np.nextafter(p, 9.0 * side)), None, ONE_JOINT)
    assert not command_permitted(one_joint_command(0.0, np.nextafter(v, 9.0 * side)), None, ONE_JOINT)


@pytest.mark.parametrize(
    ("wait_ns", "reason"), [(-NS // 4, None), (-NS // 4 - 1, "late"), (NS // 2, None), (NS // 2 + 1, "early")]
)
def test_the_start_time_window_is_inclusive(wait_ns: int, reason: str | None) -> None:
    refusal = check_timing(Plan.hold(ONE_JOINT.joints, np.zeros(1), T0 + wait_ns), ONE_JOINT, T0, None, 0.25, 0.5)
    assert (refusal and refusal.reason) == reason


@pytest.mark.parametrize(("after_ns", "accepted"), [(0, False), (1, True)])
def test_a_plan_starts_after_the_last_command(after_ns: int, accepted: bool) -> None:
    plan = Plan.hold(ONE_JOINT.joints, np.zeros(1), T0 + after_ns)
    refusal = check_timing(plan, ONE_JOINT, T0, one_joint_command(0.0), 0.25, 0.5)
    assert (refusal is None) is accepted
    assert accepted or refusal.reason == "late"


@pytest.mark.parametrize(("pose", "inside"), [((1.8, -1.8), True), ((1.801, 0.0), False), ((0.0, -1.801), False)])
def test_holding_is_permitted_at_the_end_of_the_range_and_refused_beyond_it(pose: tuple, inside: bool) -> None:
    two = arm_limits(2)
    refusal = check_certificate(Plan.hold(two.joints, np.array(pose), T0), two)
    assert (refusal is None) is inside
    assert inside or refusal.reason == "limits"


def test_the_refusal_has_the_reason_of_the_certificate() -> None:
    moving = Plan(ONE_JOINT.joints, T0, np.array([0, NS]), np.zeros((2, 1)), np.array([[0.0], [0.1]]), np.zeros((2, 1)))
    refusal = check_certificate(moving, ONE_JOINT)
    assert refusal is not None
    assert refusal.reason == "not_at_rest"
