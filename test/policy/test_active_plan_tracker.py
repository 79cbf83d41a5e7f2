"""The committed prefix that follows from the active plan and the latency of the policy."""

import numpy as np
import pytest

from vla_ros.config import load_robot
from vla_ros.core.records import NS
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import rest_time_s
from vla_ros.policy.active_plan_tracker import LATENCY_WINDOW, ActivePlanTracker

T0 = 1_700_000_000 * NS
MS = NS // 1000
LIMITS = load_robot("so101").limits


def plan(duration_s: float) -> Plan:
    positions = np.tile((LIMITS.lower + LIMITS.upper) / 2, (2, 1))
    offsets = np.array([0, round(duration_s * NS)])
    return Plan(LIMITS.joints, T0, offsets, positions, *np.zeros((2, 2, len(LIMITS.joints))))


def handover_ns(tracker: ActivePlanTracker) -> int:
    prefix = tracker.committed_prefix(T0)
    assert prefix is not None
    return prefix.handover_ns - T0


def test_there_is_no_prefix_without_a_plan_or_after_its_end() -> None:
    tracker = ActivePlanTracker(LIMITS, 0.05)
    assert tracker.committed_prefix(T0) is None
    tracker.plan = plan(1.0)
    assert tracker.committed_prefix(T0) is not None
    assert tracker.committed_prefix(T0 + NS) is None


def test_the_hand_over_is_expected_after_the_slowest_recent_inference() -> None:
    tracker = ActivePlanTracker(LIMITS, 0.05)
    tracker.plan = plan(60.0)
    assert handover_ns(tracker) == 150 * MS
    tracker.add_latency(300 * MS)
    assert handover_ns(tracker) == 350 * MS
    for _ in range(LATENCY_WINDOW):
        tracker.add_latency(20 * MS)
    assert handover_ns(tracker) == 70 * MS


def test_the_end_of_a_plan_is_free() -> None:
    tracker = ActivePlanTracker(LIMITS, 0.05)
    tracker.plan = plan(0.2 + rest_time_s(LIMITS))
    prefix = tracker.committed_prefix(T0)
    assert prefix is not None
    assert prefix.free_ns == T0 + 200 * MS


@pytest.mark.parametrize(("speed", "expected"), [(0.5, 0.5), (1.0, 1.0), (0.0, 1.0), (1.5, 1.0), (float("nan"), 1.0)])
def test_an_invalid_speed_is_ignored(speed: float, expected: float) -> None:
    tracker = ActivePlanTracker(LIMITS, 0.05)
    tracker.set_speed(speed)
    tracker.plan = plan(60.0)
    prefix = tracker.committed_prefix(T0)
    assert prefix is not None
    assert prefix.speed == expected
