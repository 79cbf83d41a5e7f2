"""Inject faults into a running system and check how the supervisor reacts."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vla_ros.cli import _checkout


def main(argv: Sequence[str]) -> int:
    """Run faults/run.py of the checkout in place of this process.

    Returns:
        Its exit status; 2 without a checkout.
    """
    if not (_checkout.ROOT / "faults" / "run.py").is_file():
        print("vla faults: needs a checkout; this is an installed package.", file=sys.stderr)
        return 2
    return _checkout.replace_process("faults.run", argv)
