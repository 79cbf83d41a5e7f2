"""Simulators and a policy for tests of worker processes, which import this module by name."""

import os
import signal
import time

import numpy as np

from vla_ros.core.records import Chunk, Observation
from vla_ros.policy.base import Policy, policy
from vla_ros.sim.base import simulators


@policy("warm")
class Warm(Policy):
    """Holds the measured position; fails without warm-up."""

    def __init__(self, joints: tuple[str, ...]) -> None:
        self.joints = joints
        self.warmed_up = False

    def warm_up(self) -> None:
        self.warmed_up = True

    def infer(self, observation: Observation, committed=None) -> Chunk:
        assert self.warmed_up
        return Chunk.from_rate(observation.stamp_ns, self.joints, observation.positions[None], 0.05)


class Stub:
    """A simulator of one joint whose task is done after the first control step."""

    joints, ground_truth_names, instruction = ("joint",), (), "do nothing"
    timestep_s = 0.01

    def __init__(self, task: str, cameras: tuple[str, ...]) -> None:
        self.time_s = 0.0

    def reset(self, seed: int) -> None:
        self.time_s = 0.0

    def observe(self) -> Observation:
        return Observation(round(self.time_s * 1e9), {}, self.joints, np.zeros(1), self.instruction)

    def command(self, positions: np.ndarray) -> None:
        pass

    def commanded(self) -> np.ndarray:
        return np.zeros(1)

    def step(self, n: int = 1) -> None:
        self.time_s += n * self.timestep_s

    def success(self) -> bool:
        return True

    def ground_truth(self) -> None:
        return None

    def expert_path(self, ground_truth: None, horizon_s: float, dt_s: float) -> np.ndarray:
        return np.zeros((round(horizon_s / dt_s), 1))

    def ground_truth_vector(self, ground_truth: None) -> np.ndarray:
        return np.zeros(0)


@simulators.register("killed")
class Killed(Stub):
    """Its process is killed in an episode, as by a system without memory."""

    def reset(self, seed: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@simulators.register("slow")
class Slow(Stub):
    """All episodes except the one with seed 10 take a minute."""

    def reset(self, seed: int) -> None:
        assert os.environ["OMP_NUM_THREADS"] == "1"
        time.sleep(0.0 if seed == 10 else 60.0)
        super().reset(seed)
