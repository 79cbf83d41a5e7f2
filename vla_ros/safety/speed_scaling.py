"""Speed scaling: slows the arm as uncertainty grows, on the operator's request, and after arming.

The speed scale is the rate of a clock, not a limit. The planner scales the time of each chunk (`Chunk.time_scaled`),
so plans remain splines that are certified like any other, and a lost or late speed scale does no harm.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS

MIN_SCALE = 0.1
"""Minimum speed scale; a slower motion requires a stop."""
REFUSAL_WINDOW = 20
"""Number of most recent plans over which the ratio of refused plans is computed."""


@dataclass(frozen=True)
class SpeedScalingConfig:
    """Thresholds: between `_warn` and `_stop` the speed scale falls linearly from 1 to `MIN_SCALE`.

    Attributes:
        handover_error_warn_rad: Deviation of a new chunk from the active plan at the handover [rad].
        handover_error_stop_rad: The same [rad].
        uncertainty_warn_rad: Uncertainty that the policy reports, such as the spread over the horizons of a mixture
            [rad]. Not tuned by measurement: a mixture truncates its chunk where the spread reaches 0.1 rad, so only a
            policy that is uncertain from its first waypoint on exceeds this default.
        uncertainty_stop_rad: The same [rad].
        latency_warn_s: From image capture to the start of the plan computed from it [s].
        latency_stop_s: The same [s].
        refusal_ratio_warn: Ratio of refused plans among the newest `REFUSAL_WINDOW` plans.
        refusal_ratio_stop: The same.
        ramp_s: Duration of a rise from `MIN_SCALE` to 1 [s], after arming and after every reduction.
    """

    handover_error_warn_rad: float = 0.4
    handover_error_stop_rad: float = 0.8
    uncertainty_warn_rad: float = 0.2
    uncertainty_stop_rad: float = 0.6
    latency_warn_s: float = 1.0
    latency_stop_s: float = 2.5
    refusal_ratio_warn: float = 0.3
    refusal_ratio_stop: float = 0.9
    ramp_s: float = 1.0

    def __post_init__(self) -> None:
        """Check every value and every pair of thresholds."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0.0 < value < np.inf:
                raise ConfigError(f"supervisor: {field.name} must be greater than 0; got {value}.")
        for warn in (field.name for field in fields(self) if "_warn" in field.name):
            stop = warn.replace("_warn", "_stop")
            if not getattr(self, warn) < getattr(self, stop):
                raise ConfigError(f"supervisor: {warn} must be less than {stop}.")


def interpolate_scale(value: float, warn: float, stop: float) -> float:
    """1 up to `warn`, `MIN_SCALE` from `stop` on and for NaN, linear in between."""
    if value <= warn:
        return 1.0
    return MIN_SCALE + (1.0 - MIN_SCALE) * (stop - value) / (stop - warn) if value < stop else MIN_SCALE


class SpeedScaling:
    """Computes the speed scale from the operator's request and all reported quantities; the minimum applies."""

    def __init__(self, config: SpeedScalingConfig) -> None:
        """Start at `MIN_SCALE`, with a requested scale of 1 and no reported quantity."""
        self._config = config
        self._requested = 1.0
        self._handover_error = self._uncertainty = self._latency_s = 0.0
        self._refused: deque[bool] = deque(maxlen=REFUSAL_WINDOW)
        self._severities: dict[str, float] = {}
        self._scale, self._updated_ns = MIN_SCALE, 0

    def request(self, scale: float) -> bool:
        """Set the maximum scale requested by the operator.

        Returns:
            False if it is not in `MIN_SCALE` to 1, in which case nothing changes.
        """
        if not MIN_SCALE <= scale <= 1.0:
            return False
        self._requested = scale
        return True

    def handover_error(self, error_rad: float) -> None:
        """Report the handover error of the newest chunk [rad]."""
        self._handover_error = error_rad

    def uncertainty(self, uncertainty_rad: float) -> None:
        """Report the uncertainty of the policy [rad]; the last value is kept until the next reset."""
        self._uncertainty = uncertainty_rad

    def plan(self, refused: bool, latency_s: float | None = None) -> None:
        """Report a plan that was accepted or refused, with its latency [s] if it is known."""
        self._refused.append(refused)
        if latency_s is not None:
            self._latency_s = latency_s

    def severity(self, name: str, value: float) -> None:
        """Report the severity of the condition `name`: 0 at its warning threshold, 1 at its stop threshold."""
        self._severities[name] = value

    def reset(self, now_ns: int) -> None:
        """Restart the ramp at `MIN_SCALE` and discard all reported quantities; called when the arm is armed."""
        self._handover_error = self._uncertainty = self._latency_s = 0.0
        self._refused.clear()
        self._severities.clear()
        self._scale, self._updated_ns = MIN_SCALE, now_ns

    def scale(self, now_ns: int) -> float:
        """The speed scale at `now_ns`, `MIN_SCALE` to 1: falls immediately, rises by the ramp of `ramp_s`."""
        config = self._config
        refusal_ratio = sum(self._refused) / REFUSAL_WINDOW
        target = min(
            self._requested,
            interpolate_scale(self._handover_error, config.handover_error_warn_rad, config.handover_error_stop_rad),
            interpolate_scale(self._uncertainty, config.uncertainty_warn_rad, config.uncertainty_stop_rad),
            interpolate_scale(self._latency_s, config.latency_warn_s, config.latency_stop_s),
            interpolate_scale(refusal_ratio, config.refusal_ratio_warn, config.refusal_ratio_stop),
            *(interpolate_scale(severity, 0.0, 1.0) for severity in self._severities.values()),
        )
        risen = self._scale + (1.0 - MIN_SCALE) * max(now_ns - self._updated_ns, 0) / NS / config.ramp_s
        self._scale, self._updated_ns = min(target, risen), max(now_ns, self._updated_ns)
        return self._scale
