"""The gate at the very edge of what it lets pass."""

import numpy as np
import pytest
from core.draw import T0, arm_limits

from vla_ros.core.records import NS
from vla_ros.core.trajectory import Plan, State
from vla_ros.safety.gate import POSITION_ROUNDING, SPEED_ROUNDING, Command, may_be_sent, proved, timely

LIMITS = arm_limits(1)
MS = 1_000_000


def at(p: float, v: float = 0.0, ms: int = 0) -> Command:
    return Command(T0 + ms * MS, State(np.array([p]), np.array([v]), np.zeros(1)))


@pytest.mark.parametrize(
    ("step", "ms", "sent"),
    [
        (0.0040, 2, True),
        (0.0040045, 2, True),  # 2 rad/s for 2 ms, a thousandth more, and rounding
        (0.0040055, 2, False),
        (POSITION_ROUNDING, 0, True),
        (-POSITION_ROUNDING, 0, True),
        (1.001 * POSITION_ROUNDING, 0, False),
    ],
)
def test_how_far_a_command_may_lie_from_the_one_before(step: float, ms: int, sent: bool) -> None:
    assert may_be_sent(at(step, ms=ms), at(0.0), LIMITS) is sent


@pytest.mark.parametrize(("p", "v"), [(1.8 + 2e-6, 0.0), (-1.8 - 2e-6, 0.0), (0.0, 2.01), (0.0, -2.01)])
def test_near_the_one_before_is_not_enough(p: float, v: float) -> None:
    assert not may_be_sent(at(p, v), at(p, v), LIMITS)


def test_what_counts_as_rounding() -> None:
    assert (POSITION_ROUNDING, SPEED_ROUNDING) == (1e-6, 1.001)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_what_is_granted_to_rounding_is_granted_to_the_last_bit(side: float) -> None:
    p, v = side * (1.8 + POSITION_ROUNDING), side * 2.0 * SPEED_ROUNDING
    assert may_be_sent(at(p, v), None, LIMITS)
    assert may_be_sent(at(p, v), at(p, v), LIMITS)
    assert not may_be_sent(at(np.nextafter(p, 9.0 * side)), None, LIMITS)
    assert not may_be_sent(at(0.0, np.nextafter(v, 9.0 * side)), None, LIMITS)


@pytest.mark.parametrize(
    ("wait_ns", "reason"), [(-NS // 4, None), (-NS // 4 - 1, "late"), (NS // 2, None), (NS // 2 + 1, "early")]
)
def test_as_late_and_as_early_as_is_granted_is_timely(wait_ns: int, reason: str | None) -> None:
    refusal = timely(Plan.hold(LIMITS.joints, np.zeros(1), T0 + wait_ns), LIMITS, T0, None, 0.25, 0.5)
    assert (refusal and refusal.reason) == reason


@pytest.mark.parametrize(("after_ns", "taken"), [(0, False), (1, True)])
def test_a_plan_begins_after_the_last_command(after_ns: int, taken: bool) -> None:
    plan = Plan.hold(LIMITS.joints, np.zeros(1), T0 + after_ns)
    assert (timely(plan, LIMITS, T0, at(0.0), 0.25, 0.5) is None) is taken


@pytest.mark.parametrize(("pose", "inside"), [((1.8, -1.8), True), ((1.801, 0.0), False), ((0.0, -1.801), False)])
def test_at_the_very_end_of_its_range_an_arm_may_stay_and_beyond_it_not(pose: tuple, inside: bool) -> None:
    two = arm_limits(2)
    refusal = proved(Plan.hold(two.joints, np.array(pose), T0), two)
    assert (refusal is None) is inside
    assert inside or refusal.reason == "limits"


def test_the_reason_is_the_one_of_the_certificate() -> None:
    moving = Plan(LIMITS.joints, T0, np.array([0, NS]), np.zeros((2, 1)), np.array([[0.0], [0.1]]), np.zeros((2, 1)))
    refusal = proved(moving, LIMITS)
    assert refusal is not None
    assert refusal.reason == "not_at_rest"
