"""A policy that stays where it is: for tests, and for a robot that must only be watched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.core.records import Chunk, Observation, reorder
from vla_ros.policy.base import policy


@policy("hold")
class HoldPolicy:
    """Every waypoint is the measured position.

    Attributes:
        joints: Names it commands.
        cameras: None needed.
    """

    def __init__(self, joints: Sequence[str], waypoints: int = 8, dt_s: float = 0.05) -> None:
        """Hold `joints` for `waypoints` times `dt_s` [s]."""
        self.joints, self.cameras = tuple(joints), ()
        self._waypoints, self._dt_s = waypoints, dt_s

    def infer(self, observation: Observation) -> Chunk:
        """See `Policy.infer`."""
        order = reorder(observation.joints, self.joints, "the observation")
        held = np.tile(observation.positions[order], (self._waypoints, 1))
        return Chunk.from_rate(observation.stamp_ns, self.joints, held, self._dt_s)

    def reset(self) -> None:
        """Nothing to forget."""
