"""What keeps an arm from being armed, the pose it is armed in, and what an operator is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_ros.core.records import Array
from vla_ros.core.robot import Limits
from vla_ros.safety.fault_rules import Action, Fault
from vla_ros.safety.gate import Command
from vla_ros.safety.monitors import Watch


@dataclass(frozen=True)
class Answer:
    """What an operator's request was answered with."""

    ok: bool
    text: str


def pose_to_arm_in(
    limits: Limits, watch: Watch, faults: Sequence[Fault], last: Command | None, tolerance: float
) -> Array | str:
    """The pose in which an arm may be armed, or what keeps it from being armed.

    Args:
        limits: The robot's; the pose must be inside.
        watch: What is measured.
        faults: Those present; one that is more than a warning keeps the arm from being armed.
        last: The last command since a reset: the arm is armed where it is held.
        tolerance: Largest distance of the measured pose from that [rad].

    Returns:
        The pose, shape (J,) [rad], or half a sentence.
    """
    measured = watch.measured
    present = next((f for f in faults if f.rule.action > Action.WARN), None)
    if present:
        return present.detail
    if measured is None:
        return "no joint state yet"
    if not watch.resting:
        return f"the arm moves at {watch.speed.max():.2f} rad/s"
    pose = last.state.position if last else measured.positions
    if not (np.abs(pose - measured.positions) <= tolerance).all():
        return "the arm is not where it was last commanded; reset first"
    if not ((limits.lower <= pose) & (pose <= limits.upper)).all():
        worst = int(np.argmax(np.maximum(limits.lower - pose, pose - limits.upper)))
        return (
            f"{limits.joints[worst]} is at {pose[worst]:.4f} rad, outside "
            f"{limits.lower[worst]:.4f} to {limits.upper[worst]:.4f}; move it inside by hand"
        )
    return pose
