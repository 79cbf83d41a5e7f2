"""Simulates the arm behind the topics of a real robot: joint states and images out, commands in.

The physics runs in real time: each step of the loop advances it to the current time, however late the step is. A second
thread renders the cameras from snapshots; under load only the image rate drops.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64MultiArray, Int64, String
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import load_robot, require
from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import NS
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import image_to_message, joint_state_to_message, plan_from_message
from vla_ros.nodes.common.node_loop import Loop, RosTime, set_realtime, subscribe
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.sim.controller_emulator import TrajectoryControllerEmulator
from vla_ros.sim.ground_truth_json import ground_truth_to_json
from vla_ros.sim.so101.cameras import Cameras
from vla_ros.sim.so101.viewer import open_viewer
from vla_ros.sim.so101.world import World

MAX_CATCH_UP_S = 0.5
"""Of a longer gap (a suspended machine) the excess is skipped; the real-time factor shows it [s]."""


@dataclass(frozen=True)
class SimParams:
    """Parameters of the node.

    Attributes:
        robot: Name in config/robots, or a file; its joints must be those of the simulated arm.
        task: Name of a task of the simulator.
        seed: Seed of the first scene.
        joint_hz: Joint states per second [Hz].
        camera_hz: Images per second and camera, if rendering is fast enough [Hz].
        ground_truth_hz: Ground-truth messages per second [Hz].
        cameras: Whether to render the cameras.
        view: Open MuJoCo's viewer (needs a display).
        realtime_priority: SCHED_FIFO priority of the physics, 0 for none; a refusal is no error.
        command_topic: Topic of the emulated forward position controller, which holds the last command.
        trajectory_topic: Topic of the emulated trajectory controller, which runs to its last point; "" for none.
        log_dir: Folder for `sim.json`, written at the end; "" for none.
    """

    robot: str = "so101"
    task: str = "pick_place"
    seed: int = 0
    joint_hz: float = 100.0
    camera_hz: float = 20.0
    ground_truth_hz: float = 25.0
    cameras: bool = True
    view: bool = False
    realtime_priority: int = 0
    command_topic: str = topics.ROBOT_COMMAND
    trajectory_topic: str = ""
    log_dir: str = ""

    def __post_init__(self) -> None:
        """Check every value."""
        check_log_dir(self.log_dir)
        require(self.seed >= 0, f"sim: seed must not be negative; got {self.seed}.")
        require(20.0 <= self.joint_hz <= 500.0, f"sim: joint_hz must be 20 to 500; got {self.joint_hz}.")
        require(1.0 <= self.camera_hz <= 60.0, f"sim: camera_hz must be 1 to 60; got {self.camera_hz}.")
        require(0 <= self.realtime_priority <= 90, "sim: realtime_priority must be 0 to 90.")
        require(
            1.0 <= self.ground_truth_hz <= 100.0, f"sim: ground_truth_hz must be 1 to 100; got {self.ground_truth_hz}."
        )


class SimNode(Loop):
    """Steps the physics in the loop and renders the cameras in a thread."""

    def __init__(self, node: Node) -> None:
        """Build the world and start the render thread."""
        self._params = params = load_params(node, SimParams)
        self._node, self._time = node, RosTime(node)
        self._world = World(params.task)
        robot = load_robot(params.robot)
        if robot.joints != self._world.joints:
            raise ConfigError(
                f'the simulated arm has joints {", ".join(self._world.joints)}; robot "{robot.name}" has others.'
            )
        self._world.reset(params.seed)
        self._seed = params.seed
        self.period_ns = round(NS / params.joint_hz)
        self._lock = threading.Lock()
        self._begin_ns = self._origin_ns = 0
        self._next_ground_truth_ns = 0
        self._bad_commands = self._frames = 0
        self._render_s = 0.0
        self._ended, self._rendering = threading.Event(), threading.Event()
        self._render_error: Exception | None = None

        self._joints_pub = node.create_publisher(JointStateMessage, topics.JOINT_STATES, topics.SENSOR)
        self._ground_truth_pub = node.create_publisher(String, topics.GROUND_TRUTH, topics.LATCHED)
        self._command_sub = subscribe(node, Float64MultiArray, params.command_topic, topics.RELIABLE)
        self._trajectory_sub = (
            subscribe(node, JointTrajectory, params.trajectory_topic, topics.RELIABLE)
            if params.trajectory_topic
            else None
        )
        self._controller = TrajectoryControllerEmulator(robot.joints, self._world.commanded())
        self._seed_sub = subscribe(node, Int64, topics.SIM_SEED, topics.RELIABLE)
        self._viewer = open_viewer(self._world) if params.view else None
        self._thread = threading.Thread(target=self._render_thread, daemon=True) if params.cameras else None
        if self._thread:
            self._thread.start()
            self._rendering.wait()  # the first image sets up OpenGL, which may take half a second
            if self._render_error is not None:
                raise ConfigError(f"cannot render the cameras: {self._render_error}")
        node.get_logger().info(f"physics: {set_realtime(params.realtime_priority)}")
        self._begin_ns = self._origin_ns = self._time.now_ns()

    def step(self, late_ns: int) -> None:
        """Apply the newest command, advance the physics to now, publish the joint states."""
        if self._render_error is not None:
            raise self._render_error
        now = self._time.now_ns()
        with self._lock:
            self._rearrange()
            self._receive_command()
            self._run_controller(now)
            behind = (now - self._origin_ns) / NS - self._world.time_s
            if behind > MAX_CATCH_UP_S:
                self._origin_ns += int((behind - MAX_CATCH_UP_S) * NS)
                behind = MAX_CATCH_UP_S
            steps = int(behind / self._world.timestep_s)
            if steps > 0:
                self._world.step(steps)
            stamp = self._stamp()
            positions, velocities = self._world.joint_positions(), self._world.joint_velocities()
        self._joints_pub.publish(joint_state_to_message(stamp, self._world.joints, positions, velocities))
        if now >= self._next_ground_truth_ns:
            self._next_ground_truth_ns = now + round(NS / self._params.ground_truth_hz)
            self._publish_ground_truth(now, stamp)
        if self._viewer is not None and self._viewer.is_running():
            self._viewer.sync()

    def _stamp(self) -> int:
        return self._origin_ns + round(self._world.time_s * NS)

    def _rearrange(self) -> None:
        message = self._seed_sub.newest()
        if message is not None and message.data >= 0:
            self._seed = int(message.data)
            self._world.rearrange(self._seed)

    def _receive_command(self) -> None:
        message = self._command_sub.newest()
        if message is None:
            return
        try:
            self._world.command(message.data)
        except ValueError as error:
            self._bad_commands += 1
            self._node.get_logger().warning(f"command dropped: {error}", throttle_duration_sec=1.0)

    def _run_controller(self, now_ns: int) -> None:
        """Command the world from the emulated trajectory controller, if there is one."""
        if self._trajectory_sub is None:
            return
        message = self._trajectory_sub.newest()
        if message is not None:
            try:
                self._controller.accept(plan_from_message(message).reordered(self._world.joints), now_ns)
            except (ValueError, RecordError) as error:
                self._bad_commands += 1
                self._node.get_logger().warning(f"trajectory dropped: {error}", throttle_duration_sec=1.0)
        self._world.command(self._controller.at(now_ns))

    def _publish_ground_truth(self, now_ns: int, stamp_ns: int) -> None:
        with self._lock:
            ground_truth = self._world.ground_truth()
        extra = {
            "task": self._params.task,
            "instruction": self._world.instruction,
            "commanded_ns": now_ns,
            "home": list(self._world.home),
            **self._figures(now_ns),
        }
        self._ground_truth_pub.publish(String(data=ground_truth_to_json(ground_truth, stamp_ns, self._seed, extra)))

    def _figures(self, now_ns: int) -> dict[str, float]:
        elapsed = max((now_ns - self._begin_ns) / NS, 1e-9)
        return {
            "real_time_factor": self._world.time_s / elapsed,
            "camera_hz": self._frames / elapsed,
            "frame_ms": 1e3 * self._render_s / max(self._frames, 1) / 2,
            "bad_commands": self._bad_commands,
        }

    def _render_thread(self) -> None:
        try:
            self._render()
        except Exception as error:  # any error of OpenGL ends the node; the loop raises it again
            self._render_error = error
        finally:
            self._rendering.set()

    def _render(self) -> None:
        cameras = Cameras(self._world)
        cameras.render_all(self._world.snapshot())
        publishers = {
            name: self._node.create_publisher(ImageMessage, topics.CAMERA.format(name), topics.IMAGE)
            for name in cameras.names
        }
        self._rendering.set()
        period = 1.0 / self._params.camera_hz
        deadline = time.monotonic()
        while not self._ended.wait(max(0.0, deadline - time.monotonic())):
            with self._lock:
                snapshot, stamp = self._world.snapshot(), self._stamp()
            begin = time.monotonic()
            images = {name: cameras.render(snapshot, name) for name in cameras.names}
            self._render_s += time.monotonic() - begin
            for name, image in images.items():
                publishers[name].publish(image_to_message(stamp, name, image))
            self._frames += 1
            deadline = max(deadline + period, time.monotonic() - period)
        cameras.close()

    def close(self) -> None:
        """End the thread and write the log."""
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=5.0)
        if self._viewer is not None:
            self._viewer.close()
        if self._params.log_dir:
            figures = self._figures(self._time.now_ns())
            (Path(self._params.log_dir) / "sim.json").write_text(json.dumps(figures, indent=1))


def main() -> None:
    """Run the node."""
    run("sim", SimNode)


if __name__ == "__main__":
    main()
