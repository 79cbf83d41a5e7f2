"""What the joints were told during one episode, and its derivatives, thinned without losing a peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.limit_monitor import GAP_NS, ULP, divided_differences
from vla_ros.core.records import NS
from vla_ros.report.logs import Logs

Floats = npt.NDArray[np.float64]
WITHOUT_EPISODE_NS = 20 * NS
"""How much of the end of a run is drawn where no episode is known [ns]."""


@dataclass(frozen=True, eq=False)
class Curves:
    """One stretch of commands.

    Attributes:
        seconds: Per quantity the instants, shape (n,) [s].
        values: Per quantity, position to jerk, shape (n, J) [rad/s^k].
        handovers: When plans took over [s].
        length: Length of the stretch [s].
    """

    seconds: list[Floats]
    values: list[Floats]
    handovers: Floats
    length: float


def stretch(logs: Logs, episode: dict[str, Any] | None) -> tuple[int, int] | None:
    """Begin and end of what is to be drawn: the episode, else the end of the run [ns]."""
    stamps = logs.array("commands.npz", "stamps_ns")
    if stamps is None or len(stamps) < 4:
        return None
    if episode and "start_ns" in episode and "end_ns" in episode:
        return int(episode["start_ns"]), int(episode["end_ns"])
    return max(int(stamps[0]), int(stamps[-1]) - WITHOUT_EPISODE_NS), int(stamps[-1])


def curves(logs: Logs, begin_ns: int, end_ns: int) -> Curves | None:
    """Commands from `begin_ns` to `end_ns`, as the judge differentiates them; None where there are none."""
    stamps = logs.array("commands.npz", "stamps_ns")
    positions = logs.array("commands.npz", "positions")
    handovers = logs.array("commands.npz", "handovers_ns")
    if stamps is None or positions is None or len(positions) != len(stamps):
        return None
    inside = (stamps >= begin_ns) & (stamps <= end_ns)
    stamps, positions = stamps[inside], positions[inside]
    fresh = np.diff(stamps, prepend=begin_ns - NS) > 0
    stamps, positions = stamps[fresh], positions[fresh]
    if len(stamps) < 4:
        return None
    times = (stamps - begin_ns) / NS
    rows = [(positions, np.full(positions.shape, ULP)), *divided_differences(stamps, positions)]
    seconds, values = [], []
    for order, (found, noise) in enumerate(rows):
        pauses = np.diff(stamps) > GAP_NS
        broken = np.zeros(len(found), dtype=bool)
        for shift in range(order):
            broken |= pauses[shift : shift + len(found)]
        sure = np.sign(found) * np.maximum(np.abs(found) - noise, 0.0)
        values.append(sure[~broken] if order else found)
        middles = (times[order:] + times[: len(times) - order]) / 2
        seconds.append(middles[~broken])
    at = np.zeros(0) if handovers is None else handovers
    at = at[(at >= begin_ns) & (at <= end_ns)]
    return Curves(seconds, values, (at - begin_ns) / NS, (end_ns - begin_ns) / NS)


def envelope(x: Floats, y: Floats, columns: int) -> tuple[Floats, Floats]:
    """At most four points for each of `columns` strips: first, least, greatest, last, in the order they came.

    Args:
        x: Increasing, shape (n,).
        y: Shape (n,).
        columns: How many strips of equal width.

    Returns:
        The points kept; whatever was greatest or least still is.
    """
    if len(x) <= 4 * columns:
        return x, y
    strip = np.minimum(((x - x[0]) / (x[-1] - x[0]) * columns).astype(int), columns - 1)
    begins = np.flatnonzero(np.diff(strip, prepend=-1))
    ends = np.append(begins[1:], len(x))
    kept = {i for b, e in zip(begins, ends, strict=True) for i in (b, b + y[b:e].argmin(), b + y[b:e].argmax(), e - 1)}
    index = np.array(sorted(int(i) for i in kept))
    return x[index], y[index]
