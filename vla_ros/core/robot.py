"""A robot: joints in order and their limits, each with a unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array, check_names, frozen


@dataclass(frozen=True, eq=False)
class Limits:
    """What no command may exceed, per joint.

    Attributes:
        joints: Names (J).
        lower: Least position, shape (J,) [rad].
        upper: Greatest position, shape (J,) [rad].
        velocity: Greatest speed, shape (J,) [rad/s].
        acceleration: Greatest magnitude, shape (J,) [rad/s^2].
        jerk: Greatest magnitude, shape (J,) [rad/s^3].
    """

    joints: tuple[str, ...]
    lower: Array
    upper: Array
    velocity: Array
    acceleration: Array
    jerk: Array

    def __post_init__(self) -> None:
        """Check and freeze."""
        for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
            object.__setattr__(self, name, frozen(getattr(self, name), f"limit {name}", 1))
            if len(getattr(self, name)) != len(self.lower):
                raise ConfigError(f"limit {name} has {len(getattr(self, name))} values for {len(self.lower)}.")
        object.__setattr__(self, "joints", check_names(self.joints, len(self.lower), "the limits"))
        for name, inside in (
            ("lower", self.lower < self.upper),
            *((n, getattr(self, n) > 0.0) for n in ("velocity", "acceleration", "jerk")),
        ):
            if not inside.all():
                joint, least = (
                    self.joints[int(np.argmin(inside))],
                    "less than the upper" if name == "lower" else "above 0",
                )
                raise ConfigError(f"the {name} limit of {joint} must be {least}.")

    @property
    def braking_room(self) -> Array:
        """Distance from both ends of each range that a motion keeps so that it can be braked anywhere, (J,) [rad].

        The quickest brake (`stop.brake`) has the least velocity of all motions inside the limits until it lets go
        of its acceleration; doing that takes it at most a^3 / (6 j^2) farther. A motion that keeps this room and
        the acceleration and jerk limits can therefore be braked at every instant inside the range. Where the
        room would take more than a twentieth of the range it is cut to that, and a brake that does not fit
        gives way to a stop along the path.
        """
        return np.minimum(self.acceleration**3 / (6.0 * self.jerk**2), (self.upper - self.lower) / 20.0)

    def between(self, lower: Array, upper: Array) -> Limits:
        """The same limits with another range of positions, (J,) and (J,) [rad]."""
        return Limits(self.joints, lower, upper, self.velocity, self.acceleration, self.jerk)

    def scaled(self, factor: float) -> Limits:
        """The same joints with every limit tightened (or widened) by `factor` about the middle of the range."""
        middle, half = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2 * factor
        return Limits(
            self.joints,
            middle - half,
            middle + half,
            self.velocity * factor,
            self.acceleration * factor,
            self.jerk * factor,
        )


@dataclass(frozen=True)
class SpaceConfig:
    """What the arm must keep clear of, in the frame of its model's world.

    Attributes:
        model: The MJCF or URDF file of the arm: a path, or "package:path" inside an installed Python package.
        box_lower: Least x, y, z that a moving link may reach [m].
        box_upper: Greatest [m].
        box_stop_m: Least distance from the walls of the box [m].
        box_slow_m: Distance from them below which the arm goes slower [m].
        self_stop_m: Least distance between two links [m].
        self_slow_m: Distance between two links below which the arm goes slower [m].
        allowed: Pairs of links whose distance is not watched; neighbours never are.
    """

    model: str
    box_lower: tuple[float, float, float]
    box_upper: tuple[float, float, float]
    box_stop_m: float
    box_slow_m: float
    self_stop_m: float
    self_slow_m: float
    allowed: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Check every number."""
        box = zip(self.box_lower, self.box_upper, strict=True)
        if not all(-np.inf < lower < upper < np.inf for lower, upper in box):
            raise ConfigError("each side of the box must be [lower, upper], finite, lower less than upper.")
        for name in ("box", "self"):
            stop, slow = getattr(self, f"{name}_stop_m"), getattr(self, f"{name}_slow_m")
            if not 0.0 <= stop < slow < np.inf:
                raise ConfigError(f"{name}_distance must be 0 <= stop < slow; got {stop} and {slow}.")


@dataclass(frozen=True, eq=False)
class Robot:
    """One robot: its name, its limits and its space; `limits.joints` is the order used everywhere."""

    name: str
    limits: Limits
    space: SpaceConfig | None = None

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the joints in order (J)."""
        return self.limits.joints
