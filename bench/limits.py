"""Limits under bad latency: the whole ROS graph, judged by the observer on the robot's command topic.

Every inference is delayed by 0 to 500 ms, and a relay between policy and planner drops 20 % of the chunks and
holds back 30 % of the others by up to 300 ms, which reorders them. Required: 0 violations of position, velocity,
acceleration and jerk, both command topics saying the same, hand-overs continuous to 1e-9.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from vla_ros.system.graph import Run, fresh_folder, run_graph
from vla_ros.testing.relay import RAW

CASES = {
    "no delay": ((0.0, 0.0), None),
    "0-500 ms": ((0.0, 500.0), None),
    "0-500 ms, dropped, reordered": ((0.0, 500.0), ["0.2", "0.3", "300", "7"]),
}


def case(name: str, folder: Path, policy: str, episodes: int) -> dict:
    """Run the graph once; what the observer and the others noted."""
    delay, chaos = CASES[name]
    run = Run(
        folder,
        episodes=episodes,
        policy=policy,
        delay_ms=delay,
        film=0,
        remap={"policy": [f"vla/chunk:={RAW}"]} if chaos else {},
        extra={"vla_ros.testing.relay": chaos} if chaos else {},
    )
    outcome = run_graph(run)
    if outcome.lost:
        raise SystemExit(f"lost: {outcome.lost}")
    read = {p.stem: json.loads(p.read_text()) for p in folder.glob("*.json")}
    refused = {**read.get("supervisor", {}).get("refused", {}), **read.get("planner", {})}
    return {**read["observer"], "outcome": outcome, "refused": refused}


def main() -> int:
    """Print the table; 0 if nothing was violated in any case."""
    parser = argparse.ArgumentParser(
        "limits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", default="learned", help="learned (default) or expert")
    parser.add_argument("--episodes", type=int, default=5, help="per case (default 5)")
    parser.add_argument("--quick", action="store_true", help="one episode per case")
    parser.add_argument("--out", type=Path, default=None, help="keep the logs here")
    options = parser.parse_args()
    good = True
    head = f"{'case':<30}{'commands':>9}{'p':>4}{'v':>4}{'a':>4}{'j':>4}{'peak v':>8}{'peak a':>8}{'peak j':>8}"
    print(f"{head}{'hand-over':>11}{'agree':>7}{'success':>9}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in CASES:
            folder = (options.out or Path(scratch)) / name.replace(" ", "_").replace(",", "")
            fresh_folder(folder)
            found = case(name, folder, options.policy, 1 if options.quick else options.episodes)
            results, peak = found["outcome"].results, found["peak_ratio"]
            jump = max(found["handover_jump"].values())
            counts = "".join(f"{found['violations'][q]:>4}" for q in ("position", "velocity", "acceleration", "jerk"))
            peaks = "".join(f"{peak[q]:>8.4f}" for q in ("velocity", "acceleration", "jerk"))
            done = f"{sum(r['success'] for r in results)}/{len(results)}"
            print(
                f"{name:<30}{found['samples']:>9}{counts}{peaks}{jump:>11.1e}{found['topics_agree']!s:>7}{done:>9}",
                f"  planner and supervisor: {found['refused']}",
                sep="\n",
                flush=True,
            )
            good &= not any(found["violations"].values()) and found["topics_agree"] and jump <= 1e-9
            good &= found["samples"] > 1000
    print("0 violations: met" if good else "NOT met")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
