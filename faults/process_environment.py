"""What surrounds the processes of a scene: a settable system clock, a small disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def build_clock_library(folder: Path) -> Path:
    """Compile `system_clock.c`, the library that gives a process a system clock that can be set."""
    library, source = folder / "system_clock.so", Path(__file__).with_name("system_clock.c")
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(source), "-ldl"]
    if not library.exists() and (not shutil.which("cc") or subprocess.run(command, check=False).returncode):
        raise AssertionError("a settable clock needs a C compiler (apt-get install gcc libc6-dev)")
    return library


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 512 KiB in memory, mounted below `folder`; needs root."""
    disk = folder / "small"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], check=False).returncode:
        raise AssertionError("a small disk needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
