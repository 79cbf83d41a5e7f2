"""How many waypoints of a chunk are executed: as many as the horizons of the mixture agree on.

Mixture of Horizons (arXiv:2511.19433), Algorithm 1, with an absolute limit added. Numpy only, no network.

    d_k = weighted mean deviation of the horizons that contain waypoint k from their mixture
    K   = n, and then one more for every waypoint on which at least m horizons deviate no more than r mean(d_1..d_n)

Paper and released code differ at the edges. This is the paper's rule: a waypoint is accepted at `d_k <= threshold` and
with *at least* m horizons, so a chunk whose horizons are equal is executed completely. The code's rule (`<`, and *more
than* m) executes the minimum of such a chunk; `strict` selects it.

The threshold is relative to the beginning of the chunk, so it cannot detect a chunk whose horizons deviate equally
everywhere. Hence `max_deviation_rad`, an absolute limit for every waypoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.config import require
from vla_ros.core.errors import RecordError
from vla_ros.core.records import Array


@dataclass(frozen=True)
class ConsensusConfig:
    """The parameters of the rule.

    Attributes:
        threshold_ratio: r: threshold over the mean deviation of the first `min_steps` waypoints. The paper sweeps 1.0
            to 1.4; docs/learning.md reports what it executes in this package's tasks.
        min_steps: n: waypoints that are always executed; n dt must be longer than one inference.
        min_horizons: m: a waypoint that fewer horizons contain is not executed. The deviation of few horizons is biased
            low: m independent ones have sqrt(1 - 1/m) of the deviation of infinitely many.
        max_deviation_rad: A waypoint with a greater deviation is not executed, beyond the first `min_steps` [rad].
        strict: Use the rule of the released code, see the module's text.
        fixed_steps: Execute this number of waypoints always; 0 applies the consensus.
    """

    threshold_ratio: float = 4.0
    min_steps: int = 8
    min_horizons: int = 2
    max_deviation_rad: float = 0.1
    strict: bool = False
    fixed_steps: int = 0

    def __post_init__(self) -> None:
        """Check."""
        ratio, limit = self.threshold_ratio, self.max_deviation_rad
        require(0.0 < ratio < np.inf, f"consensus.threshold_ratio must be greater than zero; got {ratio}.")
        require(self.min_steps >= 1, f"consensus.min_steps must be at least 1; got {self.min_steps}.")
        require(self.min_horizons >= 1, f"consensus.min_horizons must be at least 1; got {self.min_horizons}.")
        require(limit > 0.0, f"consensus.max_deviation_rad must be greater than zero; got {limit}.")
        require(self.fixed_steps >= 0, f"consensus.fixed_steps must not be negative; got {self.fixed_steps}.")


def horizon_deviation(horizons: Array, mixture: Array, weights: Array) -> Array:
    """Weighted mean deviation of the horizons from their mixture at each waypoint.

    Args:
        horizons: Waypoints of each horizon, shape (N, K, J) [rad]; any finite value beyond its end.
        mixture: Shape (K, J) [rad].
        weights: Of the horizons at each waypoint, shape (N, K); zero beyond the end of a horizon.

    Returns:
        Shape (K,) [rad]: the mean over the joints given, so it does not depend on their number. Leave grippers out:
        open against closed is not a deviation of the same kind.
    """
    if not mixture.shape[-1]:
        return np.zeros(len(mixture))
    deviation: Array = (weights * np.abs(horizons - mixture[None]).mean(axis=-1)).sum(axis=0)
    return deviation


def steps_to_execute(deviation: Array, horizon_count: npt.NDArray[np.int64], config: ConsensusConfig) -> int:
    """K: how many waypoints to execute, from `min_steps` to all.

    Args:
        deviation: Shape (K,) [rad], from `horizon_deviation`.
        horizon_count: Number of horizons that contain each waypoint, shape (K,).
        config: The rule.

    Raises:
        RecordError: A deviation is NaN, infinite or negative.
    """
    if not ((deviation >= 0.0) & (deviation < np.inf)).all():
        raise RecordError("deviations between horizons must be finite and not negative.")
    count = len(deviation)
    if config.fixed_steps:
        return min(config.fixed_steps, count)
    minimum = min(config.min_steps, count)
    threshold = config.threshold_ratio * float(deviation[:minimum].mean())
    enough = horizon_count > config.min_horizons if config.strict else horizon_count >= config.min_horizons
    near = deviation < threshold if config.strict else deviation <= threshold
    accepted = enough & near & (deviation <= config.max_deviation_rad)
    rejected = np.flatnonzero(~accepted[minimum:])
    return minimum + int(rejected[0]) if len(rejected) else count
