"""The learning table: every action head with one horizon and with a mixture, same data, same budget, same encoder.

Records a block's demonstrations once, trains each cell for the same processor time, evaluates it in closed loop through
the planner, and writes a record per cell (experiments/learning_table/records/), a table (docs/learning.md) and curves (docs/img/).
Whatever was done before a cut is not done again: the same command goes on.

    ./vla bench learning --background              # all cells, two at once; hours
    ./vla bench learning --status                  # how far each cell is
    ./vla bench learning --cells beast beast-moh   # these two, in the foreground
    ./vla bench learning --report                  # table and curves from what there is
    ./vla bench learning --keep pick_place/beast config/checkpoints/mine.safetensors
"""

from __future__ import annotations

import argparse
import os
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

from bench.common.table import show, verdict
from experiments.learning_table.report import table, verdicts, write_report
from experiments.learning_table.suites import QUICK, WAYS, Budget, Cell, Order, Places
from experiments.learning_table.tasks import BLOCKS, select
from experiments.learning_table.tokenizer_error import codes
from experiments.learning_table.training_run import CellRun, finished, only_one, progress, read_json, write_json
from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.policy.network.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
QUICK_CELLS = ("regression", "beast-moh")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "learning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(BLOCKS)}; default: all")
    parser.add_argument(
        "--cells", nargs="+", default=[], metavar="NAME", help="for example flow, or pick_place/flow-moh"
    )
    parser.add_argument("--jobs", type=int, default=2, help="cells at once, one thread each (default 2)")
    parser.add_argument("--minutes", type=float, help="processor minutes of training per cell, in place of the block's")
    parser.add_argument("--episodes", type=int, help="tries per evaluation (default 100)")
    parser.add_argument("--quick", action="store_true", help="two tiny cells in a folder that is thrown away")
    parser.add_argument(
        "--background", action="store_true", help="go on without this terminal; the log is in the work folder"
    )
    parser.add_argument("--status", action="store_true", help="say how far each cell is, and end")
    parser.add_argument(
        "--report", action="store_true", help="write table and curves from the records there are, and end"
    )
    parser.add_argument("--keep", nargs=2, metavar=("CELL", "PATH"), help="write a cell's checkpoint to PATH, and end")
    parser.add_argument("--way", choices=tuple(WAYS), default="consensus", help="with --keep: how a mixture executes")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "learning", help="folder of data and states")
    parser.add_argument(
        "--kept", type=Path, default=ROOT / "experiments" / "learning_table" / "records", help="folder of the records"
    )
    parser.add_argument("--out", type=Path, help="folder for the curves, beside docs/img")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def record(cells: Sequence[Cell], places: Places, processes: int) -> None:
    """Record the demonstrations that the cells need and that are not there, and say what codes lose of them.

    Raises:
        ConfigError: Something is not installed that a block needs.
    """
    for block in {cell.block.name: cell.block for cell in cells}.values():
        if block.lacks:
            raise ConfigError(block.lacks)
        folder = places.demos(block)
        with only_one(folder.parent):
            for source in block.sources:
                seeds = source.missing(folder)
                order = Order(
                    seeds, block.rollout(source.noise_rad), processes, source.checkpoint, folder, source.prefix
                )
                tries = block.play(block.config, order) if seeds else ()
                title = f"record {block.name} {source.prefix}"
                for _ in tqdm(tries, title, len(seeds), disable=not seeds, unit="try"):
                    pass
            if not places.codes(block).exists():
                write_json(places.codes(block), {"block": block.name, "rows": codes(folder, block)})


def child(cell: Cell, budget: Budget, places: Places, small: bool) -> subprocess.Popen[bytes]:
    """A process for one cell; what it says goes into the cell's folder."""
    folder = places.cell(cell)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--one", cell.path, "--work", str(places.work), "--kept", str(places.kept)]
    command += [
        "--minutes",
        str(cell.block.minutes),
        "--episodes",
        str(budget.episodes),
        *(["--quick"] if small else []),
    ]
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, env={**os.environ, **single}, stdout=log, stderr=log)


