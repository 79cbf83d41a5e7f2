"""Collision models with analytic distances: a planar arm between a wall and a post, and two carts on a rail."""

from __future__ import annotations

import numpy as np
from core.generators import T0, instants, names

from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Motion, Plan

LIMITS = Limits(names(2), [-3.0, -3.0], [3.0, 3.0], [2.0, 2.0], [10.0, 10.0], [150.0, 150.0])
UPPER_M, FORE_M = 0.3, 0.2
"""Lengths of the two links [m]."""


class TwoLinks:
    """The tip of a planar arm with two links, a wall at x = 0.4 m and a post of 0.12 m radius at the base."""

    names = ("tip and wall", "tip and post")
    stop_distance = np.array([0.01, 0.02])
    slow_distance = np.array([0.05, 0.04])
    motion_bound = np.array([[UPPER_M + FORE_M, FORE_M], [0.0, FORE_M]])

    def __init__(self) -> None:
        self.calls: list[int] = []

    def distances(self, poses: np.ndarray, selected: np.ndarray | None = None) -> np.ndarray:
        self.calls.append(len(poses))
        first, second = poses[:, 0], poses.sum(axis=1)
        x = UPPER_M * np.cos(first) + FORE_M * np.cos(second)
        y = UPPER_M * np.sin(first) + FORE_M * np.sin(second)
        out = np.stack([0.4 - x, np.hypot(x, y) - 0.12], axis=1)
        return out if selected is None else np.where(selected, out, np.inf)


MODEL = TwoLinks()
CLEAR = np.array([1.5, 0.5])
"""A pose far from the wall and from the post [rad]."""


def straight(start: np.ndarray, end: np.ndarray, start_ns: int = T0, duration_s: float = 1.5) -> Plan:
    """A single quintic from rest to rest, with zero acceleration at both ends."""
    zero = np.zeros((2, 2))
    offsets = np.array([0, int(duration_s * NS)])
    return Plan(LIMITS.joints, start_ns, offsets, np.array([start, end]), zero, zero)


class Carts:
    """Two carts on one rail; their distance is the second joint position minus the first."""

    names = ("back and front",)
    stop_distance = np.array([0.05])
    slow_distance = np.array([0.2])
    motion_bound = np.ones((1, 2))

    def distances(self, poses: np.ndarray, selected: np.ndarray | None = None) -> np.ndarray:
        return poses[:, 1:] - poses[:, :1]


CARTS = Limits(names(2), [-3.0, -3.0], [3.0, 3.0], [2.0, 2.0], [4.0, 40.0], [60.0, 1500.0])
"""The front cart can brake harder than the back one, so they collide if both brake as hard as they can [m]."""


def cart_plan(gap: float, distance: float = 1.5) -> Plan:
    """Both carts move by `distance` and keep their gap [m]; at most 1.9 m/s, 3.9 m/s^2 and 40 m/s^3."""
    start = np.array([-1.0, gap - 1.0])
    return straight(start, start + distance)


def sampled_poses(motion: Motion, start_ns: int, count: int) -> np.ndarray:
    """Positions at `count` instants from `start_ns` to rest, shape (count, 2)."""
    return np.array([motion.at(int(t)).position for t in instants(start_ns, motion.end_ns, count)])
