"""Drawing for the page: SVG that takes its colours from the page's style sheet, so it follows light and dark."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def short(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def trim(value: float, digits: int = 4) -> str:
    """A number of an axis, without needless digits."""
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Scale:
    """From data to pixels, linear or logarithmic.

    Attributes:
        low: Data at `start`.
        high: Data at `end`.
        start: Pixel of `low`.
        end: Pixel of `high`.
        log: Whether the data are laid out by their logarithm.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: Floats | float) -> Floats:
        """Pixels of data."""
        low, high, x = self.low, self.high, np.asarray(values, dtype=np.float64)
        if self.log:
            low, high, x = math.log10(low), math.log10(high), np.log10(x)
        return self.start + (x - low) / (high - low) * (self.end - self.start)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two bounds, some `about` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


class Drawing:
    """Pieces of one SVG, in the order they are drawn."""

    def __init__(self, width: float, height: float, title: str) -> None:
        """Start an empty drawing that a screen reader calls `title`."""
        self.width, self.height = width, height
        self._title = html.escape(title)
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line; `kind` is a class of the style sheet."""
        self._parts.append(
            f'<line x1="{short(x1)}" y1="{short(y1)}" x2="{short(x2)}" y2="{short(y2)}" class="{kind}"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str, title: str = "") -> None:
        """A filled rectangle, with a text to be shown under the pointer."""
        inner = f"<title>{html.escape(title)}</title>" if title else ""
        size = f'width="{short(max(width, 0))}" height="{short(max(height, 0))}"'
        self._parts.append(f'<rect x="{short(x)}" y="{short(y)}" {size} class="{kind}">{inner}</rect>')

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """Text whose base line begins, is centred or ends at (x, y)."""
        self._parts.append(
            f'<text x="{short(x)}" y="{short(y)}" text-anchor="{anchor}" class="{kind}">{html.escape(text)}</text>'
        )

    def path(self, x: Floats, y: Floats, kind: str, closed: bool = False) -> None:
        """A line through points."""
        points = "L".join(f"{short(a)} {short(b)}" for a, b in zip(x, y, strict=True))
        if points:
            self._parts.append(f'<path d="M{points}{"Z" if closed else ""}" class="{kind}"/>')

    def rug(self, x: Iterable[float], top: float, bottom: float, kind: str) -> None:
        """Many short upright strokes as one piece."""
        strokes = "".join(f"M{short(a)} {short(top)}V{short(bottom)}" for a in x)
        if strokes:
            self._parts.append(f'<path d="{strokes}" class="{kind}"/>')

    def x_axis(self, scale: Scale, y: float, label: str, at: Sequence[float], names: Sequence[str] = ()) -> None:
        """Numbers below a plot, and what they are of."""
        for value, name in zip(at, names or [trim(v) for v in at], strict=True):
            x = float(scale(value))
            self.line(x, y, x, y + 4, "axis")
            self.text(x, y + 17, name, "tick", "middle")
        self.text((scale.start + scale.end) / 2, y + 35, label, "label", "middle")

    def __str__(self) -> str:
        """The SVG element."""
        return (
            f'<svg viewBox="0 0 {short(self.width)} {short(self.height)}" role="img" aria-label="{self._title}">'
            f"{''.join(self._parts)}</svg>"
        )
