"""One try in the simulated world: a driver gives chunks, late as on a robot; the expert labels every frame.

The command between waypoints is linear in time and reaches the servos every 10 ms, which is close to what
the planner and the supervisor send. Labels come from the expert at the state really reached, so it does
not matter who drives or how badly: that is what DAgger needs (Ross et al. 2011).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vla_ros.config import require
from vla_ros.core.records import NS, Array, Chunk, Image, Observation
from vla_ros.data.episodes import Episode
from vla_ros.evaluation.disturbance import Disturbance
from vla_ros.evaluation.executors import Executor, LinearExecutor
from vla_ros.evaluation.metrics import PERIOD_S, STEP_S, Tally
from vla_ros.policy.base import Policy, check_chunk, require_committed_prefix
from vla_ros.policy.inference.images import shrink
from vla_ros.policy.real_time_chunking import CommittedPrefix
from vla_ros.sim.so101.cameras import Cameras
from vla_ros.sim.so101.expert import Expert
from vla_ros.sim.so101.phase_machine import Phase
from vla_ros.sim.so101.world import GroundTruth, World

AUXILIARY = (
    *("cube_x", "cube_y", "cube_z"),
    *("cube_tool_x", "cube_tool_y", "cube_tool_z"),
    *("cube_turn_cos", "cube_turn_sin"),
    *("bowl_tool_x", "bowl_tool_y", "bowl_tool_z"),
    "held",
    *(f"phase_{phase.name.lower()}" for phase in Phase),
)
"""What the auxiliary outputs predict: places in the world and as seen from the gripper [m], and the phase."""


def auxiliary(truth: GroundTruth, phase: int) -> Array:
    """The numbers named in `AUXILIARY`, shape (A,)."""
    inward = truth.tool_rotation.T
    w, x, y, z = truth.cube_quaternion
    turn = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    jaws = np.arctan2(truth.tool_rotation[1, 0], truth.tool_rotation[0, 0])
    stage = np.zeros(len(Phase))
    stage[phase] = 1.0
    return np.concatenate(
        [
            truth.cube_position,
            inward @ (truth.cube_position - truth.tool_position),
            # A cube looks the same after a quarter turn.
            [np.cos(4.0 * (turn - jaws)), np.sin(4.0 * (turn - jaws))],
            inward @ (truth.bowl_position - truth.tool_position),
            [float(truth.held)],
            stage,
        ]
    )


@dataclass(frozen=True)
class RolloutConfig:
    """How a try is run.

    Attributes:
        image_size: Side of the images kept [px].
        waypoints: Per chunk (K).
        dt_s: Time between waypoints, and of one control step [s].
        limit_s: Longest try [s].
        after_s: Time recorded after success, so that the policy learns to be done [s].
        stride: Every `stride`-th control step becomes a frame.
        noise_rad: Deviation of the disturbance [rad].
        noise_s: Its correlation time [s].
        delay_steps: Greatest delay of a chunk [control steps].
        least_delay_steps: Least delay of a chunk [control steps].
        replan_steps: Greatest number of control steps between chunks; drawn per try.
        lead_steps: Ask for the next chunk so many steps before the waypoints of the last are used up, instead of
            every so many steps; None for the latter. It must outlast a delay.
        use_steps: With `lead_steps`: take no more than so many waypoints of a chunk for used; 0: all that came.
    """

    image_size: int = 96
    waypoints: int = 32
    dt_s: float = STEP_S
    limit_s: float = 16.0
    after_s: float = 0.8
    stride: int = 2
    noise_rad: float = 0.0
    noise_s: float = 0.4
    delay_steps: int = 2
    least_delay_steps: int = 0
    replan_steps: int = 4
    lead_steps: int | None = None
    use_steps: int = 0

    def __post_init__(self) -> None:
        """Check what would end in nonsense far from here."""
        low, high = self.least_delay_steps, self.delay_steps
        require(0 <= low <= high, f"a delay must lie from 0 up, the least first; got {low} to {high} control steps.")
        require(self.replan_steps >= 1, f"replan_steps must be at least 1; got {self.replan_steps}.")
        require(self.use_steps >= 0, f"use_steps must not be negative; got {self.use_steps}.")
        require(
            self.lead_steps is None or self.lead_steps >= max(high, 1),
            f"lead_steps must be at least 1 and outlast a delay of {high} control steps; got {self.lead_steps}.",
        )

    def next_ask(self, step: int, waypoints: int, replan: int) -> int:
        """The step of the next chunk, when one of so many waypoints was asked for at `step`; `replan`: see above."""
        if self.lead_steps is None:
            return step + replan
        return step + max(1, min(waypoints, self.use_steps or waypoints) - self.lead_steps)


Driver = Callable[[Observation, Callable[[], Array], CommittedPrefix | None], Chunk]
"""(observation, what gives the expert's path (K, J) from there, what is committed) -> the chunk to execute."""


def expert_driver(dt_s: float) -> Driver:
    """Drive with the expert's own path."""

    def drive(observation: Observation, path: Callable[[], Array], committed: CommittedPrefix | None) -> Chunk:
        return Chunk.from_rate(observation.stamp_ns, observation.joints, path(), dt_s)

    return drive


def policy_driver(policy: Policy, name: str = "learned", tell: bool = False) -> Driver:
    """Drive with the policy of that name, which sees the observation and, with `tell`, what is committed.

    Raises:
        ConfigError: It is to be told and cannot be.
    """
    if tell:
        require_committed_prefix(name, policy)

    def drive(observation: Observation, path: Callable[[], Array], committed: CommittedPrefix | None) -> Chunk:
        told = {"committed": committed} if tell else {}
        return check_chunk(name, policy.infer(observation, **told)).reordered(observation.joints)

    return drive


@dataclass
class Result:
    """How a try ended.

    Attributes:
        success: The cube lies in the bowl.
        duration_s: Until then, or until the limit [s].
        episode: The frames, if they were kept.
        inferences: Chunks asked for.
        steps: Control steps driven.
        chunk_jerk: Greatest jerk of any chunk, by joint [rad/s^3]; see `Tally`.
        command_jerk: Greatest jerk of the commands, hand-overs included and disturbance left out, by joint [rad/s^3].
        refused: Chunks the planner refused; 0 without a planner.
        apart: How far a chunk lies from the plan in force at the hand-over, the mean, by joint [rad]; none without a
            planner.
        notes: Whatever else is worth knowing.
        inference_s: Wall time of every inference, from observation to chunk [s]; not part of what a seed decides.
    """

    success: bool
    duration_s: float
    episode: Episode | None = None
    inferences: int = 0
    steps: int = 0
    chunk_jerk: Mapping[str, float] = field(default_factory=dict)
    command_jerk: Mapping[str, float] = field(default_factory=dict)
    refused: int = 0
    apart: Mapping[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    inference_s: Sequence[float] = field(default=(), compare=False)


class Stage:
    """A world with its cameras and its expert, kept between tries.

    Attributes:
        auxiliary: Names of what `judged` gives.
    """

    auxiliary = AUXILIARY

    def __init__(self, task: str, cameras: tuple[str, ...] = ("front", "wrist")) -> None:
        """Build the scene of `task` once."""
        self.world = World(task)
        self.cameras, self.names = Cameras(self.world), cameras
        self.expert = Expert()

    def observe(self) -> Observation:
        """What a policy may see now; simulated time is the clock."""
        shot = self.world.snapshot()
        images: dict[str, Image] = {name: self.cameras.render(shot, name) for name in self.names}
        stamp = round(self.world.time_s * NS)
        return Observation(stamp, images, self.world.joints, self.world.joint_positions(), self.world.instruction)

    def judged(self, truth: Any) -> Array:
        """What the auxiliary outputs shall predict, shape (A,)."""
        return auxiliary(truth, int(self.expert.phase))

    def run(
        self,
        seed: int,
        driver: Driver,
        config: RolloutConfig,
        executor: Callable[[Array], Executor] | None = None,
        keep: bool = True,
    ) -> Result:
        """One try.

        Args:
            seed: Of the scene, the disturbance and the delays.
            driver: Who gives the chunks.
            config: How.
            executor: Factory of what turns chunks into commands, given the start; linear if None.
            keep: Keep the frames with the expert's labels.
        """
        world, rng = self.world, np.random.default_rng([seed, 1])
        world.reset(seed)
        self.expert.restart()
        execute: Executor = (executor or LinearExecutor)(world.commanded())
        # From hardly to fully disturbed, or the data would lack the undisturbed course of things.
        deviation = config.noise_rad * float(rng.uniform())
        noise = Disturbance(rng, len(world.joints), deviation, config.noise_s, config.dt_s)
        replan = int(rng.integers(1, config.replan_steps + 1))
        waiting: list[tuple[int, Chunk]] = []
        tally, due_ask = Tally(world.joints), 0
        frames: dict[str, list[Any]] = {n: [] for n in ("joints", "labels", "truth", *self.names)}
        offset, done_at, step, newest_ns = np.zeros(len(world.joints)), None, 0, -1
        ticks = round(config.dt_s / PERIOD_S)
        substeps = round(PERIOD_S / world.timestep_s)
        while world.time_s < config.limit_s and (done_at is None or world.time_s < done_at + config.after_s):
            ask, note = step >= due_ask, keep and step % config.stride == 0
            if ask or note:
                truth = world.truth()
                observation = self.observe()
                path = functools.cache(
                    functools.partial(self.expert.target_path, truth, config.waypoints * config.dt_s, config.dt_s)
                )
                if note:
                    frames["joints"].append(observation.positions)
                    frames["labels"].append(path())
                    frames["truth"].append(self.judged(truth))
                    for name in self.names:
                        frames[name].append(shrink(observation.images[name], config.image_size))
                if ask:
                    due = step + int(rng.integers(config.least_delay_steps, config.delay_steps + 1))
                    # As in the graph, the slowest answer is what this one is expected to take.
                    arrives_ns = observation.stamp_ns + round(config.delay_steps * config.dt_s * NS)
                    told = execute.committed(observation.stamp_ns, arrives_ns)
                    begun = time.perf_counter()
                    given = driver(observation, path, told)
                    tally.inference_s.append(time.perf_counter() - begun)
                    waiting.append((due, given))
                    # A curve counts by its time: it has as many points as it needs, not one per control step.
                    rows = given.as_waypoints(config.dt_s)
                    tally.asked(rows)
                    due_ask = config.next_ask(step, len(rows.positions), replan)
            now = round(world.time_s * NS)
            for _, chunk in (w for w in waiting if w[0] <= step):
                if chunk.stamp_ns > newest_ns:
                    newest_ns = chunk.stamp_ns
                    execute.take(chunk, now)
            waiting = [w for w in waiting if w[0] > step]
            target = noise.step()
            for tick in range(1, ticks + 1):
                blend = offset + (target - offset) * tick / ticks
                wanted = execute.at(now + round(tick * PERIOD_S * NS))
                tally.sent(wanted)
                world.command(wanted + blend)
                world.step(substeps)
            offset, step = target.copy(), step + 1
            tally.steps = step
            if done_at is None and world.success():
                done_at = world.time_s
                if not keep:
                    break
        result = Result(done_at is not None, world.time_s if done_at is None else done_at)
        result.inferences, result.steps, result.inference_s = tally.inferences, tally.steps, tally.inference_s
        result.chunk_jerk, result.command_jerk = tally.named(tally.chunk), tally.named(tally.command)
        result.refused = execute.refusals.total()
        if execute.apart:
            result.apart = dict(zip(world.joints, np.mean(execute.apart, axis=0), strict=True))
        result.notes = {"seed": seed, "success": result.success, "seconds": round(result.duration_s, 3)}
        if keep:
            result.episode = Episode(
                {name: np.stack(frames[name]) for name in self.names},
                np.stack(frames["joints"]).astype(np.float32),
                np.stack(frames["labels"]).astype(np.float32),
                np.stack(frames["truth"]).astype(np.float32),
                world.instruction,
                {**result.notes, "stride": config.stride},
            )
        return result
