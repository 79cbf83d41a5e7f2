"""Watches the robot's command topic from outside and judges it: no part in control.

It takes every command from the robot's topic and every stamped copy, checks that both say the same, and
differentiates the copies by their stamps. All are judged; the newest are kept, to be drawn. Of every chunk it notes
when it came and how rough it is.
"""

from __future__ import annotations

import json
import time
from array import array
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import load_robot
from vla_ros.core.errors import RecordError
from vla_ros.core.limit_monitor import QUANTITIES, Judge
from vla_ros.core.records import Array
from vla_ros.core.trajectory import Plan
from vla_ros.evaluation.metrics import GRIPPERS, STEP_S, chunk_jerk
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import MOST_POINTS, capture_of, chunk_from_message, plan_from_message, to_ns
from vla_ros.nodes.common.node_loop import Loop, RosTime, take
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.nodes.common.stream_comparison import Agreement

PART, KEPT = 5_000, 48
"""So many commands are judged at a time (ten seconds at 500 Hz), and so many of these parts are kept."""


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
        self._limits, self._time = load_robot(params.robot).limits, RosTime(node)
        self._arm = [k for k, name in enumerate(self._limits.joints) if name not in GRIPPERS]
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._robot_sub = node.create_subscription(Float64MultiArray, params.command_topic, ignored, topics.STREAM)
        self._copy_sub = node.create_subscription(JointStateMessage, topics.COMMAND, ignored, topics.STREAM)
        self._plan_sub = node.create_subscription(JointTrajectory, topics.IN_FORCE, ignored, topics.STREAM_LATCHED)
        self._chunk_sub = node.create_subscription(JointTrajectory, topics.CHUNK, ignored, topics.RELIABLE)
        self._judge, self._agreement = Judge(self._limits), Agreement(len(self._limits.joints))
        self._told, self._copies, self._stamps = array("d"), array("d"), array("q")
        self._kept: deque[tuple[npt.NDArray[np.int64], Array]] = deque(maxlen=KEPT)
        self._increasing = True
        self._captures, self._first = array("q"), array("q")
        self._starts = array("q")
        self._came, self._rough = array("q"), array("d")
        self._waiting: deque[tuple[int, int]] = deque()
        self._newest: Plan | None = None
        self._worst = np.zeros(3)
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
        for message in take(self._chunk_sub):
            self._chunks += 1
            self._note_chunk(message)
        if len(self._stamps) >= PART:
            self._settle()

    def _keep(self, message: JointTrajectory) -> None:
        try:
            plan = plan_from_message(message).in_order(self._limits.joints)
        except RecordError:
            self._malformed_plans += 1
            return
        capture = capture_of(message) or 0
        if self._newest is not None and capture and self._newest.start_ns <= plan.start_ns:
            steps = zip(self._newest.at(plan.start_ns), plan.at(plan.start_ns), strict=True)
            self._worst = np.maximum(self._worst, [np.abs(b - a).max() for b, a in steps])
        self._newest = plan
        self._starts.append(plan.start_ns)
        if capture:
            self._waiting.append((plan.start_ns, capture))

    def _note_chunk(self, message: JointTrajectory) -> None:
        """When a chunk came, and its greatest jerk over the limit, grippers left out; of what is no chunk nothing."""
        try:
            chunk = chunk_from_message(message).in_order(self._limits.joints)
        except RecordError:
            return
        jerk = np.full(len(self._limits.joints), np.nan)
        if chunk.offsets_s[-1] <= MOST_POINTS * STEP_S:  # a curve of years has waypoints without end
            with np.errstate(over="ignore", invalid="ignore"):
                jerk = chunk_jerk(chunk.as_waypoints(STEP_S)) / self._limits.jerk
        self._came.append(self._time.now_ns())
        self._rough.append(float(jerk[self._arm].max(initial=0.0)))

    def _settle(self) -> None:
        """Judge what came since the last time, and let go of all but the newest."""
        joints = len(self._limits.joints)
        stamps, copies = np.array(self._stamps), np.array(self._copies).reshape(-1, joints)
        before = self._kept[-1][0][-1:] if self._kept else stamps[:0]
        self._increasing &= bool((np.diff(np.concatenate([before, stamps])) > 0).all())
        self._judge.add(stamps, copies)
        self._agreement.add(copies, np.array(self._told).reshape(-1, joints))
        self._influence(stamps)
        if len(stamps):
            self._kept.append((stamps, copies))
        self._told, self._copies, self._stamps = array("d"), array("d"), array("q")

    def _influence(self, stamps: npt.NDArray[np.int64]) -> None:
        """Note for each permitted plan how long it was from capture to the first command it influenced [ns]."""
        while self._waiting and len(stamps) and self._waiting[0][0] <= stamps[-1]:
            start, capture = self._waiting.popleft()
            self._captures.append(capture)
            self._first.append(int(stamps[np.searchsorted(stamps, start)]) - capture)

    def close(self) -> None:
        """Judge the rest, and write the log, once what is still under way has come."""
        time.sleep(0.3)
        self.step(0)
        self._settle()
        folder = Path(self._params.log_dir)
        none = (np.zeros(0, dtype=np.int64), np.zeros((0, len(self._limits.joints))))
        stamps, copies = (np.concatenate(part) for part in zip(*(self._kept or [none]), strict=True))
        np.savez_compressed(
            folder / "commands.npz",
            stamps_ns=stamps,
            positions=copies,
            handovers_ns=np.array(self._starts),
            captures_ns=np.array(self._captures),
            capture_to_command_ns=np.array(self._first),
            chunks_ns=np.array(self._came),
            chunk_jerk=np.array(self._rough),
            step_s=STEP_S,
        )
        judgement = self._judge.judgement()
        summary = {
            "samples": judgement.samples,
            "silences": judgement.silences,
            "violations": judgement.violations,
            "peak_ratio": judgement.peak_ratio,
            "topics_agree": self._agreement.holds() and self._increasing and not self._malformed_commands,
            "malformed_commands": self._malformed_commands,
            "lost": abs(self._agreement.copies - self._agreement.told),
            "handover_jump": dict(zip(QUANTITIES, self._worst.tolist(), strict=False)),
            "plans": len(self._starts),
            "chunks": self._chunks,
            "malformed_plans": self._malformed_plans,
        }
        (folder / "observer.json").write_text(json.dumps(summary, indent=1))


def main() -> None:
    """Run the node."""
    run("observer", ObserverNode)


if __name__ == "__main__":
    main()
