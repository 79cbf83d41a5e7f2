"""Hours of random chunks and random faults through the pure core, faster than real time: 0 violations, memory flat.

Chunk → planner → certificate → supervisor → judge, 500 commands a simulated second, an arm that lags behind. Every
6 seconds or so something goes wrong for a while: chunks that are none, wild, late, swapped, doubled, flooding, of
another robot, old, of the future, huge; plans forged, replayed, shifted, too fast; joint states lost, frozen, NaN,
permuted, leaping, away, racing, in degrees, of too few joints; the button, a second publisher, a clock that is set,
a command loop that stands still or steps back. An operator resets and arms. Each simulated hour has a seed of its
own and ends in silence, which must end at rest. A stall of the command loop itself of 20 ms or more begins a new
stretch for the judge: there the step must be at most the supervisor's `largest_step`.

    ./vla bench soak                        # 10 hours, one after another
    ./vla bench soak --hours 2 --first 8    # hours 8 and 9 only: to go on where a run was broken off
    ./vla bench soak --graph 30             # 30 minutes of the real graph instead: processes, topics, physics
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from bench.common.table import number, show, verdict
from vla_ros.config import load_robot
from vla_ros.core.limit_monitor import QUANTITIES
from vla_ros.core.records import NS
from vla_ros.testing.fuzzer import BEGIN, Story

HOUR_NS = 3600 * NS
SLICE_NS = 20 * NS
"""Between looks at the progress [ns]."""
GROWTH_MB = 20.0
"""Memory may grow by so much over all hours after the first minute: what Python's own allocator keeps [MB]."""


def memory_mb() -> float:
    """Resident memory of this process [MB]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def bar(done: float, text: str) -> None:
    """A progress bar that is written over, on a terminal; else a line now and then."""
    filled = round(30 * done)
    line = f"[{'#' * filled}{'.' * (30 - filled)}] {100 * done:5.1f} %  {text}"
    if sys.stderr.isatty():
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
    elif round(1e4 * done) % 500 == 0:
        print(line, file=sys.stderr, flush=True)


def soak(robot: str, hours: float, first: int, seed: int) -> int:
    """Live, print what happened, and say whether all is as it must be."""
    limits = load_robot(robot).limits
    total = Counter[str]()
    peaks = dict.fromkeys(QUANTITIES, 0.0)
    begun, start_mb = time.monotonic(), 0.0
    whole = left = round(hours * HOUR_NS)
    lived = judged = 0
    tables: dict[str, Counter[str]] = {name: Counter() for name in ("modes", "wrongs", "refused", "faulted")}
    number_of = first
    while left > 0:
        story = Story(limits, seed + number_of)
        span = min(left, HOUR_NS)
        while story.now < BEGIN + span:
            story.live(min(story.now + SLICE_NS, BEGIN + span))
            done = (lived + story.now - BEGIN) / whole
            if not start_mb and story.now - BEGIN >= min(60 * NS, span):
                start_mb = memory_mb()
            violations = sum(total.values()) + sum(story.violations.values())
            rate = (lived + story.now - BEGIN) / NS / (time.monotonic() - begun)
            bar(done, f"{rate:.0f} times real time, {violations} violations, {memory_mb():.0f} MB")
        story.fall_silent()
        total.update(story.violations)
        peaks = {q: max(peaks[q], story.peaks[q]) for q in QUANTITIES}
        for name, table in tables.items():
            table.update(getattr(story, name))
        judged += story.samples
        lived, left, number_of = lived + span, left - span, number_of + 1
        say = f"hour {number_of - 1}: {story.samples:,} commands judged, {dict(+story.violations) or 'no violations'}"
        print(f"{say}, {memory_mb():.1f} MB, {time.monotonic() - begun:.0f} s", flush=True)
    return tell(lived / HOUR_NS, time.monotonic() - begun, total, peaks, judged, tables, start_mb)


def tell(
    hours: float,
    seconds: float,
    violations: Counter[str],
    peaks: dict[str, float],
    judged: int,
    tables: dict[str, Counter[str]],
    start_mb: float,
) -> int:
    """The tables and the claims."""
    for name, title in (("wrongs", "what went wrong, times"), ("refused", "refused"), ("faulted", "faults seen")):
        show(title, ["", "times"], [[k, number(n)] for k, n in tables[name].most_common()])
    modes = tables["modes"]
    ticks = sum(modes.values())
    show("time in each state", ["state", "share"], [[m, f"{100 * n / ticks:.1f} %"] for m, n in modes.most_common()])
    show("largest of a limit", ["quantity", "ratio"], [[q, f"{peaks[q]:.6f}"] for q in QUANTITIES])
    end_mb = memory_mb()
    rate = 60 * hours / seconds
    print(f"\n{hours:g} simulated hours in {seconds / 60:.1f} minutes: {rate:.3f} simulated hours a minute.")
    print(f"Memory after the first minute {start_mb:.1f} MB, at the end {end_mb:.1f} MB.")
    return verdict(
        [
            (f"violations in {judged:,} commands: {dict(+violations) or 0}; required 0", not sum(violations.values())),
            (f"memory grew by {end_mb - start_mb:.1f} MB; at most {GROWTH_MB:.0f}", end_mb - start_mb <= GROWTH_MB),
            (f"commands were judged: {judged:,}", judged > 0.3 * ticks),
        ]
    )


def main() -> int:
    """Soak the core, or the graph."""
    parser = argparse.ArgumentParser("soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0, help="simulated hours (default 10)")
    parser.add_argument("--first", type=int, default=0, help="number of the first hour (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="added to the number of an hour")
    parser.add_argument("--robot", default="so101", help="name in config/robots, or a file (default so101)")
    parser.add_argument("--graph", type=float, default=0.0, metavar="MINUTES", help="the real graph, so long")
    parser.add_argument("--quick", action="store_true", help="two simulated minutes, or one minute of the graph")
    parser.add_argument("--out", type=Path, default=None, help="keep the logs of the graph here")
    options = parser.parse_args()
    np.seterr(over="ignore", invalid="ignore")  # huge values are the point
    if options.graph:
        from bench.common.soak_graph import graph

        return graph(1.0 if options.quick else options.graph, options.out)
    return soak(options.robot, 1 / 30 if options.quick else options.hours, options.first, options.seed)


if __name__ == "__main__":
    sys.exit(main())
