"""Shapes whose distances are known exactly: two links between a wall and a post, two carts on a rail."""

from __future__ import annotations

import numpy as np
from core.generators import T0, instants, names

from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Motion, Plan

LIMITS = Limits(names(2), [-3.0, -3.0], [3.0, 3.0], [2.0, 2.0], [10.0, 10.0], [150.0, 150.0])
UPPER, FORE = 0.3, 0.2
"""Lengths of the two links [m]."""


class TwoLinks:
    """A tip on two links that turn in a plane, a wall at x = 0.4 m and a post of 0.12 m radius at the base."""

    names = ("tip and wall", "tip and post")
    stop_distance = np.array([0.01, 0.02])
    slow_distance = np.array([0.05, 0.04])
    motion_bound = np.array([[UPPER + FORE, FORE], [0.0, FORE]])

    def __init__(self) -> None:
        self.calls: list[int] = []

    def distances(self, poses: np.ndarray, selected: np.ndarray | None = None) -> np.ndarray:
        self.calls.append(len(poses))
        first, second = poses[:, 0], poses.sum(axis=1)
        x = UPPER * np.cos(first) + FORE * np.cos(second)
        y = UPPER * np.sin(first) + FORE * np.sin(second)
        out = np.stack([0.4 - x, np.hypot(x, y) - 0.12], axis=1)
        return out if selected is None else np.where(selected, out, np.inf)


SHAPE = TwoLinks()
CLEAR = np.array([1.5, 0.5])
"""A pose far from the wall and from the post [rad]."""


def straight(start: np.ndarray, end: np.ndarray, start_ns: int = T0, duration_s: float = 1.5) -> Plan:
    """From rest to rest by the quintic that leaves and arrives without acceleration."""
    zero = np.zeros((2, 2))
    offsets = np.array([0, int(duration_s * NS)])
    return Plan(LIMITS.joints, start_ns, offsets, np.array([start, end]), zero, zero)


class Carts:
    """Two carts on one rail, the front one ahead of the back one by the second joint less the first."""

    names = ("back and front",)
    stop_distance = np.array([0.05])
    slow_distance = np.array([0.2])
    motion_bound = np.ones((1, 2))

    def distances(self, poses: np.ndarray, selected: np.ndarray | None = None) -> np.ndarray:
        return poses[:, 1:] - poses[:, :1]


CARTS = Limits(names(2), [-3.0, -3.0], [3.0, 3.0], [2.0, 2.0], [4.0, 40.0], [60.0, 1500.0])
"""The front cart brakes harder than the back one, which runs into it if each brakes as hard as it can [m]."""


def ride(gap: float, far: float = 1.5) -> Plan:
    """Both carts go `far` and keep their gap [m]; at most 1.9 m/s, 3.9 m/s^2 and 40 m/s^3."""
    start = np.array([-1.0, gap - 1.0])
    return straight(start, start + far)


def poses_of(motion: Motion, start_ns: int, count: int) -> np.ndarray:
    """Positions at `count` instants from `start_ns` to rest, shape (count, 2)."""
    return np.array([motion.at(int(t)).position for t in instants(start_ns, motion.end_ns, count)])
