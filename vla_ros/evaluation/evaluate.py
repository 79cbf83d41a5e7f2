"""Closed-loop success of a checkpoint on scenes it has never seen.

    python -m vla_ros.evaluation.evaluate --checkpoint config/checkpoints/so101_pick_place_beast_moh.safetensors

Scenes of training have seeds below 1,000,000; evaluation starts there.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vla_ros.config import load_robot, require
from vla_ros.core.errors import ConfigError, UnknownName, VlaError
from vla_ros.core.robot import Limits
from vla_ros.evaluation.executors import PlannerExecutor
from vla_ros.evaluation.metrics import GRIPPERS
from vla_ros.evaluation.rollout import Result, RolloutConfig
from vla_ros.evaluation.workers import Job, run
from vla_ros.policy.checkpoint_policy import LearnedPolicy
from vla_ros.policy.network.checkpoint import load_checkpoint
from vla_ros.train.config import EVALUATION_SEED


def wilson(successes: int, tries: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a proportion, 95 % for the default `z`; (0, 1) of no tries."""
    if tries == 0:
        return 0.0, 1.0
    p, zz = successes / tries, z * z
    middle = (p + zz / (2 * tries)) / (1 + zz / tries)
    half = z / (1 + zz / tries) * math.sqrt(p * (1 - p) / tries + zz / (4 * tries * tries))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Summary:
    """What a set of tries comes to.

    Attributes:
        episodes: Tries.
        successes: Those that succeeded.
        interval: Wilson's, 95 %.
        seconds: To success, on average [s].
        steps_per_inference: Control steps driven for each chunk asked for.
        chunk_jerk: Greatest jerk of a chunk's waypoints over the limit, the median over tries; grippers left out,
            because a command to open or close is a step in time.
        command_jerk: The same of the commands.
        greatest_command_jerk: The greatest of all tries, grippers and all.
        refused: Chunks the planner refused, of all that were asked for.
    """

    episodes: int
    successes: int
    interval: tuple[float, float]
    seconds: float
    steps_per_inference: float
    chunk_jerk: float
    command_jerk: float
    greatest_command_jerk: float
    refused: float


def summarise(results: Sequence[Result], limits: Limits | None = None, grippers: Sequence[str] = GRIPPERS) -> Summary:
    """Count; jerks are over those of `limits`, or in rad/s^3 without."""
    good = [r for r in results if r.success]
    allowed = dict(zip(limits.joints, limits.jerk, strict=True)) if limits else {}

    def peaks(name: str, hands: bool) -> list[float]:
        return [
            max(
                (v / allowed.get(j, 1.0) for j, v in getattr(r, name).items() if hands or j not in grippers),
                default=0.0,
            )
            for r in results
        ]

    asked = sum(r.inferences for r in results)
    return Summary(
        episodes=len(results),
        successes=len(good),
        interval=wilson(len(good), len(results)),
        seconds=sum(r.duration_s for r in good) / max(1, len(good)),
        steps_per_inference=sum(r.steps for r in results) / max(1, asked),
        chunk_jerk=statistics.median(peaks("chunk_jerk", False) or [0.0]),
        command_jerk=statistics.median(peaks("command_jerk", False) or [0.0]),
        greatest_command_jerk=max(peaks("command_jerk", True), default=0.0),
        refused=sum(r.refused for r in results) / max(1, asked),
    )


def latency_ms(results: Sequence[Result]) -> tuple[float, float] | None:
    """Wall time of an inference over all tries, median and 99th percentile [ms]; None where none was timed.

    Not part of `Summary`, which for the same seeds is the same.
    """
    times = [1e3 * s for r in results for s in r.inference_s]
    return (float(np.median(times)), float(np.percentile(times, 99.0))) if times else None


