"""Metrics of one episode besides success: inferences, control steps, jerk of chunks and commands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.core.records import Array, Chunk

PERIOD_S = 0.01
"""Period of the commands in an episode [s]."""
STEP_S = 0.05
"""Default control step, and sampling period for the jerk of curve chunks [s]."""
GRIPPERS = ("gripper",)
"""Joints left out of the arm's jerk: a command to open or close is a step."""


def chunk_jerk(chunk: Chunk) -> Array:
    """Maximum absolute jerk of a chunk's waypoints per joint, shape (J,) [rad/s^3]; 0 for fewer than four waypoints.

    It is six times the third divided difference, which for equal periods is the third difference over dt^3.
    """
    t, rows = chunk.offsets_s, chunk.positions
    if len(t) < 4:
        return np.zeros(rows.shape[1])
    for order in (1, 2, 3):
        rows = np.diff(rows, axis=0) / (t[order:] - t[:-order])[:, None]
    jerk: Array = 6.0 * np.abs(rows).max(axis=0)
    return jerk


class EpisodeMetrics:
    """Accumulates the metrics of one episode.

    Attributes:
        inferences: Number of requested chunks.
        steps: Number of executed control steps.
        inference_s: Wall time of each inference [s].
        max_chunk_jerk: Maximum jerk of any chunk, shape (J,) [rad/s^3].
        max_command_jerk: Maximum jerk of the commands including handovers, shape (J,) [rad/s^3]: third differences at
            100 Hz, which average the derivative and therefore never exceed its maximum.
    """

    def __init__(self, joints: Sequence[str]) -> None:
        """Start with zero counts."""
        self.joints = tuple(joints)
        self.inferences, self.steps = 0, 0
        self.inference_s: list[float] = []
        self.max_chunk_jerk, self.max_command_jerk = np.zeros(len(self.joints)), np.zeros(len(self.joints))
        self._last_commands: list[Array] = []

    def add_chunk(self, chunk: Chunk) -> None:
        """Count a chunk."""
        self.inferences += 1
        self.max_chunk_jerk = np.maximum(self.max_chunk_jerk, chunk_jerk(chunk))

    def add_command(self, command: Array) -> None:
        """Add a command, shape (J,) [rad], one every `PERIOD_S`."""
        self._last_commands = [*self._last_commands[-3:], command]
        if len(self._last_commands) == 4:
            jerk = np.abs(np.diff(self._last_commands, n=3, axis=0)[0]) / PERIOD_S**3
            self.max_command_jerk = np.maximum(self.max_command_jerk, jerk)

    def by_joint(self, values: Array) -> dict[str, float]:
        """Joint name to value, rounded to three decimals."""
        return {name: round(float(v), 3) for name, v in zip(self.joints, values, strict=True)}
