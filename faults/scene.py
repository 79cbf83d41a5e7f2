"""A moving arm among real processes, and hands to spoil whatever passes between them.

The simulator's joint states pass through this process, and the chunks are made by it: one joint swings for ever.
"""

from __future__ import annotations

import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image, JointState
from servos import Servos, worse
from std_msgs.msg import Bool, String
from surroundings import environment, shim, small_disk
from wire import Wire, inside, wire

from vla_ros.api import Chunk
from vla_ros.config import config_dir, load_robot
from vla_ros.core.limit_monitor import Judgement, judge
from vla_ros.nodes.common import conversions as convert
from vla_ros.nodes.common import topics
from vla_ros.system.graph import domain
from vla_ros.system.processes import Processes
from vla_ros.testing.graph_client import JOINTS, Listener

LIMITS = load_robot("so101").limits
PERIOD_NS, AMPLITUDE, SECONDS = 100_000_000, 0.9, 3.0
"""Between chunks [ns]; of the swing of the first joint [rad]; of one swing to and fro [s]."""
STILL = 1e-3
"""A slower arm counts as commanded to rest [rad/s]."""
BRISK, GENTLE = 1.0, 0.3
"""So fast the arm must be before the fault: swinging; led by a learned policy [rad/s]."""
TASK = "put the red cube in the bowl"
CAMERAS = ("front", "wrist")
DEADMAN_S = 0.5
"""Longest silence of the deadman where one is expected [s]."""

Spoil = Callable[[JointState], "JointState | None"]
SpoilImage = Callable[[str, Image], "Image | None"]


@dataclass(frozen=True)
class Setup:
    """How a scene differs from a moving arm among healthy processes.

    Attributes:
        supervisor: Further arguments of the supervisor.
        sight: The learned policy moves the arm by what the cameras see, instead of the swing.
        apart: The simulator is in a network of its own, behind a wire that can be made bad.
        shifty: Processes whose system clock this one can set.
        small_disk: All that is written goes to a small disk.
        prompt: The simulator asks for real-time priority, as a real arm's driver is not slowed by what else runs.
        watched: The supervisor watches both cameras, through `cameras_node`.
        deadman: Somebody must hold the deadman.
        trajectory: The robot has a trajectory controller; what it tells its servos is judged, too.
    """

    supervisor: tuple[str, ...] = ()
    sight: bool = False
    apart: bool = False
    shifty: tuple[str, ...] = ()
    small_disk: bool = False
    prompt: bool = False
    watched: bool = False
    deadman: bool = False
    trajectory: bool = False

    def of_supervisor(self) -> list[str]:
        """Further arguments of the supervisor, all told."""
        watched = ["-p", f"cameras:=[{', '.join(CAMERAS)}]"] if self.watched else []
        held = ["-p", f"deadman_s:={DEADMAN_S}"] if self.deadman else []
        flowing = ["-p", "output:=trajectory", "-p", f"command_topic:={topics.ROBOT_TRAJECTORY}"]
        return [*self.supervisor, *watched, *held, *(flowing if self.trajectory else [])]

    def of_simulator(self) -> list[str]:
        """Further arguments of the simulator."""
        prompt = ["-p", "realtime_priority:=49"] if self.prompt else []
        flowing = ["-p", f"trajectory_topic:={topics.ROBOT_TRAJECTORY}", "-p", "truth_hz:=100.0"]
        return ["-p", f"cameras:={str(self.sight).lower()}", *prompt, *(flowing if self.trajectory else [])]


