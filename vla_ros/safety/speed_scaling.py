"""How fast the arm is asked to go: slower where doubt grows, as the operator says, and gently after arming.

The speed scale is a clock, not a limit: the planner lets a chunk's own time run slower (`Chunk.slowed`), so
plans stay splines that are proved like any other, and a scale that is lost or late does no harm.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS

LEAST = 0.1
"""The slowest clock; slower is a stop."""
PLANS = 20
"""So many plans back the share of refused ones is taken."""


@dataclass(frozen=True)
class SpeedConfig:
    """Between `_warn` and `_stop` the clock slows from full rate to the least.

    Attributes:
        disagreement_warn: Chunk against plan in force at the hand-over [rad].
        disagreement_stop: The same [rad].
        doubt_warn: How far a policy says its own opinions lie apart (a mixture's horizons) [rad]. Generous, and not
            measured: a mixture cuts its chunk where they are 0.1 rad apart, so only one that is unsure from its first
            waypoint on comes so far.
        doubt_stop: The same [rad].
        latency_warn: From the picture to the start of the plan that answers it [s].
        latency_stop: The same [s].
        refused_warn: Share of the newest plans that was refused.
        refused_stop: The same.
        ramp_s: From the least to the full rate [s], after arming and after every slower time.
    """

    disagreement_warn: float = 0.4
    disagreement_stop: float = 0.8
    doubt_warn: float = 0.2
    doubt_stop: float = 0.6
    latency_warn: float = 1.0
    latency_stop: float = 2.5
    refused_warn: float = 0.3
    refused_stop: float = 0.9
    ramp_s: float = 1.0

    def __post_init__(self) -> None:
        """Check every pair."""
        for field in fields(SpeedConfig):
            value = getattr(self, field.name)
            if not 0.0 < value < np.inf:
                raise ConfigError(f"supervisor: {field.name} must be greater than 0; got {value}.")
        for name in ("disagreement", "doubt", "latency", "refused"):
            if not getattr(self, f"{name}_warn") < getattr(self, f"{name}_stop"):
                raise ConfigError(f"supervisor: {name}_warn must be less than {name}_stop.")


def between(value: float, warn: float, stop: float) -> float:
    """1 up to `warn`, `LEAST` from `stop` on (and for a NaN), a straight line between."""
    if value <= warn:
        return 1.0
    return LEAST + (1.0 - LEAST) * (stop - value) / (stop - warn) if value < stop else LEAST


class Speed:
    """The speed scale and what it follows from."""

    def __init__(self, config: SpeedConfig) -> None:
        """Full speed, nothing heard yet."""
        self._config = config
        self._asked = 1.0
        self._disagreement = self._doubt = self._latency = 0.0
        self._refused: deque[bool] = deque(maxlen=PLANS)
        self._strains: dict[str, float] = {}
        self._scale, self._since_ns = LEAST, 0

    def ask(self, scale: float) -> bool:
        """The operator's word, `LEAST` to 1; False if it is not understood, which changes nothing."""
        if not LEAST <= scale <= 1.0:
            return False
        self._asked = scale
        return True

    def disagreement(self, distance: float) -> None:
        """The newest disagreement [rad]."""
        self._disagreement = distance

    def doubt(self, distance: float) -> None:
        """The newest doubt of the policy [rad]; one that says nothing more keeps the last until the arm is armed."""
        self._doubt = distance

    def plan(self, refused: bool, latency_s: float | None = None) -> None:
        """A plan was permitted or refused; its latency, where it is known [s]."""
        self._refused.append(refused)
        if latency_s is not None:
            self._latency = latency_s

    def strain(self, name: str, share: float) -> None:
        """How far something has come from where it is warned of (0) to where the arm is stopped (1), by its name."""
        self._strains[name] = share

    def begin(self, now_ns: int) -> None:
        """The arm has been armed: begin slowly, with nothing held against the past."""
        self._disagreement = self._doubt = self._latency = 0.0
        self._refused.clear()
        self._strains.clear()
        self._scale, self._since_ns = LEAST, now_ns

    def scale(self, now_ns: int) -> float:
        """The scale to go by now: down at once, up within `ramp_s`."""
        config = self._config
        share = sum(self._refused) / PLANS
        wanted = min(
            self._asked,
            between(self._disagreement, config.disagreement_warn, config.disagreement_stop),
            between(self._doubt, config.doubt_warn, config.doubt_stop),
            between(self._latency, config.latency_warn, config.latency_stop),
            between(share, config.refused_warn, config.refused_stop),
            *(between(strain, 0.0, 1.0) for strain in self._strains.values()),
        )
        risen = self._scale + (1.0 - LEAST) * max(now_ns - self._since_ns, 0) / NS / config.ramp_s
        self._scale, self._since_ns = min(wanted, risen), max(now_ns, self._since_ns)
        return self._scale
