"""Formats the summary of a run as a text table for the terminal."""

from __future__ import annotations

import textwrap
from typing import Any

from vla_ros.report import formatting

WIDTH = 88
"""Width of the table [characters]."""
_LABEL = 21


def render_table(summary: dict[str, Any]) -> str:
    """The summary as a boxed table of `WIDTH` columns."""
    inner = WIDTH - 4
    title = f" {formatting.headline(summary)} "
    lines = [f"┌─{title}{'─' * max(0, WIDTH - 3 - len(title))}┐"]
    for label, text in formatting.rows(summary):
        wrapped = textwrap.wrap(text, inner - _LABEL) or [""]
        for i, line in enumerate(wrapped):
            lines.append(f"│ {(label if i == 0 else '').ljust(_LABEL)}{line.ljust(inner - _LABEL)} │")
    lines.append(f"├{'─' * (WIDTH - 2)}┤")
    if summary["passed"]:
        footer = ["passed: no limit exceeded, no process lost"]
    else:
        footer = ["failed:", *(f"- {reason}" for reason in summary["failure_reasons"])]
    for text in footer:
        lines += [f"│ {line.ljust(inner)} │" for line in textwrap.wrap(text, inner, subsequent_indent="  ")]
    lines.append(f"└{'─' * (WIDTH - 2)}┘")
    return "\n".join(lines)
