"""Whether two streams of rows say the same: what the robot was told, and the stamped copies of it."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from vla_ros.core.records import Array

UNDER_WAY = 2000
"""Of what the robot was told last, the copies may still come: so many rows are compared with the next part."""

MOST_COPIES = 100_000
"""More copies than this that nobody was told are forgotten: memory is not without end."""


class Agreement:
    """Whether whatever the robot was told is among the copies, in the same order. Silence agrees with silence.

    Discovery may make one topic audible before the other, the end may cut one short, and a robot's topic keeps
    no more than a robot needs, so a busy machine may lose some: those are counted, not held against it.

    Attributes:
        copies: Copies that came.
        told: Rows that the robot was told.
    """

    def __init__(self, columns: int) -> None:
        """Nothing heard yet; every row has `columns` numbers."""
        self.copies = self.told = 0
        self._copies = self._told = np.zeros((0, columns))
        self._matched = False
        self._strays = self._waiting = 0

    def add(self, copies: Array, told: Array) -> None:
        """Compare what came since the last time.

        Args:
            copies: Shape (n, J).
            told: Shape (m, J).
        """
        self.copies, self.told = self.copies + len(copies), self.told + len(told)
        self._copies, self._told = np.concatenate([self._copies, copies]), np.concatenate([self._told, told])
        self._compare(max(0, len(self._told) - UNDER_WAY))

    def _compare(self, count: int) -> None:
        """Look for the first `count` rows told among the copies, and let go of what was compared."""
        places: dict[bytes, list[int]] = {}
        for k, row in enumerate(self._copies):
            places.setdefault(row.tobytes(), []).append(k)
        k = 0
        for row in self._told[:count]:
            known = places.get(row.tobytes(), [])
            at = bisect_left(known, k)
            if at < len(known):
                k, self._strays = known[at], self._strays + (self._waiting if self._matched else 0)
                self._waiting, self._matched = 0, True
            else:
                self._waiting += 1
        self._copies, self._told = self._copies[k:][-MOST_COPIES:], self._told[count:]

    def holds(self) -> bool:
        """Whether they say the same; to be asked at the end."""
        if not self.copies and not self.told:
            return True
        self._compare(len(self._told))
        return self._matched and not self._strays
