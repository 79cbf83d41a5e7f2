"""A convex hull of few corners for many points, with a proved bound on what it leaves out."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_ros.core.records import Array

CORNERS = 128
"""Corners of a hull; with so many the skin of the SO-101's links is 0.3 to 0.8 mm."""


def rotation(quaternion: Array) -> Array:
    """The rotation matrix (3, 3) of a quaternion (w, x, y, z)."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def light_hull(points: Array, corners: int = CORNERS) -> tuple[Array, float]:
    """A hull with about `corners` corners inside the hull of `points`, and how far these stand out of it at most.

    A point v outside the hull lies on the ray from the hull's middle c through a facet, at s > 1 times the
    facet's distance; the ray leaves the hull (1 - 1/s) |v - c| before v, so v is at most that far from it.

    Args:
        points: Shape (n, 3) [m].
        corners: As many are kept, by Qhull's choice of the farthest; all of them if there are no more.

    Returns:
        The corners, shape (m, 3) [m], and the bound [m].
    """
    spec = mujoco.MjSpec()
    spec.add_mesh(name="points", uservert=np.unique(points, axis=0).ravel(), maxhullvert=max(corners, 4))
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="points")
    model = spec.compile()
    graph = model.mesh_graph[model.mesh_graphadr[0] :]
    count, faces = int(graph[0]), int(graph[1])
    kept = graph[2 + count : 2 + 2 * count]
    facets = graph[2 + 3 * count + 3 * faces :][: 3 * faces].reshape(-1, 3)
    at = model.mesh_vert.astype(np.float64) @ rotation(model.geom_quat[0]).T + model.geom_pos[0]
    return at[kept], _left_out(points, at[kept].mean(axis=0), at[facets])


def _left_out(points: Array, middle: Array, triangles: Array) -> float:
    first, second, third = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    normal = np.cross(second - first, third - first)
    size = np.linalg.norm(normal, axis=1)
    normal, first = normal[size > 0.0] / size[size > 0.0, None], first[size > 0.0]
    height = ((first - middle) * normal).sum(axis=1)
    normal, height = normal * np.sign(height)[:, None], np.abs(height)
    share = ((points - middle) @ normal.T / height).max(axis=1)
    beyond = 1.0 - 1.0 / np.maximum(share, 1.0)
    return float((beyond * np.linalg.norm(points - middle, axis=1)).max())
