"""Shape of an action chunk: a clamped uniform B-spline per joint, and the waypoints it is sampled at.

Time grid: u = t / horizon with t measured from the observation. Waypoint k of period dt is at u = (k + 1) / K, and
u = 0 is the observation itself. It is never `linspace(0, 1, K)`: mixing the two grids shifts waypoints by up to one
period.
"""

from __future__ import annotations

from dataclasses import dataclass

from vla_ros.core.errors import ConfigError


@dataclass(frozen=True)
class SplineConfig:
    """Shape of an action chunk.

    Attributes:
        control_points: N, per joint; for heads that predict control points.
        degree: Polynomial degree P < N.
        waypoints: K, number of samples of the chunk.
        dt_s: Time between waypoints [s]; the duration is K dt.
    """

    control_points: int = 10
    degree: int = 4
    waypoints: int = 32
    dt_s: float = 0.05

    def __post_init__(self) -> None:
        """Check."""
        if not 0 <= self.degree < self.control_points <= self.waypoints:
            raise ConfigError(
                f"a chunk needs degree < control points <= waypoints; "
                f"got {self.degree}, {self.control_points}, {self.waypoints}."
            )
        if not 0.0 < self.dt_s < 10.0:
            raise ConfigError(f"the time between waypoints must be in (0, 10) s; got {self.dt_s}.")