def make_executor(name: str, robot: str) -> Any:
    """What turns chunks into commands: "linear", or "planner", the one of the real system.

    Raises:
        UnknownName: It is neither.
    """
    if name == "linear":
        return None
    if name == "planner":
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
    condition: bool = False,
    policy: str | None = None,
) -> list[Result]:
    """Run `episodes` tries with seeds from `seed` on; if `checkpoint` is None, the `policy` of a name, or the expert.

    Raises:
        ConfigError: The checkpoint does not fit, or is to be told what is committed and cannot be; or there is no such
            seed or number of tries.
    """
    require(seed >= 0, f"seeds must not be negative; got {seed}.")
    require(episodes >= 0 and processes >= 1, f"{episodes} tries by {processes} processes cannot be run.")
    if condition and (through != "planner" or (checkpoint is None and policy is None)):
        raise ConfigError("what is committed is known with `--through planner` only, and told to a policy only.")
    name = load_robot(robot).name  # it may be a file
    if checkpoint is not None:
        # Refused here, in one sentence, and not in every process.
        LearnedPolicy.from_model(*load_checkpoint(checkpoint, name), condition)
    config = rollout or RolloutConfig()
    job = Job(
        task, name, tuple(cameras), config, checkpoint,
        executor=make_executor(through, robot), condition=condition, policy=policy,
    )  # fmt: skip
    results: list[Result] = []
    with tqdm(total=episodes, desc="evaluate", unit="try", disable=quiet) as bar:
        for result in run(job, range(seed, seed + episodes), processes, ray):
            results.append(result)
            bar.update()
            bar.set_postfix(success=f"{sum(r.success for r in results)}/{len(results)}")
    return sorted(results, key=lambda r: int(r.notes["seed"]))


def report(results: Sequence[Result], limits: Limits | None = None) -> str:
    """A few lines: success with its interval and time, how it was driven, how fast it answered, which seeds failed."""
    s = summarise(results, limits)
    low, high = s.interval
    lines = [
        f"success {s.successes}/{s.episodes} = {100 * s.successes / max(1, s.episodes):.1f} % "
        f"(95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %), {s.seconds:.1f} s to success on average"
    ]
    if any(r.inferences for r in results):
        unit = "of the limit" if limits else "rad/s^3"
        lines.append(
            f"{s.steps_per_inference:.1f} control steps per inference; peak jerk of the arm, median over tries: chunks "
            f"{s.chunk_jerk:.2g}, commands {s.command_jerk:.2g} {unit}; {100 * s.refused:.1f} % of the chunks refused"
        )
    took = latency_ms(results)
    if took is not None:
        lines.append(
            f"an inference took {took[0]:.1f} ms (median), {took[1]:.1f} ms (p99): wall time of this machine with all "
            "else it did; tries run side by side, with --processes 1 one at a time"
        )
    if s.successes < s.episodes:
        lines.append("failed seeds: " + " ".join(str(r.notes["seed"]) for r in results if not r.success))
    return "\n".join(lines)


def _delay(text: str) -> int:
    _, _, high = text.partition(":")
    try:
        steps = math.ceil(float(high or text) / 50.0)
    except (ValueError, OverflowError):
        steps = -1
    require(steps >= 0, f'--delay-ms takes a number of at least 0, or LOW:HIGH; got "{text}".')
    return steps


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vla_ros.evaluation.evaluate", description=__doc__.splitlines()[0])
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--checkpoint", help='a safetensors file, or "expert"')
    who.add_argument("--policy", help="one of your own, module:name, made with the arm's joints alone")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=EVALUATION_SEED, help="of the first scene")
    parser.add_argument("--task", default="pick_place")
    parser.add_argument("--robot", default="so101")
    parser.add_argument("--through", default="linear", help="linear, or planner: as on the real system")
    parser.add_argument("--delay-ms", default="0:100", help="delay of a chunk; the upper end counts, in steps of 50")
    parser.add_argument("--replan-steps", type=int, default=4, help="greatest number of control steps between chunks")
    parser.add_argument(
        "--lead-steps",
        type=int,
        help="ask for a chunk so many control steps before the last is used up, instead of every --replan-steps",
    )
    parser.add_argument(
        "--use-steps", type=int, default=0, help="with --lead-steps: waypoints of a chunk to use; 0: all"
    )
    parser.add_argument(
        "--condition", action="store_true", help="tell the policy what is committed; takes --through planner"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="run the tries as Ray tasks, on the cluster in RAY_ADDRESS")
    args = parser.parse_args(argv)
    try:
        rollout = replace(
            RolloutConfig(), delay_steps=_delay(args.delay_ms), replan_steps=args.replan_steps,
            lead_steps=args.lead_steps, use_steps=args.use_steps,
        )  # fmt: skip
        checkpoint = None if args.checkpoint in (None, "expert") else Path(args.checkpoint)
        results = evaluate(
            checkpoint, args.episodes, args.seed, args.through, args.task, args.robot, rollout=rollout,
            processes=args.processes, ray=args.ray, condition=args.condition,
            policy=args.policy,
        )  # fmt: skip
    except VlaError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report(results, load_robot(args.robot).limits))
    return 0


if __name__ == "__main__":
    sys.exit(main())
