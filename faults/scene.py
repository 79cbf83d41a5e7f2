"""A moving arm among real processes, and hands to spoil whatever passes between them.

The simulator's joint states pass through this process, and the chunks are made by it: one joint swings for ever.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from vla_ros.config import config_dir, load_robot
from vla_ros.core import Chunk
from vla_ros.core.judge import Judgement, judge
from vla_ros.graph import domain
from vla_ros.nodes import convert, topics
from vla_ros.nodes.witness import JOINTS, Listener
from vla_ros.processes import Processes

LIMITS = load_robot("so101").limits
PERIOD_NS, AMPLITUDE, SECONDS = 100_000_000, 0.9, 3.0
"""Between chunks [ns]; of the swing of the first joint [rad]; of one swing to and fro [s]."""
STILL = 1e-3
"""A slower arm counts as commanded to rest [rad/s]."""

Spoil = Callable[[JointState], "JointState | None"]


class Scene:
    """Supervisor, planner and simulator, armed and swinging."""

    def __init__(self, number: int, processes: Processes, params: tuple[str, ...]) -> None:
        """Start everything."""
        self.processes = processes
        self.witness = witness = Listener(number)
        self.spoil: Spoil | None = None
        self.chunk: Callable[[Chunk], None] = self.send
        self.period_ns = PERIOD_NS
        self._next_ns = 0
        self.measured: JointState | None = None
        node = witness.node
        self._relay = node.create_publisher(JointState, topics.JOINT_STATES, topics.SENSOR)
        node.create_subscription(JointState, "raw/joint_states", self._on_joints, topics.SENSOR)
        self.button = node.create_publisher(Bool, topics.ESTOP_INPUT, topics.RELIABLE)
        self.heartbeat = True
        settings = ["--ros-args", "--params-file", str(config_dir() / "vla.yaml")]
        processes.start("supervisor_node", *settings, *params)
        processes.start("planner_node", *settings)
        processes.start("sim_node", *settings, "-p", "cameras:=false", "-r", "joint_states:=raw/joint_states")
        self._origin: np.ndarray | None = None

    def begin(self) -> None:
        """Arm and swing."""
        witness = self.witness
        witness.arm()
        self._origin = witness.plan_in_force().positions[-1].copy()
        self._begun_ns = witness.now_ns()
        witness.until(lambda: witness.commands and max(map(abs, witness.commands[-1].velocity)) > 1.0, "motion")

    def _on_joints(self, message: JointState) -> None:
        """Every joint state passes here; and time does."""
        self.measured = message
        spoilt = self.spoil(message) if self.spoil else message
        if spoilt is not None:
            self._relay.publish(spoilt)
        now = self.witness.now_ns()
        if self.heartbeat:
            self.button.publish(Bool(data=False))
        if self._origin is not None and now >= self._next_ns:
            self._next_ns = now + self.period_ns
            self.chunk(self.swing(now))

    def swing(self, now_ns: int) -> Chunk:
        """The next two seconds of the swing, as a good policy would send them."""
        assert self._origin is not None
        t = (now_ns - self._begun_ns) / 1e9 + np.arange(1, 61)[:, None] / 30
        path = self._origin + AMPLITUDE * np.sin(2 * np.pi * t / SECONDS) * np.eye(6)[0]
        return Chunk.from_rate(now_ns, JOINTS, path, 1 / 30)

    def send(self, chunk: Chunk) -> None:
        """As it is."""
        self.witness.chunks.publish(convert.chunk_to_message(chunk))

    def signal(self, node: str, number: int) -> None:
        """A signal to one process."""
        self.processes.running[node].send_signal(number)

    def last_motion_ns(self) -> int:
        """When the arm was last commanded to move [ns]."""
        moving = [c for c in self.witness.commands if max(map(abs, c.velocity)) > STILL]
        return convert.to_ns(moving[-1].header.stamp) if moving else 0

    def resting(self) -> bool:
        """Whether nothing was commanded to move for a quarter second."""
        return self.witness.now_ns() - self.last_motion_ns() > 250_000_000

    def measured_speed(self) -> float:
        """Of the fastest joint, by the last joint state [rad/s]."""
        return max(map(abs, self.measured.velocity)) if self.measured else float("inf")

    def judgement(self) -> Judgement:
        """What an outsider says of everything that was commanded."""
        stamps, positions = self.witness.stamps(), self.witness.positions()
        kept = np.append(True, np.diff(stamps) > 0)
        return judge(stamps[kept], positions[kept], LIMITS)

    def close(self) -> None:
        """Wake whoever sleeps, and leave."""
        for process in self.processes.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        self.witness.close()


@contextmanager
def scene(folder: Path, *params: str) -> Iterator[Scene]:
    """A scene of its own domain; every process ends with the block."""
    import os

    processes = Processes(folder)
    with domain() as env:
        before = {name: os.environ.get(name) for name in env}
        os.environ.update(env)
        try:
            made = Scene(int(env["ROS_DOMAIN_ID"]), processes, params)
            try:
                made.begin()
                yield made
            finally:
                made.close()
        finally:
            processes.stop_all()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def pause(seconds: float) -> None:
    """Sleep without serving: for faults that need no ears."""
    time.sleep(seconds)
