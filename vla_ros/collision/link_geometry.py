"""Geometry of an arm's links: read from its model, reduced to simplified hulls, and cached.

The cache is one file, named after a hash of everything it depends on and written atomically.
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

from vla_ros.collision.convex_hull import MAX_VERTICES, simplified_hull
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array

_FORMAT = 2
_BOX = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


@dataclass(frozen=True, eq=False)
class LinkGeometry:
    """Geometry of one link.

    Attributes:
        vertices: Vertices of its hull in the frame of the link, shape (n, 3) [m].
        margin: Maximum distance by which the link protrudes from the hull [m].
    """

    vertices: Array
    margin: float


def resolve_model_path(name: str) -> Path:
    """The file named by a path or by "package:path" (a path inside an installed Python package).

    Raises:
        ConfigError: The package is not installed or the file does not exist.
    """
    package, colon, inside = name.rpartition(":")
    path = Path(inside)
    if colon:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f'the model "{name}" requires the Python package "{package}", which is not installed.')
        path = Path(next(iter(spec.submodule_search_locations))) / inside
    if not path.is_file():
        raise ConfigError(f'the model "{name}" was not found: no file {path}.')
    return path


def read_spec(path: Path) -> mujoco.MjSpec:
    """The uncompiled model in a file; raises `ConfigError` if MuJoCo cannot read it."""
    try:
        return mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise ConfigError(f"MuJoCo cannot read the model {path}: {str(error).splitlines()[0]}") from None


def load_link_geometry(path: Path, cache: Path) -> dict[str, LinkGeometry]:
    """The geometry of every link by its name, from the folder `cache` if present there; otherwise it takes seconds.

    Raises:
        ConfigError: MuJoCo cannot read or compile the model.
    """
    spec = read_spec(path)
    file = cache / f"bodies-{_content_hash(path, spec)}.npz"
    links = _read(file)
    if links:
        return links
    try:
        links = link_geometry_of(spec.compile())
    except ValueError as error:
        raise ConfigError(f"MuJoCo cannot compile the model {path}: {str(error).splitlines()[0]}") from None
    with contextlib.suppress(OSError):  # a cache that cannot be written costs some seconds at the next start
        _write(file, links)
    return links


def link_geometry_of(model: mujoco.MjModel) -> dict[str, LinkGeometry]:
    """The geometry of the links of a compiled model; geoms of the world itself and links without geoms are omitted.

    Bodies that are fixed to each other are one link, named after the body with the joint. Bodies that are fixed to
    the world are one link in the world frame, named after the first of them.
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    points: dict[int, list[Array]] = {}
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom] == 0 or model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE:
            continue
        link = int(model.body_weldid[model.geom_bodyid[geom]])
        positions = _vertices(model, geom) @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
        points.setdefault(link, []).append((positions - data.xpos[link]) @ data.xmat[link].reshape(3, 3))
    links = {}
    for link, parts in points.items():
        named_body = link or next(b for b in range(1, model.nbody) if model.body_weldid[b] == 0)
        links[model.body(named_body).name] = LinkGeometry(*simplified_hull(np.concatenate(parts)))
    return links


def _vertices(model: mujoco.MjModel, geom: int) -> Array:
    """Points whose hull contains the geom, in its frame: the vertices of a mesh, else those of the bounding box."""
    mesh = int(model.geom_dataid[geom])
    if mesh >= 0 and model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
        start = int(model.mesh_vertadr[mesh])
        return model.mesh_vert[start : start + int(model.mesh_vertnum[mesh])].astype(np.float64)
    middle, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    return np.asarray(middle + _BOX * half)


def _content_hash(path: Path, spec: mujoco.MjSpec) -> str:
    """Hash of the model file, its meshes, the versions and the settings."""
    digest = hashlib.sha256(f"{_FORMAT} {MAX_VERTICES} {mujoco.__version__}".encode())
    for file in (path, *(path.parent / spec.meshdir / mesh.file for mesh in spec.meshes)):
        if file.is_file():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:24]


def _read(file: Path) -> dict[str, LinkGeometry]:
    try:
        with np.load(file, allow_pickle=False) as rows:
            return {name: LinkGeometry(rows[name][:-1], float(rows[name][-1, 0])) for name in rows.files}
    except (OSError, ValueError, KeyError):
        return {}


def _write(file: Path, links: dict[str, LinkGeometry]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".bodies-", dir=file.parent)
    rows = {name: np.vstack([link.vertices, np.full(3, link.margin)]) for name, link in links.items()}
    with os.fdopen(descriptor, "wb") as stream:
        np.savez(stream, **rows)  # type: ignore[arg-type]
    Path(temporary).replace(file)
