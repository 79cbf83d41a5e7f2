"""The command line: `vla <command>` runs `main(argv)` of the module of that name in this folder.

A command is a file: its docstring's first line is its help line. This module imports only the
standard library, so that help and a mistyped name are answered before anything is installed.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

_FIRST = ("demo", "test", "train", "bench", "status")


def commands() -> dict[str, str]:
    """Every command with its help line; the usual ones first, then by name."""
    rows = {}
    for file in Path(__file__).parent.glob("[a-z]*.py"):
        doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "(undocumented)"
        rows[file.stem] = doc.splitlines()[0]
    order = sorted(rows, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return {name: rows[name] for name in order}


def usage() -> str:
    """What `vla --help` prints."""
    rows = [f"  {name:<9} {line}" for name, line in commands().items()]
    return "\n".join(
        [
            "vla: cameras and joints in, supervised joint commands out.",
            "",
            "usage: vla <command> [options]     vla <command> --help tells a command's options",
            "",
            *rows,
            "",
            "`./vla` in a checkout sets up its own environment (.venv) on the first start: about 2 GB.",
            "With a ROS 2 environment sourced it uses that ROS; else it brings its own.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The command and its arguments; those of the process if None.

    Returns:
        The exit status: 0 for success, 2 for a command that does not exist.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name = args[0]
    if name not in commands():
        near = difflib.get_close_matches(name, commands(), n=1, cutoff=0.4)
        hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(commands())}."
        print(f'vla: unknown command "{name}"; {hint}', file=sys.stderr)
        return 2
    from vla_ros.core.errors import VlaError  # here, because the core needs numpy

    try:
        return int(importlib.import_module(f"vla_ros.cli.{name}").main(args[1:]) or 0)
    except VlaError as error:
        print(f"vla {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
