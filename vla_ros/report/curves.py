"""Position, velocity, acceleration and jerk of the logged commands over one episode, reduced for plotting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.limit_monitor import GAP_NS, ROUNDING_RAD, divided_differences
from vla_ros.core.records import NS
from vla_ros.report.logs import Logs

Floats = npt.NDArray[np.float64]
DEFAULT_SPAN_NS = 20 * NS
"""Time before the end of the run that is plotted if no episode is known [ns]."""


@dataclass(frozen=True, eq=False)
class CommandCurves:
    """Commands of one time interval and their derivatives.

    Attributes:
        seconds: Times from the start of the interval, one array of shape (n,) per quantity [s].
        values: Position, velocity, acceleration and jerk, one array of shape (n, J) each [rad/s^k].
        handovers: Times at which a new plan became active [s].
        duration: Length of the interval [s].
    """

    seconds: list[Floats]
    values: list[Floats]
    handovers: Floats
    duration: float


def plotted_interval(logs: Logs, episode: dict[str, Any] | None) -> tuple[int, int] | None:
    """Start and end of the interval to plot: the episode, or the end of the run without one [ns]."""
    stamps = logs.array("commands.npz", "stamps_ns")
    if stamps is None or len(stamps) < 4:
        return None
    if episode and "start_ns" in episode and "end_ns" in episode:
        return int(episode["start_ns"]), int(episode["end_ns"])
    return max(int(stamps[0]), int(stamps[-1]) - DEFAULT_SPAN_NS), int(stamps[-1])


def command_curves(logs: Logs, begin_ns: int, end_ns: int) -> CommandCurves | None:
    """Commands from `begin_ns` to `end_ns`, differentiated by the method of the limit monitor.

    Each derivative is a divided difference, reduced towards zero by its rounding error. Differences across a pause
    longer than `GAP_NS` are left out.

    Returns:
        None if the interval has fewer than four commands or the log is incomplete.
    """
    stamps = logs.array("commands.npz", "stamps_ns")
    positions = logs.array("commands.npz", "positions")
    handovers = logs.array("commands.npz", "handovers_ns")
    if stamps is None or positions is None or len(positions) != len(stamps):
        return None
    inside = (stamps >= begin_ns) & (stamps <= end_ns)
    stamps, positions = stamps[inside], positions[inside]
    increasing = np.diff(stamps, prepend=begin_ns - NS) > 0
    stamps, positions = stamps[increasing], positions[increasing]
    if len(stamps) < 4:
        return None
    times = (stamps - begin_ns) / NS
    pauses = np.diff(stamps) > GAP_NS
    derivatives = [(positions, np.full(positions.shape, ROUNDING_RAD)), *divided_differences(stamps, positions)]
    seconds, values = [], []
    for order, (derivative, rounding) in enumerate(derivatives):
        across_pause = np.zeros(len(derivative), dtype=bool)
        for shift in range(order):
            across_pause |= pauses[shift : shift + len(derivative)]
        reduced = np.sign(derivative) * np.maximum(np.abs(derivative) - rounding, 0.0)
        values.append(reduced[~across_pause] if order else derivative)
        midpoints = (times[order:] + times[: len(times) - order]) / 2
        seconds.append(midpoints[~across_pause])
    at = np.zeros(0) if handovers is None else handovers
    at = at[(at >= begin_ns) & (at <= end_ns)]
    return CommandCurves(seconds, values, (at - begin_ns) / NS, (end_ns - begin_ns) / NS)


def envelope(x: Floats, y: Floats, bins: int) -> tuple[Floats, Floats]:
    """Reduce a curve to at most four points per bin: first, minimum, maximum and last, in their order.

    Args:
        x: Non-decreasing, shape (n,).
        y: Shape (n,).
        bins: Number of bins of equal width.

    Returns:
        The points kept; the minimum and the maximum of every bin are among them.
    """
    if len(x) <= 4 * bins:
        return x, y
    bin_of = np.minimum(((x - x[0]) / (x[-1] - x[0]) * bins).astype(int), bins - 1)
    begins = np.flatnonzero(np.diff(bin_of, prepend=-1))
    ends = np.append(begins[1:], len(x))
    kept = {i for b, e in zip(begins, ends, strict=True) for i in (b, b + y[b:e].argmin(), b + y[b:e].argmax(), e - 1)}
    index = np.array(sorted(int(i) for i in kept))
    return x[index], y[index]
