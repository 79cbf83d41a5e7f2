"""A trajectory controller as ros2_control's: it goes on by itself, and after the last point it stays.

As joint_trajectory_controller with `interpolate_from_desired_state: true` does (its doc/trajectory.rst): a new one
replaces the one in force at once; points already past are dropped; from where the arm is told to be
now a quintic leads to the first point that is left.
"""

from __future__ import annotations

import numpy as np

from vla_ros.core.records import Array
from vla_ros.core.trajectory import Plan


class Follower:
    """One trajectory, sampled as time goes on."""

    def __init__(self, joints: tuple[str, ...], position: Array) -> None:
        """Stay at `position`, shape (J,) [rad]."""
        self._joints = joints
        self._plan = Plan.hold(joints, position, 0)

    def take(self, plan: Plan, now_ns: int) -> None:
        """Follow another trajectory from `now_ns` on.

        Raises:
            ValueError: It names other joints, lies in the past, or ends in motion; the one in force goes on.
        """
        if plan.joints != self._joints:
            raise ValueError(f"a trajectory names {', '.join(self._joints)}, in this order.")
        if plan.end_ns <= now_ns:
            raise ValueError(f"the trajectory ended {(now_ns - plan.end_ns) / 1e9:.3f} s ago.")
        if plan.velocities[-1].any():
            raise ValueError("a trajectory ends at velocity 0.")
        left = plan.knots_ns > now_ns
        before = self._plan.at(now_ns)
        self._plan = Plan(
            self._joints,
            now_ns,
            np.concatenate([[0], plan.knots_ns[left] - now_ns]),
            np.vstack([before.position, plan.positions[left]]),
            np.vstack([before.velocity, plan.velocities[left]]),
            np.vstack([before.acceleration, plan.accelerations[left]]),
        )

    def at(self, now_ns: int) -> Array:
        """Where the arm is told to be, shape (J,) [rad]."""
        return self._plan.at(now_ns).position
