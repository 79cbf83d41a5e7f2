"""The simulator's expert as a policy: the same interface, but it is told the truth instead of looking."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vla_ros.core.records import Array, Chunk, Observation
from vla_ros.policy.base import policy

Truth = Callable[[Observation, int, float], Array]
"""(observation, waypoints K, dt [s]) -> absolute targets, shape (K, J) [rad]."""


@policy("expert")
class ExpertPolicy:
    """Asks `truth` where to go.

    Attributes:
        joints: Names it commands, in the order of what `truth` returns.
        cameras: None needed.
    """

    def __init__(self, joints: Sequence[str], truth: Truth, waypoints: int = 32, dt_s: float = 0.05) -> None:
        """Ask for `waypoints` targets, `dt_s` [s] apart, the first one `dt_s` after the observation."""
        self.joints, self.cameras = tuple(joints), ()
        self._truth, self._waypoints, self._dt_s = truth, waypoints, dt_s

    def infer(self, observation: Observation) -> Chunk:
        """See `Policy.infer`."""
        targets = self._truth(observation, self._waypoints, self._dt_s)
        return Chunk.from_rate(observation.stamp_ns, self.joints, targets, self._dt_s)

    def reset(self) -> None:
        """Nothing to forget here; the expert itself is closed-loop on the state."""
