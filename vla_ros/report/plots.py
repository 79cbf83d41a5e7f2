"""The plots of the report page, as SVG."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.robot import Limits
from vla_ros.report.curves import CommandCurves, envelope
from vla_ros.report.formatting import microseconds, percent
from vla_ros.report.svg import Drawing, Scale, tick_label, ticks

Floats = npt.NDArray[np.float64]
UNITS = ("rad", "rad/s", "rad/s²", "rad/s³")
NAMES = ("Position", "Velocity", "Acceleration", "Jerk")
WIDTH = 480.0
"""Width of every plot [px]."""
_LEFT, _RIGHT, _PANEL, _GAP = 52.0, 8.0, 62.0, 24.0
_BINS = 400


def joint_motion(curves: CommandCurves, limits: Limits, order: int) -> str:
    """One quantity of every joint with its limits; the region beyond a limit is shaded.

    Args:
        curves: The commands and their derivatives.
        limits: The limits of the robot, for the same joints.
        order: Index into `NAMES`: 0 position to 3 jerk.
    """
    top, step = 20.0, _PANEL + _GAP
    bottom = top + step * len(limits.joints) - _GAP
    d = Drawing(WIDTH, bottom + 62.0, f"{NAMES[order]} of every joint over one episode, with its limits")
    x = Scale(0.0, curves.duration, _LEFT, WIDTH - _RIGHT)
    bounds = (None, limits.velocity, limits.acceleration, limits.jerk)[order]
    for j, joint in enumerate(limits.joints):
        high = float(limits.upper[j] if bounds is None else bounds[j])
        low = float(limits.lower[j] if bounds is None else -bounds[j])
        _joint_panel(d, x, top + j * step, curves.seconds[order], curves.values[order][:, j], (low, high))
        d.text(_LEFT, top + j * step - 5, joint.replace("_", " "), "joint")
    d.mark_row((float(v) for v in x(curves.handovers)), bottom + 5, bottom + 13, "handover")
    d.line(_LEFT, bottom + 18, WIDTH - _RIGHT, bottom + 18, "axis")
    d.x_axis(x, bottom + 18, "time in the episode [s]", ticks(0.0, curves.duration, 6))
    return str(d)


def _joint_panel(
    d: Drawing, x: Scale, top: float, seconds: Floats, values: Floats, bounds: tuple[float, float]
) -> None:
    """The curve of one joint between its limits."""
    low, high = bounds
    maximum = max([high, *values.tolist()]) if len(values) else high
    minimum = min([low, *values.tolist()]) if len(values) else low
    pad = 0.1 * (high - low)
    y = Scale(max(maximum, high + pad), min(minimum, low - pad), top, top + _PANEL)
    left, width = x.start, x.end - x.start
    for bound, edge in ((high, top), (low, top + _PANEL)):
        at = float(y(bound))
        d.box(left, min(at, edge), width, abs(at - edge), "beyond")
        d.line(left, at, x.end, at, "limit")
        d.text(left - 5, at + 4, tick_label(bound, 3), "tick", "end")
    if low < 0.0 < high:
        d.line(left, float(y(0.0)), x.end, float(y(0.0)), "zero")
        if (0.0 - low) / (high - low) > 0.25:
            d.text(left - 5, float(y(0.0)) + 4, "0", "tick", "end")
    if len(values):
        reduced = envelope(seconds, values, _BINS)
        d.path(x(reduced[0]), y(reduced[1]), "curve")


def limit_use(ratios: dict[str, float | None]) -> str:
    """Bar chart of the largest fraction of each limit that the run reached."""
    d = Drawing(WIDTH, 196.0, "Largest fraction of each limit that was reached")
    known = [v for v in ratios.values() if v is not None]
    x = Scale(0.0, max(1.08, *known) if known else 1.08, 96.0, WIDTH - 12.0)
    limit = float(x(1.0))
    d.box(limit, 8, x.end - limit, 138, "beyond")
    for i, (quantity, ratio) in enumerate(ratios.items()):
        y = 14.0 + 34.0 * i
        d.text(x.start - 8, y + 17, quantity, "label", "end")
        if ratio is None:
            d.text(x.start + 6, y + 17, "not known", "tick")
            continue
        exceeded = ratio > 1.0 + 1e-6
        title = f"{quantity}: {100 * ratio:.3f} %"
        d.box(x.start, y, float(x(ratio)) - x.start, 24, "exceeded" if exceeded else "bar", title)
        d.text(float(x(min(ratio, 1.0))) - 7, y + 17, percent(ratio, 2), "inbar", "end")
    d.line(limit, 6, limit, 146, "limit")
    d.line(x.start, 146, x.end, 146, "axis")
    marks = [v for v in ticks(0.0, x.high, 5) if v <= x.high]
    d.x_axis(x, 146, "largest value reached, in % of the limit", marks, [f"{100 * m:.0f}" for m in marks])
    return str(d)


def period_error_histogram(errors: Floats, baseline: Floats | None, period_us: float) -> str:
    """Histogram of the period error on logarithmic axes, with that of the baseline loop as an outline.

    Args:
        errors: Of the command loop, shape (n,), n >= 1 [us].
        baseline: Of the baseline loop [us]; None without one.
        period_us: Period of the loops [us].
    """
    low, high = 0.1, 10.0 ** np.ceil(np.log10(max(float(errors.max()), period_us * 2.0, 1e3)))
    if baseline is not None and len(baseline):
        high = max(high, 10.0 ** np.ceil(np.log10(max(float(baseline.max()), 1.0))))
    edges = np.geomspace(low, high, 1 + int(10 * np.log10(high / low)))
    groups = [(errors, "fill")] + ([(baseline, "outline")] if baseline is not None and len(baseline) else [])
    shares = [np.histogram(np.clip(g, low, high), edges)[0] / len(g) for g, _ in groups]
    minimum = 10.0 ** np.floor(np.log10(min(1.0 / len(g) for g, _ in groups)))
    d = Drawing(WIDTH, 292.0, "Period error of the command loop and of the baseline loop")
    top, bottom = 26.0, 240.0
    x = Scale(low, high, _LEFT, WIDTH - 24.0, log=True)
    y = Scale(minimum, 1.0, bottom, top, log=True)
    _decade_grid(d, x, y, minimum)
    for share, (_, kind) in zip(shares, groups, strict=True):
        px, py = _histogram_outline(edges, share, x, y)
        d.path(px, py, kind, closed=kind == "fill")
    at = float(x(period_us))
    d.line(at, top, at, bottom, "mark")
    d.text(at, top - 8, "one period", "tick", "middle")
    decades = [float(v) for v in 10.0 ** np.arange(-1, np.log10(high) + 0.5)]
    names = ["0.1 µs", *(microseconds(v).replace(".0", "") for v in decades[1:])]
    d.x_axis(x, bottom, "absolute period error", decades, names)
    return str(d)


def _decade_grid(d: Drawing, x: Scale, y: Scale, minimum: float) -> None:
    """Horizontal grid lines at the powers of ten, labelled in percent."""
    value = minimum
    while value <= 1.0 + 1e-12:
        at = float(y(value))
        d.line(x.start, at, x.end, at, "grid" if value > minimum else "axis")
        d.text(x.start - 5, at + 4, f"{100 * value:.10f}".rstrip("0").rstrip("."), "tick", "end")
        value *= 10.0
    d.text(2, 11, "% of periods", "tick")


def _histogram_outline(edges: Floats, heights: Floats, x: Scale, y: Scale) -> tuple[Floats, Floats]:
    """Pixels of the outline of a histogram, from the axis to the axis."""
    tops = y(np.maximum(heights, y.low))
    foot = [y.start]
    return x(np.repeat(edges, 2)), np.concatenate([foot, np.repeat(tops, 2), foot])


def latency_histogram(milliseconds: Floats) -> str:
    """Histogram of the latency from image capture to the first command of the plan based on it, shape (n,) [ms]."""
    p50, p99, maximum = np.percentile(milliseconds, [50, 99, 100])
    marks = ticks(0.0, float(maximum) * 1.05, 6)
    high = marks[-1] + (marks[1] - marks[0])
    counts, edges = np.histogram(milliseconds, np.linspace(0.0, high, 49))
    d = Drawing(WIDTH, 292.0, "Latency from image capture to the first command of the plan based on it")
    top, bottom = 26.0, 240.0
    x = Scale(0.0, high, _LEFT, WIDTH - _RIGHT)
    y = Scale(0.0, max(1.0, 1.08 * float(counts.max())), bottom, top)
    for value in ticks(0.0, y.high, 4):
        if value == int(value):
            d.line(x.start, float(y(value)), x.end, float(y(value)), "grid" if value else "axis")
            d.text(x.start - 5, float(y(value)) + 4, f"{value:.0f}", "tick", "end")
    d.text(2, 11, "plans", "tick")
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            a, b, h = float(x(left)), float(x(right)), float(y(count))
            d.box(a + 0.5, h, b - a - 1.0, bottom - h, "bar", f"{left:.0f} to {right:.0f} ms: {count}")
    close = float(x(p99) - x(p50)) < 84
    for value, name, anchor in ((p50, "median", "end" if close else "middle"), (p99, "99 %", "start")):
        at = float(x(value))
        d.line(at, top, at, bottom, "mark")
        d.text(at + (0 if anchor == "middle" else -2), top - 8, f"{name} {value:.0f} ms", "tick", anchor)
    d.x_axis(x, bottom, "from image capture to first command [ms]", [v for v in marks if v <= high])
    return str(d)


def acceptance_bars(group: dict[str, Any] | None, accepted: str) -> list[tuple[str, int, float]]:
    """Rows of the bar chart of accepted and refused plans or chunks: name, count, length relative to the longest.

    Args:
        group: `plans` or `chunks` of the summary.
        accepted: Key of the accepted ones: "accepted" or "planned".
    """
    if group is None:
        return []
    counts = [(accepted, int(group[accepted] or 0))]
    counts += sorted(
        ((f"refused: {k.replace('_', ' ')}", int(v)) for k, v in group["refused"].items()), key=lambda item: -item[1]
    )
    longest = max(1, *(n for _, n in counts))
    return [(name, n, n / longest) for name, n in counts]
