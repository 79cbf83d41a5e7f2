"""What surrounds the processes of a scene: a clock that can be set, a small disk, an environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def shim(folder: Path) -> Path:
    """`clock.c`, built: the library that lets a process see another system clock."""
    made, source = folder / "clock.so", Path(__file__).with_name("clock.c")
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(made), str(source), "-ldl"]
    if not made.exists() and (not shutil.which("cc") or subprocess.run(command, check=False).returncode):
        raise AssertionError("no clock that can be set: this needs a C compiler (apt-get install gcc libc6-dev)")
    return made


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of half a megabyte in memory; needs root."""
    place = folder / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], check=False).returncode:
        raise AssertionError("a small disk needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """These variables in the environment of this process, then what was there before."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
