"""The simulated arm behind a real robot's topics: joint states and cameras out, position commands in.

Physics keeps wall-clock time: each step of the loop advances it to now, however late the step is. Cameras
are drawn in a second thread from snapshots, and are all that slows down under load.
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
from vla_ros.nodes.common.ground_truth import truth_to_json
from vla_ros.nodes.common.node_loop import Loop, RosTime, newest, set_realtime
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.sim.controller_emulator import Follower
from vla_ros.sim.so101.cameras import Cameras
from vla_ros.sim.so101.viewer import open_viewer
from vla_ros.sim.so101.world import World

LARGEST_CATCH_UP_S = 0.5
"""A longer gap (a suspended machine) is not simulated; the real-time factor shows it."""


@dataclass(frozen=True)
class SimParams:
    """Parameters of the node.

    Attributes:
        robot: Name in config/robots, or a file; its joints must be the simulated arm's.
        task: Name of a task of the simulator.
        seed: Of the first scene.
        joint_hz: Joint states per second [Hz].
        camera_hz: Pictures per second and camera, if drawing is fast enough [Hz].
        truth_hz: Messages of the simulator's truth per second [Hz].
        cameras: Whether to draw at all.
        view: Open MuJoCo's viewer (needs a screen).
        realtime_priority: SCHED_FIFO priority of the physics, 0 for none; tried, never required.
        command_topic: The topic a forward position controller would listen on; it holds the last command for ever.
        trajectory_topic: The topic a trajectory controller would listen on, which runs to its last point; "" for none.
        log_dir: Folder for `sim.json`, written at the end; "" for none.
    """

    robot: str = "so101"
    task: str = "pick_place"
    seed: int = 0
    joint_hz: float = 100.0
    camera_hz: float = 20.0
    truth_hz: float = 25.0
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
        require(1.0 <= self.truth_hz <= 100.0, f"sim: truth_hz must be 1 to 100; got {self.truth_hz}.")


class SimNode(Loop):
    """Steps the world in the loop, draws it in a thread."""

    def __init__(self, node: Node) -> None:
        """Build the world; drawing starts with the first step."""
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
        self._begun_ns = self._origin_ns = 0
        self._next_truth_ns = 0
        self._bad_commands = self._frames = 0
        self._drawing_s = 0.0
        self._ended, self._drawing = threading.Event(), threading.Event()
        self._trouble: Exception | None = None

        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._joints_pub = node.create_publisher(JointStateMessage, topics.JOINT_STATES, topics.SENSOR)
        self._truth_pub = node.create_publisher(String, topics.SIM_TRUTH, topics.LATCHED)
        self._command_sub = node.create_subscription(Float64MultiArray, params.command_topic, ignored, topics.RELIABLE)
        self._trajectory_sub = (
            node.create_subscription(JointTrajectory, params.trajectory_topic, ignored, topics.RELIABLE)
            if params.trajectory_topic
            else None
        )
        self._follower = Follower(robot.joints, self._world.commanded())
        self._seed_sub = node.create_subscription(Int64, topics.SIM_SEED, ignored, topics.RELIABLE)
        self._viewer = open_viewer(self._world) if params.view else None
        self._thread = threading.Thread(target=self._try_to_draw, daemon=True) if params.cameras else None
        if self._thread:
            self._thread.start()
            self._drawing.wait()  # the first picture sets up OpenGL, which may take half a second
            if self._trouble is not None:
                raise ConfigError(f"cannot draw the cameras' pictures: {self._trouble}")
        node.get_logger().info(f"physics: {set_realtime(params.realtime_priority)}")
        self._begun_ns = self._origin_ns = self._time.now_ns()

    def step(self, late_ns: int) -> None:
        """Take the newest command, bring the physics to now, say how the arm stands."""
        if self._trouble is not None:
            raise self._trouble
        now = self._time.now_ns()
        with self._lock:
            self._rearrange()
            self._take_command()
            self._follow(now)
            behind = (now - self._origin_ns) / NS - self._world.time_s
            if behind > LARGEST_CATCH_UP_S:
                self._origin_ns += int((behind - LARGEST_CATCH_UP_S) * NS)
                behind = LARGEST_CATCH_UP_S
            steps = int(behind / self._world.timestep_s)
            if steps > 0:
                self._world.step(steps)
            stamp = self._stamp()
            positions, velocities = self._world.joint_positions(), self._world.joint_velocities()
        self._joints_pub.publish(joint_state_to_message(stamp, self._world.joints, positions, velocities))
        if now >= self._next_truth_ns:
            self._next_truth_ns = now + round(NS / self._params.truth_hz)
            self._tell_truth(now, stamp)
        if self._viewer is not None and self._viewer.is_running():
            self._viewer.sync()

    def _stamp(self) -> int:
        return self._origin_ns + round(self._world.time_s * NS)

    def _rearrange(self) -> None:
        message = newest(self._seed_sub)
        if message is not None and message.data >= 0:
            self._seed = int(message.data)
            self._world.rearrange(self._seed)

    def _take_command(self) -> None:
        message = newest(self._command_sub)
        if message is None:
            return
        try:
            self._world.command(message.data)
        except ValueError as error:
            self._bad_commands += 1
            self._node.get_logger().warning(f"command dropped: {error}", throttle_duration_sec=1.0)

    def _follow(self, now_ns: int) -> None:
        """Do as a trajectory controller would, where there is to be one."""
        if self._trajectory_sub is None:
            return
        message = newest(self._trajectory_sub)
        if message is not None:
            try:
                self._follower.take(plan_from_message(message).in_order(self._world.joints), now_ns)
            except (ValueError, RecordError) as error:
                self._bad_commands += 1
                self._node.get_logger().warning(f"trajectory dropped: {error}", throttle_duration_sec=1.0)
        self._world.command(self._follower.at(now_ns))

    def _tell_truth(self, now_ns: int, stamp_ns: int) -> None:
        with self._lock:
            truth = self._world.truth()
        extra = {
            "task": self._params.task,
            "instruction": self._world.instruction,
            "commanded_ns": now_ns,
            "home": list(self._world.home),
            **self._figures(now_ns),
        }
        self._truth_pub.publish(String(data=truth_to_json(truth, stamp_ns, self._seed, extra)))

    def _figures(self, now_ns: int) -> dict[str, float]:
        elapsed = max((now_ns - self._begun_ns) / NS, 1e-9)
        return {
            "real_time_factor": self._world.time_s / elapsed,
            "camera_hz": self._frames / elapsed,
            "frame_ms": 1e3 * self._drawing_s / max(self._frames, 1) / 2,
            "bad_commands": self._bad_commands,
        }

    def _try_to_draw(self) -> None:
        try:
            self._draw()
        except Exception as error:  # whatever OpenGL says, the loop must hear of it
            self._trouble = error
        finally:
            self._drawing.set()

    def _draw(self) -> None:
        cameras = Cameras(self._world)
        cameras.render_all(self._world.snapshot())
        publishers = {
            name: self._node.create_publisher(ImageMessage, topics.CAMERA.format(name), topics.IMAGE)
            for name in cameras.names
        }
        self._drawing.set()
        period = 1.0 / self._params.camera_hz
        deadline = time.monotonic()
        while not self._ended.wait(max(0.0, deadline - time.monotonic())):
            with self._lock:
                snapshot, stamp = self._world.snapshot(), self._stamp()
            begun = time.monotonic()
            images = {name: cameras.render(snapshot, name) for name in cameras.names}
            self._drawing_s += time.monotonic() - begun
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
