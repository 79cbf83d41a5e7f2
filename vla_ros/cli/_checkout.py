"""Run the programs of a checkout that are not part of the installed package: benches, experiments, faults."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_ros.core.errors import UnknownName

ROOT = Path(__file__).resolve().parents[2]
_RUN = """
import runpy, sys
sys.path = [p for p in sys.path if p]
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def programs(folder: str) -> dict[str, str]:
    """Name and first docstring line of every program in a folder of the checkout.

    A program is a module, or a package with a `__main__.py`.

    Args:
        folder: For example "bench".

    Returns:
        In alphabetical order; empty where the package is installed without its checkout.
    """
    files = {file.stem: file for file in (ROOT / folder).glob("[a-z]*.py")}
    files |= {file.parent.name: file.with_name("__init__.py") for file in (ROOT / folder).glob("[a-z]*/__main__.py")}
    rows = {}
    for name in sorted(files):
        doc = ast.get_docstring(ast.parse(files[name].read_text(encoding="utf-8"))) or "(undocumented)"
        rows[name] = doc.splitlines()[0]
    return rows


def print_programs(folder: str) -> None:
    """Print a line for every program in a folder."""
    rows = programs(folder)
    width = max(map(len, rows), default=0)
    print("\n".join(f"  {name:<{width}}  {line}" for name, line in rows.items()))


def check_names(folder: str, kind: str, names: Sequence[str]) -> bool:
    """Check that programs exist.

    Returns:
        False, after an error message, where there is no checkout.

    Raises:
        UnknownName: A name is not one of them; the error suggests the most similar name.
    """
    known = programs(folder)
    if not known:
        print(f"vla {kind}: needs a checkout; this is an installed package.", file=sys.stderr)
        return False
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)
    return True


def environment() -> dict[str, str]:
    """The environment with the checkout first on PYTHONPATH."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def module_command(module: str, options: Sequence[str]) -> list[str]:
    """The command that runs a module of the checkout.

    `python -m` would search the working directory first, and run the module of another checkout there.
    """
    return [sys.executable, "-c", _RUN, module, *options]


def run_module(module: str, options: Sequence[str], **variables: str) -> int:
    """Run a module of the checkout in a process of its own, with additional environment variables.

    Returns:
        Its exit status.
    """
    return subprocess.run(module_command(module, options), env={**environment(), **variables}, check=False).returncode


def replace_process(module: str, options: Sequence[str]) -> int:
    """Run a module of the checkout in place of this process, so that only the module receives Ctrl-C."""
    return os.execve(sys.executable, module_command(module, options), environment())
