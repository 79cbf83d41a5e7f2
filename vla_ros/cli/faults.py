"""Break things while a simulated arm moves, and tell what the supervisor did (--help teaches)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str]) -> int:
    """Hand over to faults/run.py of the checkout."""
    script = ROOT / "faults" / "run.py"
    if not script.is_file():
        print("vla faults: works in a checkout only; this is an installed package.", file=sys.stderr)
        return 2
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    # In this process, so that Ctrl-C is heard once, by whoever has to clear up after it.
    return os.execve(sys.executable, [sys.executable, str(script), *argv], {**os.environ, "PYTHONPATH": path})
