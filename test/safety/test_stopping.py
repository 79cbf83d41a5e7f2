"""Every way to rest keeps the limits; a path stop keeps the path, a brake takes no longer than it must."""

import numpy as np
import pytest
from core.draw import SEED, T0, any_limits, arm_limits, assert_inside, instants, planned, rng_of
from hypothesis import given

from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan, State
from vla_ros.safety.stopping import Brake, PathStop, brake, emergency, path_stop


def draw(seed: int) -> tuple[np.random.Generator, Limits, Plan, int]:
    """A plan and an instant in it."""
    rng = rng_of(seed)
    limits = any_limits(rng) if rng.random() < 0.5 else arm_limits()
    plan = planned(rng, limits)
    return rng, limits, plan, plan.start_ns + int(rng.uniform(0.0, 1.0) * (plan.end_ns - plan.start_ns))


@given(seed=SEED)
def test_a_path_stop_goes_along_the_path_and_rests(seed: int) -> None:
    _, limits, plan, now = draw(seed)
    stop = path_stop(plan, now, limits)
    assert stop.end_ns <= plan.end_ns
    path = plan.at(instants(now, plan.end_ns, 4000)).position
    spacing = np.abs(np.diff(path, axis=0)).max(initial=0.0) + 1e-9
    for t in instants(now, stop.end_ns, 50):
        assert np.abs(path - stop.at(int(t)).position).max(axis=1).min() <= spacing
    for late in (0, 1, NS):
        rest = stop.at(stop.end_ns + late)
        np.testing.assert_array_equal(rest.position, stop.at(stop.end_ns).position)
        assert not rest.velocity.any()
        assert not rest.acceleration.any()


