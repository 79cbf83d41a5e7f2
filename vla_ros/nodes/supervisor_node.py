"""Runs the safety supervisor: plans and joint states in, commands out; the only publisher of robot commands."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64, Header
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import load_robot, require
from vla_ros.core.errors import RecordError, UnknownName
from vla_ros.core.records import NS
from vla_ros.core.trajectory import Plan
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.clearance import clearance_checker
from vla_ros.nodes.common.command_output import (
    MESSAGE_TYPES,
    POSITIONS,
    TRAJECTORY,
    TRAJECTORY_MAX_ARMING_ERROR_RAD,
    TRAJECTORY_MAX_COMMAND_STEP_RAD,
    CommandOutput,
)
from vla_ros.nodes.common.conversions import (
    capture_of,
    joint_state_from_message,
    joint_state_to_message,
    plan_from_message,
    plan_to_message,
    to_ns,
)
from vla_ros.nodes.common.node_loop import Loop, RosTime, set_realtime, subscribe
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.operator_interface import OperatorInterface
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.nodes.common.status_publisher import StatusPublisher
from vla_ros.safety.clearance import ClearanceResult
from vla_ros.safety.incremental_clearance import IncrementalClearance
from vla_ros.safety.speed_scaling import MIN_SCALE
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor, SupervisorConfig

MAX_CLOCK_STANDSTILL_S = 0.5
"""Real time for which a simulator's clock may stand still before the arm is stopped [s]."""
CLEARANCE_SHARE = 0.6
"""Share of the period after which no new slice of a clearance check is started."""


@dataclass(frozen=True)
class SupervisorParams:
    """Parameters of the node.

    Attributes:
        supervisor: Thresholds of the supervisor, its monitors and its speed scaling.
        robot: Name in config/robots, or a file.
        rate_hz: Commands per second [Hz].
        output: "positions" (std_msgs/Float64MultiArray, for a forward position controller, which holds the last), or
            "trajectory" (trajectory_msgs/JointTrajectory, for a trajectory controller, which continues to its rest).
        command_topic: The robot's command topic.
        speed_scale: Speed requested by the operator as a share of full speed, 0.1 to 1; can be changed at run time.
        realtime_priority: SCHED_FIFO priority of the process, 0 for none; a refusal is no error.
        status_hz: State and diagnostics messages per second [Hz].
        log_dir: Folder for `supervisor.json` and `loop.npz`, written at the end; "" for none.
    """

    supervisor: SupervisorConfig = field(default_factory=SupervisorConfig)
    robot: str = "so101"
    rate_hz: float = 500.0
    output: str = POSITIONS
    command_topic: str = topics.ROBOT_COMMAND
    speed_scale: float = 1.0
    realtime_priority: int = 0
    status_hz: float = 5.0
    log_dir: str = ""

    def __post_init__(self) -> None:
        """Check every value."""
        check_log_dir(self.log_dir)
        if self.output not in MESSAGE_TYPES:
            raise UnknownName("output", self.output, MESSAGE_TYPES, "supervisor")
        require(50.0 <= self.rate_hz <= 2000.0, f"supervisor: rate_hz must be 50 to 2000; got {self.rate_hz}.")
        require(0.1 <= self.status_hz <= 50.0, f"supervisor: status_hz must be 0.1 to 50; got {self.status_hz}.")
        require(0 <= self.realtime_priority <= 90, "supervisor: realtime_priority must be 0 to 90.")
        require(
            MIN_SCALE <= self.speed_scale <= 1.0,
            f"supervisor: speed_scale must be {MIN_SCALE} to 1; got {self.speed_scale}.",
        )


