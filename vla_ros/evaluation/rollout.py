"""One episode in a simulator: a driver returns chunks with a delay, an executor turns them into commands.

Commands are sent every 10 ms. Frames are labelled by the expert at the state that was actually reached, so the driver
may be any policy, as DAgger requires (Ross, Gordon and Bagnell, AISTATS 2011).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vla_ros.config import require
from vla_ros.core.records import NS, Array, Chunk, Observation
from vla_ros.data.episodes import Episode
from vla_ros.data.images import crop_and_resize
from vla_ros.evaluation.disturbance import Disturbance
from vla_ros.evaluation.executors import Executor, ExecutorFactory, LinearExecutor
from vla_ros.evaluation.metrics import PERIOD_S, STEP_S, EpisodeMetrics
from vla_ros.policy.base import Policy, infer_chunk, require_committed_prefix
from vla_ros.policy.real_time_chunking import CommittedPrefix
from vla_ros.sim.base import Simulator


@dataclass(frozen=True)
class RolloutConfig:
    """Timing, disturbance and recording of an episode.

    Attributes:
        image_size: Width and height of the recorded images [px].
        waypoints: Waypoints per chunk label (K).
        dt_s: Time between waypoints, and length of a control step [s].
        timeout_s: Maximum length of an episode [s].
        post_success_s: Time recorded after success, so that the policy learns to stop [s].
        frame_stride: Every `frame_stride`-th control step becomes a frame.
        noise_rad: Maximum standard deviation of the disturbance; drawn per episode between 0 and this value [rad].
        noise_s: Correlation time of the disturbance [s].
        min_delay_steps: Minimum delay of a chunk [control steps].
        max_delay_steps: Maximum delay of a chunk; drawn per chunk [control steps].
        max_replan_steps: Maximum number of control steps between requests; drawn per episode.
        lead_steps: Request the next chunk this many steps before the waypoints of the last are used up; at least the
            maximum delay. None: request at the interval drawn from `max_replan_steps`.
        use_steps: With `lead_steps`, number of waypoints of a chunk that count as usable; 0: all.
    """

    image_size: int = 96
    waypoints: int = 32
    dt_s: float = STEP_S
    timeout_s: float = 16.0
    post_success_s: float = 0.8
    frame_stride: int = 2
    noise_rad: float = 0.0
    noise_s: float = 0.4
    min_delay_steps: int = 0
    max_delay_steps: int = 2
    max_replan_steps: int = 4
    lead_steps: int | None = None
    use_steps: int = 0

    def __post_init__(self) -> None:
        """Check the timing."""
        low, high = self.min_delay_steps, self.max_delay_steps
        require(0 <= low <= high, f"delays must satisfy 0 <= min <= max; got {low} and {high} control steps.")
        require(self.max_replan_steps >= 1, f"max_replan_steps must be at least 1; got {self.max_replan_steps}.")
        require(self.use_steps >= 0, f"use_steps must not be negative; got {self.use_steps}.")
        require(
            self.lead_steps is None or self.lead_steps >= max(high, 1),
            f"lead_steps must be at least 1 and at least the maximum delay of {high} control steps; "
            f"got {self.lead_steps}.",
        )

    def next_request(self, step: int, waypoints: int, interval: int) -> int:
        """Control step of the next request.

        Args:
            step: Step of the last request.
            waypoints: Number of waypoints of its chunk.
            interval: Steps between requests without `lead_steps`.
        """
        if self.lead_steps is None:
            return step + interval
        return step + max(1, min(waypoints, self.use_steps or waypoints) - self.lead_steps)


Driver = Callable[[Observation, Callable[[], Array], CommittedPrefix | None], Chunk]
"""(observation, function that returns the expert's path (K, J) [rad] from there, committed prefix) -> chunk."""


def expert_driver(dt_s: float) -> Driver:
    """A driver that returns the expert's path; its waypoints are `dt_s` apart [s]."""

    def drive(observation: Observation, path: Callable[[], Array], committed: CommittedPrefix | None) -> Chunk:
        return Chunk.from_rate(observation.stamp_ns, observation.joints, path(), dt_s)

    return drive


def policy_driver(policy: Policy, name: str = "learned", real_time_chunking: bool = False) -> Driver:
    """A driver that queries a policy.

    Args:
        policy: The policy.
        name: Its name in errors.
        real_time_chunking: Pass the committed prefix to the policy.

    Raises:
        ConfigError: `real_time_chunking` is set, but the policy does not accept a committed prefix.
    """
    if real_time_chunking:
        require_committed_prefix(name, policy)

    def drive(observation: Observation, path: Callable[[], Array], committed: CommittedPrefix | None) -> Chunk:
        chunk = infer_chunk(name, policy, observation, committed if real_time_chunking else None)
        return chunk.reordered(observation.joints)

    return drive


@dataclass
class EpisodeResult:
    """Result of one episode.

    Attributes:
        seed: Seed of the scene, the disturbance and the delays.
        success: Whether the task was done.
        duration_s: Time until success, or until the timeout [s].
        episode: The recorded frames; None if they were not recorded.
        inferences: Number of requested chunks.
        steps: Number of executed control steps.
        chunk_jerk: Joint to the maximum jerk of any chunk [rad/s^3]; see `EpisodeMetrics`.
        command_jerk: Joint to the maximum jerk of the commands, with handovers and without disturbance [rad/s^3].
        refused_chunks: Number of chunks that the planner refused; 0 without a planner.
        handover_error: Joint to the mean deviation of a chunk from the active plan at its handover [rad]; empty without
            a planner.
        inference_s: Wall time of each inference, from observation to chunk [s]; ignored by comparisons because it does
            not follow from the seed.
    """

    seed: int
    success: bool
    duration_s: float
    episode: Episode | None = None
    inferences: int = 0
    steps: int = 0
    chunk_jerk: Mapping[str, float] = field(default_factory=dict)
    command_jerk: Mapping[str, float] = field(default_factory=dict)
    refused_chunks: int = 0
    handover_error: Mapping[str, float] = field(default_factory=dict)
    inference_s: Sequence[float] = field(default=(), compare=False)


class _FrameRecorder:
    """Collects the frames of one episode."""

    def __init__(self, simulator: Simulator, config: RolloutConfig) -> None:
        self._simulator, self._config = simulator, config
        self._images: dict[str, list[Any]] = {}
        self._joints: list[Array] = []
        self._labels: list[Array] = []
        self._ground_truth: list[Array] = []

    def add(self, observation: Observation, labels: Array, ground_truth: Any) -> None:
        """Add a frame with its labels, shape (K, J)."""
        self._joints.append(observation.positions)
        self._labels.append(labels)
        self._ground_truth.append(self._simulator.ground_truth_vector(ground_truth))
        for name, image in observation.images.items():
            self._images.setdefault(name, []).append(crop_and_resize(image, self._config.image_size))

    def episode(self, metadata: dict[str, Any]) -> Episode:
        """All frames."""
        return Episode(
            {name: np.stack(images) for name, images in self._images.items()},
            np.stack(self._joints).astype(np.float32),
            np.stack(self._labels).astype(np.float32),
            np.stack(self._ground_truth).astype(np.float32),
            self._simulator.instruction,
            {**metadata, "stride": self._config.frame_stride},
        )


def run_episode(
    simulator: Simulator,
    seed: int,
    driver: Driver,
    config: RolloutConfig,
    executor: ExecutorFactory = LinearExecutor,
    robot: str = "so101",
    record: bool = True,
) -> EpisodeResult:
    """Run one episode.

    Args:
        simulator: The simulator; it is reset with `seed`.
        seed: Of the scene, the disturbance and the delays.
        driver: Returns the chunks.
        config: Timing, disturbance and recording.
        executor: Makes the executor of the episode.
        robot: Name of the robot, for executors that need its limits.
        record: Record frames with the expert's labels.
    """
    joints, rng = simulator.joints, np.random.default_rng([seed, 1])
    simulator.reset(seed)
    execution: Executor = executor(simulator.commanded(), joints, robot)
    # A random scale, so that demonstrations contain undisturbed motion as well.
    deviation = config.noise_rad * float(rng.uniform())
    noise = Disturbance(rng, len(joints), deviation, config.noise_s, config.dt_s)
    interval = int(rng.integers(1, config.max_replan_steps + 1))
    metrics, recorder = EpisodeMetrics(joints), _FrameRecorder(simulator, config)
    pending: list[tuple[int, Chunk]] = []  # chunks and the steps at which they arrive
    offset, step, next_request, newest_ns = np.zeros(len(joints)), 0, 0, -1
    success_s: float | None = None
    ticks = round(config.dt_s / PERIOD_S)
    substeps = round(PERIOD_S / simulator.timestep_s)
    while simulator.time_s < config.timeout_s and (
        success_s is None or simulator.time_s < success_s + config.post_success_s
    ):
        request, frame = step >= next_request, record and step % config.frame_stride == 0
        if request or frame:
            state = simulator.ground_truth()
            observation = simulator.observe()
            path = functools.cache(
                functools.partial(simulator.expert_path, state, config.waypoints * config.dt_s, config.dt_s)
            )
            if frame:
                recorder.add(observation, path(), state)
            if request:
                arrival = step + int(rng.integers(config.min_delay_steps, config.max_delay_steps + 1))
                # As in the ROS graph, the maximum delay is the expected one.
                arrival_ns = observation.stamp_ns + round(config.max_delay_steps * config.dt_s * NS)
                committed = execution.committed_prefix(observation.stamp_ns, arrival_ns)
                started = time.perf_counter()
                chunk = driver(observation, path, committed)
                metrics.inference_s.append(time.perf_counter() - started)
                pending.append((arrival, chunk))
                # Sampled, because a curve chunk need not have one point per control step.
                waypoints = chunk.as_waypoints(config.dt_s)
                metrics.add_chunk(waypoints)
                next_request = config.next_request(step, len(waypoints.positions), interval)
        now_ns = round(simulator.time_s * NS)
        for _, chunk in (p for p in pending if p[0] <= step):
            if chunk.stamp_ns > newest_ns:
                newest_ns = chunk.stamp_ns
                execution.accept(chunk, now_ns)
        pending = [p for p in pending if p[0] > step]
        next_offset = noise.step()
        for tick in range(1, ticks + 1):
            disturbance = offset + (next_offset - offset) * tick / ticks
            command = execution.at(now_ns + round(tick * PERIOD_S * NS))
            metrics.add_command(command)
            simulator.command(command + disturbance)
            simulator.step(substeps)
        offset, step = next_offset.copy(), step + 1
        metrics.steps = step
        if success_s is None and simulator.success():
            success_s = simulator.time_s
            if not record:
                break
    result = EpisodeResult(
        seed=seed,
        success=success_s is not None,
        duration_s=simulator.time_s if success_s is None else success_s,
        inferences=metrics.inferences,
        steps=metrics.steps,
        chunk_jerk=metrics.by_joint(metrics.max_chunk_jerk),
        command_jerk=metrics.by_joint(metrics.max_command_jerk),
        refused_chunks=execution.refusals.total(),
        inference_s=metrics.inference_s,
    )
    if execution.handover_errors:
        result.handover_error = dict(zip(joints, np.mean(execution.handover_errors, axis=0), strict=True))
    if record:
        metadata = {"seed": seed, "success": result.success, "duration_s": round(result.duration_s, 3)}
        result.episode = recorder.episode(metadata)
    return result
