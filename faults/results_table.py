"""The table of docs/faults.md: new rows replace those of earlier runs, in the order of the suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "docs" / "faults.md"
PASSED = "passed"
HEADER = """# Fault injection

What the system does when something breaks. `./vla faults --write` runs the suite and writes this
page row by row; `--only TEXT` runs single rows, `--missing` those without a passed row here.

Simulator, planner and supervisor are processes of their own on real ROS 2 topics. When the fault is
injected, one joint swings by 0.9 rad every 3 s; in the rows of cameras and policy, the learned
policy moves the arm by its camera images.

- *Final state* is the supervisor's state after the fault.
- *Reaction* is the time from the fault to the end of the state in which it was injected.
- *Rest* is the time from the fault to the last command that moves the arm.
- *v*, *a*, *j* are the maximum velocity, acceleration and jerk of all commands over their limits,
  by divided differences of the received commands.
- *Recovered* tells whether the arm moved again by itself after the fault was removed. It must only
  where it was never stopped.
- A row that fails while the machine delays a sleeping thread by more than 0.05 s is repeated, at
  most three times. The figures are from two shared, loaded cores. On such a machine run the suite
  at real-time priority (`chrt -f 5 ./vla faults --write`): otherwise the simulator itself is
  delayed, and the supervisor stops the arm because of that.
- *Cameras*: the supervisor monitors both, except in the rows "unmonitored cameras".
- *Deadman*: the switch must publish at least every 0.5 s that it is held.
- *Trajectory controller*: the arm is behind a trajectory controller, which executes its last
  trajectory whatever fails. Rest and ratios are the worse of the commands and the servo targets,
  which are received about 60 times a second from arming on.
- *System clocks* are set for single processes (`faults/system_clock.c`), never that of the machine.
- *Network*: the simulator is in one network namespace, all other processes in another. A process
  joins them and drops, delays and reorders frames (`faults/network_link.py`; `tc netem` is not in
  every kernel). The *disk* is 512 KiB of memory. Both need root.

| fault | final state | reaction [s] | rest [s] | v | a | j | recovered | result |
|---|---|---|---|---|---|---|---|---|
"""


def format_row(cells: Sequence[str], failures: Sequence[str]) -> str:
    """A row of the table, with its result in the last cell."""
    return "| " + " | ".join([*cells, "**FAILED**: " + "; ".join(failures) if failures else PASSED]) + " |"


def failed_row(name: str, failure: str) -> str:
    """The row of a fault that could not be injected."""
    return f"| {name}{' |' * 8} **FAILED**: {failure} |"


def passed(row: str) -> bool:
    """Whether a row ends with the result "passed"."""
    return row.endswith(f"| {PASSED} |")


def read_rows() -> dict[str, str]:
    """The rows in the file, by the name of the fault."""
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    rows = [line for line in lines if line.startswith("| ")]
    return {row.split("|")[1].strip(): row for row in rows[1:]}


def passed_names() -> set[str]:
    """The faults whose row in the file has passed."""
    return {name for name, row in read_rows().items() if passed(row)}


def summary(rows: Sequence[str]) -> str:
    """Number of faults, and of those that failed."""
    return f"{len(rows)} faults, {sum(not passed(row) for row in rows)} failed."


def write(new: dict[str, str], names: Sequence[str], *, complete: bool) -> None:
    """Replace rows in the file.

    Args:
        new: Rows by the name of the fault.
        names: The faults of the suite, in order; rows of other names are removed.
        complete: Whether one run has renewed every row.
    """
    kept = read_rows() | new
    rows = [kept[name] for name in names if name in kept]
    absent = [name for name in names if name not in kept]
    text = HEADER + "\n".join(rows) + f"\n\n{summary(rows)}\n"
    text += "\nEvery row is from one run.\n" if complete else "\nThe rows are from several runs.\n"
    text += "\nNot run yet: " + ", ".join(absent) + ".\n" if absent else ""
    part = FILE.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(FILE)
