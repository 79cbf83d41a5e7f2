"""Turns chunks into plans. A newer chunk replaces an older one, and at most one plan awaits its confirmation."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
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
from vla_ros.nodes.common.node_loop import Loop, RosTime, subscribe
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.planning.planner import Planner, PlannerConfig

NO_PLAN, NO_CHUNK, ACTIVE = "no active plan", "no chunk received", "following the active plan"
"""Status messages."""
CHUNK_TIMEOUT_NS = 2 * NS
"""With an active plan, the status becomes a warning after this time without a chunk [ns]."""
CONFIRMATION_TIMEOUT_NS = NS // 10
"""A plan that has not become the active plan this long after its start was refused or lost [ns]."""


@dataclass(frozen=True)
class PlannerParams:
    """Parameters of the node.

    Attributes:
        planner: Settings of the planner.
        robot: Name in config/robots, or a file.
        log_dir: Folder for `planner.json`, written at the end; "" for none.
    """

    planner: PlannerConfig = field(default_factory=PlannerConfig)
    robot: str = "so101"
    log_dir: str = ""

    def __post_init__(self) -> None:
        """Check every value."""
        check_log_dir(self.log_dir)


class PlannerNode(Loop):
    """Plans from the active plan to the newest chunk."""

    period_ns = 2_000_000

    def __init__(self, node: Node) -> None:
        """Load the robot and subscribe."""
        self._params = load_params(node, PlannerParams)
        self._node, self._time = node, RosTime(node)
        self._robot = load_robot(self._params.robot)
        self._planner = Planner(self._robot.limits, self._params.planner)
        self._active_plan: Plan | None = None
        self._unconfirmed: Plan | None = None
        self._chunk: Chunk | None = None
        self._planned_stamp_ns = self._chunk_received_ns = 0
        self._speed = 1.0
        self._counts: Counter[str] = Counter()
        self._chunk_sub = subscribe(node, JointTrajectory, topics.CHUNK, topics.RELIABLE)
        self._active_plan_sub = subscribe(node, JointTrajectory, topics.ACTIVE_PLAN, topics.LATCHED)
        self._speed_sub = subscribe(node, Float64, topics.SPEED_SCALE, topics.LATCHED)
        self._plan_pub = node.create_publisher(JointTrajectory, topics.PLAN, topics.RELIABLE)
        self._handover_error_pub = node.create_publisher(Float64, topics.HANDOVER_ERROR, topics.RELIABLE)
        self._diagnostics_pub = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.RELIABLE)
        self._next_status_ns = 0

    def step(self, late_ns: int) -> None:
        """Process the received messages; plan if there is a chunk and no unconfirmed plan."""
        now = self._time.now_ns()
        message = self._active_plan_sub.newest()
        if message is not None:
            if self._active_plan is None:
                self._chunk_received_ns = now  # the timeout starts when the supervisor is armed
            self._active_plan, self._unconfirmed = self._decode_active_plan(message), None
        speed = self._speed_sub.newest()
        if speed is not None and 0.0 < speed.data <= 1.0:
            self._speed = speed.data
        for message in self._chunk_sub.take(max_count=10):
            self._receive_chunk(message)
        if self._unconfirmed is not None and now > self._unconfirmed.start_ns + CONFIRMATION_TIMEOUT_NS:
            self._unconfirmed = None
            self._counts["unconfirmed"] += 1
        if self._chunk is not None and self._unconfirmed is None:
            self._plan(self._chunk, now)
            self._chunk = None
        if now >= self._next_status_ns:
            self._next_status_ns = now + NS
            self._publish_status()

    def _decode_active_plan(self, message: JointTrajectory) -> Plan | None:
        """The active plan in the robot's joint order; another planner may have sent it in another order."""
        try:
            return plan_from_message(message).reordered(self._robot.joints) if message.points else None
        except RecordError as error:
            self._refuse(Refusal("malformed_active_plan", str(error)))
            return None

    def _receive_chunk(self, message: JointTrajectory) -> None:
        self._chunk_received_ns = self._time.now_ns()
        try:
            chunk = chunk_from_message(message)
        except RecordError as error:
            self._refuse(Refusal("malformed", str(error)))
            return
        pending_stamp_ns = self._chunk.stamp_ns if self._chunk else 0
        if chunk.stamp_ns <= max(self._planned_stamp_ns, pending_stamp_ns):
            self._refuse(Refusal("reordered", "a chunk of a newer observation was received before."))
            return
        self._chunk = chunk

    def _plan(self, chunk: Chunk, now_ns: int) -> None:
        if self._active_plan is None:
            self._refuse(Refusal("not_armed", "there is no active plan; arm the supervisor first."))
            return
        chunk = chunk.time_scaled(self._speed)
        plan = self._planner.plan(chunk, self._active_plan, now_ns)
        if isinstance(plan, Refusal):
            self._refuse(plan)
            return
        self._plan_pub.publish(plan_to_message(plan, chunk.stamp_ns))
        self._unconfirmed, self._planned_stamp_ns = plan, chunk.stamp_ns
        self._counts["planned"] += 1
        error = self._planner.handover_error(chunk.reordered(self._robot.joints), self._active_plan, now_ns)
        self._handover_error_pub.publish(Float64(data=error))

    def _refuse(self, refusal: Refusal) -> None:
        self._counts[f"refused.{refusal.reason}"] += 1
        self._node.get_logger().warning(f"refused: {refusal.detail}", throttle_duration_sec=1.0)

    def _publish_status(self) -> None:
        values = [KeyValue(key=k, value=str(v)) for k, v in sorted(self._counts.items())]
        armed = self._active_plan is not None
        timed_out = armed and self._time.now_ns() - self._chunk_received_ns > CHUNK_TIMEOUT_NS
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if timed_out else DiagnosticStatus.OK,
            name="vla_ros: planner",
            message=NO_CHUNK if timed_out else ACTIVE if armed else NO_PLAN,
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
