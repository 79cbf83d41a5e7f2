"""Run a policy on a simulated arm through the complete ROS 2 graph and write a report."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from vla_ros.config import load_robot
from vla_ros.core.errors import VlaError
from vla_ros.system.graph import (
    REALTIME_PRIORITY,
    GraphRun,
    check_parameter_file,
    isolated_domain,
    prepare_run_folder,
    run_graph,
)

SUCCESS_THRESHOLD = 0.9
"""Minimum success rate of a run with a policy, as in the README."""
EXPERT_SUCCESS_THRESHOLD = 0.95
"""Minimum success rate of a run with the scripted expert."""
VIDEO_EPISODES = 3
"""Number of episodes, from the first, whose camera images are saved."""

EPILOG = """
processes, connected by ROS 2 topics:
  sim         MuJoCo simulation: SO-101 arm, table, cube, bowl, two cameras; has the interface of a real arm
  policy      maps the newest images and joint positions to a chunk of joint targets
  planner     turns a chunk into a B-spline plan that starts where the arm will be, keeps every limit and ends at rest
  supervisor  proves each plan and sends commands at 500 Hz; the only node that publishes to the robot
  observer    records the robot's command topic and checks every limit independently
  baseline    a loop that only sleeps at the same rate; shows the timing that this machine permits

examples:
  ./vla demo                                  10 episodes, report in runs/demo
  ./vla demo --episodes 100 --seed 6000000    the success rate in the README
  ./vla demo --policy expert                  the scripted expert, which reads the simulator's ground truth
  ./vla demo --delay-ms 0:500                 adds a random delay of 0 to 500 ms to every inference
  ./vla demo --view                           opens the MuJoCo viewer

The demo runs in a ROS domain of its own, so it cannot command a real arm. It prints the ROS_DOMAIN_ID; with that set,
another terminal can use the ROS tools, for example: ros2 topic echo /vla/state
Ctrl-C brings the arm to rest and ends every process. The options take precedence over the file of --params.
Exit status: 0 if the run passed (no limit exceeded, no process lost, success rate at or above the threshold),
1 if it failed, 2 if it could not start.
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        "vla demo", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--episodes", type=int, default=10, metavar="N", help="number of episodes (default 10)")
    p.add_argument(
        "--seed", type=int, default=1_000_000, metavar="S", help="seed of the first scene; episode k uses S+k"
    )
    p.add_argument("--policy", default="learned", help="learned (default), expert, hold, or module:name")
    p.add_argument("--checkpoint", default="", help="checkpoint of the learned policy (default: see config/vla.yaml)")
    p.add_argument(
        "--task", default="pick_place", help="pick_place (default), or the harder pick_place_wide or two_objects"
    )
    p.add_argument("--delay-ms", default="0", metavar="A[:B]", help="delay added to every inference [ms], or its range")
    p.add_argument("--robot", default="so101", help="name in config/robots, or a file (default so101)")
    p.add_argument("--rate", type=float, default=500.0, metavar="HZ", help="command rate (default 500)")
    p.add_argument("--params", type=Path, metavar="FILE", help="ROS parameter file (default config/vla.yaml)")
    p.add_argument(
        "--realtime",
        type=int,
        default=REALTIME_PRIORITY,
        metavar="P",
        help="SCHED_FIFO priority of the command loop, if the system permits it; 0 for none (default %(default)s)",
    )
    p.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="folder of the report (default runs/demo)"
    )
    p.add_argument("--view", action="store_true", help="open the MuJoCo viewer")
    return p


def parse_delay(text: str) -> tuple[float, float]:
    """Parse `A` or `A:B` into minimum and maximum [ms].

    Raises:
        VlaError: The text has another form, or not 0 <= A <= B < 60000.
    """
    low, _, high = text.partition(":")
    try:
        pair = (float(low), float(high or low))
    except ValueError:
        pair = (1.0, 0.0)
    if not 0.0 <= pair[0] <= pair[1] < 60_000.0:
        raise VlaError(f'--delay-ms takes A or A:B in milliseconds with 0 <= A <= B; got "{text}".')
    return pair


