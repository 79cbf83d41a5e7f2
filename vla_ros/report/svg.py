"""A minimal SVG writer. Colours come from the style sheet of the page, so plots follow its light and dark modes."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def px(value: float) -> str:
    """A coordinate, rounded to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def tick_label(value: float, digits: int = 4) -> str:
    """A number on an axis, with at most `digits` significant digits."""
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Scale:
    """Linear or logarithmic mapping from data to pixels.

    Attributes:
        low: Data value at `start`.
        high: Data value at `end`.
        start: Pixel of `low`.
        end: Pixel of `high`.
        log: Whether the axis is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: Floats | float) -> Floats:
        """Map data values to pixels."""
        low, high, x = self.low, self.high, np.asarray(values, dtype=np.float64)
        if self.log:
            low, high, x = math.log10(low), math.log10(high), np.log10(x)
        return self.start + (x - low) / (high - low) * (self.end - self.start)


def ticks(low: float, high: float, target_count: int = 5) -> list[float]:
    """Multiples of a round step between two bounds, approximately `target_count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / target_count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


class Drawing:
    """The elements of one SVG image, in drawing order. `kind` is always a class of the style sheet."""

    def __init__(self, width: float, height: float, title: str) -> None:
        """Create an empty drawing; `title` is its text for screen readers."""
        self.width, self.height = width, height
        self._title = html.escape(title)
        self._elements: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Add a straight line."""
        self._elements.append(f'<line x1="{px(x1)}" y1="{px(y1)}" x2="{px(x2)}" y2="{px(y2)}" class="{kind}"/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str, title: str = "") -> None:
        """Add a filled rectangle, with a tooltip if `title` is given."""
        inner = f"<title>{html.escape(title)}</title>" if title else ""
        size = f'width="{px(max(width, 0))}" height="{px(max(height, 0))}"'
        self._elements.append(f'<rect x="{px(x)}" y="{px(y)}" {size} class="{kind}">{inner}</rect>')

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """Add text; `anchor` is "start", "middle" or "end" of the baseline at (x, y)."""
        self._elements.append(
            f'<text x="{px(x)}" y="{px(y)}" text-anchor="{anchor}" class="{kind}">{html.escape(text)}</text>'
        )

    def path(self, x: Floats, y: Floats, kind: str, closed: bool = False) -> None:
        """Add a polyline through points."""
        points = "L".join(f"{px(a)} {px(b)}" for a, b in zip(x, y, strict=True))
        if points:
            self._elements.append(f'<path d="M{points}{"Z" if closed else ""}" class="{kind}"/>')

    def mark_row(self, x: Iterable[float], top: float, bottom: float, kind: str) -> None:
        """Add vertical marks at the positions `x`, as one element."""
        strokes = "".join(f"M{px(a)} {px(top)}V{px(bottom)}" for a in x)
        if strokes:
            self._elements.append(f'<path d="{strokes}" class="{kind}"/>')

    def x_axis(self, scale: Scale, y: float, label: str, at: Sequence[float], names: Sequence[str] = ()) -> None:
        """Add the ticks, tick labels and label of an x axis below a plot."""
        for value, name in zip(at, names or [tick_label(v) for v in at], strict=True):
            x = float(scale(value))
            self.line(x, y, x, y + 4, "axis")
            self.text(x, y + 17, name, "tick", "middle")
        self.text((scale.start + scale.end) / 2, y + 35, label, "label", "middle")

    def __str__(self) -> str:
        """The SVG markup."""
        return (
            f'<svg viewBox="0 0 {px(self.width)} {px(self.height)}" role="img" aria-label="{self._title}">'
            f"{''.join(self._elements)}</svg>"
        )
