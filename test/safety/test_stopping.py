"""Stops: inside the limits; a path stop stays on the path, a brake takes the minimum time."""

import numpy as np
import pytest
from core.generators import (
    SEED,
    T0,
    arm_limits,
    assert_within_limits,
    chained_plan,
    instants,
    names,
    random_limits,
    random_plan,
    rng_of,
)
from hypothesis import given

from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan, State
from vla_ros.safety import stopping as module
from vla_ros.safety.stopping import RAMPS_NS, Brake, PathStop, brake, emergency, path_stop


def random_case(seed: int) -> tuple[np.random.Generator, Limits, Plan, int]:
    """Random limits, a plan and an instant during the plan."""
    rng = rng_of(seed)
    limits = random_limits(rng) if rng.random() < 0.5 else arm_limits()
    plan = chained_plan(rng, limits)
    return rng, limits, plan, plan.start_ns + int(rng.uniform(0.0, 1.0) * (plan.end_ns - plan.start_ns))


@given(seed=SEED)
def test_a_path_stop_stays_on_the_path_and_ends_at_rest(seed: int) -> None:
    _, limits, plan, now = random_case(seed)
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
    _, limits, plan, now = random_case(seed)
    for ours, theirs in zip(path_stop(plan, now, limits).at(now), plan.at(now), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(seed=SEED)
@pytest.mark.parametrize("period_ns", [1_000_000, 2_000_000])
@pytest.mark.parametrize("stop_function", [path_stop, emergency])
def test_plan_followed_by_a_stop_stays_inside_the_limits(seed: int, period_ns: int, stop_function: object) -> None:
    _, limits, plan, now = random_case(seed)
    stop = stop_function(plan, now, limits)  # type: ignore[operator]
    times = np.arange(max(plan.start_ns, now - 20 * period_ns), stop.end_ns + 5 * period_ns, period_ns)
    positions = np.stack([(stop if t >= now else plan).at(int(t)).position for t in times])
    assert_within_limits(times, positions, limits)


@given(seed=SEED)
def test_velocity_and_acceleration_of_a_stop_are_derivatives_of_its_position(seed: int) -> None:
    _, limits, plan, now = random_case(seed)
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


def test_a_plan_shorter_than_every_ramp_is_unchanged() -> None:
    plan = chained_plan(rng_of(0), arm_limits())
    for before in (0, 1, 50_000_000, 99_999_999):
        assert path_stop(plan, plan.end_ns - before, arm_limits()) is plan
    assert path_stop(plan, plan.end_ns + NS, arm_limits()) is plan


def test_a_stop_from_cruise_is_short() -> None:
    """At 1.5 rad/s, 10 rad/s^2, 150 rad/s^3 no stop can take less than 0.217 s."""
    limits = arm_limits(1)
    t = np.linspace(0.0, 1.0, 21)[:, None]
    constant_speed_plan = Plan(
        limits.joints,
        T0,
        (np.arange(22) * 50_000_000),
        np.concatenate([1.5 * t - 0.8, [[0.8]]]),
        np.concatenate([np.full((21, 1), 1.5), [[0.0]]]),
        np.zeros((22, 1)),
    )
    assert path_stop(constant_speed_plan, T0, limits).end_ns - T0 <= 0.4 * NS


def random_state(seed: int) -> tuple[State, Limits]:
    """A state inside the limits from which a motion can stay inside them."""
    rng = rng_of(seed)
    limits = random_limits(rng)
    n = len(limits.joints)
    kind = rng.integers(0, 4, n)
    a = limits.acceleration * np.select([kind == 0, kind == 1, kind == 2], [0.0, 1.0, -1.0], rng.uniform(-1, 1, n))
    a = np.clip(a, -np.sqrt(limits.velocity * limits.jerk), np.sqrt(limits.velocity * limits.jerk))
    room = limits.velocity - a * a / (2 * limits.jerk)
    v = np.where(a > 0, 1.0, -1.0) * rng.choice([0.0, 0.5, 1.0, -1.0]) * room
    return State(rng.uniform(limits.lower, limits.upper), v, a), limits


@given(seed=SEED)
def test_a_brake_ends_exactly_at_rest_inside_the_limits(seed: int) -> None:
    start, limits = random_state(seed)
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
def test_the_position_range_of_a_brake_matches_its_samples(seed: int) -> None:
    start, limits = random_state(seed)
    stop = brake(start, T0, limits)
    path = np.stack([stop.at(int(t)).position for t in instants(T0, stop.end_ns, 400)])
    lower, upper = stop.position_range()
    spacing = np.abs(np.diff(path, axis=0)).max(axis=0) + 1e-12
    assert (lower <= path.min(axis=0) + 1e-12).all()
    assert (path.max(axis=0) - 1e-12 <= upper).all()
    assert (path.min(axis=0) - spacing <= lower).all()
    assert (upper <= path.max(axis=0) + spacing).all()


@given(seed=SEED)
def test_a_brake_takes_the_same_time_as_ruckig(seed: int) -> None:
    ruckig = pytest.importorskip("ruckig")
    start, limits = random_state(seed)
    ours = brake(start, T0, limits).durations.sum(axis=0)
    for j in range(len(ours)):
        task = ruckig.InputParameter(1)
        task.control_interface = ruckig.ControlInterface.Velocity
        task.current_position, task.current_velocity = [start.position[j]], [start.velocity[j]]
        task.current_acceleration = [start.acceleration[j]]
        task.target_velocity, task.target_acceleration = [0.0], [0.0]
        task.max_acceleration, task.max_jerk = [limits.acceleration[j]], [limits.jerk[j]]
        trajectory = ruckig.Trajectory(1)
        if ruckig.Ruckig(1).calculate(task, trajectory) == ruckig.Result.Working:
            assert ours[j] == pytest.approx(trajectory.duration, rel=1e-6, abs=1e-6)


def test_a_brake_from_rest_has_no_duration() -> None:
    still = State(np.ones(2), np.zeros(2), np.zeros(2))
    stop = brake(still, T0, arm_limits(2))
    assert stop.end_ns == T0
    np.testing.assert_array_equal(stop.at(T0).position, [1.0, 1.0])


@given(seed=SEED)
def test_an_emergency_stop_brakes_unless_that_leaves_the_range(seed: int) -> None:
    _, limits, plan, now = random_case(seed)
    motion = emergency(plan, now, limits)
    lower, upper = brake(plan.at(now), now, limits).position_range()
    fits = bool((limits.lower <= lower).all() and (upper <= limits.upper).all())
    assert isinstance(motion, Brake) == fits


def test_an_emergency_stop_close_to_a_position_limit_stays_on_the_path() -> None:
    limits = arm_limits(1)
    plan = Plan(limits.joints, T0, np.array([0, NS // 2]), [[1.7], [1.79]], [[0.6], [0.0]], np.zeros((2, 1)))
    tight = Limits(limits.joints, limits.lower, np.array([1.795]), limits.velocity, limits.acceleration, 3 * np.ones(1))
    motion = emergency(plan, T0, tight)
    assert not isinstance(motion, Brake)
    assert max(motion.at(int(t)).position[0] for t in instants(T0, motion.end_ns, 300)) <= 1.795


def test_an_emergency_stop_during_a_path_stop_brakes_from_its_state() -> None:
    limits = arm_limits()
    plan = chained_plan(rng_of(1), limits)
    t = plan.start_ns + (plan.end_ns - plan.start_ns) // 3
    stop = path_stop(plan, t, limits)
    assert isinstance(stop, PathStop)
    later = t + stop.ramp_ns // 2
    motion = emergency(stop, later, limits)
    for ours, theirs in zip(motion.at(later), stop.at(later), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert motion.end_ns <= stop.end_ns


def test_an_unclear_brake_is_replaced_by_a_path_stop_and_only_brakes_inside_the_range_are_checked() -> None:
    limits = arm_limits()
    plan = chained_plan(rng_of(1), limits)
    now = plan.start_ns + (plan.end_ns - plan.start_ns) // 3
    checked: list[Brake] = []
    for clear in (True, False):
        motion = emergency(plan, now, limits, lambda braking, clear=clear: checked.append(braking) or clear)
        assert isinstance(motion, Brake if clear else PathStop)
    for braking in checked:
        np.testing.assert_array_equal(braking.durations, brake(plan.at(now), now, limits).durations)
    assert len(checked) == 2
    stop = path_stop(plan, now, limits)
    assert emergency(stop, now, limits, lambda _: False) is stop
    narrow = limits.with_range(np.full(6, -1e-9), np.full(6, 1e-9))
    assert not isinstance(emergency(plan, now, narrow, lambda _: pytest.fail("called")), Brake)


LIMITS = arm_limits(1)


def test_the_constants() -> None:
    assert RAMPS_NS.tolist() == [ms * 1_000_000 for ms in (100, 140, 200, 280, 400, 560, 800, 1100, 1600, 2200, 3200)]
    assert (module.COARSE_SAMPLES, module.FINE_SAMPLE_NS, module.SEGMENTS, module.LIMIT_FRACTION) == (
        33,
        2_000_000,
        24,
        0.99,
    )


def constant_speed_plan(speed: float, seconds: float = 6.0) -> Plan:
    """A plan at constant speed; its end is not used."""
    p = np.array([[-0.9], [-0.9 + speed * seconds]])
    return Plan(LIMITS.joints, T0, np.array([0, int(seconds * NS)]), p, np.full((2, 1), speed), np.zeros((2, 1)))


def shortest_ramp(speed: float, limits: Limits) -> float:
    """The shortest ramp of the table that keeps acceleration and jerk, from the formula [s]."""
    for ramp in RAMPS_NS / 1e9:
        a, j = 1.5 * speed / ramp, 6.0 * speed / ramp**2
        if a <= 0.99 * limits.acceleration[0] and j <= 0.99 * limits.jerk[0]:
            return float(ramp)
    raise AssertionError


@pytest.mark.parametrize("speed", [0.01, 0.05, 0.1, 0.24, 0.3, 0.6, 0.9, 1.2, 1.6, 2.0])
def test_from_constant_speed_the_ramp_is_the_shortest_inside_the_limits(speed: float) -> None:
    """The clock u - u^3 + u^4/2 has a rate whose derivatives are at most 1.5 / T and 6 / T^2."""
    found = path_stop(constant_speed_plan(speed), T0, LIMITS)
    assert isinstance(found, PathStop)
    assert found.ramp_ns / 1e9 == shortest_ramp(speed, LIMITS)
    assert found.start_ns == T0
    assert found.end_ns == T0 + found.ramp_ns


def test_a_path_stop_covers_half_the_distance_of_full_speed() -> None:
    found = path_stop(constant_speed_plan(1.0), T0, LIMITS)
    ramp = found.ramp_ns / 1e9
    assert found.at(found.end_ns).position[0] == pytest.approx(-0.9 + ramp / 2)
    half = found.at(T0 + found.ramp_ns // 2)
    assert half.velocity[0] == pytest.approx(0.5)
    assert half.acceleration[0] == pytest.approx(-1.5 / ramp)
    assert half.position[0] == pytest.approx(-0.9 + ramp * (0.5 - 0.125 + 0.03125))
    np.testing.assert_array_equal(found.at(T0 - NS).position, found.at(T0).position)


def test_a_plan_must_be_longer_than_the_ramp() -> None:
    plan = constant_speed_plan(0.01, seconds=0.1)
    assert path_stop(plan, T0, LIMITS) is plan
    longer = constant_speed_plan(0.01, seconds=0.1001)
    assert isinstance(path_stop(longer, T0, LIMITS), PathStop)


def peaks(stop: PathStop, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest |acceleration| and |jerk| of each joint at some instants, the jerk from differences over 2 us."""
    step, extremes = 1000, []
    for u in np.linspace(0.0, 1.0, count):
        t = int(stop.start_ns + u * stop.ramp_ns)
        before, after = max(t - step, stop.start_ns), min(t + step, stop.end_ns)
        jerk = (stop.at(after).acceleration - stop.at(before).acceleration) * NS / (after - before)
        extremes.append((np.abs(stop.at(t).acceleration), np.abs(jerk)))
    return tuple(np.max(rows, axis=0) for rows in zip(*extremes, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_permitted_ramps_match_the_peaks_of_the_stops(seed: int) -> None:
    """Limits slightly above the peaks permit a stop; a limit slightly below, of one joint and quantity, refuses it."""
    plan, loose = random_plan(rng_of(seed), joints=2), np.full(2, 1e9)
    now = plan.start_ns + 10_000_000
    for ramp_ns in RAMPS_NS[::2]:
        a, j = peaks(PathStop(plan, now, int(ramp_ns)), 17)

        shares = [((1.001, 1.001), (1.01, 1.01), True)]
        shares += [((0.998, 1.01), (1.01, 1.01), False), ((1.01, 0.998), (1.01, 1.01), False)]
        shares += [((1.01, 1.01), (0.98, 1.01), False), ((1.01, 1.01), (1.01, 0.98), False)]
        for of_a, of_j, permitted in shares:
            robot = Limits(names(2), -loose, loose, loose, of_a * a / 0.99, of_j * j / 0.99)
            assert module._permitted(plan, now, np.array([ramp_ns]), 17, robot).tolist() == [permitted]


def test_the_limit_fraction_is_inclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tested with the fraction 0, the only one that is exact in floating point."""
    monkeypatch.setattr(module, "LIMIT_FRACTION", 0.0)
    still = Plan.hold(LIMITS.joints, np.zeros(1), T0)
    assert module._permitted(still, T0, RAMPS_NS, 33, LIMITS).all()


def test_the_knots_of_a_path_stop_are_even_knots_and_knots_of_the_plan() -> None:
    """In 0.8 s the stop advances by 0.4 s of the plan; plan knots exactly at its start and end are not included."""
    offsets = np.array([0, 300_000_000, 300_000_001, 310_000_000, 450_000_000, 500_000_000, 700_000_000, 3 * NS])
    p = np.zeros((len(offsets), 1))
    stop = PathStop(Plan(LIMITS.joints, T0, offsets, p, p, p), T0 + 300_000_000, 800_000_000)
    knots = stop.knots_ns
    assert (np.diff(knots) >= 0).all()
    even = stop.start_ns + np.arange(25) * (800_000_000 // 24)
    assert all(np.abs(knots - k).min() <= 20 for k in even)
    u = (knots - stop.start_ns) / stop.ramp_ns
    along = 300_000_000 + stop.ramp_ns * (u - u**3 + u**4 / 2)
    assert all(np.abs(along - k).min() <= 500 for k in offsets[2:6])
    assert len(knots) == 25 + 4


def test_the_knots_of_a_brake_are_its_jerk_changes() -> None:
    two = arm_limits(2)
    found = brake(State(np.zeros(2), np.array([0.5, 2.0]), np.zeros(2)), T0, two)
    quick = np.sqrt(0.5 / 150.0)
    changes = [0.0, quick, quick, 2 * quick, 1 / 15, 1 / 5, 1 / 5 + 1 / 15, 1 / 5 + 1 / 15]
    assert found.knots_ns - T0 == pytest.approx(np.sort(changes) * 1e9, abs=3)
    assert (found.knots_ns[0], found.knots_ns[-1]) == (T0, found.end_ns)


@pytest.mark.parametrize(("v", "a", "j"), [(0.15, 10.0, 60.0), (0.6, 10.0, 60.0), (0.9, 10.0, 10.0), (3.6, 10.0, 10.0)])
def test_a_brake_ends_at_rest_to_the_last_bit(v: float, a: float, j: float) -> None:
    """Also a joint that stops before the others, where summation would leave a velocity of 1e-17."""
    one = np.ones(2)
    soft = Limits(names(2), -9.0 * one, 9.0 * one, 9.0 * one, a * one, j * one)
    for velocity in (np.array([v, v]), np.array([v, 2 * v])):
        found = brake(State(np.zeros(2), velocity, np.zeros(2)), 0, soft)
        first = int(np.ceil(found.durations.sum(axis=0).min() * NS))
        for t, joints in ((found.end_ns, slice(0, 2)), (first + 1000, slice(0, 1))):
            assert not found.at(t).velocity[joints].any()
            assert not found.at(t).acceleration[joints].any()


@pytest.mark.parametrize(
    ("v", "a", "seconds"),
    [
        (0.0, 0.0, 0.0),
        (0.5, 0.0, 2 * np.sqrt(0.5 / 150.0)),  # jerk phases only
        (2.0, 0.0, 2.0 / 10.0 + 10.0 / 150.0),  # reaches 10 rad/s^2
        (-2.0, 0.0, 2.0 / 10.0 + 10.0 / 150.0),
        (0.0, 10.0, 10.0 / 150.0 * (1 + np.sqrt(2.0))),
        (0.0, -10.0, 10.0 / 150.0 * (1 + np.sqrt(2.0))),
        (10.0**2 / (2 * 150.0), -10.0, 10.0 / 150.0),  # returning the acceleration to zero is sufficient
        (0.00091875, -0.525, 0.525 / 150.0),  # the same, although rounding leaves a small velocity
    ],
)
def test_duration_of_a_brake(v: float, a: float, seconds: float) -> None:
    found = brake(State(np.zeros(1), np.array([v]), np.array([a])), T0, LIMITS)
    assert found.durations.sum() == pytest.approx(seconds, abs=1e-9)
    assert found.end_ns - T0 == pytest.approx(seconds * 1e9, abs=2)
    assert found.at(T0 - NS).velocity[0] == v


STARTS = [(1.5, 0.0), (1.0, 6.0), (-1.0, 6.0), (0.2, -8.0), (-0.3, -3.0), (0.0, 4.0), (0.0292, -3.0)]


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize(("v", "a"), STARTS)
def test_a_brake_is_nearly_at_rest_just_before_its_end(v: float, a: float, side: float) -> None:
    found = brake(State(np.zeros(1), np.array([side * v]), np.array([side * a])), T0, LIMITS)
    before = found.at(found.end_ns - 1000)
    assert abs(before.velocity[0]) <= 1e-9
    assert abs(before.acceleration[0]) <= 1e-3


@pytest.mark.parametrize("pose", [-1.8, 1.8])
def test_a_brake_at_the_end_of_the_range_is_inside(pose: float) -> None:
    assert isinstance(emergency(Plan.hold(LIMITS.joints, np.array([pose]), T0), T0, LIMITS), Brake)


@pytest.mark.parametrize(("v", "a"), STARTS)
def test_the_position_range_of_a_brake_includes_its_extrema(v: float, a: float) -> None:
    start = State(np.array([0.1]), np.array([v]), np.array([a]))
    found = brake(start, T0, LIMITS)
    lower, upper = found.position_range()
    times = T0 + np.arange(0, found.end_ns - T0 + 200_000, 100_000)
    path = np.array([found.at(int(t)).position[0] for t in times])
    assert lower[0] == pytest.approx(path.min(), abs=2e-7)
    assert upper[0] == pytest.approx(path.max(), abs=2e-7)


@pytest.mark.parametrize("joint", [0, 1])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_one_joint_that_would_leave_its_range_makes_the_stop_a_path_stop(joint: int, side: float) -> None:
    two = arm_limits(2)
    p, v = np.zeros((2, 2)), np.zeros((2, 2))
    p[:, joint], v[0, joint] = side * np.array([1.70, 1.79]), side * 0.6
    plan = Plan(two.joints, T0, np.array([0, NS // 2]), p, v, np.zeros((2, 2)))
    soft = Limits(two.joints, two.lower, two.upper, two.velocity, two.acceleration, np.full(2, 3.0))
    assert not isinstance(emergency(plan, T0, soft), Brake)
    assert isinstance(emergency(plan, T0, two), Brake)
