"""Show the state of the supervisor and the diagnostics of all nodes, live or once."""

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
"""Name of the supervisor's diagnostic status."""
STALE_S = 2.0
"""A status older than this is shown with its age [s]."""
LEVELS = ("", "warning", "ERROR", "stale")
"""Text by level of `diagnostic_msgs/DiagnosticStatus`."""

EPILOG = """
The command subscribes in the ROS domain of the environment (ROS_DOMAIN_ID); `./vla demo` prints the domain it uses.
Press q or Ctrl-C to end it. It publishes nothing and calls no service; the operator's services are
/vla/arm, /vla/stop, /vla/estop and /vla/reset.
With --once, the exit status is 0 if the state of a supervisor was received, else 1.
"""


@dataclass(frozen=True)
class NodeStatus:
    """The latest status of one node.

    Attributes:
        level: 0 OK, 1 warning, 2 error, 3 stale.
        message: One sentence.
        values: Values by key.
        received_s: Time of reception on the monotonic clock [s].
    """

    level: int
    message: str
    values: Mapping[str, str]
    received_s: float


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        "vla status", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--once", action="store_true", help="print the status once and exit")
    p.add_argument("--wait", type=float, default=5.0, metavar="S", help="timeout of --once [s] (default 5)")
    return p


def render(statuses: Mapping[str, NodeStatus], now_s: float) -> str:
    """The text to show: the supervisor with its values in columns, then one line per other node.

    Args:
        statuses: The latest status by name.
        now_s: Present time on the monotonic clock [s].
    """
    supervisor = statuses.get(SUPERVISOR)
    if supervisor is None:
        lines = ["no supervisor found in ROS domain " + os.environ.get("ROS_DOMAIN_ID", "0")]
    else:
        values = dict(supervisor.values)
        mode, reason, faults = (values.pop(key, "") for key in ("mode", "reason", "faults"))
        lines = [f"{mode.upper()}   {reason}{_age(supervisor, now_s)}"]
        lines += [f"  ! {fault}" for fault in faults.split("; ") if fault]
        lines += ["", *_columns(values)]
    for name in sorted(set(statuses) - {SUPERVISOR}):
        status = statuses[name]
        level = LEVELS[min(status.level, 3)]
        values_text = "  ".join(f"{key} {value}" for key, value in status.values.items())
        text = "  ".join(filter(None, [level, status.message, values_text]))
        lines += ["", f"{name.removeprefix('vla_ros: ')}: {text}{_age(status, now_s)}"]
    return "\n".join(lines)


def _age(status: NodeStatus, now_s: float) -> str:
    """Age of a stale status; "" for a newer one."""
    age_s = now_s - status.received_s
    return "" if age_s <= STALE_S else f"   (no message for {age_s:.0f} s)"


def _columns(values: Mapping[str, str]) -> list[str]:
    width = max((len(key) for key in values), default=0)
    return [f"  {key:<{width}}  {value}" for key, value in values.items()]


@contextlib.contextmanager
def _unbuffered_keys() -> Iterator[bool]:
    """Deliver each key at once while the context is open; yields False if this is no terminal."""
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
    """Show the status until the user ends it, or once; return the exit status."""
    options = parser().parse_args(list(argv))
    command = [sys.executable, "-m", "vla_ros.nodes.status_node"]
    node = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert node.stdout is not None
    os.set_blocking(node.stdout.fileno(), False)
    try:
        view = StatusView(node.stdout)
        return view.print_once(options.wait) if options.once else view.run()
    except KeyboardInterrupt:
        return 0
    finally:
        node.send_signal(signal.SIGINT)
        node.wait()


class StatusView:
    """Reads the statuses that `status_node` prints and shows them.

    Attributes:
        statuses: The latest status by name.
    """

    def __init__(self, lines: IO[bytes]) -> None:
        """Read from a non-blocking pipe with one JSON object per line."""
        self._pipe, self._incomplete = lines, b""
        self.statuses: dict[str, NodeStatus] = {}

    def update(self) -> None:
        """Read every complete line that has arrived."""
        *lines, self._incomplete = (self._incomplete + (self._pipe.read() or b"")).split(b"\n")
        for line in lines:
            status = json.loads(line)
            self.statuses[status["name"]] = NodeStatus(
                status["level"], status["message"], status["values"], time.monotonic()
            )

    def print_once(self, timeout_s: float) -> int:
        """Print as soon as the supervisor's status has arrived, or after the timeout; returns 0 or 1."""
        end = time.monotonic() + timeout_s
        while SUPERVISOR not in self.statuses and time.monotonic() < end:
            time.sleep(0.05)
            self.update()
        print(render(self.statuses, time.monotonic()))
        return 0 if SUPERVISOR in self.statuses else 1

    def run(self) -> int:
        """Print the status five times a second until q is pressed; without a terminal, print it when it changes."""
        printed = ""
        with _unbuffered_keys() as terminal:
            while True:
                self.update()
                text = render(self.statuses, time.monotonic())
                if terminal:
                    print(f"\033[H\033[2J{text}\n\nPress q to end.", end="", flush=True)
                elif text != printed:
                    print(f"{text}\n", flush=True)
                printed = text
                if not terminal:
                    time.sleep(0.2)
                elif select.select([sys.stdin], [], [], 0.2)[0] and sys.stdin.read(1) in ("q", "Q"):
                    print()
                    return 0
