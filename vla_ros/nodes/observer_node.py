"""Records the robot's command topic and checks it against the limits; it has no part in control.

It records every command, its stamped copy, every active plan and every chunk; `evaluation/observer.py` does the
checks.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import load_robot
from vla_ros.core.errors import RecordError
from vla_ros.evaluation.observer import RunRecorder
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import capture_of, chunk_from_message, plan_from_message, to_ns
from vla_ros.nodes.common.node_loop import Loop, RosTime, subscribe
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params


@dataclass(frozen=True)
class ObserverParams:
    """Parameters of the node.

    Attributes:
        robot: Name in config/robots, or a file; commands are checked against its limits.
        command_topic: The robot's command topic.
        log_dir: Folder for `observer.json` and `commands.npz`, written at the end.
    """

    robot: str = "so101"
    command_topic: str = topics.ROBOT_COMMAND
    log_dir: str = "."

    def __post_init__(self) -> None:
        """Check every value."""
        check_log_dir(self.log_dir)


class ObserverNode(Loop):
    """Passes every message to the recorder."""

    period_ns = 20_000_000

    def __init__(self, node: Node) -> None:
        """Subscribe to commands, copies, active plans and chunks."""
        self._params = params = load_params(node, ObserverParams)
        limits = load_robot(params.robot).limits
        self._joints, self._time = limits.joints, RosTime(node)
        self._recorder = RunRecorder(limits)
        self._command_sub = subscribe(node, Float64MultiArray, params.command_topic, topics.STREAM)
        self._copy_sub = subscribe(node, JointStateMessage, topics.COMMAND, topics.STREAM)
        self._plan_sub = subscribe(node, JointTrajectory, topics.ACTIVE_PLAN, topics.STREAM_LATCHED)
        self._chunk_sub = subscribe(node, JointTrajectory, topics.CHUNK, topics.RELIABLE)

    def step(self, late_ns: int) -> None:
        """Record every received message."""
        recorder = self._recorder
        for command in self._command_sub.take():
            if len(command.data) == len(self._joints):
                recorder.add_command(command.data)
            else:
                recorder.malformed_commands += 1
        for copy in self._copy_sub.take():
            if tuple(copy.name) == self._joints and len(copy.position) == len(self._joints):
                recorder.add_copy(to_ns(copy.header.stamp), copy.position)
            else:
                recorder.malformed_commands += 1
        for message in self._plan_sub.take():
            if message.points:
                self._record_plan(message)
        for message in self._chunk_sub.take():
            self._record_chunk(message)
        recorder.check_full_part()

    def _record_plan(self, message: JointTrajectory) -> None:
        try:
            plan = plan_from_message(message).reordered(self._joints)
        except RecordError:
            self._recorder.malformed_plans += 1
            return
        self._recorder.add_plan(plan, capture_of(message))

    def _record_chunk(self, message: JointTrajectory) -> None:
        self._recorder.chunks += 1
        try:
            chunk = chunk_from_message(message).reordered(self._joints)
        except RecordError:
            return
        self._recorder.add_chunk(chunk, self._time.now_ns())

    def close(self) -> None:
        """Record the messages still in transit, check the rest and write the log."""
        time.sleep(0.3)
        self.step(0)
        self._recorder.check()
        folder = Path(self._params.log_dir)
        np.savez_compressed(folder / "commands.npz", **self._recorder.arrays())
        (folder / "observer.json").write_text(json.dumps(self._recorder.summary(), indent=1))


def main() -> None:
    """Run the node."""
    run("observer", ObserverNode)


if __name__ == "__main__":
    main()
