"""Check everything: style, types, tests (--fast leaves out the tests that start nodes)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

USAGE = """usage: vla test [--fast] [pytest arguments]

Runs ruff (rules and format), mypy, then pytest; all of them, whichever fails. The exit status is 0 only if all pass.

  --fast    leave out the tests marked "graph", which start real nodes
"""

CHECKS = {
    "rules": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
}


def run(name: str, command: Sequence[str]) -> bool:
    """Run one checker of this environment; its output is shown only if it fails."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"{name:<8}{'ok' if done.returncode == 0 else 'FAILED'}  ({time.monotonic() - start:.1f} s)", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr, flush=True)
    return done.returncode == 0


def main(argv: Sequence[str]) -> int:
    """Run every check and the tests; 0 only if all pass."""
    args = list(argv)
    if any(a in ("-h", "--help") for a in args):
        print(USAGE)
        return 0
    if not (ROOT / "pyproject.toml").is_file():
        print("vla test: works in a checkout only; this is an installed package.", file=sys.stderr)
        return 2
    if "--fast" in args:
        args.remove("--fast")
        args += ["-m", "not graph"]
    failed = [name for name, command in CHECKS.items() if not run(name, command)]
    # Paths are given as seen from where the user stands; without any, everything of the checkout is meant.
    given = any(Path(a.partition("::")[0]).exists() for a in args)
    where = Path.cwd() if given else ROOT
    command = [sys.executable, "-m", "pytest", f"--rootdir={ROOT}", "-c", str(ROOT / "pyproject.toml"), *args]
    tests = subprocess.run(command, cwd=where, env=os.environ, check=False).returncode
    if failed:
        print(f"tests {'passed' if tests == 0 else 'failed'}, but before them these failed: {', '.join(failed)}")
    return tests or int(bool(failed))
