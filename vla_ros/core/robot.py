"""A robot: its joints in order, their limits, and what it must keep clear of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array, freeze_joint_columns, frozen


@dataclass(frozen=True, eq=False)
class Limits:
    """The limits that no command may exceed, per joint.

    Attributes:
        joints: Names (J).
        lower: Minimum position, shape (J,) [rad].
        upper: Maximum position, shape (J,) [rad].
        velocity: Maximum speed, shape (J,) [rad/s].
        acceleration: Maximum magnitude, shape (J,) [rad/s^2].
        jerk: Maximum magnitude, shape (J,) [rad/s^3].
    """

    joints: tuple[str, ...]
    lower: Array
    upper: Array
    velocity: Array
    acceleration: Array
    jerk: Array

    def __post_init__(self) -> None:
        """Validate, and make the arrays read-only."""
        freeze_joint_columns(self, "lower", "limit lower", "the limits", 1)
        for name in ("upper", "velocity", "acceleration", "jerk"):
            object.__setattr__(self, name, frozen(getattr(self, name), f"limit {name}", 1))
            if len(getattr(self, name)) != len(self.lower):
                raise ConfigError(f"limit {name} has {len(getattr(self, name))} values for {len(self.lower)}.")
        for name, inside in (
            ("lower", self.lower < self.upper),
            *((n, getattr(self, n) > 0.0) for n in ("velocity", "acceleration", "jerk")),
        ):
            if not inside.all():
                joint = self.joints[int(np.argmin(inside))]
                required = "less than the upper" if name == "lower" else "above 0"
                raise ConfigError(f"the {name} limit of {joint} must be {required}.")

    @property
    def braking_margin(self) -> Array:
        """Distance that a motion keeps from both ends of each range so that it can be braked anywhere, (J,) [rad].

        Braking (`safety.stopping.brake`) reduces the velocity fastest until the deceleration is released; the release
        adds at most a³/(6 j²). A motion that keeps this margin and the acceleration and jerk limits can therefore be
        braked at every instant inside the range. The margin is at most 1/20 of the range; a brake that then does not
        fit is replaced by a stop along the path.
        """
        return np.minimum(self.acceleration**3 / (6.0 * self.jerk**2), (self.upper - self.lower) / 20.0)

    def with_range(self, lower: Array, upper: Array) -> Limits:
        """The same limits with another range of positions, each bound of shape (J,) [rad]."""
        return Limits(self.joints, lower, upper, self.velocity, self.acceleration, self.jerk)

    def scaled(self, factor: float) -> Limits:
        """Every limit multiplied by `factor`; the range of positions keeps its middle."""
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
class ClearanceConfig:
    """What the arm must keep clear of, in the world frame of its model.

    Attributes:
        model: The MJCF or URDF file of the arm: a path, or "package:path" inside an installed Python package.
        box_lower: Minimum x, y, z that a moving link may reach [m].
        box_upper: Maximum x, y, z [m].
        box_stop_m: Minimum distance from the walls of the box [m].
        box_slow_m: Distance from the walls below which the arm slows down [m].
        self_stop_m: Minimum distance between two links [m].
        self_slow_m: Distance between two links below which the arm slows down [m].
        allowed: Pairs of links whose distance is not monitored; neighbouring links never are.
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
        """Check every value."""
        box = zip(self.box_lower, self.box_upper, strict=True)
        if not all(-np.inf < lower < upper < np.inf for lower, upper in box):
            raise ConfigError("each side of the box must be [lower, upper], finite, lower less than upper.")
        for name in ("box", "self"):
            stop, slow = getattr(self, f"{name}_stop_m"), getattr(self, f"{name}_slow_m")
            if not 0.0 <= stop < slow < np.inf:
                raise ConfigError(f"{name}_distance must be 0 <= stop < slow; got {stop} and {slow}.")


@dataclass(frozen=True, eq=False)
class Robot:
    """One robot: its name, its limits and what it must keep clear of; `limits.joints` is the order used everywhere."""

    name: str
    limits: Limits
    clearance: ClearanceConfig | None = None

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the joints in order (J)."""
        return self.limits.joints
