"""Measure: without a name the benches are listed, with one (or "all") they run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_ros.core.errors import UnknownName

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "bench"

USAGE = """usage: vla bench [name ... | all] [--quick] [--out DIR]

  --quick      a tenth of the work, to see that it runs
  --out DIR    folder for plots

Figures to reach, and those seen, stand in bench/README.md. The exit status is 1 if a figure that does not
depend on the machine's speed is missed.
"""


def benches() -> dict[str, str]:
    """Every bench with the first line of its docstring."""
    rows = {}
    for file in sorted(FOLDER.glob("[a-z]*.py")):
        doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "(undocumented)"
        rows[file.stem] = doc.splitlines()[0]
    return rows


def run(name: str, options: Sequence[str]) -> int:
    """One bench in its own process; its exit status."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    print(f"\n== {name}", flush=True)
    command = [sys.executable, "-m", f"bench.{name}", *options]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode


def main(argv: Sequence[str]) -> int:
    """List the benches, or run those named; 0 only if all of these succeed."""
    args = list(argv)
    if any(a in ("-h", "--help") for a in args):
        print(USAGE)
        return 0
    known = benches()
    if not known:
        print("vla bench: works in a checkout only; this is an installed package.", file=sys.stderr)
        return 2
    count = next((k for k, a in enumerate(args) if a.startswith("-")), len(args))
    names, options = args[:count], args[count:]
    if not names:
        width = max(map(len, known))
        print(
            "\n".join([*(f"  {name:<{width}}  {line}" for name, line in known.items()), "", "vla bench NAME runs one."])
        )
        return 0
    names = list(known) if names == ["all"] else names
    for name in names:
        if name not in known:
            raise UnknownName("bench", name, known)
    failed = [name for name in names if run(name, options)]
    return int(bool(failed))
