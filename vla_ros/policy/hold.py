"""A policy that holds the measured position: for tests, and for a robot that must not move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.core.records import Chunk, Observation, reorder
from vla_ros.policy.base import Policy, policy
from vla_ros.policy.real_time_chunking import CommittedPrefix


@policy("hold")
class HoldPolicy(Policy):
    """Every waypoint is the measured position. Needs no camera."""

    def __init__(self, joints: Sequence[str], waypoints: int = 8, dt_s: float = 0.05) -> None:
        """Hold `joints`; a chunk has `waypoints` rows with a period of `dt_s` [s]."""
        self.joints = tuple(joints)
        self._waypoints, self._dt_s = waypoints, dt_s

    def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
        """See `Policy.infer`."""
        order = reorder(observation.joints, self.joints, "the observation")
        held = np.tile(observation.positions[order], (self._waypoints, 1))
        return Chunk.from_rate(observation.stamp_ns, self.joints, held, self._dt_s)
