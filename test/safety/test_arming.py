"""Preconditions for arming."""

import numpy as np
import pytest
from core.generators import T0, arm_limits
from safety.monitor_helpers import sample

from vla_ros.safety.arming import arming_pose
from vla_ros.safety.fault_rules import Fault
from vla_ros.safety.monitors import MonitorConfig, Monitors

LIMITS = arm_limits(3)


def arming_pose_with(pose: list[float], *faults: str) -> np.ndarray | str:
    monitors = Monitors(LIMITS, MonitorConfig())
    assert monitors.joint_state(sample(np.array(pose), T0), T0, None) is None
    return arming_pose(LIMITS, monitors, [Fault(name, name) for name in faults], None, 0.2)


def test_warnings_do_not_prevent_arming_and_the_first_severe_fault_does() -> None:
    assert not isinstance(arming_pose_with([0.0, 0.0, 0.0], "no_plan", "tracking_error_high"), str)
    assert arming_pose_with([0.0, 0.0, 0.0], "no_plan", "deadman", "clock_jump") == "deadman"


@pytest.mark.parametrize("pose", [[1.8, -1.8, 0.0], [-1.8, 1.8, 1.8]])
def test_arming_at_the_end_of_the_position_range_is_permitted(pose: list[float]) -> None:
    np.testing.assert_array_equal(arming_pose_with(pose), pose)


@pytest.mark.parametrize(
    ("pose", "worst"),
    [
        ([1.81, 0.0, 0.0], "joint_0 is at 1.8100"),
        ([0.0, 0.0, -1.801], "joint_2 is at -1.8010"),
        ([1.81, 0.0, -1.95], "joint_2 is at -1.9500"),
        ([1.95, 0.0, -1.81], "joint_0 is at 1.9500"),
    ],
)
def test_the_joint_farthest_outside_its_range_is_named(pose: list[float], worst: str) -> None:
    assert arming_pose_with(pose) == f"{worst} rad, outside -1.8000 to 1.8000; move it inside by hand"


def test_without_a_measurement_arming_is_refused() -> None:
    assert arming_pose(LIMITS, Monitors(LIMITS, MonitorConfig()), [], None, 0.2) == "no joint state yet"
