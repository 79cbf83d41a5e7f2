"""Ring buffer of a loop's wake-up latencies, allocated once so that the loop never allocates memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CAPACITY = 1_000_000
"""Number of wake-ups kept: half an hour at 500 Hz."""


class WakeLatencyBuffer:
    """The newest `CAPACITY` wake-up latencies of a loop, each the time from the deadline to the wake-up [ns]."""

    def __init__(self) -> None:
        """Allocate an empty buffer."""
        # Not np.zeros: writing every element makes the kernel map the pages now and not in the loop.
        self._latency_ns = np.full(CAPACITY, 0, dtype=np.int64)
        self._count = 0

    def add(self, latency_ns: int) -> None:
        """Append one latency [ns]; a full buffer overwrites the oldest."""
        self._latency_ns[self._count % CAPACITY] = latency_ns
        self._count += 1

    def newest(self, count: int = CAPACITY) -> npt.NDArray[np.int64]:
        """The newest latencies, at most `count`, oldest first, shape (n,) [ns]."""
        count = min(count, self._count, CAPACITY)
        return self._latency_ns[np.arange(self._count - count, self._count) % CAPACITY]
