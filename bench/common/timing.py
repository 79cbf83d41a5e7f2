"""Timing of inferences on one thread."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

Timed = tuple[float, float]
"""Processor time and wall time [s]."""


def timed(call: Callable[[], object]) -> Timed:
    """Time one call in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def interleaved(calls: dict[str, Callable[[], Timed]], rounds: int) -> dict[str, Timed]:
    """Median processor and wall time of each call [s].

    Every round makes all calls, alternately forwards and backwards, so that other load affects all of them. A first
    round warms up and is not counted.
    """
    times: dict[str, list[Timed]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for k in range(rounds):
        for name in list(calls)[:: 1 if k % 2 else -1]:
            times[name].append(calls[name]())
    print(f"  measured {', '.join(calls)}: {rounds} rounds", file=sys.stderr)
    return {n: (statistics.median(t[0] for t in v), statistics.median(t[1] for t in v)) for n, v in times.items()}


def matmul_rate(rounds: int = 5, size: int = 768) -> float:
    """Maximum floating-point operations per second of processor time of one thread, in a product of large matrices."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    return max(2 * size**3 / max(timed(lambda: a @ b)[0], 1e-9) for _ in range(rounds))
