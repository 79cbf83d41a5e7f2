"""A run's summary for the terminal."""

from __future__ import annotations

import textwrap
from typing import Any

from vla_ros.report import formatting as words

WIDTH = 88
_LABEL = 21


def render_table(summary: dict[str, Any]) -> str:
    """A box of plain text, at most 90 columns wide, of what `summarise` found."""
    inner = WIDTH - 4
    title = f" {words.verdict(summary)} "
    lines = [f"┌─{title}{'─' * max(0, WIDTH - 3 - len(title))}┐"]
    for label, text in words.rows(summary):
        pieces = textwrap.wrap(text, inner - _LABEL) or [""]
        for i, piece in enumerate(pieces):
            lines.append(f"│ {(label if i == 0 else '').ljust(_LABEL)}{piece.ljust(inner - _LABEL)} │")
    lines.append(f"├{'─' * (WIDTH - 2)}┤")
    reasons = summary["why_not_whole"]
    foot = (
        ["whole: no limit exceeded, nothing lost"] if summary["whole"] else ["not whole:", *(f"- {r}" for r in reasons)]
    )
    for text in foot:
        lines += [f"│ {piece.ljust(inner)} │" for piece in textwrap.wrap(text, inner, subsequent_indent="  ")]
    lines.append(f"└{'─' * (WIDTH - 2)}┘")
    return "\n".join(lines)
