"""Numerical libraries on one thread: their environment variables count only when a process starts."""

from __future__ import annotations

import os
import sys

from vla_ros.cli._checkout import run_module

VARIABLES = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def rerun(module: str) -> int | None:
    """Run `module` again on one thread with the arguments of this process.

    Returns:
        Its exit status; None where this process is on one thread already and shall continue.
    """
    if all(os.environ.get(name) == value for name, value in VARIABLES.items()):
        return None
    return run_module(module, sys.argv[1:], **VARIABLES)
