"""Monitors that have received a joint state, and the names of their faults."""

from __future__ import annotations

import numpy as np
from core.generators import T0, arm_limits

from vla_ros.core.records import JointState
from vla_ros.safety.monitors import MonitorConfig, Monitors

MS = 1_000_000
LIMITS = arm_limits(3)
START = np.array([0.3, -0.2, 0.1])
STEP = 10 * MS


def sample(pose: np.ndarray, stamp_ns: int, velocity: np.ndarray | float | None = 0.0) -> JointState:
    velocities = None if velocity is None else np.broadcast_to(velocity, pose.shape)
    return JointState(stamp_ns, LIMITS.joints, pose, velocities)


def with_joint_state(config: MonitorConfig | None = None, now: int = T0) -> Monitors:
    monitors = Monitors(LIMITS, config or MonitorConfig())
    assert monitors.joint_state(sample(START, now), now, None) is None
    return monitors


def fault_names(monitors: Monitors, now: int, running: bool = False) -> list[str]:
    return [fault.name for fault in monitors.faults(now, running)]
