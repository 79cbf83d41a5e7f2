"""The few sums a report needs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.limit_monitor import GAP_NS
from vla_ros.core.records import NS

Floats = npt.NDArray[np.float64]
Z95 = 1.959963984540054
"""Quantile of the normal distribution that leaves 2.5 % above it."""


def wilson(successes: int, trials: int) -> tuple[float, float] | None:
    """Wilson's 95 % interval of a success rate (JASA 22, 1927); None without trials."""
    if trials <= 0:
        return None
    rate, square = successes / trials, Z95 * Z95
    scale = 1.0 + square / trials
    middle = (rate + square / (2 * trials)) / scale
    half = Z95 / scale * math.sqrt(rate * (1.0 - rate) / trials + square / (4 * trials * trials))
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return low, high


def period_errors_us(late_ns: npt.NDArray[np.int64], period_ns: int) -> Floats:
    """How far the time between consecutive wake-ups was from the period.

    The loop skips deadlines it has missed by whole periods; the time it skipped counts as error.

    Args:
        late_ns: How late each wake-up was after the deadline it waited for, shape (n,) [ns].
        period_ns: Time between deadlines [ns].

    Returns:
        Shape (n - 1,) [us].
    """
    late = np.asarray(late_ns, dtype=np.int64).ravel()
    deadlines = period_ns * np.maximum(1, 1 + late[:-1] // period_ns)
    errors: Floats = np.abs(deadlines + np.diff(late) - period_ns) / 1e3
    return errors


def command_rate_hz(stamps_ns: npt.NDArray[np.int64]) -> float | None:
    """Commands per second of a stream, without its pauses; None where it is too short to say."""
    steps = np.diff(np.asarray(stamps_ns, dtype=np.int64))
    steps = steps[(steps > 0) & (steps <= GAP_NS)]
    return float(len(steps) * NS / steps.sum()) if len(steps) else None


def percentiles(values: Floats | None, **wanted: float) -> dict[str, float | None]:
    """Percentiles by name; every one None where there is nothing to count."""
    if values is None or len(values) == 0:
        return dict.fromkeys(wanted)
    found = np.percentile(values, list(wanted.values()))
    return {name: float(value) for name, value in zip(wanted, found, strict=True)}


def plain(value: Any) -> Any:
    """The same data as JSON has it: no arrays, no tuples, null for what is not a finite number."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value if value is None else str(value)
