"""What may pass, and the room that makes every instant of a plan one from which the arm can be braked."""

import dataclasses

import numpy as np
import pytest
from core.draw import SEED, T0, any_limits, arm_limits, instants, names, planned, rng_of, wild_chunk
from hypothesis import given

from vla_ros.core.records import NS, Chunk
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan, State
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.gate import Command, may_be_sent, proved, splice, timely
from vla_ros.safety.stopping import Brake, brake, emergency, path_stop

LIMITS = arm_limits(2)
ROOM = 10.0**3 / (6 * 150.0**2)
MS = 1_000_000


def test_the_room_is_what_letting_go_of_the_acceleration_takes() -> None:
    np.testing.assert_allclose(LIMITS.braking_room, ROOM)


def test_the_room_takes_no_more_than_a_twentieth_of_the_range() -> None:
    one = np.ones(1)
    soft = Limits(("a",), -one, one, one, 100.0 * one, 10.0 * one)
    np.testing.assert_allclose(soft.braking_room, 0.1)


def uncut(limits: Limits) -> bool:
    return bool((limits.acceleration**3 / (6 * limits.jerk**2) <= (limits.upper - limits.lower) / 20).all())


@given(seed=SEED)
def test_a_plan_can_be_braked_at_every_instant_inside_the_range(seed: int) -> None:
    rng = rng_of(seed)
    limits = any_limits(rng, 3)
    if not uncut(limits):
        limits = arm_limits(3)
    planner = Planner(limits, PlannerConfig(max_disagreement=1e6))
    half = (limits.upper - limits.lower) / 2 - 2 * limits.braking_room
    in_force, now = Plan.hold(limits.joints, (limits.lower + limits.upper) / 2 + rng.uniform(-1, 1, 3) * half, T0), T0
    for _ in range(3):
        plan = planner.plan(wild_chunk(rng, limits, now), in_force, now)
        if isinstance(plan, Plan):
            assert proved(plan, limits) is None
            in_force = plan
        now += int(rng.uniform(0.05, 0.5) * NS)
    for t in instants(in_force.start_ns, in_force.end_ns, 150):
        assert isinstance(emergency(in_force, int(t), limits), Brake)
    start = int(instants(in_force.start_ns, in_force.end_ns, 7)[rng.integers(7)])
    stop = path_stop(in_force, start, limits)
    for t in instants(start, stop.end_ns, 40):
        assert isinstance(emergency(stop, int(t), limits), Brake)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_an_arm_pushed_against_its_range_is_braked_and_stays_inside(side: float) -> None:
    chunk = Chunk.from_rate(T0, LIMITS.joints, np.full((60, 2), side * 9.0), 1 / 30)
    plan = Planner(LIMITS, PlannerConfig(max_disagreement=99.0)).plan(chunk, Plan.hold(LIMITS.joints, [0, 1], T0), T0)
    assert isinstance(plan, Plan)
    assert np.abs(plan.positions[-1] - side * (1.8 - ROOM)).max() < 1e-3
    reached = []
    for t in range(plan.start_ns, plan.end_ns, 5 * MS):
        stop = emergency(plan, t, LIMITS)
        assert isinstance(stop, Brake)
        least, greatest = stop.reach()
        assert (LIMITS.lower <= least).all()
        assert (greatest <= LIMITS.upper).all()
        reached.append(max(np.abs(least).max(), np.abs(greatest).max()))
    assert max(reached) > 1.78


def test_the_room_is_needed() -> None:
    """A motion that turns at the end of its range as fast as it may cannot be braked inside the range."""
    turning = State(np.array([1.79999]), np.array([1e-3]), np.array([-10.0]))
    limits = arm_limits(1)
    _, greatest = brake(turning, T0, limits).reach()
    assert greatest[0] <= 1.8 + ROOM
    diving = State(np.array([1.799]), np.array([0.3]), np.array([-10.0]))
    assert brake(diving, T0, limits).reach()[1][0] > 1.8


