"""Plans and joint states in, commands out: the only publisher to the robot."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, replace
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
from vla_ros.nodes.common.command_output import CARRIES_ON, KINDS, NEAR_RAD, POSITIONS, TRAJECTORY, Output
from vla_ros.nodes.common.conversions import (
    capture_of,
    joint_state_from_message,
    joint_state_to_message,
    plan_from_message,
    plan_to_message,
    to_ns,
)
from vla_ros.nodes.common.incremental_clearance import Looking, space_of
from vla_ros.nodes.common.node_loop import Loop, RosTime, set_realtime, take
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.operator_interface import Panel
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.nodes.common.status_publisher import Telling
from vla_ros.safety.clearance import Passage
from vla_ros.safety.speed_scaling import LEAST
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor, SupervisorConfig

STILL_S = 0.5
"""Simulated time that does not advance for so long of real time stops the arm [s]."""
NOTHING_SAID = object()


@dataclass(frozen=True)
class SupervisorParams(SupervisorConfig):
    """Parameters of the node, beside those of the supervisor itself.

    Attributes:
        robot: Name in config/robots, or a file.
        rate_hz: Commands per second [Hz].
        output: "positions" (std_msgs/Float64MultiArray, for a forward position controller, which holds the last), or
            "trajectory" (trajectory_msgs/JointTrajectory, for a trajectory controller, which goes on to its rest).
        command_topic: The robot's command topic.
        speed_scale: Share of full speed the operator wants, 0.1 to 1; can be changed while it runs.
        realtime_priority: SCHED_FIFO priority of the process, 0 for none; tried, never required.
        status_hz: State and diagnostics per second [Hz].
        log_dir: Folder for `supervisor.json` and `loop.npz`, written at the end; "" for none.
    """

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
        super().__post_init__()
        check_log_dir(self.log_dir)
        if self.output not in KINDS:
            raise UnknownName("output", self.output, KINDS, "supervisor")
        require(50.0 <= self.rate_hz <= 2000.0, f"supervisor: rate_hz must be 50 to 2000; got {self.rate_hz}.")
        require(0.1 <= self.status_hz <= 50.0, f"supervisor: status_hz must be 0.1 to 50; got {self.status_hz}.")
        require(0 <= self.realtime_priority <= 90, "supervisor: realtime_priority must be 0 to 90.")
        require(
            LEAST <= self.speed_scale <= 1.0, f"supervisor: speed_scale must be {LEAST} to 1; got {self.speed_scale}."
        )


class SupervisorNode(Loop):
    """Ticks the supervisor first, then serves whatever arrived, in the slack of the same thread."""

    def __init__(self, node: Node) -> None:
        """Load the robot and advertise."""
        self._params = params = load_params(node, SupervisorParams)
        self._node, self._time = node, RosTime(node)
        robot = load_robot(params.robot)
        self._robot = robot
        config: SupervisorConfig = params
        if params.output == TRAJECTORY:
            config = replace(params, largest_step=CARRIES_ON, tracking=min(params.tracking, NEAR_RAD))
        self._core = Supervisor(robot.limits, config, space_of(robot))
        self.period_ns = round(NS / params.rate_hz)
        self._looking = Looking(self._core.space)
        self._ticks = self._sent_ns = 0
        self._in_force: object = NOTHING_SAID
        self._speed = 1.0
        self._messages: dict[int, JointTrajectory] = {}

        self._output = Output(node, params.output, params.command_topic, robot.joints)
        self._copy_pub = node.create_publisher(JointStateMessage, topics.COMMAND, topics.STREAM)
        self._plan_pub = node.create_publisher(JointTrajectory, topics.IN_FORCE, topics.LATCHED)
        self._telling = Telling(node, self._core, self._time, robot.name)
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._joints_sub = node.create_subscription(JointStateMessage, topics.JOINT_STATES, ignored, topics.SENSOR)
        self._plan_sub = node.create_subscription(JointTrajectory, topics.PLAN, ignored, topics.RELIABLE)
        self._speed_pub = node.create_publisher(Float64, topics.SPEED_SCALE, topics.LATCHED)
        self._apart_sub = node.create_subscription(Float64, topics.DISAGREEMENT, ignored, topics.RELIABLE)
        self._doubt_sub = node.create_subscription(Float64, topics.DOUBT, ignored, topics.RELIABLE)
        self._pictures_sub = node.create_subscription(Header, topics.PICTURES, ignored, topics.RELIABLE)
        self._core.speed.ask(params.speed_scale)
        self._panel = Panel(node, self._core, self._time, self._look_around)
        self._scheduling = set_realtime(params.realtime_priority)
        watched = "" if robot.space else "; space is not watched: the robot's file has no part `space`"
        node.get_logger().info(f"{robot.name}, {params.rate_hz:g} Hz, {self._scheduling}{watched}")

    def step(self, late_ns: int) -> None:
        """One command, then the input that came meanwhile."""
        self._telling.late.add(late_ns)
        self._ticks += 1
        enough_ns = time.perf_counter_ns() + self.period_ns * 6 // 10  # the rest is for what has begun by then
        self._send_command()
        try:
            self._listen(enough_ns)
            self._speak()
        except Exception as error:  # whatever it is, it must not keep the next command from being sent
            self._node.get_logger().error(traceback.format_exc(), throttle_duration_sec=1.0)
            self._core.refused["internal"] += 1
            self._core.stop(self._time.now_ns(), f"internal error: {error}")

    def _send_command(self) -> None:
        now = self._time.now_ns()
        command = self._core.tick(now)
        if command is not None and now != self._sent_ns:  # or simulated time stands still, and with it the arm
            self._sent_ns = now
            self._output.tell(command, self._core.motions)
            self._copy_pub.publish(
                joint_state_to_message(now, self._robot.joints, command.state.position, command.state.velocity)
            )

    def _speak(self) -> None:
        self._announce()
        if self._ticks % round(self._params.rate_hz / self._params.status_hz) == 0:
            self._look_around()
            self._report()
        elif self._telling.outdated:
            self._report()

    def _listen(self, enough_ns: int) -> None:
        self._panel.listen()
        for message in take(self._joints_sub, most=5):
            self._take_joints(message)
        for message in take(self._pictures_sub, most=10):
            if message.frame_id in self._params.cameras:
                self._core.watch.picture(message.frame_id, to_ns(message.stamp), self._time.now_ns())
        for message in take(self._plan_sub, most=1 if self._looking.free else 0):
            self._take_plan(message)
        looked_at = self._looking.go_on(enough_ns)
        if looked_at:
            self._decide(*looked_at)
        for message in take(self._apart_sub, most=5):
            self._core.speed.disagreement(message.data)
        for message in take(self._doubt_sub, most=5):
            self._core.speed.doubt(message.data)

    def _take_joints(self, message: JointStateMessage) -> None:
        try:
            self._core.joint_state(joint_state_from_message(message), self._time.now_ns())
        except RecordError as error:
            self._refused("joint_state", str(error))

    def _take_plan(self, message: JointTrajectory) -> None:
        try:
            plan = plan_from_message(message).in_order(self._robot.joints)
        except RecordError as error:
            self._refused("malformed", str(error))
            return
        core = self._core
        if core.space.shape is not None and core.fits(plan, self._time.now_ns()) is None:
            self._looking.begin(plan, message)
        else:
            self._decide(plan, message)

    def _decide(self, plan: Plan, message: JointTrajectory, passage: Passage | None = None) -> None:
        refusal = self._core.plan(plan, self._time.now_ns(), capture_of(message), passage)
        if refusal:
            self._node.get_logger().warning(f"plan refused: {refusal.detail}", throttle_duration_sec=1.0)
        else:
            self._messages = {plan.start_ns: message}

    def _refused(self, reason: str, sentence: str) -> None:
        self._core.refused[reason] += 1
        self._node.get_logger().warning(sentence, throttle_duration_sec=1.0)

    def _announce(self) -> None:
        """Publish the plan in force whenever it changes."""
        plan = self._core.in_force()
        if plan is self._in_force:
            return
        self._in_force = plan
        if plan is None:
            self._plan_pub.publish(JointTrajectory(joint_names=list(self._robot.joints)))
        else:
            self._plan_pub.publish(self._messages.get(plan.start_ns) or plan_to_message(plan))

    def _look_around(self) -> None:
        """Watch what is not heard: other publishers on the robot's topic, a clock that is set."""
        core = self._core
        core.watch.publishers(self._node.count_publishers(self._params.command_topic) - 1)
        core.watch.clock(self._time.drift_ns())
        if not self._time.still_s() <= STILL_S:
            core.stop(self._time.now_ns(), f"simulated time stands still: {topics.CLOCK} does not advance")

    def _say_speed(self) -> None:
        core = self._core
        speed = round(core.speed.scale(self._time.now_ns()), 2)
        if speed != self._speed and core.mode is Mode.RUNNING:
            self._speed = speed
            self._speed_pub.publish(Float64(data=speed))

    def _report(self) -> None:
        self._say_speed()
        self._telling.say(self._speed)

    def may_end(self) -> bool:
        """Bring the arm to rest along its path first."""
        if self._core.mode is Mode.RUNNING:
            self._core.stop(self._time.now_ns(), "the supervisor was asked to end")
        return self._core.at_rest

    def close(self) -> None:
        """Write the log, while what was said last is still under way; the robot holds its last command, at rest."""
        self._report()
        time.sleep(0.1)
        if self._params.log_dir:
            params = self._params
            self._telling.write(Path(params.log_dir), params.rate_hz, self.period_ns, self._scheduling)


def main() -> None:
    """Run the node."""
    run("supervisor", SupervisorNode)


if __name__ == "__main__":
    main()
