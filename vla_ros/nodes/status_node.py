"""Hears the supervisor's state and every diagnostic, and prints each as a line of JSON; no part in control."""

from __future__ import annotations

import json

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from vla_ros.nodes.common import topics
from vla_ros.nodes.common.node_loop import Loop, newest, take
from vla_ros.nodes.common.node_loop import main as run


def line(status: DiagnosticStatus) -> str:
    """One status: name, level (0 good, 1 warning, 2 error), message, values."""
    level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
    values = {v.key: v.value for v in status.values}
    return json.dumps({"name": status.name, "level": level, "message": status.message, "values": values})


class StatusLines(Loop):
    """Prints what has come, ten times a second."""

    period_ns = 100_000_000

    def __init__(self, node: Node) -> None:
        """Listen."""
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._state_sub = node.create_subscription(DiagnosticStatus, topics.STATE, ignored, topics.LATCHED)
        self._others_sub = node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, ignored, topics.RELIABLE)

    def step(self, late_ns: int) -> None:
        """The newest state, then every diagnostic."""
        state = newest(self._state_sub)
        statuses = [] if state is None else [state]
        for array in take(self._others_sub):
            statuses += array.status
        for status in statuses:
            print(line(status), flush=True)


def main() -> None:
    """Run the node."""
    run("status", StatusLines)


if __name__ == "__main__":
    main()
