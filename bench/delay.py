"""Task success against added inference delay: the planner against what is done elsewhere.

Seeded pick-and-place tries without ROS, in simulated time; the same policy and scenes in every cell, every
chunk late by exactly the delay. What turns chunks into commands:
  planner         ours: chunks aligned by capture time, one spline, limits, ends at rest
  linear          linear between waypoints, each chunk played from its first waypoint when it arrives
  hold            the same, each waypoint held for its period
  linear, timed   linear between waypoints, aligned by capture time as ours are, no limits
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bench.common import table
from vla_ros.config import config_dir
from vla_ros.core.records import NS, Array, Chunk
from vla_ros.evaluation.evaluate import make_executor, wilson
from vla_ros.evaluation.executors import CURVE_STEP_S, LinearExecutor
from vla_ros.evaluation.rollout import RolloutConfig
from vla_ros.evaluation.workers import Job, run

DELAYS_MS = (0, 100, 200, 400)
STEP_MS = 50
CHECKPOINT = "so101_pick_place.safetensors"


class PlayedExecutor(LinearExecutor):
    """Plays each chunk from its first waypoint when it arrives, as if it were about now."""

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """Put a chunk in force, its times counted from now."""
        chunk = chunk.as_waypoints(CURVE_STEP_S)
        here = self.at(now_ns)
        self._times = np.concatenate([[now_ns / NS], now_ns / NS + chunk.offsets_s])
        self._rows = np.concatenate([here[None], chunk.positions])


class HoldExecutor(PlayedExecutor):
    """The same without interpolation: the next waypoint is commanded at once and held."""

    def at(self, t_ns: int) -> Array:
        """The first waypoint that is not past, shape (J,) [rad]."""
        k = int(np.searchsorted(self._times, t_ns / NS - 1e-9))
        return self._rows[min(k, len(self._rows) - 1)]


METHODS: dict[str, Any] = {
    "planner": make_executor("planner", "so101"),
    "linear": PlayedExecutor,
    "hold": HoldExecutor,
    "linear, timed": LinearExecutor,
}


def cell(method: str, delay_ms: int, seeds: Sequence[int], checkpoint: Path | None, bar: tqdm) -> int:
    """Successes over `seeds`."""
    steps = delay_ms // STEP_MS
    rollout = RolloutConfig(delay_steps=steps, least_delay_steps=steps, replan_steps=2)
    job = Job("pick_place", "so101", ("front", "wrist"), rollout, checkpoint, executor=METHODS[method])
    count = 0
    for result in run(job, seeds):
        count += result.success
        bar.update()
    return count


def plot(rates: dict[str, list[float]], file: Path) -> None:
    """Success against delay, a line per method."""
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


def main() -> int:
    """Print the table, draw the plot."""
    parser = argparse.ArgumentParser("delay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=20, help="per cell (default 20)")
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--policy", default="learned", help="learned (default) or expert")
    parser.add_argument("--checkpoint", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="two episodes per cell")
    parser.add_argument("--out", type=Path, default=None, help="folder for delay.svg")
    options = parser.parse_args()
    episodes = 2 if options.quick else options.episodes
    seeds = range(options.seed, options.seed + episodes)
    learned = options.checkpoint or config_dir() / "checkpoints" / CHECKPOINT
    checkpoint = None if options.policy == "expert" else learned
    with tqdm(total=len(METHODS) * len(DELAYS_MS) * episodes, unit="try") as bar:
        fill = functools.partial(cell, seeds=seeds, checkpoint=checkpoint, bar=bar)
        counts = {name: [fill(name, delay) for delay in DELAYS_MS] for name in METHODS}
    rows = []
    for name, row in counts.items():
        cells = []
        for count in row:
            low, high = wilson(count, episodes)
            cells.append(f"{count}/{episodes} ({100 * low:.0f}-{100 * high:.0f} %)")
        rows.append([name, *cells])
    table.show(f"success, {options.policy} policy (95 % Wilson)", ["method", *[f"{d} ms" for d in DELAYS_MS]], rows)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        plot({n: [c / episodes for c in row] for n, row in counts.items()}, options.out / "delay.svg")
        print(f"plot: {options.out / 'delay.svg'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
