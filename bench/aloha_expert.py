"""Success of the scripted expert in gym-aloha's transfer of a cube; needs the extra "aloha".

The expert sends chunks as a policy does: up to 0.12 s late, a new one after at most 0.24 s. `--noise` disturbs the arms
as in demonstrations; `--folder` writes the episodes as demonstrations for training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.common import table
from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.rollout import EpisodeResult, RolloutConfig
from vla_ros.evaluation.workers import run_episodes
from vla_ros.sim.aloha import CAMERAS, DT_S, NOT_INSTALLED, ROBOT, TASK, TIMEOUT_S, is_installed

REQUIRED_SUCCESS = 0.9


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench only."""
    parser.add_argument("--episodes", type=int, default=50, help="number of episodes (default 50)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="seed of the first scene (default 1000000)")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of the disturbance [rad]")
    parser.add_argument("--folder", type=Path, help="write the episodes here, as demonstrations")
    parser.add_argument("--processes", type=int, default=1, help="number of parallel processes (default 1)")


def main(argv: Sequence[str] | None = None) -> int:
    """Play the episodes; returns 0 if the success rate is reached, or cannot be measured."""
    options = table.options(__doc__ or "", argv, add_options)
    if not is_installed():
        print(f"aloha_expert: {NOT_INSTALLED}", file=sys.stderr)
        return 0
    count = max(1, options.episodes // 10) if options.quick else options.episodes
    rollout = RolloutConfig(dt_s=DT_S, timeout_s=TIMEOUT_S, noise_rad=options.noise)
    cameras = CAMERAS if options.folder else ()
    job = EpisodeJob(TASK, ROBOT, cameras, rollout, folder=options.folder, simulator="aloha")
    results: list[EpisodeResult] = []
    for result in run_episodes(job, range(options.seed, options.seed + count), options.processes):
        results.append(result)
        print(f"\r{sum(r.success for r in results)} of {len(results)}", end="", file=sys.stderr, flush=True)
    successful = [r for r in results if r.success]
    failed = " ".join(str(r.seed) for r in results if not r.success)
    print(f"gym-aloha, transfer of a cube: the expert succeeds in {len(successful)} of {len(results)}", end="")
    times = [r.duration_s for r in successful] or [0.0]
    print(f", in {sum(times) / len(times):.1f} s on average, {max(times):.1f} s at most", end="")
    print(f"; failed seeds: {failed}" if failed else "")
    if options.noise:
        return 0
    met = len(successful) >= REQUIRED_SUCCESS * len(results)
    return table.verdict([(f"success in at least {REQUIRED_SUCCESS:.0%}", met)])


if __name__ == "__main__":
    sys.exit(main())
