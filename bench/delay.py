"""Task success against added inference delay: the planner against common ways of executing chunks.

Seeded pick-and-place episodes without ROS, in simulated time, with the same policy and scenes for every method. Every
chunk arrives late by exactly the delay. Methods that turn chunks into commands:
  planner           ours: chunks aligned by capture time, one spline, within limits, ends at rest
  linear            linear between waypoints; each chunk is played from its first waypoint when it arrives
  hold              the same, each waypoint held for its period
  linear, aligned   linear between waypoints, aligned by capture time as ours are, without limits
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bench.common import table
from vla_ros.config import find_checkpoint
from vla_ros.core.statistics import wilson_interval
from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.rollout import RolloutConfig
from vla_ros.evaluation.workers import run_episodes

DELAYS_MS = (0, 100, 200, 400)
STEP_MS = 50


METHODS = {
    "planner": "planner",
    "linear": "bench.common.executors:played_on_arrival",
    "hold": "bench.common.executors:held_on_arrival",
    "linear, aligned": "linear",
}
"""Name of the executor, by method."""


def successes(method: str, delay_ms: int, seeds: Sequence[int], checkpoint: Path | None, bar: tqdm) -> int:
    """Number of successful episodes."""
    steps = delay_ms // STEP_MS
    rollout = RolloutConfig(min_delay_steps=steps, max_delay_steps=steps, max_replan_steps=2)
    job = EpisodeJob(
        "pick_place", "so101", ("front", "wrist"), rollout, checkpoint=checkpoint, executor=METHODS[method]
    )
    count = 0
    for result in run_episodes(job, seeds):
        count += result.success
        bar.update()
    return count


def plot(rates: dict[str, list[float]], file: Path) -> None:
    """Plot success against delay, one line per method."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for (name, values), marker in zip(rates.items(), "osv^", strict=False):
        axes.plot(DELAYS_MS, [100 * v for v in values], marker=marker, label=name, lw=2.5 if name == "planner" else 1.5)
    axes.set(xlabel="added inference delay [ms]", ylabel="success [%]", ylim=(-3, 103), xticks=DELAYS_MS)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench only."""
    parser.add_argument("--episodes", type=int, default=20, help="episodes per method and delay (default 20)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="seed of the first scene (default 1000000)")
    parser.add_argument("--policy", choices=("learned", "expert"), default="learned", help="default learned")
    parser.add_argument(
        "--checkpoint", type=Path, default=find_checkpoint(), help="of the learned policy (default: shipped)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write the plot."""
    options = table.options(__doc__ or "", argv, add_options)
    episodes = 2 if options.quick else options.episodes
    seeds = range(options.seed, options.seed + episodes)
    checkpoint = None if options.policy == "expert" else options.checkpoint
    with tqdm(total=len(METHODS) * len(DELAYS_MS) * episodes, unit="episode") as bar:
        count = functools.partial(successes, seeds=seeds, checkpoint=checkpoint, bar=bar)
        counts = {name: [count(name, delay) for delay in DELAYS_MS] for name in METHODS}
    rows = []
    for name, row in counts.items():
        cells = []
        for good in row:
            low, high = wilson_interval(good, episodes) or (0.0, 1.0)
            cells.append(f"{good}/{episodes} ({100 * low:.0f}-{100 * high:.0f} %)")
        rows.append([name, *cells])
    table.show(f"success, {options.policy} policy (95 % Wilson)", ["method", *[f"{d} ms" for d in DELAYS_MS]], rows)
    if options.out:
        plot({n: [c / episodes for c in row] for n, row in counts.items()}, options.out / "delay.svg")
        print(f"plot: {options.out / 'delay.svg'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
