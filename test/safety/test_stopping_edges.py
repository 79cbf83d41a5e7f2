"""The constants of a stop, and the longest and shortest ramps there are."""

import numpy as np
import pytest
from core.draw import T0, any_plan, arm_limits, names, rng_of

from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan, State
from vla_ros.safety import stopping as module
from vla_ros.safety.stopping import RAMPS_NS, Brake, PathStop, brake, emergency, path_stop

LIMITS = arm_limits(1)


def test_the_constants_are_changed_here_or_not_at_all() -> None:
    assert RAMPS_NS.tolist() == [ms * 1_000_000 for ms in (100, 140, 200, 280, 400, 560, 800, 1100, 1600, 2200, 3200)]
    assert (module.ROUGH, module.SAMPLE_NS, module.PIECES, module.MARGIN) == (33, 2_000_000, 24, 0.99)


def cruise(speed: float, seconds: float = 6.0) -> Plan:
    """At constant speed, and an end that is not looked at."""
    p = np.array([[-0.9], [-0.9 + speed * seconds]])
    return Plan(LIMITS.joints, T0, np.array([0, int(seconds * NS)]), p, np.full((2, 1), speed), np.zeros((2, 1)))


def quickest(speed: float, limits: Limits) -> float:
    """The shortest ramp of the table that keeps acceleration and jerk, from the formula [s]."""
    for ramp in RAMPS_NS / 1e9:
        a, j = 1.5 * speed / ramp, 6.0 * speed / ramp**2
        if a <= 0.99 * limits.acceleration[0] and j <= 0.99 * limits.jerk[0]:
            return float(ramp)
    raise AssertionError


@pytest.mark.parametrize("speed", [0.01, 0.05, 0.1, 0.24, 0.3, 0.6, 0.9, 1.2, 1.6, 2.0])
def test_from_cruise_the_ramp_is_the_shortest_that_keeps_the_limits(speed: float) -> None:
    """On a slowing clock u - u^3 + u^4/2 the rate falls by at most 1.5 / T, and that by at most 6 / T^2."""
    found = path_stop(cruise(speed), T0, LIMITS)
    assert isinstance(found, PathStop)
    assert found.ramp_ns / 1e9 == quickest(speed, LIMITS)
    assert found.start_ns == T0
    assert found.end_ns == T0 + found.ramp_ns


