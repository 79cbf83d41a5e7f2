"""Preconditions for arming, the pose in which the arm is armed, and the result of an operator's request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_ros.core.records import Array
from vla_ros.core.robot import Limits
from vla_ros.safety.fault_rules import Action, Fault
from vla_ros.safety.gate import Command
from vla_ros.safety.monitors import Monitors


@dataclass(frozen=True)
class RequestResult:
    """Result of an operator's request, with the fields of a `std_srvs/srv/Trigger` response.

    Attributes:
        success: Whether the request was executed.
        message: What was done, or why the request was refused.
    """

    success: bool
    message: str


def arming_pose(
    limits: Limits, monitors: Monitors, faults: Sequence[Fault], last: Command | None, tolerance_rad: float
) -> Array | str:
    """The pose in which the arm may be armed, or the reason why it may not.

    Args:
        limits: The robot's limits; the pose must be inside the position range.
        monitors: Source of the latest measurement.
        faults: Faults that are present; any fault more severe than a warning prevents arming.
        last: The last command since the last reset, None if there is none. After a stop the arm is armed at this
            command, otherwise at the measured pose.
        tolerance_rad: Maximum deviation of the measured pose from the last command [rad].

    Returns:
        The pose, shape (J,) [rad], or the reason as a clause without a full stop.
    """
    measured = monitors.measured
    present = next((f for f in faults if f.rule.action > Action.WARN), None)
    if present:
        return present.detail
    if measured is None:
        return "no joint state yet"
    if not monitors.at_rest:
        return f"the arm moves at {monitors.joint_speed.max():.2f} rad/s"
    pose = last.state.position if last else measured.positions
    if not (np.abs(pose - measured.positions) <= tolerance_rad).all():
        return "the arm is not at its last commanded pose; reset first"
    if not ((limits.lower <= pose) & (pose <= limits.upper)).all():
        worst = int(np.argmax(np.maximum(limits.lower - pose, pose - limits.upper)))
        return (
            f"{limits.joints[worst]} is at {pose[worst]:.4f} rad, outside "
            f"{limits.lower[worst]:.4f} to {limits.upper[worst]:.4f}; move it inside by hand"
        )
    return pose
