"""Chunks in, plans out; the newest chunk wins, and one plan at a time waits for its answer."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from std_msgs.msg import Float64
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import load_robot
from vla_ros.core.errors import RecordError
from vla_ros.core.records import NS, Chunk, Refusal
from vla_ros.core.trajectory import Plan
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import chunk_from_message, plan_from_message, plan_to_message, to_time
from vla_ros.nodes.common.node_loop import Loop, RosTime, newest, take
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.planning.planner import Planner, PlannerConfig

SILENCE_NS = 2 * NS
NOT_ARMED, SILENT, HEARING = "no plan is in force", "no chunk comes", "a plan is in force"
"""No chunk for so long is said, while there is a plan in force to follow it on [ns]."""
ANSWER_NS = NS // 10
"""A plan that is not in force this long after its start was not accepted [ns]."""


@dataclass(frozen=True)
class PlannerParams(PlannerConfig):
    """Parameters of the node, beside those of the planner itself.

    Attributes:
        robot: Name in config/robots, or a file.
        log_dir: Folder for `planner.json`, written at the end; "" for none.
    """

    robot: str = "so101"
    log_dir: str = ""

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        check_log_dir(self.log_dir)


class PlannerNode(Loop):
    """Splices every chunk onto the plan in force."""

    period_ns = 2_000_000

    def __init__(self, node: Node) -> None:
        """Load the robot and subscribe."""
        self._params = load_params(node, PlannerParams)
        self._node, self._time = node, RosTime(node)
        self._robot = load_robot(self._params.robot)
        self._planner = Planner(self._robot.limits, self._params)
        self._in_force: Plan | None = None
        self._asked: Plan | None = None
        self._chunk: Chunk | None = None
        self._planned_ns = self._heard_ns = 0
        self._speed = 1.0
        self._counts: Counter[str] = Counter()
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._chunk_sub = node.create_subscription(JointTrajectory, topics.CHUNK, ignored, topics.RELIABLE)
        self._force_sub = node.create_subscription(JointTrajectory, topics.IN_FORCE, ignored, topics.LATCHED)
        self._speed_sub = node.create_subscription(Float64, topics.SPEED_SCALE, ignored, topics.LATCHED)
        self._plan_pub = node.create_publisher(JointTrajectory, topics.PLAN, topics.RELIABLE)
        self._jump_pub = node.create_publisher(Float64, topics.DISAGREEMENT, topics.RELIABLE)
        self._diagnostics_pub = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.RELIABLE)
        self._next_report_ns = 0

    def step(self, late_ns: int) -> None:
        """Take what came; plan if a chunk waits and no plan does."""
        now = self._time.now_ns()
        message = newest(self._force_sub)
        if message is not None:
            if self._in_force is None:
                self._heard_ns = now  # from arming on chunks are waited for
            self._in_force, self._asked = self._plan_of(message), None
        message = newest(self._speed_sub)
        if message is not None and 0.0 < message.data <= 1.0:
            self._speed = message.data
        for message in take(self._chunk_sub, most=10):
            self._take_chunk(message)
        if self._asked is not None and now > self._asked.start_ns + ANSWER_NS:
            self._asked = None
            self._counts["unanswered"] += 1
        if self._chunk is not None and self._asked is None:
            self._plan(self._chunk, now)
            self._chunk = None
        if now >= self._next_report_ns:
            self._next_report_ns = now + NS
            self._report()

    def _plan_of(self, message: JointTrajectory) -> Plan | None:
        """The plan in force; it comes as its planner sent it, with the joints in any order."""
        try:
            return plan_from_message(message).in_order(self._robot.joints) if message.points else None
        except RecordError as error:
            self._refuse(Refusal("not_ours", str(error)))
            return None

    def _take_chunk(self, message: JointTrajectory) -> None:
        self._heard_ns = self._time.now_ns()
        try:
            chunk = chunk_from_message(message)
        except RecordError as error:
            self._refuse(Refusal("malformed", str(error)))
            return
        waiting_ns = self._chunk.stamp_ns if self._chunk else 0
        if chunk.stamp_ns <= max(self._planned_ns, waiting_ns):
            self._refuse(Refusal("reordered", "a chunk that answers a newer observation came before."))
            return
        self._chunk = chunk

    def _plan(self, chunk: Chunk, now_ns: int) -> None:
        if self._in_force is None:
            self._refuse(Refusal("not_armed", "no plan is in force; arm the supervisor first."))
            return
        chunk = chunk.slowed(self._speed)
        plan = self._planner.plan(chunk, self._in_force, now_ns)
        if isinstance(plan, Refusal):
            self._refuse(plan)
            return
        self._plan_pub.publish(plan_to_message(plan, chunk.stamp_ns))
        self._asked, self._planned_ns = plan, chunk.stamp_ns
        self._counts["planned"] += 1
        jump = self._planner.disagreement(chunk.in_order(self._robot.joints), self._in_force, now_ns)
        self._jump_pub.publish(Float64(data=jump))

    def _refuse(self, refusal: Refusal) -> None:
        self._counts[f"refused.{refusal.reason}"] += 1
        self._node.get_logger().warning(f"refused: {refusal.detail}", throttle_duration_sec=1.0)

    def _report(self) -> None:
        values = [KeyValue(key=k, value=str(v)) for k, v in sorted(self._counts.items())]
        silent = self._in_force is not None and self._time.now_ns() - self._heard_ns > SILENCE_NS
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if silent else DiagnosticStatus.OK,
            name="vla_ros: planner",
            message=NOT_ARMED if self._in_force is None else SILENT if silent else HEARING,
            hardware_id=self._robot.name,
            values=values,
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = to_time(self._time.now_ns())
        self._diagnostics_pub.publish(array)

    def close(self) -> None:
        """Write the log."""
        if self._params.log_dir:
            (Path(self._params.log_dir) / "planner.json").write_text(json.dumps(dict(self._counts), indent=1))


def main() -> None:
    """Run the node."""
    run("planner", PlannerNode)


if __name__ == "__main__":
    main()
