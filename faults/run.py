"""Faults injected into real processes while the arm moves: what comes of each, how soon, inside which limits."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import rows
import rows_flow
import rows_hand
import rows_more
import rows_sight
import rows_world
import table
from fault import WATCHED_S, Fault
from scene import Scene, scene

PARTS = (rows, rows_more, rows_hand, rows_sight, rows_world, rows_flow)
FAULTS = tuple(fault for part in PARTS for fault in part.FAULTS)
NAMES = tuple(fault.name for fault in FAULTS)

STALL_S, ATTEMPTS = 0.05, 4
"""A machine that keeps a thread from waking for so long disturbs what is looked at [s]; how often it is tried."""
RUNAWAY_US = 2_000_000
"""A real-time thread that takes so much processor time without ever sleeping has run away [us]."""
REST_S = 4.0
"""No stop lasts longer than the rest that every plan contains [s]."""


class Stalls:
    """A thread that does nothing but sleep, and the longest it was kept from waking."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        threading.Thread(target=self._sleep, daemon=True).start()

    def _sleep(self) -> None:
        while True:
            begun = time.monotonic()
            time.sleep(0.01)
            self.longest_s = max(self.longest_s, time.monotonic() - begun - 0.01)


def react(stage: Scene, fault: Fault) -> float:
    """Inject, wait for the state it must lead to; how long until that began [s], NaN where nothing must come of it."""
    witness = stage.witness
    begun, first = witness.now_ns(), len(witness.modes)
    fault.begin(stage)
    if fault.final == fault.at:
        witness.wait(fault.look_s)
        return float("nan")
    if fault.final == "silent":
        witness.wait(0.5)
        return (witness.heard_ns[-1] - begun) / 1e9
    witness.until(lambda: fault.final in witness.modes[first:], fault.final, 8.0)
    return (witness.mode_ns[first] - begun) / 1e9


def lead(stage: Scene, fault: Fault) -> None:
    """Bring the moving arm into the state in which the fault is injected."""
    witness = stage.witness
    if witness.mode != "running":
        raise AssertionError(f"{witness.mode} before the fault: {witness.state['reason']}")
    fault.lead(stage)
    witness.until(lambda: witness.mode == fault.at, f"{fault.at} before the fault")
    if fault.at == "running":
        witness.until(stage.moving, "motion before the fault")
    witness.spin_all()


def run(fault: Fault, folder: Path, stalls: Stalls) -> tuple[str, bool]:
    """One fault in a graph of its own: its row, and whether all is as it must be."""
    with scene(folder, fault.setup) as stage:
        witness = stage.witness
        witness.spin_all()
        lead(stage, fault)
        stalls.longest_s = 0.0
        begun = witness.now_ns()
        complaints = []
        try:
            reaction = react(stage, fault)
        except AssertionError as error:
            reaction = float("inf")
            complaints.append(str(error).partition(";")[0])
        rest = rested(stage, fault, begun, complaints)
        reached, words = witness.mode, " ".join(witness.state.values())
        if fault.final != "silent" and reached != fault.final:
            complaints.append(f"{reached} instead of {fault.final}: {witness.state.get('reason')}")
        if fault.reason not in words:
            complaints.append(f"reason: {witness.state.get('reason')}")
        if not reaction <= fault.within_s and fault.final != fault.at:
            complaints.append(f"later than {fault.within_s} s")
        recovered = outlived(stage, fault, complaints)
        found = stage.judgement()
        if any(found.violations.values()):
            complaints.append(f"limits exceeded: {found.violations}")
    cells = [
        fault.name,
        reached if fault.final != "silent" else "commands end",
        "–" if reaction != reaction else f"{max(reaction, 0.0):.2f}",
        "–" if rest != rest else f"{max(rest, 0.0):.2f}",
        *(f"{found.peak_ratio[q]:.3f}" for q in ("velocity", "acceleration", "jerk")),
        "yes" if recovered else "no",
        "as it must" if not complaints else "**NOT**: " + "; ".join(complaints),
    ]
    return "| " + " | ".join(cells) + " |", not complaints


def rested(stage: Scene, fault: Fault, begun: int, complaints: list[str]) -> float:
    """How long after the fault the arm was last commanded to move [s]; NaN where it may go on."""
    if not fault.rests:
        return float("nan")
    stage.witness.spin_all()  # on a busy machine what was commanded may not have been heard yet
    heard = fault.final != "silent" or stage.servos is not None
    patience = time.monotonic() + (REST_S if stage.servos else 2.0)
    while heard and not stage.resting() and time.monotonic() < patience:
        stage.witness.wait(0.05)
    if heard and not stage.resting():
        complaints.append("not at rest")
    rest = (stage.last_motion_ns() - begun) / 1e9
    if not rest <= REST_S:
        complaints.append(f"at rest later than {REST_S} s")
    return rest


