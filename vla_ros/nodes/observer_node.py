"""Watches the robot's command topic from outside and judges it: no part in control.

It takes every command from the robot's topic and every stamped copy, checks that both say the same, and
at the end differentiates the copies by their stamps.
"""

from __future__ import annotations

import json
import time
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import load_robot
from vla_ros.core.errors import RecordError
from vla_ros.core.judge import QUANTITIES, judge
from vla_ros.core.plan import Plan
from vla_ros.nodes import topics
from vla_ros.nodes.convert import capture_of, plan_from_message, to_ns
from vla_ros.nodes.params import check_log_dir, load_params
from vla_ros.nodes.run import Loop, take
from vla_ros.nodes.run import main as run


@dataclass(frozen=True)
class ObserverParams:
    """Parameters of the node.

    Attributes:
        robot: Name in config/robots, or a file; its limits are what is judged by.
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
    """Collects; judges when it is ended."""

    period_ns = 20_000_000

    def __init__(self, node: Node) -> None:
        """Subscribe to everything that says where the arm is told to be."""
        self._params = params = load_params(node, ObserverParams)
        self._limits = load_robot(params.robot).limits
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._robot_sub = node.create_subscription(Float64MultiArray, params.command_topic, ignored, topics.STREAM)
        self._copy_sub = node.create_subscription(JointStateMessage, topics.COMMAND, ignored, topics.STREAM)
        self._plan_sub = node.create_subscription(JointTrajectory, topics.IN_FORCE, ignored, topics.STREAM_LATCHED)
        self._chunk_sub = node.create_subscription(JointTrajectory, topics.CHUNK, ignored, topics.RELIABLE)
        self._told, self._copies, self._stamps = array("d"), array("d"), array("q")
        self._plans: list[tuple[Plan, int]] = []
        self._chunks = self._malformed_plans = self._malformed_commands = 0

    def step(self, late_ns: int) -> None:
        """Take everything that came."""
        joints = self._limits.joints
        for command in take(self._robot_sub):
            if len(command.data) == len(joints):
                self._told.extend(command.data)
            else:
                self._malformed_commands += 1
        for copy in take(self._copy_sub):
            if tuple(copy.name) == joints and len(copy.position) == len(joints):
                self._stamps.append(to_ns(copy.header.stamp))
                self._copies.extend(copy.position)
            else:
                self._malformed_commands += 1
        for message in take(self._plan_sub):
            if message.points:
                self._keep(message)
        self._chunks += sum(1 for _ in take(self._chunk_sub))

    def _keep(self, message: JointTrajectory) -> None:
        try:
            plan = plan_from_message(message).in_order(self._limits.joints)
        except RecordError:
            self._malformed_plans += 1
            return
        self._plans.append((plan, capture_of(message) or 0))

    def close(self) -> None:
        """Judge, and write the log, once what is still under way has come."""
        time.sleep(0.3)
        self.step(0)
        folder, joints = Path(self._params.log_dir), len(self._limits.joints)
        stamps = np.array(self._stamps)
        copies, told = np.array(self._copies).reshape(-1, joints), np.array(self._told).reshape(-1, joints)
        captures, first = self._latencies(stamps)
        np.savez_compressed(
            folder / "commands.npz",
            stamps_ns=stamps,
            positions=copies,
            handovers_ns=np.array([p.start_ns for p, _ in self._plans], dtype=np.int64),
            captures_ns=captures,
            capture_to_command_ns=first,
        )
        increasing = bool((np.diff(stamps) > 0).all())
        judgement = judge(stamps, copies, self._limits)
        summary = {
            "samples": judgement.samples,
            "silences": judgement.silences,
            "violations": judgement.violations,
            "peak_ratio": judgement.peak_ratio,
            "topics_agree": self._agree(copies, told) and increasing and not self._malformed_commands,
            "malformed_commands": self._malformed_commands,
            "lost": abs(len(copies) - len(told)),
            "handover_jump": dict(zip(QUANTITIES, self._jumps(), strict=False)),
            "plans": len(self._plans),
            "chunks": self._chunks,
            "malformed_plans": self._malformed_plans,
        }
        (folder / "observer.json").write_text(json.dumps(summary, indent=1))

    @staticmethod
    def _agree(copies: np.ndarray, told: np.ndarray) -> bool:
        """Whether whatever the robot was told is among the copies, in the same order. Silence agrees with silence.

        Discovery may make one topic audible before the other, the end may cut one short, and a robot's topic keeps
        no more than a robot needs, so a busy machine may lose some: those are counted as lost, not held against it.
        """
        if not len(copies) and not len(told):
            return True
        places: dict[bytes, list[int]] = {}
        for k, row in enumerate(copies):
            places.setdefault(row.tobytes(), []).append(k)
        k, strays, waiting = 0, 0, 0
        for row in told:
            known = places.get(row.tobytes(), [])
            at = bisect_left(known, k)
            if at < len(known):
                k, strays, waiting = known[at], strays + (waiting if k else 0), 0
            else:
                waiting += 1
        return k > 0 and strays == 0

    def _jumps(self) -> list[float]:
        """Largest step of p, v, a between a plan and the one before it, where it takes over."""
        worst = np.zeros(3)
        for (before, _), (after, capture) in zip(self._plans, self._plans[1:], strict=False):
            if capture and before.start_ns <= after.start_ns:
                steps = zip(before.at(after.start_ns), after.at(after.start_ns), strict=True)
                worst = np.maximum(worst, [np.abs(b - a).max() for b, a in steps])
        return [float(w) for w in worst]

    def _latencies(self, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Capture time of each permitted plan, and how long until the first command it influenced [ns]."""
        rows = [(p.start_ns, c) for p, c in self._plans if c]
        captures = np.array([c for _, c in rows], dtype=np.int64)
        first = np.searchsorted(stamps, [s for s, _ in rows]) if rows else np.zeros(0, dtype=np.int64)
        known = first < len(stamps)
        return captures[known], stamps[first[known]] - captures[known]


def main() -> None:
    """Run the node."""
    run("observer", ObserverNode)


if __name__ == "__main__":
    main()