@given(seed=SEED)
def test_a_path_stop_starts_in_the_state_of_the_plan(seed: int) -> None:
    _, limits, plan, now = draw(seed)
    for ours, theirs in zip(path_stop(plan, now, limits).at(now), plan.at(now), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(seed=SEED)
@pytest.mark.parametrize("period_ns", [1_000_000, 2_000_000])
@pytest.mark.parametrize("way", [path_stop, emergency])
def test_plan_and_stop_together_keep_the_limits(seed: int, period_ns: int, way: object) -> None:
    _, limits, plan, now = draw(seed)
    stop = way(plan, now, limits)  # type: ignore[operator]
    times = np.arange(max(plan.start_ns, now - 20 * period_ns), stop.end_ns + 5 * period_ns, period_ns)
    positions = np.stack([(stop if t >= now else plan).at(int(t)).position for t in times])
    assert_inside(times, positions, limits)


@given(seed=SEED)
def test_the_state_of_a_stop_is_the_slope_of_its_position(seed: int) -> None:
    _, limits, plan, now = draw(seed)
    h = 50_000
    for stop in (path_stop(plan, now, limits), brake(plan.at(now), now, limits)):
        if stop.end_ns <= now + 4 * h:
            continue
        for t in instants(now + h, stop.end_ns - h, 15):
            before, here, after = (stop.at(int(t) + step) for step in (-h, 0, h))
            jerk = np.abs(limits.jerk)
            np.testing.assert_array_less(
                np.abs((after.position - before.position) / (2e-9 * h) - here.velocity), jerk * 1e-8 + 1e-7
            )
            np.testing.assert_array_less(
                np.abs((after.velocity - before.velocity) / (2e-9 * h) - here.acceleration), jerk * 1e-4 + 1e-6
            )


def test_a_plan_that_ends_sooner_than_any_ramp_is_left_alone() -> None:
    plan = planned(rng_of(0), arm_limits())
    for before in (0, 1, 50_000_000, 99_999_999):
        assert path_stop(plan, plan.end_ns - before, arm_limits()) is plan
    assert path_stop(plan, plan.end_ns + NS, arm_limits()) is plan


def test_a_stop_from_cruise_is_short() -> None:
    """At 1.5 rad/s, 10 rad/s^2, 150 rad/s^3 no stop can take less than 0.217 s."""
    limits = arm_limits(1)
    t = np.linspace(0.0, 1.0, 21)[:, None]
    cruise = Plan(
        limits.joints,
        T0,
        (np.arange(22) * 50_000_000),
        np.concatenate([1.5 * t - 0.8, [[0.8]]]),
        np.concatenate([np.full((21, 1), 1.5), [[0.0]]]),
        np.zeros((22, 1)),
    )
    assert path_stop(cruise, T0, limits).end_ns - T0 <= 0.4 * NS


def states(seed: int) -> tuple[State, Limits]:
    """A state inside limits that it can stay inside of."""
    rng = rng_of(seed)
    limits = any_limits(rng)
    n = len(limits.joints)
    kind = rng.integers(0, 4, n)
    a = limits.acceleration * np.select([kind == 0, kind == 1, kind == 2], [0.0, 1.0, -1.0], rng.uniform(-1, 1, n))
    a = np.clip(a, -np.sqrt(limits.velocity * limits.jerk), np.sqrt(limits.velocity * limits.jerk))
    room = limits.velocity - a * a / (2 * limits.jerk)
    v = np.where(a > 0, 1.0, -1.0) * rng.choice([0.0, 0.5, 1.0, -1.0]) * room
    return State(rng.uniform(limits.lower, limits.upper), v, a), limits


@given(seed=SEED)
def test_a_brake_reaches_rest_exactly_and_keeps_the_limits(seed: int) -> None:
    start, limits = states(seed)
    stop = brake(start, T0, limits)
    for ours, theirs in zip(stop.at(T0), start, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert (stop.durations >= 0.0).all()
    for late in (0, 1, NS):
        rest = stop.at(stop.end_ns + late)
        assert not rest.velocity.any()
        assert not rest.acceleration.any()
    v, a = start.velocity, start.acceleration
    for duration, jerk in stop._phases():
        v, a = v + duration * (a + duration * jerk / 2), a + duration * jerk
    np.testing.assert_allclose(v, 0.0, atol=1e-9 * limits.velocity.max())
    np.testing.assert_allclose(a, 0.0, atol=1e-9 * limits.acceleration.max())
    for t in instants(T0, stop.end_ns, 200):
        _, v, a = stop.at(int(t))
        assert (np.abs(v) <= limits.velocity * (1 + 1e-9)).all()
        assert (np.abs(a) <= limits.acceleration * (1 + 1e-9)).all()
    assert (np.abs(stop.jerk) <= limits.jerk).all()


@given(seed=SEED)
def test_a_brake_knows_how_far_it_reaches(seed: int) -> None:
    start, limits = states(seed)
    stop = brake(start, T0, limits)
    path = np.stack([stop.at(int(t)).position for t in instants(T0, stop.end_ns, 400)])
    least, greatest = stop.reach()
    spacing = np.abs(np.diff(path, axis=0)).max(axis=0) + 1e-12
    assert (least <= path.min(axis=0) + 1e-12).all()
    assert (path.max(axis=0) - 1e-12 <= greatest).all()
    assert (path.min(axis=0) - spacing <= least).all()
    assert (greatest <= path.max(axis=0) + spacing).all()


@given(seed=SEED)
def test_a_brake_is_as_quick_as_ruckig(seed: int) -> None:
    ruckig = pytest.importorskip("ruckig")
    start, limits = states(seed)
    ours = brake(start, T0, limits).durations.sum(axis=0)
    for j in range(len(ours)):
        task = ruckig.InputParameter(1)
        task.control_interface = ruckig.ControlInterface.Velocity
        task.current_position, task.current_velocity = [start.position[j]], [start.velocity[j]]
        task.current_acceleration = [start.acceleration[j]]
        task.target_velocity, task.target_acceleration = [0.0], [0.0]
        task.max_acceleration, task.max_jerk = [limits.acceleration[j]], [limits.jerk[j]]
        way = ruckig.Trajectory(1)
        if ruckig.Ruckig(1).calculate(task, way) == ruckig.Result.Working:
            assert ours[j] == pytest.approx(way.duration, rel=1e-6, abs=1e-6)


def test_a_brake_from_rest_is_over_at_once() -> None:
    still = State(np.ones(2), np.zeros(2), np.zeros(2))
    stop = brake(still, T0, arm_limits(2))
    assert stop.end_ns == T0
    np.testing.assert_array_equal(stop.at(T0).position, [1.0, 1.0])


@given(seed=SEED)
def test_an_emergency_brakes_unless_that_leaves_the_range(seed: int) -> None:
    _, limits, plan, now = draw(seed)
    motion = emergency(plan, now, limits)
    least, greatest = brake(plan.at(now), now, limits).reach()
    fits = bool((limits.lower <= least).all() and (greatest <= limits.upper).all())
    assert isinstance(motion, Brake) == fits


def test_an_emergency_close_to_a_position_limit_stays_on_the_path() -> None:
    limits = arm_limits(1)
    plan = Plan(limits.joints, T0, np.array([0, NS // 2]), [[1.7], [1.79]], [[0.6], [0.0]], np.zeros((2, 1)))
    tight = Limits(limits.joints, limits.lower, np.array([1.795]), limits.velocity, limits.acceleration, 3 * np.ones(1))
    motion = emergency(plan, T0, tight)
    assert not isinstance(motion, Brake)
    assert max(motion.at(int(t)).position[0] for t in instants(T0, motion.end_ns, 300)) <= 1.795


def test_an_emergency_on_a_path_stop_brakes_from_its_state() -> None:
    limits = arm_limits()
    plan = planned(rng_of(1), limits)
    t = plan.start_ns + (plan.end_ns - plan.start_ns) // 3
    stop = path_stop(plan, t, limits)
    assert isinstance(stop, PathStop)
    later = t + stop.ramp_ns // 2
    motion = emergency(stop, later, limits)
    for ours, theirs in zip(motion.at(later), stop.at(later), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert motion.end_ns <= stop.end_ns


def test_a_brake_that_is_not_clear_gives_way_to_the_path_and_is_asked_about_only_inside_the_range() -> None:
    limits = arm_limits()
    plan = planned(rng_of(1), limits)
    now = plan.start_ns + (plan.end_ns - plan.start_ns) // 3
    asked: list[Brake] = []
    for clear in (True, False):
        motion = emergency(plan, now, limits, lambda braking, clear=clear: asked.append(braking) or clear)
        assert isinstance(motion, Brake if clear else PathStop)
    for braking in asked:
        np.testing.assert_array_equal(braking.durations, brake(plan.at(now), now, limits).durations)
    assert len(asked) == 2
    stop = path_stop(plan, now, limits)
    assert emergency(stop, now, limits, lambda _: False) is stop
    narrow = limits.between(np.full(6, -1e-9), np.full(6, 1e-9))
    assert not isinstance(emergency(plan, now, narrow, lambda _: pytest.fail("asked")), Brake)