def run_all(cells: Sequence[Cell], budget: Budget, places: Places, jobs: int, small: bool) -> list[str]:
    """Run the cells, `jobs` at once; the names of those that failed."""
    waiting, running, failed = list(cells), dict[str, tuple[Cell, subprocess.Popen[bytes]]](), []
    bar = tqdm(total=100.0 * len(cells), bar_format="{l_bar}{bar}| {elapsed} {postfix}", disable=None)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.pop(0)
                running[cell.path] = cell, child(cell, budget, places, small)
            time.sleep(0.5 if small else 5.0)
            for name, (cell, process) in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    if process.returncode:
                        failed.append(name)
                    end = f"failed; see {places.cell(cell) / 'log'}" if process.returncode else "done"
                    tqdm.write(f"{time.strftime('%F %T')} {name} {end}")
                    sys.stdout.flush()
            bar.n = 100.0 * sum(progress(cell, budget, places)[0] for cell in cells)
            bar.set_postfix_str(", ".join(running))
    finally:
        for _, process in running.values():
            process.send_signal(signal.SIGINT)
        for _, process in running.values():
            process.wait()
        bar.close()
    return failed


def in_background(argv: Sequence[str], work: Path) -> int:
    """Start the same command in a session of its own."""
    work.mkdir(parents=True, exist_ok=True)
    rest = [a for a in argv if a != "--background"]
    with (work / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, *rest], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    print(f"process {process.pid}, log {work / 'log'}; --status says how far it is, `kill {process.pid}` pauses it.")
    return 0


def keep(name: str, path: Path, way: str, places: Places) -> int:
    """Copy a cell's checkpoint, executed that way, to where it is to stay, with what it reached in its header."""
    cell = select([], [name])
    if len(cell) != 1:
        raise ConfigError(f'"{name}" means {len(cell)} cells; say BLOCK/CELL.')
    made = read_json(places.record(cell[0]))
    way = way if cell[0].mixed else "fixed"
    if way not in made.get("rows", {}):
        raise ConfigError(f"{cell[0].path} is not trained and evaluated yet.")
    model, info = load_checkpoint(places.cell(cell[0]) / f"policy_{way}.safetensors")
    reached = {way: f"{row['successes']}/{row['episodes']}" for way, row in made["rows"].items()}
    notes = {**info.notes, **made["data"], "success": reached, "version": made["version"]}
    save_checkpoint(path, model, replace(info, notes=notes))
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB): {cell[0].path}, success {reached}")
    return 0


def work(args: argparse.Namespace, places: Places, budget: Budget) -> int:
    """Record, run, report."""
    cells = select(args.blocks, args.cells or (QUICK_CELLS if args.quick else ()), args.quick, args.minutes)
    todo = [cell for cell in cells if not finished(cell, places)]
    if not args.blocks and not args.cells:
        for name, lacks in {cell.block.name: cell.block.lacks for cell in todo if cell.block.lacks}.items():
            print(f"{name} is left out: {lacks}")
        todo = [cell for cell in todo if not cell.block.lacks]
    record(todo, places, args.jobs)
    failed = run_all(todo, budget, places, args.jobs, args.quick) if todo else []
    return report(args, places) or bool(failed)


def report(args: argparse.Namespace, places: Places) -> int:
    """Print the tables; write them and the curves, unless this is a smoke run."""
    for name in BLOCKS:
        head, rows = table(places.kept / name)
        if rows:
            show(name, head, rows)
    if not args.quick:
        write_report(places.kept, ROOT / "docs", args.out)
    return verdict(verdicts(places.kept)) if not args.quick else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    args = parse(given)
    # A shell that starts something in the background has it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    budget = QUICK if args.quick else Budget()
    budget = replace(budget, episodes=args.episodes or budget.episodes)
    folder = Path(tempfile.mkdtemp(prefix="learning-")) if args.quick and not args.one else None
    places = Places(folder or args.work, folder / "kept" if folder else args.kept)
    try:
        if args.one:
            cell = select([], [args.one], args.quick, args.minutes)[0]
            with only_one(places.cell(cell)):
                CellRun(cell, budget, places).run()
            return 0
        if args.background:
            return in_background(given, args.work)
        if args.status:
            rows = [
                [c.path, progress(c, budget, places)[1]] for c in select(args.blocks, args.cells, minutes=args.minutes)
            ]
            print("\n".join(f"{name:<28}{text}" for name, text in rows))
            return 0
        if args.keep:
            return keep(args.keep[0], Path(args.keep[1]), args.way, places)
        return report(args, places) if args.report else work(args, places, budget)
    except VlaError as error:
        print(f"learning: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("learning: paused; the same command goes on.", file=sys.stderr)
        return 130
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
