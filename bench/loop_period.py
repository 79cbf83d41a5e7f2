"""The command loop's period error in the whole running graph, beside a bare sleep-until loop of the same rate.

The figures of one row come from the same seconds on the same machine, so only their ratio means anything:
wanted are p99 ratios of at most 1.5 at 500 Hz and 2 at 1000 Hz. Nothing fails if they are not met.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from vla_ros.system.graph import REALTIME_PRIORITY, Run, fresh_folder, run_graph

WANTED = {500.0: 1.5, 1000.0: 2.0}


def period_errors_us(file: Path) -> np.ndarray:
    """Differences between the intervals of consecutive wake-ups and the period, (n,) [us]."""
    data = np.load(file)
    late = data["late_ns"].astype(np.int64)
    return np.abs(np.diff(late)) / 1e3


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("loop", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="learned", help="learned (default) or expert")
    parser.add_argument("--episodes", type=int, default=4, help="per rate (default 4)")
    parser.add_argument(
        "--realtime",
        type=int,
        default=REALTIME_PRIORITY,
        help="SCHED_FIFO priority of both loops, 0 for none (default %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="one episode per rate")
    parser.add_argument("--out", type=Path, default=None, help="keep the logs here")
    options = parser.parse_args()
    print(f"{'rate':>8} {'loop':<12}{'periods':>9}{'p50 us':>9}{'p99 us':>9}{'max us':>9}{'p99 ratio':>11}  wanted")
    with tempfile.TemporaryDirectory() as scratch:
        for rate, wanted in WANTED.items():
            folder = (options.out or Path(scratch)) / f"loop_{rate:g}"
            fresh_folder(folder)
            outcome = run_graph(
                Run(
                    folder,
                    episodes=1 if options.quick else options.episodes,
                    policy=options.policy,
                    rate_hz=rate,
                    film=0,
                    realtime_priority=options.realtime,
                )
            )
            if outcome.lost:
                raise SystemExit(f"lost: {outcome.lost}")
            p99 = {}
            for name, file in (("bare", "baseline.npz"), ("supervisor", "loop.npz")):
                errors = period_errors_us(folder / file)
                p50, p99[name] = np.percentile(errors, [50, 99])
                ratio = p99[name] / p99["bare"]
                word = (
                    "" if name == "bare" else f"{ratio:>11.2f}  <= {wanted} {'met' if ratio <= wanted else 'not met'}"
                )
                print(f"{rate:>6g}Hz {name:<12}{len(errors):>9}{p50:>9.0f}{p99[name]:>9.0f}{errors.max():>9.0f}{word}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
