"""The sequence of `./vla demo` on the running graph: arm, move home, arrange the scene, run the policy, settle.

The class is independent of ROS and of the clock: time and received messages are arguments, and what must be published
or called is returned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np

from vla_ros.core.records import NS, Chunk
from vla_ros.sim.minimum_jerk import rest_to_rest
from vla_ros.sim.so101.world import GroundTruth

HOME_TOLERANCE_RAD = 0.06
"""The arm is home when every measured joint is this close [rad]."""
HOME_COMMAND_TOLERANCE_RAD = 1e-3
"""The arm is home only when every commanded joint is this close [rad]."""
HOME_SPEED = 1.0
"""Mean speed of the joint with the longest path to home [rad/s]."""
HOME_DT_S, HOME_HOLD_S = 0.05, 0.5
"""Time step of the path to home, and how long its end is held [s]."""
SETTLE_S = 0.3
"""Wait after an episode, and after the scene is arranged [s]."""
RETRY_S = 1.0
"""Time between requests that had no effect yet [s]."""
PHASE_TIMEOUT_S = 120.0
"""Maximum duration of every phase except the episode: the start of the processes, the path to home [s]."""


class Phase(Enum):
    """Phases of the sequence, with their descriptions in errors; the last four repeat for every episode."""

    START = "Wait for simulator, supervisor and policy, then arm"
    HOME = "Move the arm home by a chunk to the planner"
    ARRANGE = "Arrange the scene of this episode, and wait until arm and objects are at rest"
    RUN = "Let the policy work"
    SETTLE = "Wait for the chunks of the policy that are still in transit"


@dataclass(frozen=True)
class EpisodeRecord:
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


@dataclass
class SequenceInputs:
    """What was received most recently.

    Attributes:
        ground_truth: Of the simulator, with measured and commanded joint positions; None before the first.
        scene: Further fields of the ground truth's message: `seed`, `home` [rad] and `instruction`.
        mode: Mode of the supervisor; "" before the first.
        reason: Reason of the supervisor's stop.
        policy_connected: Whether a policy subscribes to the instruction.
        arming_available: Whether the arming service can be called.
    """

    ground_truth: GroundTruth | None = None
    scene: Mapping[str, Any] = field(default_factory=dict)
    mode: str = ""
    reason: str = ""
    policy_connected: bool = False
    arming_available: bool = False


@dataclass(frozen=True)
class SequenceOutput:
    """What one step requests.

    Attributes:
        arm: Call the arming service.
        chunk: Publish this chunk to the planner.
        seed: Publish this seed to the simulator.
        instruction: Publish this instruction; "" withdraws it.
        record: The result of the episode that ended in this step.
        done: Every episode was run.
        abort_reason: Why the remaining episodes cannot be run; "" if they can.
    """

    arm: bool = False
    chunk: Chunk | None = None
    seed: int | None = None
    instruction: str | None = None
    record: EpisodeRecord | None = None
    done: bool = False
    abort_reason: str = ""


class EpisodeSequence:
    """The state machine of the episodes.

    Attributes:
        phase: The current phase.
        episode: Number of the current episode, from 0.
    """

    def __init__(
        self, joints: tuple[str, ...], episodes: int, seed: int, episode_timeout_s: float, now_ns: int
    ) -> None:
        """Start with the phase `START`.

        Args:
            joints: Names, in the order of the ground truth.
            episodes: Number of episodes.
            seed: Seed of the first scene; episode k has seed + k.
            episode_timeout_s: An episode without success ends after this [s].
            now_ns: The current time [ns].
        """
        self._joints, self._episodes, self._seed = joints, episodes, seed
        self._episode_timeout_ns = episode_timeout_s * NS
        self.episode = 0
        self._start_ns = 0
        self._enter(Phase.START, now_ns)

    def _enter(self, phase: Phase, now: int) -> None:
        self.phase = phase
        self._waiting_since_ns = self._phase_start_ns = now
        self._sent_ns = 0

    def step(self, now_ns: int, inputs: SequenceInputs) -> SequenceOutput:
        """Advance to the time `now_ns`; the sequence has ended when the output is `done` or has an `abort_reason`."""
        output = SequenceOutput()
        stopped = self.phase is not Phase.START and inputs.mode != "running"
        if self.phase is Phase.RUN and (stopped or self._is_over(now_ns, inputs)):
            output = self._finish(now_ns, inputs)
        if stopped:
            return replace(output, abort_reason=f"the supervisor is {inputs.mode} ({inputs.reason}).")
        if self.episode >= self._episodes:
            return replace(output, done=True)
        if output.record is not None:
            return output
        if self.phase is not Phase.RUN and now_ns - self._phase_start_ns > PHASE_TIMEOUT_S * NS:
            return replace(output, abort_reason=f"not finished after {PHASE_TIMEOUT_S:g} s: {self.phase.value}.")
        match self.phase:
            case Phase.START:
                return self._arm(now_ns, inputs)
            case Phase.HOME:
                return self._move_home(now_ns, inputs)
            case Phase.ARRANGE:
                return self._arrange(now_ns, inputs)
            case Phase.SETTLE if now_ns - self._waiting_since_ns > SETTLE_S * NS:
                self._enter(Phase.HOME, now_ns)
        return output

    def _arm(self, now: int, inputs: SequenceInputs) -> SequenceOutput:
        if inputs.ground_truth is None or not inputs.policy_connected:
            return SequenceOutput()
        if inputs.mode == "running":
            self._enter(Phase.HOME, now)
        elif inputs.mode == "ready" and now - self._sent_ns > RETRY_S * NS and inputs.arming_available:
            self._sent_ns = now
            return SequenceOutput(arm=True)
        return SequenceOutput()

    def _move_home(self, now: int, inputs: SequenceInputs) -> SequenceOutput:
        assert inputs.ground_truth is not None
        commanded, home = inputs.ground_truth.commanded, np.array(inputs.scene["home"])
        distance = float(np.abs(commanded - home).max())
        error = float(np.abs(inputs.ground_truth.joint_positions - home).max())
        if distance < HOME_COMMAND_TOLERANCE_RAD and error < HOME_TOLERANCE_RAD:
            self._enter(Phase.ARRANGE, now)
            return SequenceOutput()
        duration = max(1.0, distance / HOME_SPEED)
        if now - self._sent_ns <= (duration + 1.0) * NS:
            return SequenceOutput()
        self._sent_ns = now
        # From the commanded position, at which chunks of the policy may have left the arm, then rest.
        segment = rest_to_rest(commanded, home, duration)
        steps = math.ceil((duration + HOME_HOLD_S) / HOME_DT_S)
        path = np.array([segment.at(k * HOME_DT_S) for k in range(1, steps + 1)])
        return SequenceOutput(chunk=Chunk.from_rate(now, self._joints, path, HOME_DT_S))

    def _arrange(self, now: int, inputs: SequenceInputs) -> SequenceOutput:
        seed = self._seed + self.episode
        if inputs.scene["seed"] != seed:
            self._waiting_since_ns = now
            if now - self._sent_ns > RETRY_S * NS:
                self._sent_ns = now
                return SequenceOutput(seed=seed)
        elif now - self._waiting_since_ns > SETTLE_S * NS:
            self._start_ns = now
            self._enter(Phase.RUN, now)
            return SequenceOutput(instruction=inputs.scene["instruction"])
        return SequenceOutput()

    def _is_over(self, now: int, inputs: SequenceInputs) -> bool:
        assert inputs.ground_truth is not None
        return inputs.ground_truth.success or now - self._start_ns >= self._episode_timeout_ns

    def _finish(self, now: int, inputs: SequenceInputs) -> SequenceOutput:
        """Withdraw the instruction and record the result."""
        assert inputs.ground_truth is not None
        record = EpisodeRecord(
            episode=self.episode,
            seed=self._seed + self.episode,
            success=bool(inputs.ground_truth.success),
            seconds=(now - self._start_ns) / NS,
            start_ns=self._start_ns,
            end_ns=now,
        )
        self.episode += 1
        self._enter(Phase.SETTLE, now)
        return SequenceOutput(instruction="", record=record)
