"""Every robot of config/robots, and synthetic ones."""

from __future__ import annotations

import numpy as np

from vla_ros.config import config_dir, load_robot
from vla_ros.core.robot import Limits


def equal_joints(
    joints: int, half: float, velocity: float, acceleration: float, jerk: float, middle: float = 0.0
) -> Limits:
    """Joints with equal limits."""
    one = np.ones(joints)
    names = tuple(f"joint_{k + 1}" for k in range(joints))
    return Limits(names, (middle - half) * one, (middle + half) * one, velocity * one, acceleration * one, jerk * one)


def uneven() -> Limits:
    """Joints that differ by factors of up to a hundred, with ranges that exclude zero."""
    return Limits(
        ("base", "slide", "wrist"),
        np.array([-0.1, 1.0, -6.0]),
        np.array([3.0, 1.4, -2.5]),
        np.array([0.5, 0.2, 6.0]),
        np.array([2.0, 4.0, 40.0]),
        np.array([30.0, 200.0, 900.0]),
    )


SYNTHETIC = {
    "one joint": equal_joints(1, 1.0, 1.0, 5.0, 80.0),
    "seven joints": equal_joints(7, 2.9, 2.1, 12.0, 500.0),
    "fourteen joints": equal_joints(14, 2.0, 3.0, 15.0, 200.0),
    "tiny ranges": equal_joints(3, 0.02, 1.0, 10.0, 150.0),
    "ranges far from zero": equal_joints(2, 0.5, 1.0, 8.0, 120.0, middle=9.0),
    "uneven": uneven(),
    "soft": equal_joints(2, 1.5, 1.0, 1.0, 2.0),
}
FILES = sorted((config_dir() / "robots").glob("*.yaml"))
ROBOTS: dict[str, Limits] = {**{file.stem: load_robot(file.stem).limits for file in FILES}, **SYNTHETIC}
