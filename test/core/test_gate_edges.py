"""The gate at the very edge of what it lets pass."""

import numpy as np
import pytest
from core.draw import T0, arm_limits

from vla_ros.core.gate import POSITION_ROUNDING, SPEED_ROUNDING, Command, may_be_sent
from vla_ros.core.plan import State

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
