"""The bodies of an arm's links, read once from its model and kept as light hulls.

The cache is one file named after the content of everything it depends on, and appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from vla_ros.collision.convex_hull import CORNERS, light_hull
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array

_FORMAT = 2
_BOX = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


@dataclass(frozen=True, eq=False)
class Body:
    """One link's body.

    Attributes:
        corners: Of its hull, in the frame of the link, shape (n, 3) [m].
        skin: How far the link may stand out of the hull [m].
    """

    corners: Array
    skin: float


def model_file(name: str) -> Path:
    """The file of "package:path", or of a path.

    Raises:
        ConfigError: It is not there.
    """
    package, colon, inside = name.rpartition(":")
    path = Path(inside)
    if colon:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f'the model "{name}" is in the Python package "{package}", which is not installed.')
        path = Path(next(iter(spec.submodule_search_locations))) / inside
    if not path.is_file():
        raise ConfigError(f'the model "{name}" is not there: no file {path}.')
    return path


def read_spec(path: Path) -> mujoco.MjSpec:
    """The model in a file, not yet compiled; raises `ConfigError` where MuJoCo cannot read it."""
    try:
        return mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise ConfigError(f"MuJoCo cannot read the model {path}: {str(error).splitlines()[0]}") from None


def load_bodies(path: Path, cache: Path) -> dict[str, Body]:
    """The body of every link by its name, from the folder `cache` if it was read before; else that takes some seconds.

    Raises:
        ConfigError: MuJoCo cannot read the model.
    """
    spec = read_spec(path)
    kept = cache / f"bodies-{_identity(path, spec)}.npz"
    bodies = _read(kept)
    if bodies:
        return bodies
    try:
        bodies = bodies_of(spec.compile())
    except ValueError as error:
        raise ConfigError(f"MuJoCo cannot compile the model {path}: {str(error).splitlines()[0]}") from None
    with contextlib.suppress(OSError):  # a place that cannot be written costs some seconds at the next start
        _write(kept, bodies)
    return bodies


def bodies_of(model: mujoco.MjModel) -> dict[str, Body]:
    """The bodies of a compiled model; what hangs on the world itself is left out, and so is a link without a body.

    Parts that are fixed to each other are one link, named after the part that has the joint; those fixed to the
    world are named after the first of them, and stand in the world's frame.
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    points: dict[int, list[Array]] = {}
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom] == 0 or model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE:
            continue
        link = int(model.body_weldid[model.geom_bodyid[geom]])
        at = _corners(model, geom) @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
        points.setdefault(link, []).append((at - data.xpos[link]) @ data.xmat[link].reshape(3, 3))
    bodies = {}
    for link, parts in points.items():
        head = link or next(b for b in range(1, model.nbody) if model.body_weldid[b] == 0)
        bodies[model.body(head).name] = Body(*light_hull(np.concatenate(parts)))
    return bodies


def _corners(model: mujoco.MjModel, geom: int) -> Array:
    """Points whose hull holds the geom, in its frame: of a mesh its vertices, of anything else its bounding box."""
    mesh = int(model.geom_dataid[geom])
    if mesh >= 0 and model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
        start = int(model.mesh_vertadr[mesh])
        return model.mesh_vert[start : start + int(model.mesh_vertnum[mesh])].astype(np.float64)
    middle, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    return np.asarray(middle + _BOX * half)


def _identity(path: Path, spec: mujoco.MjSpec) -> str:
    told = hashlib.sha256(f"{_FORMAT} {CORNERS} {mujoco.__version__}".encode())
    for file in (path, *(path.parent / spec.meshdir / mesh.file for mesh in spec.meshes)):
        if file.is_file():
            told.update(hashlib.sha256(file.read_bytes()).digest())
    return told.hexdigest()[:24]


def _read(file: Path) -> dict[str, Body]:
    try:
        with np.load(file, allow_pickle=False) as kept:
            return {name: Body(kept[name][:-1], float(kept[name][-1, 0])) for name in kept.files}
    except (OSError, ValueError, KeyError):
        return {}


def _write(file: Path, bodies: dict[str, Body]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, work = tempfile.mkstemp(prefix=".bodies-", dir=file.parent)
    rows = {name: np.vstack([body.corners, np.full(3, body.skin)]) for name, body in bodies.items()}
    with os.fdopen(descriptor, "wb") as stream:
        np.savez(stream, **rows)  # type: ignore[arg-type]
    Path(work).replace(file)
