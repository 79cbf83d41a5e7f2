"""Closed-loop success of a checkpoint on scenes it has never seen.

    python -m vla_ros.train.evaluate --checkpoint config/checkpoints/so101_pick_place.safetensors

Scenes of training have seeds below 1,000,000; evaluation starts there.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vla_ros.core.errors import ConfigError, UnknownName, VlaError
from vla_ros.data.record import Job, run
from vla_ros.data.rollout import Result, RolloutConfig
from vla_ros.policy.checkpoint import load_checkpoint
from vla_ros.train.config import EVALUATION_SEED


def wilson(successes: int, tries: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a proportion, 95 % for the default `z`; (0, 1) of no tries."""
    if tries == 0:
        return 0.0, 1.0
    p, zz = successes / tries, z * z
    middle = (p + zz / (2 * tries)) / (1 + zz / tries)
    half = z / (1 + zz / tries) * math.sqrt(p * (1 - p) / tries + zz / (4 * tries * tries))
    return max(0.0, middle - half), min(1.0, middle + half)


def make_executor(name: str, robot: str) -> Any:
    """What turns chunks into commands: "linear", or "planner", the one of the real system.

    Raises:
        UnknownName: It is neither.
    """
    if name == "linear":
        return None
    if name == "planner":
        from vla_ros.data.through_planner import PlannerExecutor

        return functools.partial(PlannerExecutor, robot=robot)
    raise UnknownName("executor", name, ("linear", "planner"))


def evaluate(
    checkpoint: Path | None,
    episodes: int,
    seed: int = EVALUATION_SEED,
    through: str = "linear",
    task: str = "pick_place",
    robot: str = "so101",
    cameras: Sequence[str] = ("front", "wrist"),
    rollout: RolloutConfig | None = None,
    processes: int = 2,
    quiet: bool = False,
    ray: bool = False,
) -> list[Result]:
    """Run `episodes` tries with seeds from `seed` on; the expert drives if `checkpoint` is None."""
    if checkpoint is not None:
        load_checkpoint(checkpoint, robot)  # refused here, in one sentence, and not in every process
    config = rollout or RolloutConfig()
    job = Job(task, robot, tuple(cameras), config, checkpoint, executor=make_executor(through, robot))
    results: list[Result] = []
    with tqdm(total=episodes, desc="evaluate", unit="try", disable=quiet) as bar:
        for result in run(job, range(seed, seed + episodes), processes, ray):
            results.append(result)
            bar.update()
            bar.set_postfix(success=f"{sum(r.success for r in results)}/{len(results)}")
    return sorted(results, key=lambda r: int(r.notes["seed"]))


def report(results: Sequence[Result]) -> str:
    """Two lines: success with its interval and time, and which seeds failed."""
    good = [r for r in results if r.success]
    low, high = wilson(len(good), len(results))
    seconds = sum(r.duration_s for r in good) / max(1, len(good))
    lines = [
        f"success {len(good)}/{len(results)} = {100 * len(good) / max(1, len(results)):.1f} % "
        f"(95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %), {seconds:.1f} s to success on average"
    ]
    if len(good) < len(results):
        lines.append("failed seeds: " + " ".join(str(r.notes["seed"]) for r in results if not r.success))
    return "\n".join(lines)


def _delay(text: str) -> int:
    _, _, high = text.partition(":")
    try:
        return math.ceil(float(high or text) / 50.0)
    except ValueError:
        raise ConfigError(f'--delay-ms takes a number or LOW:HIGH; got "{text}".') from None


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vla_ros.train.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help='a safetensors file, or "expert"')
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=EVALUATION_SEED, help="of the first scene")
    parser.add_argument("--task", default="pick_place")
    parser.add_argument("--robot", default="so101")
    parser.add_argument("--through", default="linear", help="linear, or planner: as on the real system")
    parser.add_argument("--delay-ms", default="0:100", help="delay of a chunk; the upper end counts, in steps of 50")
    parser.add_argument("--replan-steps", type=int, default=4, help="greatest number of control steps between chunks")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="run the tries as Ray tasks, on the cluster in RAY_ADDRESS")
    args = parser.parse_args(argv)
    try:
        rollout = replace(RolloutConfig(), delay_steps=_delay(args.delay_ms), replan_steps=args.replan_steps)
        checkpoint = None if args.checkpoint == "expert" else Path(args.checkpoint)
        results = evaluate(
            checkpoint, args.episodes, args.seed, args.through, args.task, args.robot, rollout=rollout,
            processes=args.processes, ray=args.ray,
        )  # fmt: skip
    except VlaError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
