"""What keeps an arm from being armed, and what does not."""

import numpy as np
import pytest
from core.draw import T0, arm_limits
from safety.watching import sample

from vla_ros.safety.arming import pose_to_arm_in
from vla_ros.safety.fault_rules import Fault
from vla_ros.safety.monitors import Watch, WatchConfig

LIMITS = arm_limits(3)


def asked(pose: list[float], *faults: str) -> np.ndarray | str:
    watch = Watch(LIMITS, WatchConfig())
    assert watch.joint_state(sample(np.array(pose), T0), T0, None) is None
    return pose_to_arm_in(LIMITS, watch, [Fault(name, name) for name in faults], None, 0.2)


def test_a_warning_does_not_keep_an_arm_from_being_armed_and_the_first_that_is_more_is_the_reason() -> None:
    assert not isinstance(asked([0.0, 0.0, 0.0], "no_plan", "tracking_high"), str)
    assert asked([0.0, 0.0, 0.0], "no_plan", "deadman", "clock") == "deadman"


@pytest.mark.parametrize("pose", [[1.8, -1.8, 0.0], [-1.8, 1.8, 1.8]])
def test_at_the_very_end_of_its_range_it_may_be_armed(pose: list[float]) -> None:
    np.testing.assert_array_equal(asked(pose), pose)


@pytest.mark.parametrize(
    ("pose", "worst"),
    [
        ([1.81, 0.0, 0.0], "joint_0 is at 1.8100"),
        ([0.0, 0.0, -1.801], "joint_2 is at -1.8010"),
        ([1.81, 0.0, -1.95], "joint_2 is at -1.9500"),
        ([1.95, 0.0, -1.81], "joint_0 is at 1.9500"),
    ],
)
def test_the_joint_that_is_farthest_outside_is_named(pose: list[float], worst: str) -> None:
    assert asked(pose) == f"{worst} rad, outside -1.8000 to 1.8000; move it inside by hand"


def test_nothing_measured_is_no_pose() -> None:
    assert pose_to_arm_in(LIMITS, Watch(LIMITS, WatchConfig()), [], None, 0.2) == "no joint state yet"
