"""A moving arm among real processes, whose messages can be modified on their way.

Simulator, planner and supervisor (and policy and camera monitor, where cameras are concerned) are processes of their
own. The simulator's joint states and images pass through this process; the chunks are made here, so that one joint
swings, or by the learned policy.
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
from std_msgs.msg import Bool, String

from faults.network_link import NetworkLink, in_namespace, network_link
from faults.process_environment import build_clock_library, small_disk
from faults.servo_targets import ServoTargets, combine
from vla_ros.api import Chunk
from vla_ros.config import config_dir, load_robot
from vla_ros.core.limit_monitor import LimitReport, check_limits
from vla_ros.nodes.common import conversions as convert
from vla_ros.nodes.common import topics
from vla_ros.system.graph import isolated_domain
from vla_ros.system.processes import ProcessGroup, environment_variables
from vla_ros.testing.graph_client import JOINTS, GraphClient

LIMITS = load_robot("so101").limits
CHUNK_PERIOD_NS = 100_000_000
"""Time between chunks [ns]."""
SWING_AMPLITUDE_RAD, SWING_PERIOD_S = 0.9, 3.0
"""Motion of the first joint: a sine [rad], [s]."""
REST_SPEED = 1e-3
"""Commands below this speed count as rest [rad/s]."""
SWING_SPEED, POLICY_SPEED = 1.0, 0.3
"""Speed that the arm must exceed before the fault, when swinging and when moved by the learned policy [rad/s]."""
INSTRUCTION = "put the red cube in the bowl"
CAMERAS = ("front", "wrist")
DEADMAN_TIMEOUT_S = 0.5
"""Maximum silence of the deadman switch, where one is required [s]."""

ModifyJointState = Callable[[JointState], "JointState | None"]
ModifyImage = Callable[[str, Image], "Image | None"]


@dataclass(frozen=True)
class Setup:
    """How a scene differs from a moving arm among healthy processes.

    Attributes:
        supervisor: Further arguments of the supervisor.
        learned_policy: The learned policy moves the arm by its camera images, instead of the swing.
        separate_networks: The simulator runs in a network namespace of its own, behind a link whose quality can be set.
        settable_clocks: Processes whose system clock this one can set.
        small_disk: Every process writes to a small disk.
        realtime_simulator: The simulator requests real-time priority, as the driver of a real arm would have.
        monitored_cameras: The supervisor monitors both cameras, through `camera_monitor_node`.
        deadman: The supervisor requires the deadman switch.
        trajectory_controller: The robot has a trajectory controller, whose servo targets are checked, too.
    """

    supervisor: tuple[str, ...] = ()
    learned_policy: bool = False
    separate_networks: bool = False
    settable_clocks: tuple[str, ...] = ()
    small_disk: bool = False
    realtime_simulator: bool = False
    monitored_cameras: bool = False
    deadman: bool = False
    trajectory_controller: bool = False

    def supervisor_arguments(self) -> list[str]:
        """Further arguments of the supervisor."""
        arguments = [*self.supervisor]
        if self.monitored_cameras:
            arguments += ["-p", f"cameras:=[{', '.join(CAMERAS)}]"]
        if self.deadman:
            arguments += ["-p", f"deadman_timeout_s:={DEADMAN_TIMEOUT_S}"]
        if self.trajectory_controller:
            arguments += ["-p", "output:=trajectory", "-p", f"command_topic:={topics.ROBOT_TRAJECTORY}"]
        return arguments

    def simulator_arguments(self) -> list[str]:
        """Further arguments of the simulator."""
        arguments = ["-p", f"cameras:={str(self.learned_policy).lower()}"]
        if self.realtime_simulator:
            arguments += ["-p", "realtime_priority:=49"]
        if self.trajectory_controller:
            arguments += ["-p", f"trajectory_topic:={topics.ROBOT_TRAJECTORY}", "-p", "ground_truth_hz:=100.0"]
        return arguments


class Scene:
    """Supervisor, planner and simulator, armed and moving.

    Attributes:
        client: The node of this process.
        processes: The node processes.
        link: The network link to the simulator; None without separate networks.
        modify_joint_state: Applied to every joint state; None passes them on.
        modify_image: Applied to every image; None passes them on.
        on_chunk: Called with every chunk of the swing; publishes it unless a fault replaces it.
        chunk_period_ns: Time between chunks [ns].
        button_heartbeat: Whether the emergency-stop button publishes False.
        deadman_held: What the deadman switch publishes; None for nothing.
        load_processes: Processes that only use processor time.
        last_joint_state: The newest joint state of the simulator.
    """

    def __init__(self, domain_id: int, processes: ProcessGroup, setup: Setup, link: NetworkLink | None) -> None:
        """Start every process."""
        self.processes, self.setup, self.link = processes, setup, link
        self.client = client = GraphClient(domain_id)
        self.modify_joint_state: ModifyJointState | None = None
        self.modify_image: ModifyImage | None = None
        self.on_chunk: Callable[[Chunk], object] = self.publish_chunk
        self.chunk_period_ns = CHUNK_PERIOD_NS
        self.load_processes: list[subprocess.Popen[bytes]] = []
        self._next_chunk_ns = 0
        self.last_joint_state: JointState | None = None
        node = client.node
        self._joint_states = node.create_publisher(JointState, topics.JOINT_STATES, topics.SENSOR)
        node.create_subscription(JointState, "raw/joint_states", self._on_joint_state, topics.SENSOR)
        self.button = node.create_publisher(Bool, topics.ESTOP_INPUT, topics.RELIABLE)
        self.button_heartbeat = True
        self.deadman = node.create_publisher(Bool, topics.DEADMAN, topics.RELIABLE)
        self.deadman_held: bool | None = True
        self.servo_targets = ServoTargets(node) if setup.trajectory_controller else None
        self._swing_centre: np.ndarray | None = None
        self._start_processes()

    def _start_processes(self) -> None:
        setup = self.setup
        settings = ["--ros-args", "--params-file", str(config_dir() / "vla.yaml")]
        log = ["-p", f"log_dir:={self.processes.folder}"] if setup.small_disk else []
        self._start("supervisor_node", *settings, *setup.supervisor_arguments(), *log)
        self._start("planner_node", *settings, *log)
        remappings = ["-r", "joint_states:=raw/joint_states"]
        for camera in CAMERAS:
            remappings += ["-r", f"{topics.CAMERA.format(camera)}:=raw/{topics.CAMERA.format(camera)}"]
        with in_namespace(self.link.simulator_namespace) if self.link else nullcontext():
            self._start("sim_node", *settings, *setup.simulator_arguments(), *remappings, *log)
        if setup.learned_policy:
            self._images = {camera: self._relay_camera(camera) for camera in CAMERAS}
            self._start("policy_node", *settings)
        if setup.monitored_cameras:
            self._start("camera_monitor_node", *settings, "-p", f"cameras:=[{', '.join(CAMERAS)}]")

    def _relay_camera(self, camera: str) -> Publisher:
        node, topic = self.client.node, topics.CAMERA.format(camera)
        publisher = node.create_publisher(Image, topic, topics.IMAGE)

        def on_image(message: Image) -> None:
            modified = self.modify_image(camera, message) if self.modify_image else message
            if modified is not None:
                publisher.publish(modified)

        node.create_subscription(Image, f"raw/{topic}", on_image, topics.IMAGE)
        return publisher

    def _start(self, node: str, *args: str) -> None:
        env = {"ROS_LOG_DIR": str(self.processes.folder)} if self.setup.small_disk else {}
        if node in self.setup.settable_clocks:
            self._clock_file(node).write_bytes(bytes(8))
            library = build_clock_library(self.processes.folder)
            env |= {"LD_PRELOAD": str(library), "VLA_CLOCK": str(self._clock_file(node))}
        self.processes.start(node, *args, **env)

    def _clock_file(self, node: str) -> Path:
        return self.processes.folder / f"{node}.clock"

    def set_clock(self, node: str, seconds: float) -> None:
        """Set the system clock of one process ahead of the true one by `seconds` [s]."""
        with self._clock_file(node).open("r+b", buffering=0) as file:
            file.write(struct.pack("q", round(seconds * 1e9)))

    def start_motion(self) -> None:
        """Arm, and wait until the arm moves."""
        client = self.client
        if self.setup.learned_policy:  # loading it would delay every other process
            client.wait_until(lambda: "vla_ros: policy" in client.diagnostics, "a policy", 40.0)
        client.arm()
        if self.servo_targets:
            self.servo_targets.clear()
        self._begun_ns = client.now_ns()
        if self.setup.learned_policy:
            client.instruction.publish(String(data=INSTRUCTION))
        else:
            self._swing_centre = client.active_plan_record().positions[-1].copy()
        client.wait_until(self.moving, "motion")

    def moving(self) -> bool:
        """Whether the newest command has the speed that is required before a fault."""
        commands = self.client.commands
        speed = POLICY_SPEED if self.setup.learned_policy else SWING_SPEED
        return bool(commands) and max(map(abs, commands[-1].velocity)) > speed

    def _on_joint_state(self, message: JointState) -> None:
        """Pass the joint state on; publish heartbeats and chunks that are due."""
        self.last_joint_state = message
        modified = self.modify_joint_state(message) if self.modify_joint_state else message
        if modified is not None:
            self._joint_states.publish(modified)
        now = self.client.now_ns()
        if self.button_heartbeat:
            self.button.publish(Bool(data=False))
        if self.setup.deadman and self.deadman_held is not None:
            self.deadman.publish(Bool(data=self.deadman_held))
        if self._swing_centre is not None and now >= self._next_chunk_ns:
            self._next_chunk_ns = now + self.chunk_period_ns
            self.on_chunk(self.swing_chunk(now))

    def swing_chunk(self, now_ns: int) -> Chunk:
        """The next two seconds of the swing, at 30 Hz."""
        assert self._swing_centre is not None
        t = (now_ns - self._begun_ns) / 1e9 + np.arange(1, 61)[:, None] / 30
        path = self._swing_centre + SWING_AMPLITUDE_RAD * np.sin(2 * np.pi * t / SWING_PERIOD_S) * np.eye(6)[0]
        return Chunk.from_rate(now_ns, JOINTS, path, 1 / 30)

    def publish_chunk(self, chunk: Chunk) -> None:
        """Publish a chunk."""
        self.client.chunks.publish(convert.chunk_to_message(chunk))

    def signal(self, node: str, number: int) -> None:
        """Send a signal to one process."""
        self.processes.running[node].send_signal(number)

    def last_motion_ns(self) -> int:
        """Time of the last command, or servo target, that moves the arm; 0 for none [ns]."""
        moving = (c for c in reversed(self.client.commands) if max(map(abs, c.velocity)) > REST_SPEED)
        last = next(moving, None)
        commanded = convert.to_ns(last.header.stamp) if last else 0
        return max(commanded, self.servo_targets.last_motion_ns(REST_SPEED)) if self.servo_targets else commanded

    def resting(self) -> bool:
        """Whether no motion was commanded for 0.25 s."""
        return self.client.now_ns() - self.last_motion_ns() > 250_000_000

    def measured_speed(self) -> float:
        """Speed of the fastest joint in the last joint state [rad/s]; infinite without one."""
        return max(map(abs, self.last_joint_state.velocity)) if self.last_joint_state else float("inf")

    def simulator_running(self) -> bool:
        """Whether the simulator's process exists."""
        return self.processes.running["sim_node"].poll() is None

    def limit_report(self) -> LimitReport:
        """Check every received command, and every servo target, against the robot's limits."""
        stamps, positions = self.client.stamps(), self.client.positions()
        kept = np.append(True, np.diff(stamps) > 0)
        report = check_limits(stamps[kept], positions[kept], LIMITS)
        return combine(report, self.servo_targets.limit_report(LIMITS)) if self.servo_targets else report

    def close(self) -> None:
        """End the load, continue stopped processes, and leave the domain."""
        for process in self.load_processes:
            process.kill()
            process.wait()
        for process in self.processes.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        self.client.close()


@contextmanager
def moving_scene(folder: Path, setup: Setup) -> Iterator[Scene]:
    """A scene in a ROS domain of its own; every process ends with the context."""
    with ExitStack() as stack:
        link = stack.enter_context(network_link()) if setup.separate_networks else None
        folder = stack.enter_context(small_disk(folder)) if setup.small_disk else folder
        env = stack.enter_context(isolated_domain())
        discovery = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"} if link else {}
        stack.enter_context(environment_variables(env | discovery))
        processes = ProcessGroup(folder)
        stack.callback(processes.stop_all)
        scene = Scene(int(env["ROS_DOMAIN_ID"]), processes, setup, link)
        stack.callback(scene.close)
        scene.start_motion()
        yield scene