def at_rest(position: list[float], then: list[float] | None = None, seconds: float = 4.0) -> Plan:
    p = np.array([position, then or position])
    return Plan(LIMITS.joints, T0, np.array([0, int(seconds * NS)]), p, np.zeros_like(p), np.zeros_like(p))


@pytest.mark.parametrize(
    ("start", "end", "permitted"),
    [
        (0.0, 1.8 - ROOM - 1e-6, True),
        (0.0, 1.8 - ROOM + 1e-6, False),
        (0.0, -1.8 + ROOM - 1e-6, False),
        (1.8, 1.8, True),
        (1.8, 1.0, True),
        (1.799, 1.8, False),
        (-1.8, 0.0, True),
        (-1.799, -1.8, False),
        (1.801, 1.0, False),
        (-1.801, 0.0, False),
    ],
)
def test_near_the_ends_of_the_range_a_plan_may_only_begin(start: float, end: float, permitted: bool) -> None:
    refusal = proved(at_rest([start, 0.0], [end, 0.0]), LIMITS)
    assert (refusal is None) is permitted
    if refusal:
        assert refusal.reason == "limits"


def test_what_is_not_proved_is_refused_by_its_reason() -> None:
    plan = planned(rng_of(3), LIMITS)
    assert proved(plan, LIMITS) is None
    fast = Plan(plan.joints, T0, plan.offsets_ns // 3, plan.positions, plan.velocities, plan.accelerations)
    assert proved(fast, LIMITS).reason == "limits"
    moving = dataclasses.replace(plan, velocities=plan.velocities + 1e-3)
    assert proved(moving, LIMITS).reason == "not_at_rest"


def test_the_splice_is_the_largest_step_of_each() -> None:
    plan = at_rest([0.1, 0.2])
    before = State(np.array([0.1, 0.5]), np.array([0.0, -2.0]), np.array([4.0, 0.0]))
    np.testing.assert_allclose(splice(plan, before), [0.3, 2.0, 4.0])


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
def test_a_command_is_finite_and_inside(p: float, v: float, sent: bool) -> None:
    assert may_be_sent(command(p, v), None, LIMITS) is sent


@pytest.mark.parametrize(
    ("step", "ms", "sent"), [(0.0039, 2, True), (0.0041, 2, False), (-0.0041, 2, False), (0.01, 0, False), (0, 0, True)]
)
def test_a_command_is_near_the_one_before(step: float, ms: int, sent: bool) -> None:
    assert may_be_sent(command(0.5 + step, at=T0 + ms * MS), command(0.5), LIMITS) is sent
    assert not may_be_sent(command(0.5, at=T0 + ms * MS), command(NAN), LIMITS)


@pytest.mark.parametrize(("wait_ms", "reason"), [(0, ""), (-1, "late"), (1000, ""), (1001, "early")])
def test_a_plan_begins_soon(wait_ms: int, reason: str) -> None:
    refusal = timely(at_rest([0, 0]), LIMITS, T0 - wait_ms * MS, None, 0.0, 1.0)
    assert (refusal.reason if refusal else "") == reason


@pytest.mark.parametrize(("late_ms", "permitted"), [(0, True), (499, True), (501, False)])
def test_a_plan_may_be_as_late_as_is_granted(late_ms: int, permitted: bool) -> None:
    assert (timely(at_rest([0, 0]), LIMITS, T0 + late_ms * MS, None, 0.5, 1.0) is None) is permitted


def test_a_plan_begins_after_the_last_command() -> None:
    plan = at_rest([0, 0])
    assert timely(plan, LIMITS, T0, command(0.0, at=T0 - 1), 0.0, 1.0) is None
    assert timely(plan, LIMITS, T0, command(0.0, at=T0), 0.0, 1.0).reason == "late"


def test_a_plan_names_the_joints_of_the_robot() -> None:
    other = dataclasses.replace(at_rest([0, 0]), joints=names(3)[1:])
    assert timely(other, LIMITS, T0, None, 0.0, 1.0).reason == "joints"
