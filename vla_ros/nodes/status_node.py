"""Prints the supervisor's state and every diagnostic message as one line of JSON each; for `./vla status`."""

from __future__ import annotations

import json

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from vla_ros.nodes.common import topics
from vla_ros.nodes.common.node_loop import Loop, subscribe
from vla_ros.nodes.common.node_loop import main as run


def status_to_json(status: DiagnosticStatus) -> str:
    """One status: name, level (0 ok, 1 warning, 2 error), message, values."""
    level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
    values = {v.key: v.value for v in status.values}
    return json.dumps({"name": status.name, "level": level, "message": status.message, "values": values})


class StatusNode(Loop):
    """Prints the received messages ten times a second."""

    period_ns = 100_000_000

    def __init__(self, node: Node) -> None:
        """Subscribe."""
        self._state_sub = subscribe(node, DiagnosticStatus, topics.STATE, topics.LATCHED)
        self._diagnostics_sub = subscribe(node, DiagnosticArray, topics.DIAGNOSTICS, topics.RELIABLE)

    def step(self, late_ns: int) -> None:
        """Print the newest state, then every diagnostic."""
        state = self._state_sub.newest()
        statuses = [] if state is None else [state]
        for array in self._diagnostics_sub.take():
            statuses += array.status
        for status in statuses:
            print(status_to_json(status), flush=True)


def main() -> None:
    """Run the node."""
    run("status", StatusNode)


if __name__ == "__main__":
    main()
