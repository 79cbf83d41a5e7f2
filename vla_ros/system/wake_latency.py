"""How late a loop was woken, for the newest million times; memory that is taken once and never grows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIZE = 1_000_000
"""Half an hour at 500 Hz."""


class Lateness:
    """The newest wake-ups of a loop."""

    def __init__(self) -> None:
        """None yet."""
        self._late = np.full(SIZE, 0, dtype=np.int64)
        self._count = 0

    def add(self, late_ns: int) -> None:
        """Note one [ns]."""
        self._late[self._count % SIZE] = late_ns
        self._count += 1

    def newest(self, count: int = SIZE) -> npt.NDArray[np.int64]:
        """The newest `count`, oldest first [ns]."""
        count = min(count, self._count, SIZE)
        return self._late[np.arange(self._count - count, self._count) % SIZE]
