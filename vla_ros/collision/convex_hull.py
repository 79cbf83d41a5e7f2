"""A convex hull of few corners for many points, and how far the points stand out of it."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_ros.core.records import Array

CORNERS = 128
"""Corners of a hull; with so many the points of the SO-101's links stand out by less than 1 mm."""
_BALL_M = 1e-3


def rotation(quaternion: Array) -> Array:
    """The rotation matrix (3, 3) of a quaternion (w, x, y, z)."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def light_hull(points: Array, corners: int = CORNERS) -> tuple[Array, float]:
    """A hull with about `corners` corners inside the hull of `points`, and how far these stand out of it at most.

    Args:
        points: Shape (n, 3) [m].
        corners: As many are kept, by Qhull's choice of the farthest; all of them if there are no more.

    Returns:
        The corners, shape (m, 3) [m], and the greatest distance of a point from the hull [m].
    """
    spec = mujoco.MjSpec()
    spec.add_mesh(name="points", uservert=np.unique(points, axis=0).ravel(), maxhullvert=max(corners, 4))
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="points")
    model = spec.compile()
    graph = model.mesh_graph[model.mesh_graphadr[0] :]
    count = int(graph[0])
    kept = graph[2 + count : 2 + 2 * count]
    at = model.mesh_vert.astype(np.float64) @ rotation(model.geom_quat[0]).T + model.geom_pos[0]
    return at[kept], _farthest(np.unique(points, axis=0), at[kept])


def _farthest(points: Array, corners: Array) -> float:
    """The greatest distance of a point from the hull of the corners [m], each as that of a small ball."""
    spec = mujoco.MjSpec()
    spec.add_mesh(name="hull", uservert=corners.ravel())
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="hull")
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[_BALL_M, 0.0, 0.0])
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    farthest = 0.0
    for point in points:
        data.geom_xpos[1] = point
        farthest = max(farthest, mujoco.mj_geomDistance(model, data, 0, 1, 1.0, None) + _BALL_M)
    return farthest
