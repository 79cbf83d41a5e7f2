"""Command line and tables of the benches: plain text, so that they can be pasted."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path


def options(
    doc: str, argv: Sequence[str] | None, more: Callable[[argparse.ArgumentParser], object] | None = None
) -> argparse.Namespace:
    """The options every bench has: `out` (a folder, made if missing, or None) and `quick`; `more` adds its own."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for plots; none are drawn without it")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
    if more is not None:
        more(parser)
    given = parser.parse_args(argv)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
    return given


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: first column to the left, the others to the right."""
    cells = [list(head), *[list(row) for row in rows]]
    width = [max(len(row[k]) for row in cells) for k in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(width[0]), *[c.rjust(w) for c, w in zip(row[1:], width[1:], strict=True)]])
        for row in cells
    ]
    rule = "-" * max(map(len, lines))
    print("\n".join(["", title, rule, lines[0].rstrip(), rule, *[line.rstrip() for line in lines[1:]], rule]))


def number(value: float) -> str:
    """Three digits, with separators where it is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def verdict(claims: Sequence[tuple[str, bool]]) -> int:
    """Print each claim with met or NOT MET; 0 if all are met, else 1."""
    print()
    for text, met in claims:
        print(f"{'met' if met else 'NOT MET':<8} {text}")
    return 0 if all(met for _, met in claims) else 1
