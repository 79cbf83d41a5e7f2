"""The action head's basis: a clamped uniform B-spline on normalised time, sampled once into a matrix.

A chunk is N control points per joint; its K waypoints are `basis @ control`. Control points, and not
samples, are what the network gives: neighbouring waypoints cannot disagree, and the output is N/K as
long (BEAST, arXiv:2506.06072, does the same with a fixed duration and ridge least squares).

Time grid: u = t / horizon with t measured from the observation, so waypoint k of period dt sits at
u = (k + 1) / K and u = 0 is the observation itself. It is never `linspace(0, 1, K)`: mixing the two
grids shifts every waypoint by up to one period.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vla_ros.beast.basis import fit_matrix, sample_basis
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array


@dataclass(frozen=True)
class SplineConfig:
    """Shape of an action chunk.

    Attributes:
        control_points: N, per joint.
        degree: Polynomial degree P < N.
        waypoints: K, samples the chunk is decoded to.
        dt_s: Time between waypoints [s]; the horizon is K dt.
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


@dataclass(frozen=True, eq=False)
class ChunkSpline:
    """Control points to waypoints and back, for one fixed grid.

    Attributes:
        config: N, P, K and dt.
        matrix: Basis at the waypoints, shape (K, N).
        solver: Ridge least-squares inverse, shape (N, K).
    """

    config: SplineConfig
    ridge: float = 1e-6
    matrix: Array = field(init=False)
    solver: Array = field(init=False)

    def __post_init__(self) -> None:
        """Sample the basis and factor the fit once."""
        c = self.config
        a = sample_basis(np.arange(1, c.waypoints + 1) / c.waypoints, c.control_points, c.degree)
        object.__setattr__(self, "matrix", a)
        object.__setattr__(self, "solver", fit_matrix(a, self.ridge))

    def fit(self, waypoints: npt.ArrayLike) -> Array:
        """Control points (..., N, J) that lie nearest to waypoints (..., K, J)."""
        return np.asarray(np.einsum("nk,...kj->...nj", self.solver, np.asarray(waypoints, dtype=np.float64)))

    def evaluate(self, control: npt.ArrayLike) -> Array:
        """Waypoints (..., K, J) of control points (..., N, J)."""
        return np.asarray(np.einsum("kn,...nj->...kj", self.matrix, np.asarray(control, dtype=np.float64)))
