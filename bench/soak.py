"""Hours of random chunks and faults through planner and supervisor without ROS: no violation, constant memory.

Chunk, planner, certificate, supervisor, limit monitor: 500 commands per simulated second, faster than real time, with
an arm that lags behind its commands. About every 6 s a fault is injected for a while: missing, large, late, swapped,
duplicated, too many or invalid chunks; corrupted, replayed, shifted or too fast plans; lost, frozen, NaN, permuted,
jumping or otherwise wrong joint states; the emergency-stop button, a second publisher, a clock that is set, a command
loop that stalls or steps back (`vla_ros/testing/fuzzer.py` lists them). An operator resets and arms. Each simulated
hour has its own seed and ends without input, where the arm must come to rest. After a stall of the command loop of 20
ms or more the limits are checked anew from there, and the step across the stall must be at most
`max_command_step_rad`.

    ./vla bench soak                        # 10 hours, one after another
    ./vla bench soak --hours 2 --first 8    # hours 8 and 9 only, to continue an interrupted run
    ./vla bench soak --graph 30             # 30 minutes of the complete graph instead: processes, topics, physics
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.common import table
from bench.common.memory import memory_mb
from bench.common.table import number, show, verdict
from vla_ros.config import load_robot
from vla_ros.core.limit_monitor import QUANTITIES
from vla_ros.core.records import NS
from vla_ros.testing.fuzzer import START_NS, Fuzzer

HOUR_NS = 3600 * NS
SLICE_NS = 20 * NS
"""Simulated time between updates of the progress bar [ns]."""
WARM_UP_NS = 60 * NS
"""Simulated time after which memory is measured first [ns]."""
MAX_GROWTH_MB = 20.0
"""Permitted growth of memory over all hours after the warm-up: what Python's allocator keeps [MB]."""


@dataclass
class Totals:
    """Sums over all hours.

    Attributes:
        violations: Number of violations, by name.
        peaks: Maximum ratio to the limit, by quantity.
        samples: Number of commands checked.
        modes: Number of ticks, by state.
        injected: Number of injected faults, by name.
        refusal_counts: Number of refusals, by reason.
        fault_counts: Number of detected faults, by name.
        start_mb: Memory after the warm-up [MB].
    """

    violations: Counter[str] = field(default_factory=Counter)
    peaks: dict[str, float] = field(default_factory=lambda: dict.fromkeys(QUANTITIES, 0.0))
    samples: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    refusal_counts: Counter[str] = field(default_factory=Counter)
    fault_counts: Counter[str] = field(default_factory=Counter)
    start_mb: float = 0.0

    def add(self, fuzzer: Fuzzer) -> None:
        """Add a finished hour."""
        self.violations.update(fuzzer.violations)
        self.peaks = {q: max(self.peaks[q], fuzzer.peaks[q]) for q in QUANTITIES}
        self.samples += fuzzer.samples
        for name in ("modes", "injected", "refusal_counts", "fault_counts"):
            getattr(self, name).update(getattr(fuzzer, name))


def print_progress(share: float, text: str) -> None:
    """Overwrite a progress bar on a terminal; otherwise print a line now and then."""
    filled = round(30 * share)
    line = f"[{'#' * filled}{'.' * (30 - filled)}] {100 * share:5.1f} %  {text}"
    if sys.stderr.isatty():
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
    elif round(1e4 * share) % 500 == 0:
        print(line, file=sys.stderr, flush=True)


def soak(robot: str, hours: float, first: int, seed: int) -> int:
    """Simulate the hours, print the tables; returns 0 if the claims hold."""
    limits, totals = load_robot(robot).limits, Totals()
    begun, hour = time.monotonic(), first
    total = left = round(hours * HOUR_NS)
    while left > 0:
        fuzzer = Fuzzer(limits, seed + hour)
        span = min(left, HOUR_NS)
        while (elapsed := fuzzer.now - START_NS) < span:
            fuzzer.run_until(min(fuzzer.now + SLICE_NS, START_NS + span))
            elapsed = fuzzer.now - START_NS
            done = total - left + elapsed
            if not totals.start_mb and elapsed >= min(WARM_UP_NS, span):
                totals.start_mb = memory_mb()
            violations = sum(totals.violations.values()) + sum(fuzzer.violations.values())
            rate = done / NS / (time.monotonic() - begun)
            text = f"{rate:.0f} times real time, {violations} violations, {memory_mb():.0f} MB"
            print_progress(done / total, text)
        fuzzer.run_without_input()
        totals.add(fuzzer)
        text = f"hour {hour}: {fuzzer.samples:,} commands checked, {dict(+fuzzer.violations) or 'no violations'}"
        print(f"{text}, {memory_mb():.1f} MB, {time.monotonic() - begun:.0f} s", flush=True)
        left, hour = left - span, hour + 1
    return report(totals, total / HOUR_NS, time.monotonic() - begun)


def report(totals: Totals, hours: float, seconds: float) -> int:
    """Print the tables and the claims."""
    for name, title in (
        ("injected", "injected faults"),
        ("refusal_counts", "refused"),
        ("fault_counts", "detected faults"),
    ):
        show(title, ["", "times"], [[k, number(n)] for k, n in getattr(totals, name).most_common()])
    ticks = sum(totals.modes.values())
    rows = [[mode, f"{100 * n / ticks:.1f} %"] for mode, n in totals.modes.most_common()]
    show("time in each state", ["state", "share"], rows)
    show("maximum over the limit", ["quantity", "ratio"], [[q, f"{totals.peaks[q]:.6f}"] for q in QUANTITIES])
    end_mb = memory_mb()
    rate = 60 * hours / seconds
    print(f"\n{hours:g} simulated hours in {seconds / 60:.1f} minutes: {rate:.3f} simulated hours per minute.")
    print(f"Memory after the first minute {totals.start_mb:.1f} MB, at the end {end_mb:.1f} MB.")
    violations, growth = totals.violations, end_mb - totals.start_mb
    return verdict(
        [
            (
                f"violations in {totals.samples:,} commands: {dict(+violations) or 0}; required 0",
                not sum(violations.values()),
            ),
            (f"memory grew by {growth:.1f} MB; at most {MAX_GROWTH_MB:.0f}", growth <= MAX_GROWTH_MB),
            (f"commands were checked: {totals.samples:,}", totals.samples > 0.3 * ticks),
        ]
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench only."""
    parser.add_argument("--hours", type=float, default=10.0, help="simulated hours (default 10)")
    parser.add_argument("--first", type=int, default=0, help="number of the first hour (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="added to the number of an hour (default 0)")
    parser.add_argument("--robot", default="so101", help="name in config/robots, or a file (default so101)")
    parser.add_argument("--graph", type=float, default=0.0, metavar="MINUTES", help="run the complete graph instead")


def main(argv: Sequence[str] | None = None) -> int:
    """Run planner and supervisor without ROS, or the graph."""
    options = table.options(__doc__ or "", argv, add_options)
    np.seterr(over="ignore", invalid="ignore")  # huge values are intended
    if options.graph:
        from bench.common.soak_graph import soak_graph

        return soak_graph(1.0 if options.quick else options.graph, options.out)
    return soak(options.robot, 1 / 30 if options.quick else options.hours, options.first, options.seed)


if __name__ == "__main__":
    sys.exit(main())
