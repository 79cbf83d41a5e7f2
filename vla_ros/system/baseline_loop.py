"""Measures the wake-up latency that this machine permits at present, by a loop that only sleeps until each deadline.

It runs beside the supervisor at the same rate and priority, and does no other work.

    python -m vla_ros.system.baseline_loop RATE_HZ FILE [PRIORITY]
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from types import FrameType

import numpy as np

from vla_ros.core.records import NS
from vla_ros.system.wake_latency import WakeLatencyBuffer


def main() -> None:
    """Record the latency of every wake-up; write FILE (.npz) on SIGINT or SIGTERM."""
    rate_hz, file = float(sys.argv[1]), sys.argv[2]
    if len(sys.argv) > 3 and int(sys.argv[3]):
        with contextlib.suppress(OSError):  # as in the supervisor: requested, not required
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(int(sys.argv[3])))
    stop_requested = False

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stop_requested
        stop_requested = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    period_ns = round(NS / rate_hz)
    buffer = WakeLatencyBuffer()
    deadline_ns = time.monotonic_ns() + period_ns
    while not stop_requested:
        wait_ns = deadline_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / NS)
        latency_ns = time.monotonic_ns() - deadline_ns
        buffer.add(latency_ns)
        deadline_ns += period_ns * max(1, 1 + latency_ns // period_ns)
    np.savez_compressed(file, wake_latency_ns=buffer.newest(), period_ns=period_ns)


if __name__ == "__main__":
    main()
