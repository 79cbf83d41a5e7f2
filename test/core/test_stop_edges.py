"""The constants of a stop, and the longest and shortest ramps there are."""

import numpy as np
import pytest
from core.draw import T0, arm_limits

from vla_ros.core import stop as module
from vla_ros.core.plan import Plan, State
from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.stop import RAMPS_NS, Brake, PathStop, brake, emergency, path_stop

LIMITS = arm_limits(1)


def test_the_constants_are_changed_here_or_not_at_all() -> None:
    assert RAMPS_NS.tolist() == [ms * 1_000_000 for ms in (100, 140, 200, 280, 400, 560, 800, 1100, 1600, 2200, 3200)]
    assert (module.ROUGH, module.SAMPLE_NS, module.MARGIN) == (33, 2_000_000, 0.99)


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
    ],
)
def test_how_long_a_brake_takes(v: float, a: float, seconds: float) -> None:
    found = brake(State(np.zeros(1), np.array([v]), np.array([a])), T0, LIMITS)
    assert found.durations.sum() == pytest.approx(seconds, abs=1e-9)
    assert found.end_ns - T0 == pytest.approx(seconds * 1e9, abs=2)
    assert found.at(T0 - NS).velocity[0] == v


@pytest.mark.parametrize(("v", "a"), [(1.5, 0.0), (1.0, 6.0), (-1.0, 6.0), (0.2, -8.0), (-0.3, -3.0), (0.0, 4.0)])
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
