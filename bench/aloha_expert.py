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

from bench.common import table
from vla_ros.evaluation.rollout import Result, RolloutConfig
from vla_ros.evaluation.workers import Job, run

ROBOT = "aloha"
TASK = "transfer_cube"
CAMERAS = ("top",)
GRIPPERS = ("left_arm_gripper", "right_arm_gripper")
"""Joints that go from 0 (closed) to 1 (open); the others are in rad."""
DT_S = 0.06
"""Between waypoints, three of the environment's actions [s]."""
LIMIT_S = 8.0
"""Of a try: 400 actions, as in the evaluations of ACT (Zhao et al. 2023), whose task it is [s]."""
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
    cameras: Sequence[str] = CAMERAS,
) -> Iterator[Result]:
    """One try per seed.

    Args:
        seeds: Of the scenes, the disturbance and the delays.
        rollout: How they run; its `dt_s` must be a multiple of the environment's 0.02 s.
        checkpoint: Who drives; None: the expert.
        folder: Where frames go as demonstrations; None to keep none.
        prefix: Of the files' names.
        processes: How many at once.
        cameras: What is drawn; none where nobody looks.
    """
    from vla_ros.sim.aloha.world import AlohaStage

    job = Job(TASK, ROBOT, tuple(cameras), rollout, checkpoint, folder, prefix, stage=AlohaStage)
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
    count = max(1, given.episodes // 10) if given.quick else given.episodes
    rollout = RolloutConfig(dt_s=DT_S, limit_s=LIMIT_S, noise_rad=given.noise)
    seeds = range(given.seed, given.seed + count)
    results: list[Result] = []
    cameras = CAMERAS if given.folder else ()
    for result in tries(seeds, rollout, folder=given.folder, processes=given.processes, cameras=cameras):
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
    return table.verdict([(f"success in at least {BAR:.0%}", len(good) >= BAR * len(results))])


if __name__ == "__main__":
    sys.exit(main())