class ProgressPrinter:
    """Prints one line per finished episode, and in a terminal the elapsed time of the current one."""

    def __init__(self, episodes: int) -> None:
        """Start the clock; `episodes` is the number requested."""
        self._episodes, self._printed, self._begun = episodes, 0, time.monotonic()
        self._terminal = sys.stdout.isatty()

    def __call__(self, results: list[dict[str, Any]]) -> None:
        """Print the results that are new."""
        for result in results[self._printed :]:
            successes = sum(r["success"] for r in results[: self._printed + 1])
            text = "success" if result["success"] else "failure"
            self._printed += 1
            clear = "\r\033[K" if self._terminal else ""
            print(
                f"{clear}episode {self._printed:>3}/{self._episodes}  seed {result['seed']}  {text}"
                f"  {result['seconds']:5.1f} s   {successes}/{self._printed} so far",
                flush=True,
            )
        if self._terminal:
            print(f"\r\033[Krunning, {time.monotonic() - self._begun:.0f} s ...", end="", flush=True)


def write_run_record(run: GraphRun, lost: dict[str, str]) -> None:
    """Write `run.json`: the configuration of the run, the versions, and the processes that were lost."""
    versions = {name: metadata.version(name) for name in ("numpy", "mujoco", "daqp", "torch") if _installed(name)}
    data = {
        "episodes": run.episodes,
        "seed": run.seed,
        "policy": run.policy,
        "checkpoint": run.checkpoint,
        "task": run.task,
        "robot": run.robot,
        "delay_ms": list(run.delay_ms),
        "rate_hz": run.rate_hz,
        "success_threshold": EXPERT_SUCCESS_THRESHOLD if run.policy == "expert" else SUCCESS_THRESHOLD,
        "lost_processes": lost,
        "versions": {"python": platform.python_version(), **versions},
    }
    (run.folder / "run.json").write_text(json.dumps(data, indent=1))


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def main(argv: Sequence[str]) -> int:
    """Run the demo with the options of `parser`; return its exit status."""
    options = parser().parse_args(list(argv))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run = prepare(options)
        write_run_record(run, {})
    except (VlaError, OSError) as error:
        print(f"vla demo: {error}", file=sys.stderr)
        return 2
    try:
        return execute(run)
    except OSError as error:
        print(f"vla demo: {error}", file=sys.stderr)
        return 1


def prepare(options: argparse.Namespace) -> GraphRun:
    """Check the options and empty the folder of the run.

    Raises:
        VlaError: An option has an invalid value.
    """
    if options.episodes < 1:
        raise VlaError(f"--episodes must be at least 1; got {options.episodes}.")
    if not 0 <= options.seed < 2**62:
        raise VlaError(f"--seed must be at least 0 and below 2**62; got {options.seed}.")
    if not 50.0 <= options.rate <= 2000.0:
        raise VlaError(f"--rate must be 50 to 2000 Hz; got {options.rate}.")
    load_robot(options.robot)
    if options.params is not None:
        check_parameter_file(options.params)
    run = GraphRun(
        folder=options.out,
        episodes=options.episodes,
        seed=options.seed,
        robot=options.robot,
        task=options.task,
        policy=options.policy,
        checkpoint=options.checkpoint,
        delay_ms=parse_delay(options.delay_ms),
        rate_hz=options.rate,
        params=options.params,
        view=options.view,
        realtime_priority=options.realtime,
        video_episodes=min(options.episodes, VIDEO_EPISODES),
    )
    prepare_run_folder(run.folder)
    return run


def execute(run: GraphRun) -> int:
    """Run the graph, write the report, print the table; return the exit status."""
    from vla_ros.report.page import write_report
    from vla_ros.report.table import render_table

    print(f"{run.policy} policy, task {run.task}, {run.episodes} episodes; logs and report in {run.folder}")
    try:
        with isolated_domain() as env:
            print(f"ROS_DOMAIN_ID={env['ROS_DOMAIN_ID']}", flush=True)
            outcome = run_graph(run, ProgressPrinter(run.episodes), env)
    except KeyboardInterrupt:
        print("\ninterrupted; every process has ended.")
        return 130
    print("\r\033[K" if sys.stdout.isatty() else "", end="")
    write_run_record(run, outcome.lost)
    for name, reason in outcome.lost.items():
        print(f"lost: {name}: {reason}", file=sys.stderr)
    if not outcome.started:
        return 2
    summary = write_report(run.folder)
    print(render_table(summary))
    print(f"report: {run.folder / 'report.html'}")
    return 0 if summary["passed"] else 1
