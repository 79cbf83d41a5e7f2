"""What a try is measured by beside its success: how often the policy was asked, how rough chunks and commands were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.core.records import Array, Chunk

PERIOD_S = 0.01
"""Between commands in a try [s]."""
STEP_S = 0.05
"""One control step where nothing else is said, and what the jerk of a curve is counted by [s]."""
GRIPPERS = ("gripper",)
"""Joints left out where the roughness of an arm's motion is meant."""


def chunk_jerk(chunk: Chunk) -> Array:
    """Greatest third divided difference of a chunk's waypoints per joint, shape (J,) [rad/s^3]; 0 of fewer than four.

    A third difference over uneven times is six times Newton's; over even ones it is the plain one over dt^3.
    """
    t, rows = chunk.offsets_s, chunk.positions
    if len(t) < 4:
        return np.zeros(rows.shape[1])
    for order in (1, 2, 3):
        rows = np.diff(rows, axis=0) / (t[order:] - t[:-order])[:, None]
    jerk: Array = 6.0 * np.abs(rows).max(axis=0)
    return jerk


class Tally:
    """Counts one try.

    Attributes:
        inferences: Chunks asked for.
        steps: Control steps driven.
        inference_s: Wall time of every inference [s].
        chunk: Greatest jerk of any chunk, shape (J,) [rad/s^3].
        command: Greatest jerk of the commands, hand-overs included, shape (J,) [rad/s^3]: third differences at 100 Hz,
            which are averages of the true derivative and never exceed its greatest value.
    """

    def __init__(self, joints: Sequence[str]) -> None:
        """Begin at nothing."""
        self.joints = tuple(joints)
        self.inferences, self.steps = 0, 0
        self.inference_s: list[float] = []
        self.chunk, self.command = np.zeros(len(self.joints)), np.zeros(len(self.joints))
        self._last: list[Array] = []

    def asked(self, chunk: Chunk) -> None:
        """Take note of a chunk."""
        self.inferences += 1
        self.chunk = np.maximum(self.chunk, chunk_jerk(chunk))

    def sent(self, command: Array) -> None:
        """Take note of a command, shape (J,) [rad], one every `PERIOD_S`."""
        self._last = [*self._last[-3:], command]
        if len(self._last) == 4:
            jerk = np.abs(np.diff(self._last, n=3, axis=0)[0]) / PERIOD_S**3
            self.command = np.maximum(self.command, jerk)

    def named(self, values: Array) -> dict[str, float]:
        """By joint."""
        return {name: round(float(v), 3) for name, v in zip(self.joints, values, strict=True)}
