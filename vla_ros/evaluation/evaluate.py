"""Success rate of a policy or of the expert on scenes that were not used for training.

    ./vla eval --checkpoint config/checkpoints/so101_pick_place_beast_moh.safetensors

Training scenes have seeds below 1,000,000; evaluation scenes start there.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vla_ros.config import load_robot, require
from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.core.robot import Limits
from vla_ros.core.statistics import wilson_interval
from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.executors import executors
from vla_ros.evaluation.metrics import GRIPPERS, STEP_S
from vla_ros.evaluation.rollout import EpisodeResult, RolloutConfig
from vla_ros.evaluation.workers import run_episodes
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.network.checkpoint import load_checkpoint
from vla_ros.sim.base import EVALUATION_SEED


@dataclass(frozen=True)
class Summary:
    """Statistics of a set of episodes.

    Attributes:
        episodes: Number of episodes.
        successes: Number of successful episodes.
        interval: 95 % Wilson interval of the success probability; (0, 1) without episodes.
        mean_duration_s: Mean time to success [s].
        steps_per_inference: Control steps per requested chunk.
        chunk_jerk: Median over episodes of the maximum jerk of a chunk over its limit, without grippers, because a
            command to open or close is a step.
        command_jerk: The same for the commands.
        max_command_jerk: Maximum jerk of the commands over its limit in all episodes, with grippers.
        refused_share: Share of the requested chunks that the planner refused.
    """

    episodes: int
    successes: int
    interval: tuple[float, float]
    mean_duration_s: float
    steps_per_inference: float
    chunk_jerk: float
    command_jerk: float
    max_command_jerk: float
    refused_share: float


def summarise(
    results: Sequence[EpisodeResult], limits: Limits | None = None, grippers: Sequence[str] = GRIPPERS
) -> Summary:
    """Compute the statistics of a set of episodes.

    Args:
        results: The episodes.
        limits: Jerks are relative to these limits; None: in rad/s^3.
        grippers: Joints left out of `chunk_jerk` and `command_jerk`.
    """
    successful = [r for r in results if r.success]
    jerk_limit = dict(zip(limits.joints, limits.jerk, strict=True)) if limits else {}

    def maxima(name: str, with_grippers: bool) -> list[float]:
        return [
            max(
                (v / jerk_limit.get(j, 1.0) for j, v in getattr(r, name).items() if with_grippers or j not in grippers),
                default=0.0,
            )
            for r in results
        ]

    inferences = sum(r.inferences for r in results)
    return Summary(
        episodes=len(results),
        successes=len(successful),
        interval=wilson_interval(len(successful), len(results)) or (0.0, 1.0),
        mean_duration_s=sum(r.duration_s for r in successful) / max(1, len(successful)),
        steps_per_inference=sum(r.steps for r in results) / max(1, inferences),
        chunk_jerk=statistics.median(maxima("chunk_jerk", False) or [0.0]),
        command_jerk=statistics.median(maxima("command_jerk", False) or [0.0]),
        max_command_jerk=max(maxima("command_jerk", True), default=0.0),
        refused_share=sum(r.refused_chunks for r in results) / max(1, inferences),
    )


def inference_latency_ms(results: Sequence[EpisodeResult]) -> tuple[float, float] | None:
    """Median and 99th percentile of the wall time of an inference [ms]; None without inferences.

    It is not part of `Summary`, which follows from the seeds alone.
    """
    times = [1e3 * s for r in results for s in r.inference_s]
    return (float(np.median(times)), float(np.percentile(times, 99.0))) if times else None


def evaluate(
    checkpoint: Path | None,
    episodes: int,
    seed: int = EVALUATION_SEED,
    executor: str = "linear",
    task: str = "pick_place",
    robot: str = "so101",
    cameras: Sequence[str] = ("front", "wrist"),
    rollout: RolloutConfig | None = None,
    processes: int = 2,
    quiet: bool = False,
    ray: bool = False,
    real_time_chunking: bool = False,
    policy: str | None = None,
) -> list[EpisodeResult]:
    """Run `episodes` episodes with the seeds from `seed` on.

    Args:
        checkpoint: Checkpoint of the policy; None: the policy called `policy`, or the expert without one.
        episodes: Number of episodes.
        seed: Seed of the first episode.
        executor: Name of the executor, "linear" or "planner".
        task: Name of the task.
        robot: Name of the robot, or its file.
        cameras: Names of the cameras.
        rollout: Timing of the episodes; None: the defaults of `RolloutConfig`.
        processes: Number of parallel processes.
        quiet: Show no progress bar.
        ray: Run the episodes as Ray tasks.
        real_time_chunking: Pass the committed prefix to the policy; requires executor "planner".
        policy: Name of a policy in the registry.

    Returns:
        The results, in the order of the seeds.

    Raises:
        ConfigError: The checkpoint does not fit, real-time chunking is not possible, or a number is out of range.
    """
    require(seed >= 0, f"seeds must not be negative; got {seed}.")
    require(
        episodes >= 0 and processes >= 1,
        f"episodes must not be negative and processes must be at least 1; got {episodes} and {processes}.",
    )
    cls = executors.get(executor)
    if real_time_chunking and (not cls.has_plan or (checkpoint is None and policy is None)):
        raise ConfigError("real-time chunking needs a policy and the executor planner (--executor planner).")
    name = load_robot(robot).name  # `robot` may be a file
    if checkpoint is not None:
        # Fail here with one error instead of one per process.
        CheckpointPolicy.from_model(*load_checkpoint(checkpoint, name), real_time_chunking)
    job = EpisodeJob(
        task, name, tuple(cameras), rollout or RolloutConfig(), checkpoint, policy,
        executor=executor, real_time_chunking=real_time_chunking, robot_file=robot,
    )  # fmt: skip
    results: list[EpisodeResult] = []
    with tqdm(total=episodes, desc="evaluate", unit="episode", disable=quiet) as progress:
        for result in run_episodes(job, range(seed, seed + episodes), processes, ray):
            results.append(result)
            progress.update()
            progress.set_postfix(success=f"{sum(r.success for r in results)}/{len(results)}")
    return sorted(results, key=lambda r: r.seed)


def report(results: Sequence[EpisodeResult], limits: Limits | None = None) -> str:
    """Text of a few lines: success rate with interval, time, chunks, jerk, inference latency and failed seeds."""
    s = summarise(results, limits)
    low, high = s.interval
    lines = [
        f"success {s.successes}/{s.episodes} = {100 * s.successes / max(1, s.episodes):.1f} % "
        f"(95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %), mean time to success {s.mean_duration_s:.1f} s"
    ]
    if any(r.inferences for r in results):
        unit = "of the limit" if limits else "rad/s^3"
        lines.append(
            f"{s.steps_per_inference:.1f} control steps per inference; maximum jerk without gripper, median over "
            f"episodes: chunks {s.chunk_jerk:.2g}, commands {s.command_jerk:.2g} {unit}; "
            f"{100 * s.refused_share:.1f} % of the chunks refused"
        )
    latency = inference_latency_ms(results)
    if latency is not None:
        lines.append(
            f"inference latency {latency[0]:.1f} ms (median), {latency[1]:.1f} ms (p99): wall time with parallel "
            "episodes on this machine; use --processes 1 for one episode at a time"
        )
    if s.successes < s.episodes:
        lines.append("failed seeds: " + " ".join(str(r.seed) for r in results if not r.success))
    return "\n".join(lines)


def _parse_delay(text: str) -> tuple[int, int]:
    """Minimum and maximum delay [control steps] of "HIGH" or "LOW:HIGH" [ms], rounded up."""
    low, colon, high = text.partition(":")
    try:
        bounds = [math.ceil(float(part) / (1e3 * STEP_S)) for part in ((low, high) if colon else ("0", low))]
    except (ValueError, OverflowError):
        bounds = [-1, -1]
    require(0 <= bounds[0] <= bounds[1], f'--delay-ms must be HIGH or LOW:HIGH with 0 <= LOW <= HIGH; got "{text}".')
    return bounds[0], bounds[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="vla eval", description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", help="safetensors file of a learned policy")
    source.add_argument("--policy", help="a policy that needs no checkpoint: expert, hold, or module:name for your own")
    parser.add_argument("--episodes", type=int, default=40, help="number of episodes (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=EVALUATION_SEED, help="seed of the first episode (default: %(default)s)"
    )
    parser.add_argument("--task", default="pick_place", help="name of the task (default: %(default)s)")
    parser.add_argument("--robot", default="so101", help="name of the robot, or its file (default: %(default)s)")
    parser.add_argument(
        "--executor",
        default="linear",
        help="turns chunks into commands: linear, or planner as in the ROS graph (default: %(default)s)",
    )
    parser.add_argument(
        "--delay-ms",
        default="0:100",
        metavar="[LOW:]HIGH",
        help="delay of each chunk, drawn uniformly in control steps of 50 ms (default: %(default)s)",
    )
    parser.add_argument(
        "--replan-steps",
        type=int,
        default=4,
        help="maximum number of control steps between requests, drawn per episode (default: %(default)s)",
    )
    parser.add_argument(
        "--lead-steps",
        type=int,
        help="request a chunk this many control steps before the last is used up, in place of --replan-steps",
    )
    parser.add_argument(
        "--use-steps",
        type=int,
        default=0,
        help="with --lead-steps: number of waypoints of a chunk that count as usable; 0: all (default: %(default)s)",
    )
    parser.add_argument(
        "--real-time-chunking",
        action="store_true",
        help="pass the committed prefix to the policy; requires --executor planner",
    )
    parser.add_argument("--processes", type=int, default=2, help="number of parallel processes (default: %(default)s)")
    parser.add_argument("--ray", action="store_true", help="run the episodes on the Ray cluster in RAY_ADDRESS")
    args = parser.parse_args(argv)
    try:
        low, high = _parse_delay(args.delay_ms)
        rollout = RolloutConfig(
            min_delay_steps=low, max_delay_steps=high, max_replan_steps=args.replan_steps,
            lead_steps=args.lead_steps, use_steps=args.use_steps,
        )  # fmt: skip
        checkpoint = None if args.checkpoint is None else Path(args.checkpoint)
        results = evaluate(
            checkpoint, args.episodes, args.seed, args.executor, args.task, args.robot, rollout=rollout,
            processes=args.processes, ray=args.ray, real_time_chunking=args.real_time_chunking, policy=args.policy,
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
