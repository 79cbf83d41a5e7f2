"""Worlds and a policy for tests of what happens around a try; by themselves, as other processes import them by name."""

import os
import signal
import time
from types import SimpleNamespace

from vla_ros.core.records import Chunk, Observation
from vla_ros.evaluation.rollout import Result
from vla_ros.policy.base import Policy, policy


@policy("warm")
class Warm(Policy):
    """Stays where it is, once it is warm."""

    warmed = False

    def __init__(self, joints: tuple[str, ...]) -> None:
        self.joints = joints

    def warm_up(self) -> None:
        self.warmed = True

    def infer(self, observation: Observation) -> Chunk:
        assert self.warmed
        return Chunk.from_rate(observation.stamp_ns, self.joints, observation.positions[None], 0.05)


class Deadly:
    """A world whose process is ended in a try, as by a system that has run out of memory."""

    auxiliary = ()

    def __init__(self, _task: str, _cameras: tuple[str, ...]) -> None:
        self.world = SimpleNamespace(joints=())

    def run(self, seed: int, *_args: object, **_more: object) -> Result:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(seed)


class Slow(Deadly):
    """A world in which all tries but the one of seed 10 take a minute."""

    def run(self, seed: int, *_args: object, **_more: object) -> Result:
        time.sleep(0.0 if seed == 10 else 60.0)
        return Result(True, 0.0, notes={"seed": seed, "threads": os.environ["OMP_NUM_THREADS"]})
