"""Faults injected into real processes while the arm moves: what comes of each, how soon, inside which limits."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import rows
import rows_more
import rows_sight
import rows_world
from fault import Fault
from scene import Scene, scene

FAULTS = (*rows.FAULTS, *rows_more.FAULTS, *rows_sight.FAULTS, *rows_world.FAULTS)

TITLE = """# What happens when something breaks

Written by `./vla faults --write`, which with `--only` renews single rows. Simulator, planner and supervisor are
processes of their own on real ROS 2 topics; one joint swings by 0.9 rad every 3 s when the fault begins, and where
cameras are concerned the learned policy moves the arm by what it sees.

- *Reaction* is from the fault to the end of the state it was injected in, as the supervisor says it; *rest* from the
  fault to the last command that moves. The ratios are the largest velocity, acceleration and jerk of all commands over
  their limits, by divided differences of what an outsider heard. *Recovered* says whether the arm moved again by itself
  once the fault was over: it must only where it was never stopped.
- A row that fails while the machine itself keeps a sleeping thread from waking for 0.05 s is taken anew, at most three
  times. The figures are from two shared, loaded cores. On such a machine start it under real-time priority
  (`chrt -f 5 ./vla faults --write`): else the simulator itself is stalled, and the supervisor rightly stops the arm.
- *System clocks* are set for single processes (`faults/clock.c`), never the machine's own.
- *Network*: the simulator is in one network namespace, everything else in another, and the wire between them is a
  process that loses and delays frames, and by random delays reorders them (`faults/wire.py`; `tc netem` is not in every
  kernel). The *disk* is half a megabyte of memory. Both need root.

| fault | final state | reaction [s] | rest [s] | v | a | j | recovered | |
|---|---|---|---|---|---|---|---|---|
"""
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
        "–" if reaction != reaction else f"{reaction:.2f}",
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
    patience = time.monotonic() + 2.0
    while fault.final != "silent" and not stage.resting() and time.monotonic() < patience:
        stage.witness.wait(0.05)
    if fault.final != "silent" and not stage.resting():
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
    stage.witness.wait(1.5)
    stage.witness.spin_all()
    if fault.final == "silent" and not stage.measured_speed() <= 0.1:
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
                row = f"| {fault.name} | | | | | | | | **NOT**: {str(error).partition(';')[0]} |"
        if good or (row.count("| |") == 0 and stalls.longest_s < STALL_S):
            break
        print(f"again ({stalls.longest_s:.2f} s): {row}", flush=True)
    return row, good


def main(argv: list[str] | None = None) -> int:
    """Run the suite; 0 only if every fault did what it must."""
    parser = argparse.ArgumentParser("vla faults", description=__doc__)
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="the fault of this name, or those whose name holds it"
    )
    parser.add_argument("--list", action="store_true", help="name them and end")
    parser.add_argument("--write", action="store_true", help="keep the rows in docs/faults.md")
    options = parser.parse_args(argv)
    chosen = [fault for fault in FAULTS if options.only == fault.name]
    chosen = chosen or [fault for fault in FAULTS if options.only in fault.name]
    if options.list:
        print("\n".join(fault.name for fault in chosen))
        return 0
    # What spins at real-time priority is ended instead of taking the machine with it.
    resource.setrlimit(resource.RLIMIT_RTTIME, (RUNAWAY_US, 2 * RUNAWAY_US))
    table, stalls = [], Stalls()
    for fault in chosen:
        table.append(attempt(fault, stalls))
        print(table[-1][0], flush=True)
    print(summary([row for row, _ in table]))
    if options.write:
        write({fault.name: row for fault, (row, _) in zip(chosen, table, strict=True)})
    return int(not all(good for _, good in table))


def summary(table: list[str]) -> str:
    """How many faults, and how many of them did not do what they must."""
    return f"{len(table)} faults, {sum('**NOT**' in row for row in table)} not as they must be."


def write(new: dict[str, str]) -> None:
    """Keep these rows in docs/faults.md, beside those of earlier runs, in the order of the suite."""
    file = Path(__file__).resolve().parents[1] / "docs" / "faults.md"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    known = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")} | new
    table = [known[fault.name] for fault in FAULTS if fault.name in known]
    absent = [fault.name for fault in FAULTS if fault.name not in known]
    text = TITLE + "\n".join(table) + f"\n\n{summary(table)}\n"
    text += "\nNot run yet: " + ", ".join(absent) + ".\n" if absent else ""
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
