"""Copies the files that are packaged, so that a build does not write into the checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("package.xml", "setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "LICENSE", "CHANGELOG.md")
FOLDERS = ("vla_ros", "config", "launch", "resource")


def copy_source(target: Path) -> Path:
    """Copy the sources of the package, without caches, into a folder that must not exist."""
    target.mkdir(parents=True)
    for name in FILES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, target / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return target


def source_files(folder: str, suffix: str = "") -> set[str]:
    """The files below a folder of the checkout, as paths relative to the checkout."""
    found = (ROOT / folder).rglob(f"*{suffix}")
    return {str(f.relative_to(ROOT)) for f in found if f.is_file() and "__pycache__" not in f.parts}
