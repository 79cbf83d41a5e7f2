"""Emulation of ros2_control's joint_trajectory_controller: samples one trajectory and holds its last point.

It behaves as the controller with `interpolate_from_desired_state: true` (doc/trajectory.rst of
joint_trajectory_controller): a new trajectory replaces the active one immediately, points that are already past are
dropped, and a quintic leads from the current desired state to the first remaining point.
"""

from __future__ import annotations

import numpy as np

from vla_ros.core.records import Array
from vla_ros.core.trajectory import Plan


class TrajectoryControllerEmulator:
    """One active trajectory, sampled by time."""

    def __init__(self, joints: tuple[str, ...], position: Array) -> None:
        """Hold `position`, shape (J,) [rad], until a trajectory is accepted."""
        self._joints = joints
        self._plan = Plan.hold(joints, position, 0)

    def accept(self, plan: Plan, now_ns: int) -> None:
        """Follow `plan` from `now_ns` on.

        Raises:
            ValueError: The plan has other joints, lies in the past, or ends with nonzero velocity; the active
                trajectory is kept.
        """
        if plan.joints != self._joints:
            raise ValueError(f"a trajectory must name the joints {', '.join(self._joints)} in this order.")
        if plan.end_ns <= now_ns:
            raise ValueError(f"the trajectory ended {(now_ns - plan.end_ns) / 1e9:.3f} s ago.")
        if plan.velocities[-1].any():
            raise ValueError("a trajectory must end with velocity 0.")
        remaining = plan.knots_ns > now_ns
        current = self._plan.at(now_ns)
        self._plan = Plan(
            self._joints,
            now_ns,
            np.concatenate([[0], plan.knots_ns[remaining] - now_ns]),
            np.vstack([current.position, plan.positions[remaining]]),
            np.vstack([current.velocity, plan.velocities[remaining]]),
            np.vstack([current.acceleration, plan.accelerations[remaining]]),
        )

    def at(self, now_ns: int) -> Array:
        """Desired joint positions at `now_ns`, shape (J,) [rad]."""
        return self._plan.at(now_ns).position