class SupervisorNode(Loop):
    """Publishes the command of each tick first, then processes inputs in the remaining time of the period."""

    def __init__(self, node: Node) -> None:
        """Load the robot, create publishers, subscriptions and services."""
        self._params = params = load_params(node, SupervisorParams)
        self._node, self._time = node, RosTime(node)
        robot = load_robot(params.robot)
        self._robot = robot
        config = params.supervisor
        if params.output == TRAJECTORY:
            tolerance = min(config.arming_tolerance_rad, TRAJECTORY_MAX_ARMING_ERROR_RAD)
            config = replace(
                config, max_command_step_rad=TRAJECTORY_MAX_COMMAND_STEP_RAD, arming_tolerance_rad=tolerance
            )
        self._core = Supervisor(robot.limits, config, clearance_checker(robot))
        self.period_ns = round(NS / params.rate_hz)
        self._clearance: IncrementalClearance[JointTrajectory] = IncrementalClearance(self._core.clearance)
        self._ticks = self._sent_ns = 0
        self._published_plan: Plan | None = None
        self._plan_published = False
        self._speed = 1.0
        self._messages: dict[int, JointTrajectory] = {}

        self._output = CommandOutput(node, params.output, params.command_topic, robot.joints)
        self._copy_pub = node.create_publisher(JointStateMessage, topics.COMMAND, topics.STREAM)
        self._plan_pub = node.create_publisher(JointTrajectory, topics.ACTIVE_PLAN, topics.LATCHED)
        self._speed_pub = node.create_publisher(Float64, topics.SPEED_SCALE, topics.LATCHED)
        self._status = StatusPublisher(node, self._core, self._time, robot.name)
        self._joints_sub = subscribe(node, JointStateMessage, topics.JOINT_STATES, topics.SENSOR)
        self._plan_sub = subscribe(node, JointTrajectory, topics.PLAN, topics.RELIABLE)
        self._handover_error_sub = subscribe(node, Float64, topics.HANDOVER_ERROR, topics.RELIABLE)
        self._uncertainty_sub = subscribe(node, Float64, topics.UNCERTAINTY, topics.RELIABLE)
        self._image_stamp_sub = subscribe(node, Header, topics.IMAGE_STAMPS, topics.RELIABLE)
        self._core.speed_scaling.request(params.speed_scale)
        self._operator = OperatorInterface(node, self._core, self._time, self._update_monitors)
        self._scheduling = set_realtime(params.realtime_priority)
        unchecked = "" if robot.clearance else "; clearance is not checked: the robot file has no section `clearance`"
        node.get_logger().info(f"{robot.name}, {params.rate_hz:g} Hz, {self._scheduling}{unchecked}")

    def step(self, late_ns: int) -> None:
        """Publish one command, then process the inputs received since the last step."""
        self._status.wake_latency.add(late_ns)
        self._ticks += 1
        clearance_until_ns = time.perf_counter_ns() + round(self.period_ns * CLEARANCE_SHARE)
        self._send_command()
        try:
            self._receive(clearance_until_ns)
            self._publish()
        except Exception as error:  # no error may prevent the next command
            self._node.get_logger().error(traceback.format_exc(), throttle_duration_sec=1.0)
            self._core.refusal_counts["internal"] += 1
            self._core.stop(self._time.now_ns(), f"internal error: {error}")

    def _send_command(self) -> None:
        now = self._time.now_ns()
        command = self._core.tick(now)
        if command is not None and now != self._sent_ns:  # no command while simulated time stands still
            self._sent_ns = now
            self._output.publish(command, self._core.motions)
            self._copy_pub.publish(
                joint_state_to_message(now, self._robot.joints, command.state.position, command.state.velocity)
            )

    def _publish(self) -> None:
        self._publish_plan()
        if self._ticks % round(self._params.rate_hz / self._params.status_hz) == 0:
            self._update_monitors()
            self._publish_status()
        elif self._status.outdated:
            self._publish_status()

    def _receive(self, clearance_until_ns: int) -> None:
        self._operator.serve()
        for joints in self._joints_sub.take(max_count=5):
            self._receive_joints(joints)
        for stamp in self._image_stamp_sub.take(max_count=10):
            if stamp.frame_id in self._params.supervisor.monitors.cameras:
                self._core.monitors.image(stamp.frame_id, to_ns(stamp.stamp), self._time.now_ns())
        for message in self._plan_sub.take(max_count=1 if self._clearance.idle else 0):
            self._receive_plan(message)
        checked = self._clearance.resume(time.perf_counter_ns, clearance_until_ns)
        if checked:
            self._submit(*checked)
        for error in self._handover_error_sub.take(max_count=5):
            self._core.speed_scaling.handover_error(error.data)
        for uncertainty in self._uncertainty_sub.take(max_count=5):
            self._core.speed_scaling.uncertainty(uncertainty.data)

    def _receive_joints(self, message: JointStateMessage) -> None:
        try:
            self._core.joint_state(joint_state_from_message(message), self._time.now_ns())
        except RecordError as error:
            self._refuse("joint_state", str(error))

    def _receive_plan(self, message: JointTrajectory) -> None:
        try:
            plan = plan_from_message(message).reordered(self._robot.joints)
        except RecordError as error:
            self._refuse("malformed", str(error))
            return
        core = self._core
        if core.clearance.model is not None and core.precheck(plan, self._time.now_ns()) is None:
            self._clearance.start(plan, message)
        else:
            self._submit(plan, message)

    def _submit(self, plan: Plan, message: JointTrajectory, clearance: ClearanceResult | None = None) -> None:
        """Let the supervisor accept or refuse the plan."""
        refusal = self._core.plan(plan, self._time.now_ns(), capture_of(message), clearance)
        if refusal:
            self._node.get_logger().warning(f"plan refused: {refusal.detail}", throttle_duration_sec=1.0)
        else:
            self._messages = {plan.start_ns: message}

    def _refuse(self, reason: str, detail: str) -> None:
        self._core.refusal_counts[reason] += 1
        self._node.get_logger().warning(detail, throttle_duration_sec=1.0)

    def _publish_plan(self) -> None:
        """Publish the active plan whenever it changes, as the message in which it was received."""
        plan = self._core.active_plan()
        if self._plan_published and plan is self._published_plan:
            return
        self._published_plan, self._plan_published = plan, True
        if plan is None:
            self._plan_pub.publish(JointTrajectory(joint_names=list(self._robot.joints)))
        else:
            self._plan_pub.publish(self._messages.get(plan.start_ns) or plan_to_message(plan))

    def _update_monitors(self) -> None:
        """Poll what sends no message: other publishers of the robot's topic, changes of the clock."""
        core = self._core
        core.monitors.other_publishers(self._node.count_publishers(self._params.command_topic) - 1)
        core.monitors.clock_drift(self._time.drift_ns())
        if not self._time.standstill_s() <= MAX_CLOCK_STANDSTILL_S:
            core.stop(self._time.now_ns(), f"simulated time stands still: {topics.CLOCK} does not advance")

    def _publish_status(self) -> None:
        core = self._core
        speed = round(core.speed_scaling.scale(self._time.now_ns()), 2)
        if speed != self._speed and core.mode is Mode.RUNNING:
            self._speed = speed
            self._speed_pub.publish(Float64(data=speed))
        self._status.publish(self._speed)

    def may_end(self) -> bool:
        """Stop the arm along its path first; True once it is at rest."""
        if self._core.mode is Mode.RUNNING:
            self._core.stop(self._time.now_ns(), "the supervisor is shutting down")
        return self._core.at_rest

    def close(self) -> None:
        """Publish the final state and write the log; the robot holds its last command, at rest."""
        self._publish_status()
        time.sleep(0.1)  # until the last messages are delivered
        if self._params.log_dir:
            params = self._params
            self._status.write(Path(params.log_dir), params.rate_hz, self.period_ns, self._scheduling)


def main() -> None:
    """Run the node."""
    run("supervisor", SupervisorNode)


if __name__ == "__main__":
    main()
