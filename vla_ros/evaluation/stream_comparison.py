"""Compares two streams of rows: the commands published to the robot and the stamped copies of them."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from vla_ros.core.records import Array

IN_TRANSIT_ROWS = 2000
"""The newest commands whose copies may still be in transit; they are compared with the next part."""

MAX_BUFFERED_COPIES = 100_000
"""Copies without a matching command that are kept; older ones are dropped to bound the memory."""


class StreamComparison:
    """Checks that every command is among the copies, in the same order. Two empty streams match.

    Copies without a command are allowed at both ends: discovery may connect one topic before the other, and one
    stream may end first. Commands that were lost in transport are counted by the caller and are no mismatch: the
    robot's topic has a shorter queue than the copies.

    Attributes:
        copies: Number of copies received.
        commands: Number of commands received.
    """

    def __init__(self, columns: int) -> None:
        """Start with two empty streams; every row has `columns` values."""
        self.copies = self.commands = 0
        self._copies = self._commands = np.zeros((0, columns))
        self._matched = False
        self._mismatches = self._unmatched = 0

    def add(self, copies: Array, commands: Array) -> None:
        """Compare the rows received since the last call.

        Args:
            copies: Shape (n, J).
            commands: Shape (m, J).
        """
        self.copies, self.commands = self.copies + len(copies), self.commands + len(commands)
        self._copies = np.concatenate([self._copies, copies])
        self._commands = np.concatenate([self._commands, commands])
        self._compare(max(0, len(self._commands) - IN_TRANSIT_ROWS))

    def _compare(self, count: int) -> None:
        """Search the first `count` commands among the copies and drop the rows that were compared."""
        indices: dict[bytes, list[int]] = {}
        for k, row in enumerate(self._copies):
            indices.setdefault(row.tobytes(), []).append(k)
        k = 0
        for row in self._commands[:count]:
            equal = indices.get(row.tobytes(), [])
            first = bisect_left(equal, k)
            if first < len(equal):
                k, self._mismatches = equal[first], self._mismatches + (self._unmatched if self._matched else 0)
                self._unmatched, self._matched = 0, True
            else:
                self._unmatched += 1
        self._copies, self._commands = self._copies[k:][-MAX_BUFFERED_COPIES:], self._commands[count:]

    def match(self) -> bool:
        """Whether the streams match; call it once, after the last `add`."""
        if not self.copies and not self.commands:
            return True
        self._compare(len(self._commands))
        return self._matched and not self._mismatches
