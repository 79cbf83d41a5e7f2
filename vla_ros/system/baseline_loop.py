"""A bare sleep-until loop, run beside the supervisor: what this machine allows at this moment.

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
from vla_ros.system.wake_latency import Lateness


def main() -> None:
    """Sleep until each deadline, note how late each wake-up was, save on SIGINT or SIGTERM."""
    rate_hz, file = float(sys.argv[1]), sys.argv[2]
    if len(sys.argv) > 3 and int(sys.argv[3]):
        with contextlib.suppress(OSError):  # as the supervisor: tried, never required
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(int(sys.argv[3])))
    ended = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    period = round(NS / rate_hz)
    late = Lateness()
    deadline = time.monotonic_ns() + period
    while not ended:
        wait = deadline - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / NS)
        behind = time.monotonic_ns() - deadline
        late.add(behind)
        deadline += period * max(1, 1 + behind // period)
    np.savez_compressed(file, late_ns=late.newest(), period_ns=period)


if __name__ == "__main__":
    main()
