"""Runs the episodes of `./vla demo`: homes the arm, arranges the scene, publishes the instruction, records the result.

It is an ordinary ROS node that uses only the topics and services that every user has.
"""

from __future__ import annotations

import json
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
from vla_ros.evaluation.episode_sequence import EpisodeRecord, EpisodeSequence, Phase, SequenceInputs
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import chunk_to_message, image_from_message
from vla_ros.nodes.common.node_loop import Loop, RosTime, subscribe
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.sim.ground_truth_json import ground_truth_from_json
from vla_ros.sim.so101.scene import CAMERAS, JOINTS


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


class AllEpisodesDone(Exception):
    """Every episode was run."""


class EpisodesAborted(VlaError):
    """The remaining episodes cannot be run."""


class EpisodesNode(Loop):
    """Publishes what the `EpisodeSequence` requests, and records its results."""

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
        self._inputs = SequenceInputs()
        self._frames: list[np.ndarray] = []
        self._latest: list[Any] = [None, None]
        params = self._params
        self._sequence = EpisodeSequence(
            JOINTS, params.episodes, params.seed, params.episode_timeout_s, self._time.now_ns()
        )

    def step(self, late_ns: int) -> None:
        """Process the received messages, then the current phase.

        Raises:
            AllEpisodesDone: Every episode was run.
            EpisodesAborted: The supervisor stopped, or a phase took too long.
        """
        now = self._time.now_ns()
        self._receive()
        self._record_frame()
        output = self._sequence.step(now, self._inputs)
        if output.arm:
            self._arm_client.call_async(Trigger.Request())
        if output.chunk is not None:
            self._chunk_pub.publish(chunk_to_message(output.chunk))
        if output.seed is not None:
            self._seed_pub.publish(Int64(data=output.seed))
        if output.instruction is not None:
            self._instruction_pub.publish(String(data=output.instruction))
        if output.record is not None:
            self._save(output.record)
        if output.abort_reason:
            raise EpisodesAborted(output.abort_reason)
        if output.done:
            raise AllEpisodesDone

    def _receive(self) -> None:
        inputs = self._inputs
        message = self._ground_truth_sub.newest()
        if message is not None:
            try:
                inputs.ground_truth, inputs.scene = ground_truth_from_json(message.data)
            except RecordError as error:
                self._node.get_logger().warning(str(error), throttle_duration_sec=1.0)
        status = self._state_sub.newest()
        if status is not None:
            state = {v.key: v.value for v in status.values}
            inputs.mode, inputs.reason = state.get("mode", inputs.mode), state.get("reason", "")
        inputs.policy_connected = self._instruction_pub.get_subscription_count() > 0
        inputs.arming_available = self._arm_client.service_is_ready()

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
            sequence = self._sequence
            recorded = i == 0 and sequence.phase is Phase.RUN and sequence.episode < self._params.video_episodes
            if recorded and self._latest[1] is not None and self._latest[0].shape == self._latest[1].shape:
                self._frames.append(np.concatenate(self._latest, axis=1))

    def _save(self, record: EpisodeRecord) -> None:
        with (self._folder / "episodes.jsonl").open("a") as file:
            file.write(json.dumps(asdict(record)) + "\n")
        if self._frames:
            np.savez_compressed(self._folder / f"video_{record.episode}.npz", frames=np.array(self._frames))
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
