"""Resident memory of a process."""

from __future__ import annotations

import os
from pathlib import Path


def memory_mb(process: int | str = "self") -> float:
    """Resident memory of a process, by its id; of this process by default [MB]."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
