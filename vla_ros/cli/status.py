"""Show what the supervisor does and why, live (--once prints it once)."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

SUPERVISOR = "vla_ros: supervisor"
SILENT_S = 2.0
"""A part that says nothing for so long is said to be silent [s]."""
LEVELS = ("", "warning", "ERROR", "stale")

EPILOG = """
It listens in the ROS domain of the environment (ROS_DOMAIN_ID); `./vla demo` prints the one it uses.
q or Ctrl-C ends it. Nothing is ever sent: to act, call the services /vla/arm, /vla/stop, /vla/estop, /vla/reset.
With --once the exit status is 0 if a supervisor was heard, 1 if none was.
"""


@dataclass(frozen=True)
class Heard:
    """What was said of one part of the graph.

    Attributes:
        level: 0 good, 1 warning, 2 error.
        message: One sentence.
        values: Its figures.
        at_s: When it was heard, on the monotonic clock [s].
    """

    level: int
    message: str
    values: Mapping[str, str]
    at_s: float


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        "vla status", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--once", action="store_true", help="print once and end")
    p.add_argument("--wait", type=float, default=5.0, metavar="S", help="with --once: how long to listen (default 5 s)")
    return p


def render(parts: Mapping[str, Heard], now_s: float) -> str:
    """The page: supervisor first, with its figures in columns, then a line per other part."""
    supervisor = parts.get(SUPERVISOR)
    if supervisor is None:
        lines = ["no supervisor heard in ROS domain " + os.environ.get("ROS_DOMAIN_ID", "0")]
    else:
        values = dict(supervisor.values)
        mode, reason, faults = (values.pop(key, "") for key in ("mode", "reason", "faults"))
        lines = [f"{mode.upper()}   {reason}{_silence(supervisor, now_s)}"]
        lines += [f"  ! {fault}" for fault in faults.split("; ") if fault]
        lines += ["", *_columns(values)]
    for name in sorted(set(parts) - {SUPERVISOR}):
        part = parts[name]
        level = LEVELS[min(part.level, 3)]
        figures = "  ".join(f"{key} {value}" for key, value in part.values.items())
        words = "  ".join(filter(None, [level, part.message, figures]))
        lines += ["", f"{name.removeprefix('vla_ros: ')}: {words}{_silence(part, now_s)}"]
    return "\n".join(lines)


def _silence(part: Heard, now_s: float) -> str:
    age = now_s - part.at_s
    return "" if age <= SILENT_S else f"   (silent for {age:.0f} s)"


def _columns(values: Mapping[str, str]) -> list[str]:
    width = max((len(key) for key in values), default=0)
    return [f"  {key:<{width}}  {value}" for key, value in values.items()]


@contextlib.contextmanager
def _single_keys() -> Iterator[bool]:
    """Keys without a return while the block runs, where there is a terminal; says whether there is."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield False
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield True
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def main(argv: Sequence[str]) -> int:
    """Show until asked to end; 0 if a supervisor was heard."""
    options = parser().parse_args(list(argv))
    command = [sys.executable, "-m", "vla_ros.nodes.status_node"]
    ears = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert ears.stdout is not None
    os.set_blocking(ears.stdout.fileno(), False)
    try:
        page = Page(ears.stdout)
        return page.once(options.wait) if options.once else page.live()
    except KeyboardInterrupt:
        return 0
    finally:
        ears.send_signal(signal.SIGINT)
        ears.wait()


class Page:
    """What was heard so far, and ways to show it."""

    def __init__(self, lines: IO[bytes]) -> None:
        """Read from a pipe that does not block."""
        self._lines, self._rest = lines, b""
        self.parts: dict[str, Heard] = {}

    def listen(self) -> None:
        """Take every whole line that came."""
        *whole, self._rest = (self._rest + (self._lines.read() or b"")).split(b"\n")
        for text in whole:
            said = json.loads(text)
            self.parts[said["name"]] = Heard(said["level"], said["message"], said["values"], time.monotonic())

    def once(self, patience_s: float) -> int:
        """Print once, as soon as a supervisor is heard; 1 if none is."""
        end = time.monotonic() + patience_s
        while SUPERVISOR not in self.parts and time.monotonic() < end:
            time.sleep(0.05)
            self.listen()
        print(render(self.parts, time.monotonic()))
        return 0 if SUPERVISOR in self.parts else 1

    def live(self) -> int:
        """Print anew whenever something changed, until q is pressed."""
        shown = ""
        with _single_keys() as keys:
            while True:
                self.listen()
                page = render(self.parts, time.monotonic())
                if keys:
                    print(f"\033[H\033[2J{page}\n\nq ends", end="", flush=True)
                elif page != shown:
                    print(f"{page}\n", flush=True)
                shown = page
                if not keys:
                    time.sleep(0.2)
                elif select.select([sys.stdin], [], [], 0.2)[0] and sys.stdin.read(1) in ("q", "Q"):
                    print()
                    return 0
