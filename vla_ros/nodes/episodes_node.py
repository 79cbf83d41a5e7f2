"""Runs the episodes of `./vla demo`: homes the arm, arranges the scene, publishes the instruction, records the result.

It is an ordinary ROS node that uses only the topics and services that every user has.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
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
from vla_ros.nodes.common.node_loop import Loop, RosTime, subscribe
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.sim.ground_truth_json import ground_truth_from_json
from vla_ros.sim.so101.scene import CAMERAS, JOINTS
from vla_ros.sim.so101.world import GroundTruth

HOME_TOLERANCE_RAD = 0.06
"""The arm is home when every measured joint is this close [rad]."""
HOME_SPEED = 1.0
"""Mean speed of the joint with the longest way home [rad/s]."""
HOME_DT_S, HOME_HOLD_S = 0.05, 0.5
"""Time step of the way home, and how long its end is held [s]."""
SETTLE_S = 0.3
"""Wait after an episode, and after the scene is arranged [s]."""
PHASE_TIMEOUT_S = 120.0
"""Maximum duration of every phase except the episode: the start of the processes, the way home [s]."""


@dataclass(frozen=True)
class EpisodesParams:
    """Parameters of the node.

    Attributes:
        episodes: Number of episodes.
        seed: Seed of the first scene; episode k has seed + k.
        episode_timeout_s: An episode without success ends after this [s].
        video_episodes: Number of episodes, from the first, whose camera images are saved.
        log_dir: Folder for `episodes.jsonl` and the videos (`video_<episode>.npz`).
    """

    episodes: int = 10
    seed: int = 1_000_000
    episode_timeout_s: float = 20.0
    video_episodes: int = 1
    log_dir: str = "."

    def __post_init__(self) -> None:
        """Check every value."""
        require(self.episodes >= 1, f"episodes: at least 1 is needed; got {self.episodes}.")
        require(self.seed >= 0, f"episodes: seed must not be negative; got {self.seed}.")
        require(
            1.0 <= self.episode_timeout_s <= 600.0,
            f"episodes: episode_timeout_s must be 1 to 600; got {self.episode_timeout_s}.",
        )
        check_log_dir(self.log_dir)


@dataclass(frozen=True)
class EpisodeResult:
    """One line of `episodes.jsonl`.

    Attributes:
        episode: Number of the episode, from 0.
        seed: Seed of its scene.
        success: Success by the simulator's ground truth.
        seconds: From the instruction to success or to the end [s].
        start_ns: When the instruction was published [ns].
        end_ns: When the episode ended [ns].
    """

    episode: int
    seed: int
    success: bool
    seconds: float
    start_ns: int
    end_ns: int


class AllEpisodesDone(Exception):
    """Every episode was run."""


class EpisodesAborted(VlaError):
    """The remaining episodes cannot be run."""


class EpisodesNode(Loop):
    """A state machine with the phases start, home, arrange, run, settle; the last four repeat for every episode."""

    period_ns = 20_000_000

    def __init__(self, node: Node) -> None:
        """Create publishers, subscriptions and the arming client."""
        self._params = load_params(node, EpisodesParams)
        self._node, self._time = node, RosTime(node)
        self._folder = Path(self._params.log_dir)
        self._ground_truth_sub = subscribe(node, String, topics.GROUND_TRUTH, topics.LATCHED)
        self._state_sub = subscribe(node, DiagnosticStatus, topics.STATE, topics.LATCHED)
        self._camera_subs = [
            subscribe(node, ImageMessage, topics.CAMERA.format(name), topics.IMAGE) for name in CAMERAS
        ]
        self._instruction_pub = node.create_publisher(String, topics.INSTRUCTION, topics.LATCHED)
        self._seed_pub = node.create_publisher(Int64, topics.SIM_SEED, topics.RELIABLE)
        self._chunk_pub = node.create_publisher(JointTrajectory, topics.CHUNK, topics.RELIABLE)
        self._arm_client = node.create_client(Trigger, topics.ARM)
        self._ground_truth: GroundTruth | None = None
        self._scene: dict[str, Any] = {}
        self._mode = self._reason = ""
        self._episode = 0
        self._frames: list[np.ndarray] = []
        self._latest: list[Any] = [None, None]
        self._phase: Callable[[int], None] = self._start
        self._sent_ns = self._start_ns = 0
        self._waiting_since_ns = self._phase_start_ns = self._time.now_ns()

    def step(self, late_ns: int) -> None:
        """Process the received messages, then the current phase.

        Raises:
            AllEpisodesDone: Every episode was run.
            EpisodesAborted: The supervisor stopped, or a phase took longer than `PHASE_TIMEOUT_S`.
        """
        now = self._time.now_ns()
        self._receive()
        self._record_frame()
        stopped = self._phase != self._start and self._mode != "running"
        if self._phase == self._run and (stopped or self._is_over(now)):
            self._finish(now)
        if stopped:
            raise EpisodesAborted(f"the supervisor is {self._mode} ({self._reason}).")
        if self._episode >= self._params.episodes:
            raise AllEpisodesDone
        if self._phase != self._run and now - self._phase_start_ns > PHASE_TIMEOUT_S * NS:
            phase = (self._phase.__doc__ or "").splitlines()[0].rstrip(".")
            raise EpisodesAborted(f"not finished after {PHASE_TIMEOUT_S:g} s: {phase}.")
        self._phase(now)

    def _receive(self) -> None:
        message = self._ground_truth_sub.newest()
        if message is not None:
            try:
                self._ground_truth, self._scene = ground_truth_from_json(message.data)
            except RecordError as error:
                self._node.get_logger().warning(str(error), throttle_duration_sec=1.0)
        status = self._state_sub.newest()
        if status is not None:
            state = {v.key: v.value for v in status.values}
            self._mode, self._reason = state.get("mode", self._mode), state.get("reason", "")

    def _start(self, now: int) -> None:
        """Wait for simulator, supervisor and policy, then arm."""
        if self._ground_truth is None or self._instruction_pub.get_subscription_count() == 0:
            return
        if self._mode == "running":
            self._enter(self._home, now)
        elif self._mode == "ready" and now - self._sent_ns > NS and self._arm_client.service_is_ready():
            self._sent_ns = now
            self._arm_client.call_async(Trigger.Request())

    def _enter(self, phase: Callable[[int], None], now: int) -> None:
        self._phase, self._waiting_since_ns, self._phase_start_ns, self._sent_ns = phase, now, now, 0

    def _home(self, now: int) -> None:
        """Move the arm home by a chunk to the planner."""
        assert self._ground_truth is not None
        distance = float(np.abs(self._ground_truth.commanded - self._scene["home"]).max())
        error = float(np.abs(self._ground_truth.joint_positions - self._scene["home"]).max())
        if distance < 1e-3 and error < HOME_TOLERANCE_RAD:
            self._enter(self._arrange, now)
            return
        duration = max(1.0, distance / HOME_SPEED)
        if now - self._sent_ns > (duration + 1.0) * NS:
            self._sent_ns = now
            self._chunk_pub.publish(chunk_to_message(self._home_chunk(now, duration)))

    def _home_chunk(self, now: int, duration: float) -> Chunk:
        """A minimum-jerk path in joint space (Flash and Hogan 1985) from the commanded pose home, then rest."""
        assert self._ground_truth is not None
        start, home = self._ground_truth.commanded, np.array(self._scene["home"])
        steps = math.ceil((duration + HOME_HOLD_S) / HOME_DT_S)
        u = np.minimum(HOME_DT_S * np.arange(1, steps + 1) / duration, 1.0)[:, None]
        path = start + (home - start) * (10 * u**3 - 15 * u**4 + 6 * u**5)
        return Chunk.from_rate(now, JOINTS, path, HOME_DT_S)

    def _arrange(self, now: int) -> None:
        """Arrange the scene of this episode, and wait until arm and objects are at rest."""
        seed = self._params.seed + self._episode
        if self._scene["seed"] != seed:
            if now - self._sent_ns > NS:
                self._sent_ns = now
                self._seed_pub.publish(Int64(data=seed))
            self._waiting_since_ns = now
        elif now - self._waiting_since_ns > SETTLE_S * NS:
            self._instruction_pub.publish(String(data=self._scene["instruction"]))
            self._start_ns = now
            self._enter(self._run, now)

    def _run(self, now: int) -> None:
        """Let the policy work; `step` detects the end of the episode."""

    def _is_over(self, now: int) -> bool:
        assert self._ground_truth is not None
        return self._ground_truth.success or now - self._start_ns >= self._params.episode_timeout_s * NS

    def _finish(self, now: int) -> None:
        """Withdraw the instruction and record the result."""
        assert self._ground_truth is not None
        self._instruction_pub.publish(String(data=""))
        seconds, seed = (now - self._start_ns) / NS, self._params.seed + self._episode
        success = bool(self._ground_truth.success)
        result = EpisodeResult(self._episode, seed, success, seconds, self._start_ns, now)
        with (self._folder / "episodes.jsonl").open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        self._save_video()
        self._episode += 1
        self._enter(self._settle, now)

    def _settle(self, now: int) -> None:
        """Wait for the chunks of the policy that are still in transit; the way home starts at the commanded pose."""
        if now - self._waiting_since_ns > SETTLE_S * NS:
            self._enter(self._home, now)

    def _record_frame(self) -> None:
        """Keep the images of both cameras side by side, one frame per image of the first camera."""
        for i, subscription in enumerate(self._camera_subs):
            message = subscription.newest()
            if message is None:
                continue
            try:
                self._latest[i] = image_from_message(message)
            except RecordError as error:
                self._node.get_logger().warning(str(error), throttle_duration_sec=1.0)
                continue
            recorded = i == 0 and self._phase == self._run and self._episode < self._params.video_episodes
            if recorded and self._latest[1] is not None and self._latest[0].shape == self._latest[1].shape:
                self._frames.append(np.concatenate(self._latest, axis=1))

    def _save_video(self) -> None:
        if self._frames:
            np.savez_compressed(self._folder / f"video_{self._episode}.npz", frames=np.array(self._frames))
            self._frames = []

    def close(self) -> None:
        """Withdraw the instruction."""
        self._instruction_pub.publish(String(data=""))
        time.sleep(0.05)  # until the message is delivered


def main() -> None:
    """Run the node; it ends by itself after the last episode."""
    try:
        run("episodes", EpisodesNode)
    except AllEpisodesDone:
        pass
    except EpisodesAborted as error:
        print(f"episodes: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