def test_on_the_way_to_rest_it_goes_half_as_far_as_at_full_speed() -> None:
    found = path_stop(cruise(1.0), T0, LIMITS)
    ramp = found.ramp_ns / 1e9
    assert found.at(found.end_ns).position[0] == pytest.approx(-0.9 + ramp / 2)
    half = found.at(T0 + found.ramp_ns // 2)
    assert half.velocity[0] == pytest.approx(0.5)
    assert half.acceleration[0] == pytest.approx(-1.5 / ramp)
    assert half.position[0] == pytest.approx(-0.9 + ramp * (0.5 - 0.125 + 0.03125))
    np.testing.assert_array_equal(found.at(T0 - NS).position, found.at(T0).position)


def test_a_plan_must_outlast_the_ramp() -> None:
    plan = cruise(0.01, seconds=0.1)
    assert path_stop(plan, T0, LIMITS) is plan
    longer = cruise(0.01, seconds=0.1001)
    assert isinstance(path_stop(longer, T0, LIMITS), PathStop)


def peaks(stop: PathStop, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest |acceleration| and |jerk| of each joint at some instants, the jerk from differences over 2 us."""
    step, most = 1000, []
    for u in np.linspace(0.0, 1.0, count):
        t = int(stop.start_ns + u * stop.ramp_ns)
        before, after = max(t - step, stop.start_ns), min(t + step, stop.end_ns)
        jerk = (stop.at(after).acceleration - stop.at(before).acceleration) * NS / (after - before)
        most.append((np.abs(stop.at(t).acceleration), np.abs(jerk)))
    return tuple(np.max(rows, axis=0) for rows in zip(*most, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_which_ramps_are_permitted_is_what_the_stops_themselves_show(seed: int) -> None:
    """Limits a little above what a stop needs permit it, and a little below of one joint and quantity refuse it."""
    plan, loose = any_plan(rng_of(seed), joints=2), np.full(2, 1e9)
    now = plan.start_ns + 10_000_000
    for ramp_ns in RAMPS_NS[::2]:
        a, j = peaks(PathStop(plan, now, int(ramp_ns)), 17)

        shares = [((1.001, 1.001), (1.01, 1.01), True)]
        shares += [((0.998, 1.01), (1.01, 1.01), False), ((1.01, 0.998), (1.01, 1.01), False)]
        shares += [((1.01, 1.01), (0.98, 1.01), False), ((1.01, 1.01), (1.01, 0.98), False)]
        for of_a, of_j, kept in shares:
            robot = Limits(names(2), -loose, loose, loose, of_a * a / 0.99, of_j * j / 0.99)
            assert module._permitted(plan, now, np.array([ramp_ns]), 17, robot).tolist() == [kept]


def test_a_ramp_that_uses_all_it_may_is_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit; nothing is the one part of a limit that is known to the last bit."""
    monkeypatch.setattr(module, "MARGIN", 0.0)
    still = Plan.hold(LIMITS.joints, np.zeros(1), T0)
    assert module._permitted(still, T0, RAMPS_NS, 33, LIMITS).all()


def test_the_knots_of_a_path_stop_are_even_and_where_those_of_the_plan_are_passed() -> None:
    """In 0.8 s it comes 0.4 s far; where it begins and where it ends no knot of the plan is passed."""
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


def test_the_knots_of_a_brake_are_where_the_jerk_of_a_joint_changes() -> None:
    two = arm_limits(2)
    found = brake(State(np.zeros(2), np.array([0.5, 2.0]), np.zeros(2)), T0, two)
    quick = np.sqrt(0.5 / 150.0)
    changes = [0.0, quick, quick, 2 * quick, 1 / 15, 1 / 5, 1 / 5 + 1 / 15, 1 / 5 + 1 / 15]
    assert found.knots_ns - T0 == pytest.approx(np.sort(changes) * 1e9, abs=3)
    assert (found.knots_ns[0], found.knots_ns[-1]) == (T0, found.end_ns)


@pytest.mark.parametrize(("v", "a", "j"), [(0.15, 10.0, 60.0), (0.6, 10.0, 60.0), (0.9, 10.0, 10.0), (3.6, 10.0, 10.0)])
def test_at_its_end_a_brake_stands_to_the_last_bit(v: float, a: float, j: float) -> None:
    """Also a joint that is there before the others, whose sums would leave a rest of 1e-17."""
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
        (0.5, 0.0, 2 * np.sqrt(0.5 / 150.0)),  # jerk alone, there and back
        (2.0, 0.0, 2.0 / 10.0 + 10.0 / 150.0),  # reaches 10 rad/s^2
        (-2.0, 0.0, 2.0 / 10.0 + 10.0 / 150.0),
        (0.0, 10.0, 10.0 / 150.0 * (1 + np.sqrt(2.0))),
        (0.0, -10.0, 10.0 / 150.0 * (1 + np.sqrt(2.0))),
        (10.0**2 / (2 * 150.0), -10.0, 10.0 / 150.0),  # letting go is enough
        (0.00091875, -0.525, 0.525 / 150.0),  # there too, though rounding leaves something to brake
    ],
)
def test_how_long_a_brake_takes(v: float, a: float, seconds: float) -> None:
    found = brake(State(np.zeros(1), np.array([v]), np.array([a])), T0, LIMITS)
    assert found.durations.sum() == pytest.approx(seconds, abs=1e-9)
    assert found.end_ns - T0 == pytest.approx(seconds * 1e9, abs=2)
    assert found.at(T0 - NS).velocity[0] == v


STARTS = [(1.5, 0.0), (1.0, 6.0), (-1.0, 6.0), (0.2, -8.0), (-0.3, -3.0), (0.0, 4.0), (0.0292, -3.0)]


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize(("v", "a"), STARTS)
def test_a_brake_is_all_but_at_rest_before_it_says_so(v: float, a: float, side: float) -> None:
    found = brake(State(np.zeros(1), np.array([side * v]), np.array([side * a])), T0, LIMITS)
    before = found.at(found.end_ns - 1000)
    assert abs(before.velocity[0]) <= 1e-9
    assert abs(before.acceleration[0]) <= 1e-3


@pytest.mark.parametrize("pose", [-1.8, 1.8])
def test_at_the_very_end_of_its_range_a_brake_is_inside(pose: float) -> None:
    assert isinstance(emergency(Plan.hold(LIMITS.joints, np.array([pose]), T0), T0, LIMITS), Brake)


@pytest.mark.parametrize(("v", "a"), STARTS)
def test_a_brake_knows_its_turning_points(v: float, a: float) -> None:
    start = State(np.array([0.1]), np.array([v]), np.array([a]))
    found = brake(start, T0, LIMITS)
    least, greatest = found.reach()
    times = T0 + np.arange(0, found.end_ns - T0 + 200_000, 100_000)
    path = np.array([found.at(int(t)).position[0] for t in times])
    assert least[0] == pytest.approx(path.min(), abs=2e-7)
    assert greatest[0] == pytest.approx(path.max(), abs=2e-7)


@pytest.mark.parametrize("joint", [0, 1])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_one_joint_that_cannot_be_braked_inside_its_range_keeps_all_on_the_path(joint: int, side: float) -> None:
    two = arm_limits(2)
    p, v = np.zeros((2, 2)), np.zeros((2, 2))
    p[:, joint], v[0, joint] = side * np.array([1.70, 1.79]), side * 0.6
    plan = Plan(two.joints, T0, np.array([0, NS // 2]), p, v, np.zeros((2, 2)))
    soft = Limits(two.joints, two.lower, two.upper, two.velocity, two.acceleration, np.full(2, 3.0))
    assert not isinstance(emergency(plan, T0, soft), Brake)
    assert isinstance(emergency(plan, T0, two), Brake)
