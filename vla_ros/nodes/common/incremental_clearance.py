"""Looking along a plan, a part per tick, so that the next command is never late for it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from trajectory_msgs.msg import JointTrajectory

from vla_ros.core.errors import ConfigError
from vla_ros.core.robot import Robot
from vla_ros.core.trajectory import Plan
from vla_ros.safety.clearance import Passage, Space
from vla_ros.sim.so101.assets import cache_root


def space_of(robot: Robot) -> Space:
    """What the arm must keep clear of; MuJoCo is loaded only where the robot's file asks for it."""
    if robot.space is None:
        return Space()
    try:
        from vla_ros.collision.arm_model import load_shape
    except ImportError as error:
        raise ConfigError(f"watching space needs MuJoCo ({error}); pip install mujoco, or leave `space` out.") from None
    return Space(load_shape(robot.limits, robot.space, cache_root()))


class Looking:
    """At most one plan that is being looked at."""

    def __init__(self, space: Space) -> None:
        """Nothing waits."""
        self._space = space
        self._waiting: tuple[Plan, JointTrajectory, Iterator[Passage | None]] | None = None

    @property
    def free(self) -> bool:
        """Whether no plan waits."""
        return self._waiting is None

    def begin(self, plan: Plan, message: JointTrajectory) -> None:
        """Let a plan wait, with the message it came in."""
        self._waiting = plan, message, self._space.look(plan)

    def go_on(self, until_ns: int) -> tuple[Plan, JointTrajectory, Passage] | None:
        """Look on, and begin nothing new after `until_ns` of `time.perf_counter_ns`.

        Returns:
            The plan, its message and what came of it; None as long as that is not known.
        """
        while self._waiting and time.perf_counter_ns() < until_ns:
            waiting, self._waiting = self._waiting, None  # should this fail, it is not tried again
            passage = next(waiting[2])
            if passage is not None:
                return waiting[0], waiting[1], passage
            self._waiting = waiting
        return None
