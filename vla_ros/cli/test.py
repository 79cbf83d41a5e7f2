"""Check code style, formatting and types, then run the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

USAGE = """usage: vla test [--fast] [pytest arguments]

Runs ruff check, ruff format --check and mypy at the same time, then pytest. Every check runs, even if another one
fails. The exit status is 0 only if all of them pass.

  --fast    leave out the tests that start ROS nodes (those marked "graph")
"""

CHECKS = {
    "rules": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
}
"""Arguments of `python -m` by the name of the check."""


def run_check(name: str) -> bool:
    """Run one check; print whether it passed, and its output if it failed."""
    start = time.monotonic()
    command = [sys.executable, "-m", *CHECKS[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    result = "ok" if done.returncode == 0 else "FAILED"
    output = f"\n{done.stdout}{done.stderr}" if done.returncode else ""
    print(f"{name:<8}{result}  ({time.monotonic() - start:.1f} s){output}", flush=True)
    return done.returncode == 0


def main(argv: Sequence[str]) -> int:
    """Run the checks and the tests; return 0 only if all pass."""
    args = list(argv)
    if any(a in ("-h", "--help") for a in args):
        print(USAGE)
        return 0
    if not (ROOT / "pyproject.toml").is_file():
        print("vla test: requires a checkout; this is an installed package.", file=sys.stderr)
        return 2
    if "--fast" in args:
        args.remove("--fast")
        args += ["-m", "not graph"]
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        failed = [name for name, passed in zip(CHECKS, pool.map(run_check, CHECKS), strict=True) if not passed]
    # Paths among the arguments are relative to the working directory; without any, all tests of the checkout run.
    has_path = any(Path(a.partition("::")[0]).exists() for a in args)
    cwd = Path.cwd() if has_path else ROOT
    command = [sys.executable, "-m", "pytest", f"--rootdir={ROOT}", "-c", str(ROOT / "pyproject.toml"), *args]
    status = subprocess.run(command, cwd=cwd, env=os.environ, check=False).returncode
    if failed:
        print(f"tests {'passed' if status == 0 else 'failed'}; failed before them: {', '.join(failed)}")
    return status or int(bool(failed))
