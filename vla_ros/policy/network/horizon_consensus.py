"""How many waypoints of a chunk are worth executing: as many as its horizons agree on.

Mixture of Horizons (arXiv:2511.19433), Algorithm 1, with an absolute cap added. Numpy only, no network.

    d_k = distance of the horizons that reach waypoint k from their mixture
    K   = n, and then one more for every waypoint on which at least m horizons agree as well as on the first n

Paper and released code differ at the edges. We take the paper's rule: a waypoint is accepted at `d_k <= threshold`
and with *at least* m voters, so horizons that agree exactly execute the most. The code's rule (`<`, and *more than* m)
executes the fewest of such a chunk; `strict` selects it.

The threshold is relative to the chunk's own beginning: a chunk whose horizons are all equally unsure looks like one
whose horizons are sure. Hence `cap_rad`, in the unit of the joints, which holds for every waypoint.
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
    """What may be tuned.

    Attributes:
        ratio: r: threshold over the mean distance of the first `least` waypoints. The paper sweeps 1.0 to 1.4; how much
            that executes depends on how quickly a policy's horizons part, see docs/learning.md for ours.
        least: n: waypoints executed whatever the horizons say; n dt must outlast one inference.
        voters: m: a waypoint that fewer horizons reach is not executed. Few voters look more in agreement than
            many: independent ones lie at sqrt(1 - 1/m) of their distance from an endless number of them.
        cap_rad: No waypoint on which the horizons differ by more is executed, beyond the first `least` [rad].
        strict: The released code's rule instead of the paper's; see the module's text.
        fixed: Execute so many waypoints always, without asking the horizons; 0 asks them.
    """

    ratio: float = 1.2
    least: int = 8
    voters: int = 2
    cap_rad: float = 0.1
    strict: bool = False
    fixed: int = 0

    def __post_init__(self) -> None:
        """Check."""
        require(0.0 < self.ratio < np.inf, f"consensus: ratio must be greater than zero; got {self.ratio}.")
        require(self.least >= 1, f"consensus: least must be at least 1; got {self.least}.")
        require(self.voters >= 1, f"consensus: voters must be at least 1; got {self.voters}.")
        require(self.cap_rad > 0.0, f"consensus: cap_rad must be greater than zero; got {self.cap_rad}.")
        require(self.fixed >= 0, f"consensus: fixed must not be negative; got {self.fixed}.")


def disagreement(heads: Array, fused: Array, weights: Array) -> Array:
    """Weighted mean distance of the horizons from their mixture at each waypoint.

    Args:
        heads: What each horizon says, shape (N, K, J) [rad]; anything finite beyond its reach.
        fused: The mixture, shape (K, J) [rad].
        weights: Of the horizons at each waypoint, shape (N, K); zero beyond a horizon's reach.

    Returns:
        Shape (K,) [rad]: the mean over the joints given, so that the number of joints does not matter.
        Leave grippers out: open against closed is not a distance of the kind the others are.
    """
    if not fused.shape[-1]:
        return np.zeros(len(fused))
    apart: Array = (weights * np.abs(heads - fused[None]).mean(axis=-1)).sum(axis=0)
    return apart


def agreed(distance: Array, voters: npt.NDArray[np.int64], config: ConsensusConfig) -> int:
    """K: how many waypoints to execute, `least` to all of them.

    Args:
        distance: Shape (K,) [rad], from `disagreement`.
        voters: How many horizons reach each waypoint, shape (K,).
        config: The rule.

    Raises:
        RecordError: A distance is NaN, infinite or negative.
    """
    if not ((distance >= 0.0) & (distance < np.inf)).all():
        raise RecordError("distances between horizons must be finite and not negative.")
    count = len(distance)
    if config.fixed:
        return min(config.fixed, count)
    least = min(config.least, count)
    threshold = config.ratio * float(distance[:least].mean())
    enough = voters > config.voters if config.strict else voters >= config.voters
    near = distance < threshold if config.strict else distance <= threshold
    accepted = enough & near & (distance <= config.cap_rad)
    refused = np.flatnonzero(~accepted[least:])
    return least + int(refused[0]) if len(refused) else count
