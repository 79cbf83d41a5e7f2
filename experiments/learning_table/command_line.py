"""The learning table: every action head with one horizon and with a mixture, same data, budget and encoder.

Records the demonstrations of a suite, trains each run for the same processor time, evaluates it in closed loop, and
writes a record per run (experiments/learning_table/records/), a table (docs/learning.md) and plots (docs/img/).
An interrupted command continues where it was when it is started again.

    ./vla experiment learning_table --background             # every run, two in parallel; hours
    ./vla experiment learning_table --status                 # progress of each run
    ./vla experiment learning_table --runs beast beast-moh   # two runs, in the foreground
    ./vla experiment learning_table --report                 # table and plots from the records
    ./vla experiment learning_table --export pick_place/beast config/checkpoints/mine.safetensors
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from bench.common import one_thread
from bench.common.table import show, verdict
from experiments.learning_table.report import claims, table, write_report
from experiments.learning_table.suites import EXECUTION_MODES, QUICK, Budget, Folders, Run
from experiments.learning_table.tasks import SUITES, select
from experiments.learning_table.tokenizer_error import tokenizer_errors
from experiments.learning_table.training_run import (
    TrainingRun,
    exclusive_lock,
    finished,
    progress,
    read_json,
    write_json,
)
from vla_ros.cli import _checkout
from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.policy.network.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
MODULE = "experiments.learning_table"
QUICK_RUNS = ("regression", "beast-moh")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        "vla experiment learning_table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--suites", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(SUITES)} (default: all)")
    add("--runs", nargs="+", default=[], metavar="NAME", help="for example flow, or pick_place/flow-moh (default: all)")
    add("--jobs", type=int, default=2, help="number of parallel runs, one thread each (default 2)")
    add("--minutes", type=float, help="processor minutes of training per run (default: those of the suite)")
    add("--episodes", type=int, help="episodes per evaluation (default 100)")
    add("--quick", action="store_true", help="two very small runs in a temporary folder")
    add("--background", action="store_true", help="run without this terminal; the log is in the work folder")
    add("--status", action="store_true", help="print the progress of each run and exit")
    add("--report", action="store_true", help="write table and plots from the records and exit")
    add("--export", nargs=2, metavar=("RUN", "PATH"), help="write the checkpoint of a run to PATH and exit")
    add(
        "--mode",
        choices=tuple(EXECUTION_MODES),
        default="consensus",
        help="execution mode of an exported mixture (default consensus)",
    )
    add("--work", type=Path, default=ROOT / "runs" / "learning_table", help="folder of data and states")
    add(
        "--records",
        type=Path,
        default=ROOT / "experiments" / "learning_table" / "records",
        help="folder of the records",
    )
    add("--out", type=Path, help="another folder for the plots, beside docs/img")
    add("--single-run", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def record_demonstrations(runs: Sequence[Run], folders: Folders, processes: int) -> None:
    """Record the demonstrations that the runs need and that do not exist, and measure the tokenizer's error on them.

    Raises:
        ConfigError: A package that a suite needs is not installed.
    """
    for suite in {run.suite.name: run.suite for run in runs}.values():
        if suite.unavailable_reason:
            raise ConfigError(suite.unavailable_reason)
        folder = folders.demonstrations(suite)
        with exclusive_lock(folder.parent):
            for source in suite.sources:
                episodes, count = suite.record(source, folder, processes), len(source.missing(folder))
                title = f"record {suite.name} {source.prefix}"
                for _ in tqdm(episodes, title, count, disable=not count, unit="episode"):
                    pass
            if not folders.tokenizer_error(suite).exists():
                rows = tokenizer_errors(folder, suite)
                write_json(folders.tokenizer_error(suite), {"suite": suite.name, "rows": rows})


def start_process(run: Run, budget: Budget, folders: Folders, small: bool) -> subprocess.Popen[bytes]:
    """Start a process for one run; its output goes to a log in the run's folder."""
    folder = folders.run(run)
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--single-run", run.path]
    options += ["--work", str(folders.work), "--records", str(folders.records)]
    options += ["--minutes", str(run.suite.minutes), "--episodes", str(budget.episodes)]
    options += ["--quick"] if small else []
    env = {**_checkout.environment(), **one_thread.VARIABLES}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(_checkout.module_command(MODULE, options), env=env, stdout=log, stderr=log)


