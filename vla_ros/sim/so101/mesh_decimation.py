"""Mesh decimation by vertex clustering with one quadric-optimal vertex per voxel, in numpy.

The method is that of Lindstrom, "Out-of-core simplification of large polygonal models" (2000): space is divided into
voxels, every occupied voxel keeps one vertex, and this vertex minimises the summed squared distance to the planes of
its triangles. This preserves edges and flat faces, which averaging would round off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import Array

Faces = npt.NDArray[np.int64]

_STL_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_STL_HEADER = 80


def read_stl(path: Path) -> Array:
    """Read a binary STL file.

    Args:
        path: The file.

    Returns:
        Corners of its triangles, shape (F, 3, 3), in the units of the file.

    Raises:
        ValueError: The file is truncated, or is not binary STL.
    """
    data = path.read_bytes()
    count = int.from_bytes(data[_STL_HEADER : _STL_HEADER + 4], "little") if len(data) > _STL_HEADER + 4 else 0
    if count == 0 or len(data) < _STL_HEADER + 4 + count * _STL_RECORD.itemsize:
        raise ValueError(f"{path.name} is not a complete binary STL file.")
    records = np.frombuffer(data, _STL_RECORD, count, _STL_HEADER + 4)
    return records["corners"].astype(np.float64)


def write_stl(path: Path, triangles: Array) -> None:
    """Write corners of shape (F, 3, 3) as a binary STL file."""
    records = np.zeros(len(triangles), _STL_RECORD)
    records["corners"] = triangles
    records["normal"] = _unit(_normals(triangles))
    path.write_bytes(bytes(_STL_HEADER) + len(triangles).to_bytes(4, "little") + records.tobytes())


def decimate(triangles: Array, voxel: float) -> Array:
    """Merge the vertices of a mesh that lie in the same voxel.

    Args:
        triangles: Corners, shape (F, 3, 3).
        voxel: Edge of the voxels, in the unit of the corners; smaller details vanish.

    Returns:
        Corners of the remaining triangles, shape (G, 3, 3), G <= F.
    """
    corners = triangles.reshape(-1, 3)
    origin = corners.min(axis=0)
    keys = np.floor((corners - origin) / voxel + 0.5).astype(np.int64)
    _, first, label = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    label = label.reshape(-1)
    vertices = _optimal_vertices(triangles, corners, label, len(first), voxel)
    return vertices[_nondegenerate(label.reshape(-1, 3))]


def _nondegenerate(faces: Faces) -> Faces:
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return faces[np.sort(first)]


def _optimal_vertices(triangles: Array, corners: Array, label: Faces, count: int, voxel: float) -> Array:
    """Per voxel, the point of minimum summed squared distance to the planes of its triangles, shape (count, 3)."""
    members = np.bincount(label, minlength=count)[:, None]
    centre = np.stack([np.bincount(label, corners[:, k], count) for k in range(3)], axis=1) / members
    plane = np.repeat(_normals(triangles), 3, axis=0)
    offset = ((corners - centre[label]) * plane).sum(axis=1)
    a = np.zeros((count, 3, 3))
    b = np.zeros((count, 3))
    for i in range(3):
        b[:, i] = np.bincount(label, plane[:, i] * offset, count)
        for j in range(3):
            a[:, i, j] = np.bincount(label, plane[:, i] * plane[:, j], count)
    # Directions that the planes do not determine (planar or straight voxels) stay at the mean.
    values, axes = np.linalg.eigh(a)
    significant = values > 1e-3 * np.maximum(values[:, -1:], 1e-30)
    inverse = np.where(significant, 1.0 / np.where(significant, values, 1.0), 0.0)
    local = np.einsum("nij,nj->ni", axes, inverse * np.einsum("nji,nj->ni", axes, b))
    return np.asarray(centre + np.clip(local, -voxel, voxel))


def _normals(triangles: Array) -> Array:
    return np.asarray(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]))


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0.0, length, 1.0))