def outlived(stage: Scene, fault: Fault, complaints: list[str]) -> bool:
    """End the fault; whether the arm then moves by itself, which it may only where it was never stopped."""
    fault.end(stage)
    stage.witness.spin_all()
    moved = stage.last_motion_ns()
    stage.witness.wait(WATCHED_S)
    stage.witness.spin_all()
    by_itself = fault.final == "silent" or (stage.servos and fault.final != "running" and stage.simulated())
    if by_itself and not stage.measured_speed() <= 0.1:
        complaints.append("the arm still moves")
    recovered = stage.last_motion_ns() > moved + 500_000_000
    if recovered and fault.final != "running":
        complaints.append("recovered by itself")
    return recovered


def attempt(fault: Fault, stalls: Stalls) -> tuple[str, bool]:
    """`run`, again where the machine itself stood still meanwhile: that is another fault than the one looked at."""
    row, good = "", False
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory() as folder:
            try:
                row, good = run(fault, Path(folder), stalls)
            except AssertionError as error:
                print(f"{fault.name}: {error}", file=sys.stderr, flush=True)
                row = f"| {fault.name} | | | | | | | | **NOT**: {str(error).partition(';')[0]} |"
        if good or (row.count("| |") == 0 and stalls.longest_s < STALL_S):
            break
        print(f"again ({stalls.longest_s:.2f} s): {row}", flush=True)
    return row, good


def alone(fault: Fault) -> tuple[str, bool]:
    """`attempt` in a process of its own: the middleware keeps things per process, the network cards for one."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(fault, writer))
    child.start()
    writer.close()
    try:
        answer: tuple[str, bool] = reader.recv()
    except EOFError:
        child.join()
        answer = f"| {fault.name} | | | | | | | | **NOT**: its process ended with {child.exitcode} |", False
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        os.kill(child.pid or 0, signal.SIGINT)
        child.join(30.0)
        child.kill()
        raise
    child.join()
    return answer


def _answer(fault: Fault, writer: Connection) -> None:
    os.setpgid(0, 0)  # a terminal's Ctrl-C is for the parent, who passes it on
    try:
        writer.send(attempt(fault, Stalls()))
    except KeyboardInterrupt:
        os._exit(130)


def choose(only: str, missing: bool) -> list[Fault]:
    """The fault of this name, or those whose name holds it; of these, those the table lacks or has as failed."""
    chosen = [fault for fault in FAULTS if only == fault.name] or [fault for fault in FAULTS if only in fault.name]
    good = table.good() if missing else ()
    return [fault for fault in chosen if fault.name not in good]


def minutes(seconds: float) -> str:
    """A duration for a person."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def sweep(chosen: list[Fault], keep: bool) -> list[tuple[str, bool]]:
    """One row after another, each printed and kept as soon as it is known; Ctrl-C ends it between two of them."""
    begun = time.monotonic()
    left = sum(fault.expected_s for fault in chosen)
    expected = left
    done: list[tuple[str, bool]] = []
    try:
        print(f"{len(chosen)} faults, about {minutes(left)} on a quiet machine", file=sys.stderr, flush=True)
        for fault in chosen:
            done.append(alone(fault))
            print(done[-1][0], flush=True)
            if keep:
                table.write({fault.name: done[-1][0]}, NAMES, whole=len(done) == len(NAMES))
            left -= fault.expected_s
            gone = time.monotonic() - begun
            pace = gone / max(expected - left, 1.0)
            ahead = f", about {minutes(left * pace)} to go" if left > 0.5 else ""
            print(f"{len(done)} of {len(chosen)} in {minutes(gone)}{ahead}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        hint = "; ./vla faults --missing --write goes on" if keep else ""
        print(f"ended after {len(done)} of {len(chosen)}{hint}", file=sys.stderr, flush=True)
    return done


def main(argv: list[str] | None = None) -> int:
    """Run the suite; 0 only if every fault did what it must, 130 if it was broken off."""
    parser = argparse.ArgumentParser("vla faults", description=__doc__)
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="the fault of this name, or those whose name holds it"
    )
    parser.add_argument("--missing", action="store_true", help="only faults docs/faults.md has no good row of yet")
    parser.add_argument("--list", action="store_true", help="name them and end")
    parser.add_argument("--write", action="store_true", help="keep each row in docs/faults.md as soon as it is known")
    options = parser.parse_args(argv)
    chosen = choose(options.only, options.missing)
    if not chosen:
        why = "no row is missing" if options.missing else "--list names them all"
        print(f'vla faults: no fault to run whose name holds "{options.only}"; {why}.', file=sys.stderr)
        return 0 if options.missing else 2
    if options.list:
        print("\n".join(fault.name for fault in chosen))
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    # What spins at real-time priority is ended instead of taking the machine with it.
    resource.setrlimit(resource.RLIMIT_RTTIME, (RUNAWAY_US, 2 * RUNAWAY_US))
    done = sweep(chosen, options.write)
    print(table.summary([row for row, _ in done]))
    if len(done) < len(chosen):
        return 130
    return int(not all(good for _, good in done))


if __name__ == "__main__":
    sys.exit(main())