class Scene:
    """Supervisor, planner and simulator, armed and moving."""

    def __init__(self, number: int, processes: Processes, setup: Setup, wire: Wire | None) -> None:
        """Start everything."""
        self.processes, self.setup, self.wire = processes, setup, wire
        self.witness = witness = Listener(number)
        self.spoil: Spoil | None = None
        self.spoil_image: SpoilImage | None = None
        self.chunk: Callable[[Chunk], None] = self.send
        self.period_ns = PERIOD_NS
        self.busy: list[subprocess.Popen[bytes]] = []
        self._next_ns = 0
        self.measured: JointState | None = None
        node = witness.node
        self._relay = node.create_publisher(JointState, topics.JOINT_STATES, topics.SENSOR)
        node.create_subscription(JointState, "raw/joint_states", self._on_joints, topics.SENSOR)
        self.button = node.create_publisher(Bool, topics.ESTOP_INPUT, topics.RELIABLE)
        self.heartbeat = True
        self.deadman = node.create_publisher(Bool, topics.DEADMAN, topics.RELIABLE)
        self.held: bool | None = True
        self.servos = Servos(node) if setup.trajectory else None
        self._origin: np.ndarray | None = None
        self._start_all()

    def _start_all(self) -> None:
        setup = self.setup
        settings = ["--ros-args", "--params-file", str(config_dir() / "vla.yaml")]
        log = ["-p", f"log_dir:={self.processes.folder}"] if setup.small_disk else []
        self._start("supervisor_node", *settings, *setup.of_supervisor(), *log)
        self._start("planner_node", *settings, *log)
        moved = ["-r", "joint_states:=raw/joint_states", *(x for c in CAMERAS for x in ("-r", self._raw(c)))]
        with inside(self.wire.there) if self.wire else nullcontext():
            self._start("sim_node", *settings, *setup.of_simulator(), *moved, *log)
        if setup.sight:
            self._images = {c: self._relay_camera(c) for c in CAMERAS}
            self._start("policy_node", *settings)
        if setup.watched:
            self._start("cameras_node", *settings, "-p", f"cameras:=[{', '.join(CAMERAS)}]")

    @staticmethod
    def _raw(camera: str) -> str:
        topic = topics.CAMERA.format(camera)
        return f"{topic}:=raw/{topic}"

    def _relay_camera(self, camera: str) -> Publisher:
        node, topic = self.witness.node, topics.CAMERA.format(camera)
        publisher = node.create_publisher(Image, topic, topics.IMAGE)

        def on_image(message: Image) -> None:
            spoilt = self.spoil_image(camera, message) if self.spoil_image else message
            if spoilt is not None:
                publisher.publish(spoilt)

        node.create_subscription(Image, f"raw/{topic}", on_image, topics.IMAGE)
        return publisher

    def _start(self, node: str, *args: str) -> None:
        env = {"ROS_LOG_DIR": str(self.processes.folder)} if self.setup.small_disk else {}
        if node in self.setup.shifty:
            self._clock(node).write_bytes(bytes(8))
            env |= {"LD_PRELOAD": str(shim(self.processes.folder)), "VLA_CLOCK": str(self._clock(node))}
        self.processes.start(node, *args, **env)

    def _clock(self, node: str) -> Path:
        return self.processes.folder / f"{node}.clock"

    def set_clock(self, node: str, seconds: float) -> None:
        """Set the system clock of one process so far ahead of the true one [s]."""
        with self._clock(node).open("r+b", buffering=0) as file:
            file.write(struct.pack("q", round(seconds * 1e9)))

    def begin(self) -> None:
        """Arm and move."""
        witness = self.witness
        if self.setup.sight:  # what it loads would keep everybody else from their processor
            witness.until(lambda: "vla_ros: policy" in witness.diagnostics, "a policy", 40.0)
        witness.arm()
        if self.servos:
            self.servos.forget()
        self._begun_ns = witness.now_ns()
        if self.setup.sight:
            witness.instruction.publish(String(data=TASK))
        else:
            self._origin = witness.plan_in_force().positions[-1].copy()
        witness.until(self.moving, "motion")

    def moving(self) -> bool:
        """Whether the arm is commanded to move at the speed it has before a fault."""
        commands = self.witness.commands
        speed = GENTLE if self.setup.sight else BRISK
        return bool(commands) and max(map(abs, commands[-1].velocity)) > speed

    def _on_joints(self, message: JointState) -> None:
        """Every joint state passes here; and time does."""
        self.measured = message
        spoilt = self.spoil(message) if self.spoil else message
        if spoilt is not None:
            self._relay.publish(spoilt)
        now = self.witness.now_ns()
        if self.heartbeat:
            self.button.publish(Bool(data=False))
        if self.setup.deadman and self.held is not None:
            self.deadman.publish(Bool(data=self.held))
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
        moving = (c for c in reversed(self.witness.commands) if max(map(abs, c.velocity)) > STILL)
        last = next(moving, None)
        said = convert.to_ns(last.header.stamp) if last else 0
        return max(said, self.servos.last_motion_ns(STILL)) if self.servos else said

    def resting(self) -> bool:
        """Whether nothing was commanded to move for a quarter second."""
        return self.witness.now_ns() - self.last_motion_ns() > 250_000_000

    def measured_speed(self) -> float:
        """Of the fastest joint, by the last joint state [rad/s]."""
        return max(map(abs, self.measured.velocity)) if self.measured else float("inf")

    def simulated(self) -> bool:
        """Whether the simulator still runs."""
        return self.processes.running["sim_node"].poll() is None

    def judgement(self) -> Judgement:
        """What an outsider says of everything that was commanded."""
        stamps, positions = self.witness.stamps(), self.witness.positions()
        kept = np.append(True, np.diff(stamps) > 0)
        found = judge(stamps[kept], positions[kept], LIMITS)
        return worse(found, self.servos.judgement(LIMITS)) if self.servos else found

    def close(self) -> None:
        """Wake whoever sleeps, and leave."""
        for process in self.busy:
            process.kill()
            process.wait()
        for process in self.processes.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        self.witness.close()


@contextmanager
def scene(folder: Path, setup: Setup) -> Iterator[Scene]:
    """A scene of its own domain; every process ends with the block."""
    with ExitStack() as stack:
        laid = stack.enter_context(wire()) if setup.apart else None
        place = stack.enter_context(small_disk(folder)) if setup.small_disk else folder
        env = stack.enter_context(domain())
        wide = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"} if laid else {}
        stack.enter_context(environment(env | wide))
        processes = Processes(place)
        stack.callback(processes.stop_all)
        made = Scene(int(env["ROS_DOMAIN_ID"]), processes, setup, laid)
        stack.callback(made.close)
        made.begin()
        yield made
