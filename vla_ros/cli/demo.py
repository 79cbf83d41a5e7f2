"""Run a learned policy on a simulated arm, over real ROS 2, and write a report (--help teaches)."""

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
from vla_ros.system.graph import REALTIME_PRIORITY, Run, check_params, domain, fresh_folder, run_graph

BAR = 0.9
"""Least success rate of a whole run with the learned policy, as the README states it."""
EXPERT_BAR = 0.95

EPILOG = """
what runs, each a process of its own on real ROS 2 topics:
  sim         MuJoCo: an SO-101 arm, table, cube, bowl, two cameras; takes commands as a real arm does
  policy      newest images and joints -> a chunk of joint targets
  planner     chunk -> one spline from where the arm will be, inside every limit, ending at rest
  supervisor  proves the plan, commands the arm 500 times a second; the only publisher to the robot
  observer    watches the robot's command topic from outside and judges it
  baseline    a bare loop of the same rate, to tell what the machine itself allows

examples:
  ./vla demo                                  ten episodes, report in runs/demo
  ./vla demo --episodes 100 --seed 6000000    the figure in the README
  ./vla demo --policy expert                  a scripted expert that sees the truth: proves the stack
  ./vla demo --delay-ms 0:500                 every inference delayed by 0 to 500 ms, drawn anew each time
  ./vla demo --view                           watch it in MuJoCo's own window

It runs in a ROS domain of its own, never in yours, so no real arm can hear it. From another terminal, with
the ROS_DOMAIN_ID that is printed:  ros2 topic echo /vla/state
Ctrl-C ends every process; the arm comes to rest first. What has an option here is not taken from --params.
Exit status: 0 if the run was whole (no limit exceeded, no process lost, success at or above the bar),
1 if not, 2 if it could not start.
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        "vla demo", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--episodes", type=int, default=10, metavar="N", help="how many (default 10)")
    p.add_argument("--seed", type=int, default=1_000_000, metavar="S", help="of the first scene; episode k has S+k")
    p.add_argument("--policy", default="learned", help="learned (default), expert, hold, or module:name of your own")
    p.add_argument("--checkpoint", default="", help="of the learned policy (default: the one of config/vla.yaml)")
    p.add_argument(
        "--task", default="pick_place", help="pick_place (default), pick_place_wide or two_objects, which are harder"
    )
    p.add_argument("--delay-ms", default="0", metavar="A[:B]", help="delay added to every inference, or a range of it")
    p.add_argument("--robot", default="so101", help="name in config/robots, or a file (default so101)")
    p.add_argument("--rate", type=float, default=500.0, metavar="HZ", help="commands per second (default 500)")
    p.add_argument("--params", type=Path, default=None, metavar="FILE", help="parameters (default config/vla.yaml)")
    p.add_argument(
        "--realtime",
        type=int,
        default=REALTIME_PRIORITY,
        metavar="P",
        help="SCHED_FIFO priority of the command loop, if the system allows it; 0 for none (default %(default)s)",
    )
    p.add_argument("--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="default runs/demo")
    p.add_argument("--view", action="store_true", help="open the simulator's window")
    return p


def delays(text: str) -> tuple[float, float]:
    """`A` or `A:B` in milliseconds.

    Raises:
        VlaError: It is neither.
    """
    low, _, high = text.partition(":")
    try:
        pair = (float(low), float(high or low))
    except ValueError:
        pair = (1.0, 0.0)
    if not 0.0 <= pair[0] <= pair[1] < 60_000.0:
        raise VlaError(f'--delay-ms takes A or A:B in milliseconds with 0 <= A <= B; got "{text}".')
    return pair


class Progress:
    """One line per episode, and a line that lives while one runs."""

    def __init__(self, episodes: int) -> None:
        """Start counting."""
        self._episodes, self._shown, self._begun = episodes, 0, time.monotonic()
        self._live = sys.stdout.isatty()

    def __call__(self, results: list[dict[str, Any]]) -> None:
        """Show what is new."""
        for result in results[self._shown :]:
            done = sum(r["success"] for r in results[: self._shown + 1])
            word = "in the bowl" if result["success"] else "not done   "
            self._shown += 1
            clear = "\r\033[K" if self._live else ""
            print(
                f"{clear}episode {self._shown:>3}/{self._episodes}  seed {result['seed']}  {word}"
                f"  {result['seconds']:5.1f} s   {done}/{self._shown} so far",
                flush=True,
            )
        if self._live:
            text = f"running, {time.monotonic() - self._begun:.0f} s ..."
            print(f"\r\033[K{text}", end="", flush=True)


def note_run(folder: Path, run: Run, bar: float, lost: dict[str, str]) -> None:
    """Write `run.json`: what was asked for, and what was lost."""
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
        "bar": bar,
        "lost_processes": lost,
        "versions": {"python": platform.python_version(), **versions},
    }
    (folder / "run.json").write_text(json.dumps(data, indent=1))


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def main(argv: Sequence[str]) -> int:
    """Run the demo; see `parser`."""
    options = parser().parse_args(list(argv))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run = prepare(options)
        note_run(run.folder, run, _bar(run), {})
    except (VlaError, OSError) as error:
        print(f"vla demo: {error}", file=sys.stderr)
        return 2
    try:
        return execute(run)
    except OSError as error:
        print(f"vla demo: {error}", file=sys.stderr)
        return 1


def prepare(options: argparse.Namespace) -> Run:
    """What was asked for, checked, with an empty folder for its logs.

    Raises:
        VlaError: An option cannot be met; the text says which.
    """
    if options.episodes < 1:
        raise VlaError(f"--episodes takes a number from 1 on; got {options.episodes}.")
    if not 0 <= options.seed < 2**62:
        raise VlaError(f"--seed takes a number from 0 on; got {options.seed}.")
    if not 50.0 <= options.rate <= 2000.0:
        raise VlaError(f"--rate takes 50 to 2000; got {options.rate}.")
    load_robot(options.robot)
    if options.params is not None:
        check_params(options.params)
    run = Run(
        folder=options.out,
        episodes=options.episodes,
        seed=options.seed,
        robot=options.robot,
        task=options.task,
        policy=options.policy,
        checkpoint=options.checkpoint,
        delay_ms=delays(options.delay_ms),
        rate_hz=options.rate,
        params=options.params,
        view=options.view,
        realtime_priority=options.realtime,
        film=min(options.episodes, 3),
    )
    fresh_folder(run.folder)
    return run


def _bar(run: Run) -> float:
    return EXPERT_BAR if run.policy == "expert" else BAR


def execute(run: Run) -> int:
    """Run the graph, write the report, print the table."""
    from vla_ros.report.page import write_report
    from vla_ros.report.table import render_table

    print(f"{run.policy} policy, task {run.task}, {run.episodes} episodes; logs and report in {run.folder}")
    try:
        with domain() as env:
            print(f"ROS_DOMAIN_ID={env['ROS_DOMAIN_ID']}", flush=True)
            outcome = run_graph(run, Progress(run.episodes), env)
    except KeyboardInterrupt:
        print("\ninterrupted; every process has ended.")
        return 130
    print("\r\033[K" if sys.stdout.isatty() else "", end="")
    note_run(run.folder, run, _bar(run), outcome.lost)
    for name, words in outcome.lost.items():
        print(f"lost: {name}: {words}", file=sys.stderr)
    if not outcome.started:
        return 2
    summary = write_report(run.folder)
    print(render_table(summary))
    print(f"report: {run.folder / 'report.html'}")
    return 0 if summary["whole"] else 1
