"""Simplified convex hull of a point cloud, and the maximum distance by which points protrude from it."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_ros.core.records import Array

MAX_VERTICES = 128
"""Vertices of a hull; with this number the points of the SO-101's links protrude by less than 1 mm."""
_PROBE_RADIUS_M = 1e-3


def rotation(quaternion: Array) -> Array:
    """The rotation matrix (3, 3) of a quaternion (w, x, y, z)."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def simplified_hull(points: Array, vertices: int = MAX_VERTICES) -> tuple[Array, float]:
    """A hull of about `vertices` vertices inside the hull of `points`, and the maximum protrusion of the points.

    Args:
        points: Shape (n, 3) [m].
        vertices: Number of vertices that Qhull keeps, by its choice of the farthest points; all if there are fewer.

    Returns:
        The vertices, shape (m, 3) [m], and the maximum distance of a point from the hull [m].
    """
    spec = mujoco.MjSpec()
    spec.add_mesh(name="points", uservert=np.unique(points, axis=0).ravel(), maxhullvert=max(vertices, 4))
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="points")
    model = spec.compile()
    graph = model.mesh_graph[model.mesh_graphadr[0] :]
    count = int(graph[0])
    hull_indices = graph[2 + count : 2 + 2 * count]
    positions = model.mesh_vert.astype(np.float64) @ rotation(model.geom_quat[0]).T + model.geom_pos[0]
    return positions[hull_indices], _max_protrusion(np.unique(points, axis=0), positions[hull_indices])


def _max_protrusion(points: Array, vertices: Array) -> float:
    """The maximum distance of a point from the hull of the vertices [m], measured with a small sphere as a probe."""
    spec = mujoco.MjSpec()
    spec.add_mesh(name="hull", uservert=vertices.ravel())
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="hull")
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[_PROBE_RADIUS_M, 0.0, 0.0])
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    maximum = 0.0
    for point in points:
        data.geom_xpos[1] = point
        maximum = max(maximum, mujoco.mj_geomDistance(model, data, 0, 1, 1.0, None) + _PROBE_RADIUS_M)
    return maximum
