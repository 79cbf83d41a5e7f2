"""Command line, tables and claims of the benches, as plain text."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path


def options(
    doc: str, argv: Sequence[str] | None, add_options: Callable[[argparse.ArgumentParser], object] | None = None
) -> argparse.Namespace:
    """Parse a command line with the options that every bench has.

    Args:
        doc: The description.
        argv: The arguments; None for those of the process.
        add_options: Adds the bench's own options to the parser.

    Returns:
        The options, among them `out`, a folder that exists or None, and `quick`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for plots and logs; without it none are kept")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to check that the bench runs")
    if add_options is not None:
        add_options(parser)
    parsed = parser.parse_args(argv)
    if parsed.out:
        parsed.out.mkdir(parents=True, exist_ok=True)
    return parsed


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column left-aligned, the others right-aligned."""
    cells = [list(head), *[list(row) for row in rows]]
    width = [max(len(row[k]) for row in cells) for k in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(width[0]), *[c.rjust(w) for c, w in zip(row[1:], width[1:], strict=True)]])
        for row in cells
    ]
    rule = "-" * max(map(len, lines))
    print("\n".join(["", title, rule, lines[0].rstrip(), rule, *[line.rstrip() for line in lines[1:]], rule]))


def number(value: float) -> str:
    """Format with three digits, with separators where it is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def verdict(claims: Sequence[tuple[str, bool]]) -> int:
    """Print each claim with "met" or "NOT MET"; returns 0 if all are met, otherwise 1."""
    print()
    for text, met in claims:
        print(f"{'met' if met else 'NOT MET':<8} {text}")
    return 0 if all(met for _, met in claims) else 1
