"""Runs episodes: home the arm, lay the scene, give the instruction, wait for the judge, note the result.

An ordinary ROS node that uses only the topics and services any user has.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Int64, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import require
from vla_ros.core.errors import RecordError, VlaError
from vla_ros.core.records import NS, Chunk
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import chunk_to_message, image_from_message
from vla_ros.nodes.common.ground_truth import truth_from_json
from vla_ros.nodes.common.node_loop import Loop, RosTime, newest
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.sim.so101.world import Truth

AT_HOME_RAD = 0.06
HOME_SPEED = 1.0
"""Mean speed of the joint that has farthest to go home [rad/s]."""
SETTLE_S = 0.3
PATIENCE_S = 120.0
"""Longest wait for anything but success: processes that start, an arm on its way home [s]."""


@dataclass(frozen=True)
class EpisodesParams:
    """Parameters of the node.

    Attributes:
        episodes: How many.
        seed: Of the first scene; episode k has seed + k.
        longest_s: An episode without success is ended after this [s].
        film: How many of the first episodes are filmed.
        log_dir: Folder for `episodes.jsonl` and the films.
    """

    episodes: int = 10
    seed: int = 1_000_000
    longest_s: float = 20.0
    film: int = 1
    log_dir: str = "."

    def __post_init__(self) -> None:
        """Check every value."""
        require(self.episodes >= 1, f"episodes: at least 1 is needed; got {self.episodes}.")
        require(self.seed >= 0, f"episodes: seed must not be negative; got {self.seed}.")
        require(1.0 <= self.longest_s <= 600.0, f"episodes: longest_s must be 1 to 600; got {self.longest_s}.")
        check_log_dir(self.log_dir)


@dataclass(frozen=True)
class Result:
    """One episode.

    Attributes:
        episode: Its number from 0.
        seed: Of its scene.
        success: By the simulator's truth.
        seconds: From instruction to success or to the end [s].
        start_ns: When the instruction was given [ns].
        end_ns: When it ended [ns].
    """

    episode: int
    seed: int
    success: bool
    seconds: float
    start_ns: int
    end_ns: int


class Done(Exception):
    """Every episode was run."""


class CannotGoOn(VlaError):
    """The rest of the episodes cannot be run; the text says why."""


class EpisodesNode(Loop):
    """A small state machine: wait, arm, home, lay, run, and again."""

    period_ns = 20_000_000

    def __init__(self, node: Node) -> None:
        """Advertise; nothing is done before the simulator and the supervisor are heard."""
        self._params = load_params(node, EpisodesParams)
        self._node, self._time = node, RosTime(node)
        self._folder = Path(self._params.log_dir)
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._truth_sub = node.create_subscription(String, topics.SIM_TRUTH, ignored, topics.LATCHED)
        self._state_sub = node.create_subscription(DiagnosticStatus, topics.STATE, ignored, topics.LATCHED)
        self._camera_subs = [
            node.create_subscription(ImageMessage, topics.CAMERA.format(name), ignored, topics.IMAGE)
            for name in ("front", "wrist")
        ]
        self._instruction_pub = node.create_publisher(String, topics.INSTRUCTION, topics.LATCHED)
        self._seed_pub = node.create_publisher(Int64, topics.SIM_SEED, topics.RELIABLE)
        self._chunk_pub = node.create_publisher(JointTrajectory, topics.CHUNK, topics.RELIABLE)
        self._arm = node.create_client(Trigger, topics.ARM)
        self._truth: Truth | None = None
        self._scene: dict[str, Any] = {}
        self._mode = self._reason = ""
        self._episode = 0
        self._frames: list[np.ndarray] = []
        self._latest: list[Any] = [None, None]
        self._do = self._wait
        self._asked_ns = self._start_ns = 0
        self._since_ns = self._began_ns = self._time.now_ns()

    def step(self, late_ns: int) -> None:
        """Take what came, then do what the state asks.

        Raises:
            Done: Every episode was run.
            CannotGoOn: The supervisor stopped, or something that is waited for does not come.
        """
        now = self._time.now_ns()
        self._listen()
        self._film()
        lost = self._do != self._wait and self._mode != "running"
        if self._do == self._run and (lost or self._is_over(now)):
            self._note(now)
        if lost:
            raise CannotGoOn(f"the supervisor is {self._mode} ({self._reason}).")
        if self._episode >= self._params.episodes:
            raise Done
        if self._do != self._run and now - self._began_ns > PATIENCE_S * NS:
            raise CannotGoOn(f"waited {PATIENCE_S:g} s: {(self._do.__doc__ or '').splitlines()[0]}")
        self._do(now)

    def _listen(self) -> None:
        message = newest(self._truth_sub)
        if message is not None:
            try:
                self._truth, self._scene = truth_from_json(message.data)
            except RecordError as error:
                self._node.get_logger().warning(str(error), throttle_duration_sec=1.0)
        message = newest(self._state_sub)
        if message is not None:
            state = {v.key: v.value for v in message.values}
            self._mode, self._reason = state.get("mode", self._mode), state.get("reason", "")

    def _wait(self, now: int) -> None:
        """Simulator, supervisor and policy are to be ready; then the arm is armed."""
        if self._truth is None or self._instruction_pub.get_subscription_count() == 0:
            return
        if self._mode == "running":
            self._go(self._home, now)
        elif self._mode == "ready" and now - self._asked_ns > NS and self._arm.service_is_ready():
            self._asked_ns = now
            self._arm.call_async(Trigger.Request())

    def _go(self, do: Any, now: int) -> None:
        self._do, self._since_ns, self._began_ns, self._asked_ns = do, now, now, 0

    def _home(self, now: int) -> None:
        """The arm is to go home, through the planner like everybody else."""
        assert self._truth is not None
        far = float(np.abs(self._truth.commanded - self._scene["home"]).max())
        if far < 1e-3 and float(np.abs(self._truth.joint_positions - self._scene["home"]).max()) < AT_HOME_RAD:
            self._go(self._lay, now)
            return
        duration = max(1.0, far / HOME_SPEED)
        if now - self._asked_ns > (duration + 1.0) * NS:
            self._asked_ns = now
            self._chunk_pub.publish(chunk_to_message(self._way_home(now, duration)))

    def _way_home(self, now: int, duration: float) -> Chunk:
        """A minimum-jerk path in joint space (Flash and Hogan 1985) from the commanded pose, then rest."""
        assert self._truth is not None
        start, home = self._truth.commanded, np.array(self._scene["home"])
        dt = 0.05
        u = np.minimum(dt * np.arange(1, math.ceil((duration + 0.5) / dt) + 1) / duration, 1.0)[:, None]
        path = start + (home - start) * (10 * u**3 - 15 * u**4 + 6 * u**5)
        joints = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
        return Chunk.from_rate(now, joints, path, dt)

    def _lay(self, now: int) -> None:
        """The scene of this episode is to be laid; then arm and cube come to rest."""
        seed = self._params.seed + self._episode
        if self._scene["seed"] != seed:
            if now - self._asked_ns > NS:
                self._asked_ns = now
                self._seed_pub.publish(Int64(data=seed))
            self._since_ns = now
        elif now - self._since_ns > SETTLE_S * NS:
            self._instruction_pub.publish(String(data=self._scene["instruction"]))
            self._start_ns = now
            self._go(self._run, now)

    def _run(self, now: int) -> None:
        """The policy works; `step` sees when it is over."""

    def _is_over(self, now: int) -> bool:
        assert self._truth is not None
        return self._truth.success or now - self._start_ns >= self._params.longest_s * NS

    def _note(self, now: int) -> None:
        """Note the result of the episode."""
        assert self._truth is not None
        self._instruction_pub.publish(String(data=""))
        seconds, seed = (now - self._start_ns) / NS, self._params.seed + self._episode
        result = Result(self._episode, seed, bool(self._truth.success), seconds, self._start_ns, now)
        with (self._folder / "episodes.jsonl").open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        self._save_film()
        self._episode += 1
        self._go(self._settle, now)

    def _settle(self, now: int) -> None:
        """A moment for what the policy still has under way; the way home starts from where the arm is told to be."""
        if now - self._since_ns > SETTLE_S * NS:
            self._go(self._home, now)

    def _film(self) -> None:
        """Both pictures side by side, one frame per picture of the first camera."""
        for i, subscription in enumerate(self._camera_subs):
            message = newest(subscription)
            if message is None:
                continue
            try:
                self._latest[i] = image_from_message(message)
            except RecordError as error:
                self._node.get_logger().warning(str(error), throttle_duration_sec=1.0)
                continue
            wanted = i == 0 and self._do == self._run and self._episode < self._params.film
            if wanted and self._latest[1] is not None and self._latest[0].shape == self._latest[1].shape:
                self._frames.append(np.concatenate(self._latest, axis=1))

    def _save_film(self) -> None:
        if self._frames:
            np.savez_compressed(self._folder / f"film_{self._episode}.npz", frames=np.array(self._frames))
            self._frames = []

    def close(self) -> None:
        """Leave no instruction standing."""
        self._instruction_pub.publish(String(data=""))
        time.sleep(0.05)


def main() -> None:
    """Run the node; it ends by itself after the last episode."""
    try:
        run("episodes", EpisodesNode)
    except Done:
        pass
    except CannotGoOn as error:
        print(f"episodes: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
