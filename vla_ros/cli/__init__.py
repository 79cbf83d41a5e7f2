"""The command line: `vla <command>` runs `main(argv)` of the module of that name in this folder.

The first line of a module's docstring is its line in the help. This module imports only the standard library, so that
`vla --help` and the error for an unknown command need no installation.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

_FREQUENT = ("demo", "test", "train", "bench", "status")


def commands() -> dict[str, str]:
    """Every command with its help line: frequent ones first, then by name."""
    rows = {}
    for file in Path(__file__).parent.glob("[a-z]*.py"):
        doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "(undocumented)"
        rows[file.stem] = doc.splitlines()[0]
    order = sorted(rows, key=lambda name: (_FREQUENT.index(name) if name in _FREQUENT else len(_FREQUENT), name))
    return {name: rows[name] for name in order}


def usage() -> str:
    """The text of `vla --help`."""
    rows = [f"  {name:<10} {line}" for name, line in commands().items()]
    return "\n".join(
        [
            "vla: runs a vision-language-action policy on a robot arm under a safety supervisor.",
            "",
            "usage: vla <command> [options]     vla <command> --help shows the options of a command",
            "",
            *rows,
            "",
            "In a checkout, the first `./vla <command>` sets up an environment in .venv (about 2 GB).",
            "It uses the ROS 2 distribution that is sourced; without one it installs ROS 2 in the environment.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The command and its arguments; None for those of the process.

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
    from vla_ros.core.errors import VlaError  # not at the top, because it imports numpy

    try:
        return int(importlib.import_module(f"vla_ros.cli.{name}").main(args[1:]) or 0)
    except VlaError as error:
        print(f"vla {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
