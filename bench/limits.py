"""Limits of the commands under high latency: the complete ROS graph, checked on the robot's command topic.

Every inference is delayed by 0 to 500 ms, and a relay between policy and planner drops 20 % of the chunks and delays
30 % of the others by up to 300 ms, which reorders them. Required: no violation of position, velocity, acceleration or
jerk, equal commands on both command topics, and handovers continuous to 1e-9.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.common import table
from vla_ros.system.graph import GraphRun, prepare_run_folder, run_graph
from vla_ros.testing.relay import RAW_CHUNK

CASES = {
    "no delay": ((0.0, 0.0), None),
    "0-500 ms": ((0.0, 500.0), None),
    "0-500 ms, dropped, reordered": ((0.0, 500.0), ["0.2", "0.3", "300", "7"]),
}
"""Minimum and maximum delay of an inference [ms], and arguments of the relay, if any."""
MAX_DISCONTINUITY = 1e-9


def run_case(name: str, folder: Path, policy: str, episodes: int) -> dict[str, Any]:
    """Run the graph once; returns the observer's summary, the outcome, and what was refused."""
    delay, relay = CASES[name]
    run = GraphRun(
        folder,
        episodes=episodes,
        policy=policy,
        delay_ms=delay,
        video_episodes=0,
        remap={"policy": [f"vla/chunk:={RAW_CHUNK}"]} if relay else {},
        extra_processes={"vla_ros.testing.relay": relay} if relay else {},
    )
    outcome = run_graph(run)
    if outcome.lost:
        raise SystemExit(f"processes lost: {outcome.lost}")
    logs = {p.stem: json.loads(p.read_text()) for p in folder.glob("*.json")}
    refused = {**logs.get("supervisor", {}).get("refusals", {}), **logs.get("planner", {})}
    return {**logs["observer"], "outcome": outcome, "refused": refused}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench only."""
    parser.add_argument("--policy", default="learned", help="learned (default) or expert")
    parser.add_argument("--episodes", type=int, default=5, help="episodes per case (default 5)")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns 0 if nothing was violated in any case."""
    options = table.options(__doc__ or "", argv, add_options)
    met = True
    head = f"{'case':<30}{'commands':>9}{'p':>4}{'v':>4}{'a':>4}{'j':>4}{'peak v':>8}{'peak a':>8}{'peak j':>8}"
    print(f"{head}{'handover':>11}{'agree':>7}{'success':>9}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in CASES:
            folder = (options.out or Path(scratch)) / name.replace(" ", "_").replace(",", "")
            prepare_run_folder(folder)
            found = run_case(name, folder, options.policy, 1 if options.quick else options.episodes)
            results, peak = found["outcome"].results, found["peak_ratio"]
            discontinuity = max(found["switch_discontinuity"].values())
            counts = "".join(f"{found['violations'][q]:>4}" for q in ("position", "velocity", "acceleration", "jerk"))
            peaks = "".join(f"{peak[q]:>8.4f}" for q in ("velocity", "acceleration", "jerk"))
            success, agree = f"{sum(r['success'] for r in results)}/{len(results)}", found["topics_agree"]
            print(
                f"{name:<30}{found['samples']:>9}{counts}{peaks}{discontinuity:>11.1e}{agree!s:>7}{success:>9}",
                f"  planner and supervisor: {found['refused']}",
                sep="\n",
                flush=True,
            )
            met &= not any(found["violations"].values()) and agree and discontinuity <= MAX_DISCONTINUITY
            met &= found["samples"] > 1000
    return table.verdict([("no violation, equal commands, continuous handovers", met)])


if __name__ == "__main__":
    sys.exit(main())
