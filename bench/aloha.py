"""The scripted expert on gym-aloha's transfer of a cube, a task that is not ours; needs the extra "aloha".

It drives in chunks, as a policy would: up to 0.12 s late, a new one after at most 0.24 s. `--noise` disturbs the arms
in bursts, as in demonstrations; `--folder` keeps the tries as demonstrations, in files that training reads.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import _table

from vla_ros.data.record import Job, run
from vla_ros.data.rollout import Result, RolloutConfig

BAR = 0.9
MISSING = 'gym-aloha is not installed; pip install "vla_ros[aloha]" brings it, with a MuJoCo below 3.9.'


def installed() -> bool:
    """Whether the task can be run here."""
    return importlib.util.find_spec("gym_aloha") is not None


def tries(
    seeds: Sequence[int],
    rollout: RolloutConfig,
    checkpoint: Path | None = None,
    folder: Path | None = None,
    prefix: str = "expert",
    processes: int = 1,
    executor: Any = None,
    blind: bool = False,
) -> Iterator[Result]:
    """One try per seed.

    Args:
        seeds: Of the scenes, the disturbance and the delays.
        rollout: How they run; its `dt_s` must be a multiple of the environment's 0.02 s.
        checkpoint: Who drives; None: the expert.
        folder: Where frames go as demonstrations; None to keep none.
        prefix: Of the files' names.
        processes: How many at once.
        executor: Factory of what turns chunks into actions; None: linear.
        blind: Draw nothing, where nobody looks.
    """
    from _aloha import CAMERAS, ROBOT, TASK, AlohaStage

    cameras = () if blind else CAMERAS
    job = Job(TASK, ROBOT, cameras, rollout, checkpoint, folder, prefix, executor, AlohaStage)
    return run(job, seeds, processes)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
    parser.add_argument("--out", type=Path, help="there are no plots; taken for the sake of `bench all`")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first scene")
    parser.add_argument("--noise", type=float, default=0.0, help="deviation of the disturbance [rad]")
    parser.add_argument("--folder", type=Path, help="keep the tries there as demonstrations")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args(argv)
    if not installed():
        print(f"aloha: {MISSING}", file=sys.stderr)
        return 0  # what is not there cannot miss a figure
    from _aloha import DT_S, LIMIT_S

    count = max(1, given.episodes // 10) if given.quick else given.episodes
    rollout = RolloutConfig(dt_s=DT_S, limit_s=LIMIT_S, noise_rad=given.noise)
    seeds = range(given.seed, given.seed + count)
    results: list[Result] = []
    for result in tries(seeds, rollout, None, given.folder, processes=given.processes, blind=given.folder is None):
        results.append(result)
        print(f"\r{sum(r.success for r in results)} of {len(results)}", end="", file=sys.stderr, flush=True)
    good = [r for r in results if r.success]
    failed = " ".join(str(r.notes["seed"]) for r in results if not r.success)
    print(f"gym-aloha, transfer of a cube: the expert succeeds in {len(good)} of {len(results)}", end="")
    times = [r.duration_s for r in good] or [0.0]
    print(f", in {sum(times) / len(times):.1f} s on average, {max(times):.1f} s at most", end="")
    print(f"; failed seeds: {failed}" if failed else "")
    if given.noise:
        return 0
    return _table.verdict([(f"success in at least {BAR:.0%}", len(good) >= BAR * len(results))])


if __name__ == "__main__":
    sys.exit(main())
