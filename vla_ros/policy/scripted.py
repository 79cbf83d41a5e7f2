"""The simulator's scripted expert as a policy: it reads the ground truth instead of camera images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Chunk, Observation
from vla_ros.policy.base import Policy, PolicyContext, TargetPath, policies
from vla_ros.policy.real_time_chunking import CommittedPrefix


class ScriptedPolicy(Policy):
    """Chunks from the expert's target path. Needs no camera."""

    needs_ground_truth: ClassVar[bool] = True

    def __init__(self, joints: Sequence[str], path: TargetPath, waypoints: int = 32, dt_s: float = 0.05) -> None:
        """Sample `path` at `waypoints` instants, `dt_s` [s] apart, the first one `dt_s` after the observation.

        Args:
            joints: Names, in the order of the columns of `path`.
            path: Targets from the ground truth.
            waypoints: Rows of a chunk.
            dt_s: Their period [s].
        """
        self.joints = tuple(joints)
        self._path, self._waypoints, self._dt_s = path, waypoints, dt_s

    def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
        """See `Policy.infer`."""
        targets = self._path(observation, self._waypoints, self._dt_s)
        return Chunk.from_rate(observation.stamp_ns, self.joints, targets, self._dt_s)


@policies.register("expert")
def make_scripted(context: PolicyContext) -> Policy:
    """Make the expert from `context.ground_truth`.

    Raises:
        ConfigError: There is no ground truth: outside the simulator.
    """
    if context.ground_truth is None:
        raise ConfigError('policy "expert" needs the ground truth of the simulator.')
    return ScriptedPolicy(context.need_joints("expert"), context.ground_truth)