def run_all(runs: Sequence[Run], budget: Budget, folders: Folders, jobs: int, small: bool) -> list[str]:
    """Run `jobs` runs in parallel until all are done; returns the names of those that failed."""
    waiting, running, failed = list(runs), dict[str, tuple[Run, subprocess.Popen[bytes]]](), []
    bar = tqdm(total=100.0 * len(runs), bar_format="{l_bar}{bar}| {elapsed} {postfix}", disable=None)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                running[run.path] = run, start_process(run, budget, folders, small)
            time.sleep(0.5 if small else 5.0)
            for name, (run, process) in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    if process.returncode:
                        failed.append(name)
                    result = f"failed; see {folders.run(run) / 'log'}" if process.returncode else "done"
                    tqdm.write(f"{time.strftime('%F %T')} {name} {result}")
                    sys.stdout.flush()
            bar.n = 100.0 * sum(progress(run, budget, folders)[0] for run in runs)
            bar.set_postfix_str(", ".join(running))
    finally:
        for _, process in running.values():
            process.send_signal(signal.SIGINT)
        for _, process in running.values():
            process.wait()
        bar.close()
    return failed


def run_in_background(argv: Sequence[str], work: Path) -> int:
    """Start the same command in a session of its own."""
    work.mkdir(parents=True, exist_ok=True)
    command = _checkout.module_command(MODULE, [a for a in argv if a != "--background"])
    with (work / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=_checkout.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    print(f"process {process.pid}, log {work / 'log'}; --status prints its progress, `kill {process.pid}` pauses it.")
    return 0


def export_checkpoint(name: str, path: Path, mode: str, folders: Folders) -> int:
    """Copy the checkpoint of a run, set to an execution mode, with its successes in the metadata."""
    runs = select([], [name])
    if len(runs) != 1:
        raise ConfigError(f'"{name}" matches {len(runs)} runs; give SUITE/RUN.')
    run = runs[0]
    record = read_json(folders.record(run))
    mode = mode if run.mixture else "fixed"
    if mode not in record.get("evaluations", {}):
        raise ConfigError(f"{run.path} is not trained and evaluated yet.")
    model, info = load_checkpoint(folders.run(run) / f"policy_{mode}.safetensors")
    success = {mode: f"{row['successes']}/{row['episodes']}" for mode, row in record["evaluations"].items()}
    notes = {**info.notes, **record["data"], "success": success, "version": record["version"]}
    save_checkpoint(path, model, replace(info, notes=notes))
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB): {run.path}, success {success}")
    return 0


def run_and_report(args: argparse.Namespace, folders: Folders, budget: Budget) -> int:
    """Record demonstrations, run what is not finished, write the report; returns 0 if no run failed."""
    runs = select(args.suites, args.runs or (QUICK_RUNS if args.quick else ()), args.quick, args.minutes)
    unfinished = [run for run in runs if not finished(run, folders)]
    if not args.suites and not args.runs:
        reasons = {run.suite.name: run.suite.unavailable_reason for run in unfinished if run.suite.unavailable_reason}
        for name, reason in reasons.items():
            print(f"{name} is left out: {reason}")
        unfinished = [run for run in unfinished if not run.suite.unavailable_reason]
    record_demonstrations(unfinished, folders, args.jobs)
    failed = run_all(unfinished, budget, folders, args.jobs, args.quick) if unfinished else []
    return report(args, folders) or bool(failed)


def report(args: argparse.Namespace, folders: Folders) -> int:
    """Print the tables; except in a quick run, write them with the plots and check the claims."""
    for name in SUITES:
        head, rows = table(folders.records / name)
        if rows:
            show(name, head, rows)
    if args.quick:
        return 0
    write_report(folders.records, ROOT / "docs", args.out)
    return verdict(claims(folders.records))


def print_status(args: argparse.Namespace, budget: Budget, folders: Folders) -> int:
    """Print the progress of each run."""
    for run in select(args.suites, args.runs, minutes=args.minutes):
        print(f"{run.path:<28}{progress(run, budget, folders)[1]}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(argv)
    # A shell starts background processes with Ctrl-C ignored; SIGTERM pauses like Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    budget = QUICK if args.quick else Budget()
    budget = replace(budget, episodes=args.episodes or budget.episodes)
    temporary = Path(tempfile.mkdtemp(prefix="learning-")) if args.quick and not args.single_run else None
    folders = Folders(temporary or args.work, temporary / "records" if temporary else args.records)
    try:
        if args.single_run:
            run = select([], [args.single_run], args.quick, args.minutes)[0]
            with exclusive_lock(folders.run(run)):
                TrainingRun(run, budget, folders).execute()
            return 0
        if args.background:
            return run_in_background(argv, args.work)
        if args.status:
            return print_status(args, budget, folders)
        if args.export:
            return export_checkpoint(args.export[0], Path(args.export[1]), args.mode, folders)
        return report(args, folders) if args.report else run_and_report(args, folders, budget)
    except VlaError as error:
        print(f"learning_table: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("learning_table: paused; the same command continues.", file=sys.stderr)
        return 130
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
