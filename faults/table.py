"""The table of docs/faults.md: rows are kept as they come, beside those of earlier runs, in the order of the suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "docs" / "faults.md"
GOOD = "| as it must |"
TITLE = """# What happens when something breaks

Written by `./vla faults --write`, row by row; `--only TEXT` renews single rows, `--missing` runs those not yet here.
Simulator, planner and supervisor are processes of their own on real ROS 2 topics; one joint swings by 0.9 rad every 3 s
when the fault begins, and where cameras are concerned the learned policy moves the arm by what it sees.

- *Reaction* is from the fault to the end of the state it was injected in, as the supervisor says it; *rest* from the
  fault to the last command that moves. The ratios are the largest velocity, acceleration and jerk of all commands over
  their limits, by divided differences of what an outsider heard. *Recovered* says whether the arm moved again by itself
  once the fault was over: it must only where it was never stopped.
- A row that fails while the machine itself keeps a sleeping thread from waking for 0.05 s is taken anew, at most three
  times. The figures are from two shared, loaded cores. On such a machine start it under real-time priority
  (`chrt -f 5 ./vla faults --write`): else the simulator itself is stalled, and the supervisor rightly stops the arm.
- *Cameras*: the supervisor watches both, unless the row says unwatched. *Deadman*: it must be held every 0.5 s.
- *Trajectories*: the arm is behind a trajectory controller, which goes on by itself. Rest and ratios are the worse of
  what was commanded and what the controller told its servos, heard about 60 times a second from arming on.
- *System clocks* are set for single processes (`faults/clock.c`), never the machine's own.
- *Network*: the simulator is in one network namespace, everything else in another, and the wire between them is a
  process that loses and delays frames, and by random delays reorders them (`faults/wire.py`; `tc netem` is not in every
  kernel). The *disk* is half a megabyte of memory. Both need root.

| fault | final state | reaction [s] | rest [s] | v | a | j | recovered | |
|---|---|---|---|---|---|---|---|---|
"""


def known() -> dict[str, str]:
    """The rows that are kept, by the name of the fault."""
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    rows = [line for line in lines if line.startswith("| ")]
    return {row.split("|")[1].strip(): row for row in rows[1:]}


def good() -> set[str]:
    """The faults that did what they must when their row was written."""
    return {name for name, row in known().items() if row.endswith(GOOD)}


def summary(rows: Sequence[str]) -> str:
    """How many faults, and how many of them did not do what they must."""
    return f"{len(rows)} faults, {sum(not row.endswith(GOOD) for row in rows)} not as they must be."


def write(new: dict[str, str], names: Sequence[str], whole: bool) -> None:
    """Keep these rows; `names` are those of the suite, `whole` says that one run has renewed every row."""
    kept = known() | new
    rows = [kept[name] for name in names if name in kept]
    absent = [name for name in names if name not in kept]
    text = TITLE + "\n".join(rows) + f"\n\n{summary(rows)}\n"
    text += "\nEvery row is of one run.\n" if whole else "\nThese rows are not all of one run.\n"
    text += "\nNot run yet: " + ", ".join(absent) + ".\n" if absent else ""
    beside = FILE.with_suffix(".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(FILE)
