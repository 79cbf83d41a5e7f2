"""A ROS node for tests and benches: hears everything, says what it is told to, waits for what it is asked."""

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

from vla_ros.core.records import Array
from vla_ros.core.trajectory import Plan
from vla_ros.nodes.common import conversions as convert
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.middleware import without_shared_memory

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


class Listener:
    """Real publishers, subscriptions and clients in one ROS domain."""

    def __init__(self, domain: int) -> None:
        """Join the domain."""
        self.context = rclpy.Context()
        with mock.patch.dict(os.environ, without_shared_memory(os.environ)):
            rclpy.init(context=self.context, domain_id=domain)
            self.node = rclpy.create_node("listener", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.commands: list[JointState] = []
        self.heard_ns: list[int] = []
        self.modes: list[str] = []
        self.mode_ns: list[int] = []
        self.state: dict[str, str] = {}
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.in_force: JointTrajectory | None = None
        node = self.node
        node.create_subscription(JointState, topics.COMMAND, self._on_command, topics.STREAM)
        node.create_subscription(DiagnosticStatus, topics.STATE, self._on_state, topics.LATCHED)
        node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, topics.RELIABLE)
        node.create_subscription(JointTrajectory, topics.IN_FORCE, self._on_plan, topics.LATCHED)
        self.chunks = node.create_publisher(JointTrajectory, topics.CHUNK, topics.RELIABLE)
        self.plans = node.create_publisher(JointTrajectory, topics.PLAN, topics.RELIABLE)
        self.joints = node.create_publisher(JointState, topics.JOINT_STATES, topics.RELIABLE)
        self.instruction = node.create_publisher(String, topics.INSTRUCTION, topics.LATCHED)
        self.rogue: rclpy.publisher.Publisher | None = None

    def _on_command(self, message: JointState) -> None:
        self.commands.append(message)
        self.heard_ns.append(self.now_ns())

    def _on_state(self, message: DiagnosticStatus) -> None:
        if not message.values:  # not the supervisor's, but a test's
            return
        self.state = {v.key: v.value for v in message.values}
        if not self.modes or self.modes[-1] != self.state["mode"]:
            self.modes.append(self.state["mode"])
            self.mode_ns.append(self.now_ns())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({s.name: s for s in message.status})

    def _on_plan(self, message: JointTrajectory) -> None:
        self.in_force = message

    @property
    def mode(self) -> str:
        """What the supervisor says it does."""
        return self.state.get("mode", "")

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
        """Serve until `condition` holds; fails with `what` if it never does."""
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= end:
                raise AssertionError(f"{what} did not happen in {timeout_s} s; state {self.state}")
            self.executor.spin_once(timeout_sec=0.05)

    def wait(self, seconds: float) -> None:
        """Serve for so long [s]."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def until_planner(self) -> None:
        """Serve until the planner of now knows the plan in force, and hears."""
        self.diagnostics.pop("vla_ros: planner", None)
        self.until(
            lambda: (
                "vla_ros: planner" in self.diagnostics
                and self.diagnostics["vla_ros: planner"].message in ("a plan is in force", "no chunk comes")
            ),
            "a planner that knows the plan in force",
        )
        for publisher in (self.chunks, self.plans):
            self.until(publisher.get_subscription_count, "ears for chunks and plans")
        self.wait(0.2)

    def until_rest(self) -> None:
        """Serve until the plan in force has run out and two commands in a row are the same."""
        self.until(lambda: self.now_ns() > self.plan_in_force().end_ns + 5 * 10**7, "the end of the plan")
        self.until(lambda: len(self.commands) > 1 and self.commands[-1].position == self.commands[-2].position, "rest")

    def spin_all(self) -> None:
        """Serve what has already come, until nothing waits."""
        with contextlib.suppress(TimeoutException):
            for _ in range(2000):
                handler, _, _ = self.executor.wait_for_ready_callbacks(timeout_sec=0.0)
                handler()
                handler.result()

    def ask(self, service: str) -> Trigger.Response:
        """Call a service and wait for its answer."""
        client = self.node.create_client(Trigger, service)
        self.until(client.service_is_ready, f"service {service}")
        future = client.call_async(Trigger.Request())
        self.until(future.done, f"an answer of {service}")
        self.node.destroy_client(client)
        return future.result()

    def arm(self) -> None:
        """Arm, once everybody is there to hear it."""
        self.until(lambda: self.mode == "ready", "ready")
        answer = self.ask(topics.ARM)
        assert answer.success, answer.message
        self.until(lambda: self.in_force is not None and self.in_force.points and self.commands, "armed")
        self.full_speed()

    def full_speed(self) -> None:
        """Wait until the speed has risen, as it does after arming.

        On a busy machine joint states may be late while everything starts, and the arm is stopped: armed anew.
        """
        for _ in range(5):
            self.until(lambda: self.mode in ("running", "stopped"), "an answer to arming")
            self.until(lambda: self.mode == "stopped" or self.state.get("speed") == "1.0", "full speed")
            if self.mode == "running":
                return
            self.until(lambda: self.mode == "running" or self.ask(topics.ARM).success, "leave to arm")
            self.until(lambda: self.mode == "running", "running")
        raise AssertionError(f"the arm does not keep running; state {self.state}")

    def now_ns(self) -> int:
        """Now [ns]."""
        return self.node.get_clock().now().nanoseconds

    def plan_in_force(self) -> Plan:
        """The newest plan permitted."""
        assert self.in_force is not None
        return convert.plan_from_message(self.in_force)

    def disturb(self, topic: str) -> None:
        """Become a second publisher on the robot's topic."""
        self.rogue = self.node.create_publisher(Float64MultiArray, topic, 10)

    def positions(self) -> Array:
        """Every position commanded, shape (n, J) [rad]."""
        return np.array([c.position for c in self.commands])

    def stamps(self) -> npt.NDArray[np.int64]:
        """When, shape (n,) [ns]."""
        return np.array([convert.to_ns(c.header.stamp) for c in self.commands], dtype=np.int64)

    def close(self) -> None:
        """Leave the domain."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
