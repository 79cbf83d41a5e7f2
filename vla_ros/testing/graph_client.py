"""A ROS client of a running graph: records what nodes publish, sends messages and requests, waits for conditions."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import numpy.typing as npt
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor, TimeoutException
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import load_robot
from vla_ros.core.records import Array
from vla_ros.core.trajectory import Plan
from vla_ros.nodes.common import conversions as convert
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.middleware import without_shared_memory
from vla_ros.nodes.planner_node import ACTIVE, NO_CHUNK

JOINTS = load_robot("so101").joints
SUPERVISOR, PLANNER = "vla_ros: supervisor", "vla_ros: planner"
"""Names of the diagnostics."""
MAX_ARMING_ATTEMPTS = 5


class GraphClient:
    """Publishers, subscriptions and service clients in one ROS domain.

    Attributes:
        commands: Every command received.
        received_ns: When each was received [ns].
        modes: Every mode of the supervisor, without repetitions.
        mode_ns: When each began [ns].
        state: Newest state of the supervisor, by key.
        diagnostics: Newest diagnostic status by name.
        active_plan: Newest active plan; without points if there is none, None before the first message.
        chunks: Publisher of chunks.
        plans: Publisher of plans.
        joints: Publisher of joint states.
        instruction: Publisher of instructions.
        command_publisher: Publisher made by `add_command_publisher`.
    """

    def __init__(self, domain: int) -> None:
        """Join the ROS domain with the number `domain`."""
        self.context = rclpy.Context()
        with mock.patch.dict(os.environ, without_shared_memory(os.environ)):
            rclpy.init(context=self.context, domain_id=domain)
            self.node = rclpy.create_node("graph_client", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.commands: list[JointState] = []
        self.received_ns: list[int] = []
        self.modes: list[str] = []
        self.mode_ns: list[int] = []
        self.state: dict[str, str] = {}
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.active_plan: JointTrajectory | None = None
        node = self.node
        node.create_subscription(JointState, topics.COMMAND, self._on_command, topics.STREAM)
        node.create_subscription(DiagnosticStatus, topics.STATE, self._on_state, topics.LATCHED)
        node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, topics.RELIABLE)
        node.create_subscription(JointTrajectory, topics.ACTIVE_PLAN, self._on_plan, topics.LATCHED)
        self.chunks = node.create_publisher(JointTrajectory, topics.CHUNK, topics.RELIABLE)
        self.plans = node.create_publisher(JointTrajectory, topics.PLAN, topics.RELIABLE)
        self.joints = node.create_publisher(JointState, topics.JOINT_STATES, topics.RELIABLE)
        self.instruction = node.create_publisher(String, topics.INSTRUCTION, topics.LATCHED)
        self.command_publisher: rclpy.publisher.Publisher | None = None

    def _on_command(self, message: JointState) -> None:
        self.commands.append(message)
        self.received_ns.append(self.now_ns())

    def _on_state(self, message: DiagnosticStatus) -> None:
        if not message.values:  # sent by a test, not by the supervisor
            return
        self.state = {v.key: v.value for v in message.values}
        if not self.modes or self.modes[-1] != self.state["mode"]:
            self.modes.append(self.state["mode"])
            self.mode_ns.append(self.now_ns())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({s.name: s for s in message.status})

    def _on_plan(self, message: JointTrajectory) -> None:
        self.active_plan = message

    @property
    def mode(self) -> str:
        """The newest mode of the supervisor; "" before the first."""
        return self.state.get("mode", "")

    def wait_until(self, condition: Callable[[], object], description: str, timeout_s: float = 20.0) -> None:
        """Process messages until `condition` holds.

        Raises:
            AssertionError: It did not hold within `timeout_s` [s]; the text contains `description`.
        """
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= end:
                raise AssertionError(f"{description} did not happen in {timeout_s} s; state {self.state}")
            self.executor.spin_once(timeout_sec=0.05)

    def repeat_until(
        self,
        stimulus: Callable[[], object],
        condition: Callable[[], object],
        description: str,
        period_s: float = 3.0,
        timeout_s: float = 20.0,
    ) -> None:
        """Repeat `stimulus` every `period_s` [s] until `condition` holds: on a busy machine one may come too late.

        Raises:
            AssertionError: It did not hold within `timeout_s` [s]; the text contains `description`.
        """
        next_s = 0.0

        def stimulated() -> bool:
            nonlocal next_s
            if condition():
                return True
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + period_s
                stimulus()
            return False

        self.wait_until(stimulated, description, timeout_s)

    def wait(self, seconds: float) -> None:
        """Process messages for a fixed time [s]."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def wait_for_planner(self) -> None:
        """Wait until the planner knows the active plan and receives chunks."""
        self.diagnostics.pop(PLANNER, None)
        self.wait_until(
            lambda: PLANNER in self.diagnostics and self.diagnostics[PLANNER].message in (ACTIVE, NO_CHUNK),
            "a planner that knows the active plan",
        )
        for publisher in (self.chunks, self.plans):
            self.wait_until(publisher.get_subscription_count, "subscribers of chunks and plans")
        self.wait(0.2)

    def wait_for_rest(self) -> None:
        """Wait for two equal commands that are stamped after the end of the active plan."""

        def at_rest() -> bool:
            if len(self.commands) < 2 or self.commands[-1].position != self.commands[-2].position:
                return False
            return convert.to_ns(self.commands[-2].header.stamp) > self.active_plan_record().end_ns

        self.wait_until(at_rest, "rest at the end of the plan")

    def process_pending(self) -> None:
        """Process the messages that have already arrived."""
        with contextlib.suppress(TimeoutException):
            for _ in range(2000):
                handler, _, _ = self.executor.wait_for_ready_callbacks(timeout_sec=0.0)
                handler()
                handler.result()

    def call(self, service: str) -> Trigger.Response:
        """Call a service and return its response."""
        client = self.node.create_client(Trigger, service)
        self.wait_until(client.service_is_ready, f"service {service}")
        future = client.call_async(Trigger.Request())
        self.wait_until(future.done, f"a response of {service}")
        self.node.destroy_client(client)
        return future.result()

    def arm(self) -> None:
        """Arm once the supervisor is ready, and wait for full speed."""
        self.wait_until(lambda: self.mode == "ready", "ready")
        self.wait_until(lambda: self.mode == "running" or self.call(topics.ARM).success, "permission to arm")
        self.wait_until(
            lambda: self.active_plan is not None and self.active_plan.points and self.commands, "an active plan"
        )
        self.wait_for_full_speed()

    def wait_for_full_speed(self) -> None:
        """Wait until the speed has risen after arming.

        On a busy machine late joint states may stop the arm while the graph starts; it is armed again then. Any other
        stop fails.
        """
        for _ in range(MAX_ARMING_ATTEMPTS):
            self.wait_until(
                lambda: self.mode == "running" or "no joint state" in self.state.get("reason", ""),
                "a response to arming",
            )
            self.wait_until(lambda: self.mode != "running" or self.state.get("speed") == "1.0", "full speed")
            if self.mode == "running":
                return
            assert "no joint state" in self.state["reason"], self.state
            self.wait_until(lambda: self.mode == "running" or self.call(topics.ARM).success, "permission to arm")
            self.wait_until(lambda: self.mode == "running", "running")
        raise AssertionError(f"the arm does not keep running; state {self.state}")

    def now_ns(self) -> int:
        """Now [ns]."""
        return self.node.get_clock().now().nanoseconds

    def active_plan_record(self) -> Plan:
        """The newest active plan."""
        assert self.active_plan is not None
        return convert.plan_from_message(self.active_plan)

    def add_command_publisher(self, topic: str) -> None:
        """Become a second publisher of the robot's command topic."""
        self.command_publisher = self.node.create_publisher(Float64MultiArray, topic, 10)

    def positions(self) -> Array:
        """Every commanded position, shape (n, J) [rad]."""
        return np.array([c.position for c in self.commands])

    def stamps(self) -> npt.NDArray[np.int64]:
        """The stamp of every command, shape (n,) [ns]."""
        return np.array([convert.to_ns(c.header.stamp) for c in self.commands], dtype=np.int64)

    def clear(self) -> None:
        """Forget commands and modes; state, diagnostics and active plan are kept."""
        for record in (self.commands, self.received_ns, self.modes, self.mode_ns):
            record.clear()

    def close(self) -> None:
        """Leave the domain."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
