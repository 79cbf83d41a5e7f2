"""Collision model of an arm: distances of its links from each other and from the walls of a box, computed by MuJoCo."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

from vla_ros.collision.kinematic_tree import KinematicTree
from vla_ros.collision.link_geometry import LinkGeometry, load_link_geometry, read_spec, resolve_model_path
from vla_ros.core.errors import UnknownName
from vla_ros.core.records import Array
from vla_ros.core.robot import ClearanceConfig, Limits

MAX_DISTANCE_M = 0.08
"""Distances between links are capped at this value [m]. A lower cap makes the clearance check need more poses, a higher
cap makes each pose slower."""
NUMERICAL_MARGIN_M = 1e-5
"""Subtracted from every distance [m]: MuJoCo computes distances to a tolerance of 1e-6 m and stores meshes in single
precision."""
_WALLS = [(axis, side) for axis in range(3) for side in (-1.0, 1.0)]


class ArmCollisionModel:
    """Collision model of one arm; implements `vla_ros.safety.clearance.CollisionModel`.

    Attributes:
        names: The pair of each distance (K): pairs of links that are not adjacent, then moving links and walls.
        stop_distance: Minimum distance, shape (K,) [m].
        slow_distance: Distance below which the arm is slowed, shape (K,) [m].
        motion_bound: Maximum change of each distance per radian of each joint, shape (K, J) [m/rad].
    """

    def __init__(
        self, spec: mujoco.MjSpec, links: Mapping[str, LinkGeometry], limits: Limits, config: ClearanceConfig
    ) -> None:
        """Replace the geometry of the model by the hulls and compute the motion bounds.

        Args:
            spec: The model; it is modified.
            links: Geometry of each link.
            limits: Limits of the joints, which must be the joints of the model.
            config: Box, distances, allowed pairs.

        Raises:
            ConfigError: The joints differ from those of the model, or an allowed pair names an unknown link.
        """
        _replace_geometry(spec, links)
        model = spec.compile()
        tree = KinematicTree(model, limits)
        pairs = _pairs(tree, list(links), config)
        self._model = model
        self._data = mujoco.MjData(self._model)
        self._address = tree.address
        self._pairs = [(model.geom(a).id, model.geom(b).id) for a, b in pairs]
        moving = [name for name in links if tree.chain(name)]
        self._links = np.array([model.geom(name).bodyid[0] for name in moving])
        self._vertices = _padded([links[name].vertices for name in moving])
        self._box = np.array([config.box_lower, config.box_upper])
        self._margins = np.array([links[a].margin + links[b].margin + NUMERICAL_MARGIN_M for a, b in pairs])
        self._wall_margins = np.array([links[name].margin + NUMERICAL_MARGIN_M for name in moving])[:, None, None]
        self.names = tuple(f"{a} and {b}" for a, b in pairs) + tuple(
            f"{name} and the wall of the box at {'xyz'[axis]} = {self._box[int(side > 0), axis]:.3f} m"
            for name in moving
            for axis, side in _WALLS
        )
        walls = len(moving) * len(_WALLS)
        self.stop_distance = np.repeat([config.self_stop_m, config.box_stop_m], [len(pairs), walls])
        self.slow_distance = np.repeat([config.self_slow_m, config.box_slow_m], [len(pairs), walls])
        self.motion_bound = np.array(
            [tree.pair_motion_bound(a, b) for a, b in pairs]
            + [tree.wall_motion_bound(name, axis) for name in moving for axis, _ in _WALLS]
        ).reshape(len(self.names), len(limits.joints))

    def distances(self, poses: Array, selected: npt.NDArray[np.bool_] | None = None) -> Array:
        """Lower bounds of the distances at several poses.

        Args:
            poses: Shape (n, J) [rad].
            selected: Which distances are needed, shape (K,); distances between other links are returned as infinite,
                which saves most of the time. None: all.

        Returns:
            Shape (n, K) [m].
        """
        model, data = self._model, self._data
        count = len(self._margins)
        out = np.full((len(poses), len(self.names)), np.inf)
        pairs = range(count) if selected is None else np.flatnonzero(selected[:count]).tolist()
        positions = np.empty((len(poses), len(self._links), 3))
        rotations = np.empty((len(poses), len(self._links), 9))
        for i, pose in enumerate(poses):
            data.qpos[self._address] = pose
            mujoco.mj_kinematics(model, data)
            positions[i], rotations[i] = data.xpos[self._links], data.xmat[self._links]
            for k in pairs:
                out[i, k] = mujoco.mj_geomDistance(model, data, *self._pairs[k], MAX_DISTANCE_M, None)
        out[:, :count] -= self._margins
        walls = out[:, count:].reshape(len(poses), len(self._links), -1)
        needed = np.full(len(self.names) - count, True) if selected is None else selected[count:]
        for link in np.flatnonzero(needed.reshape(len(self._links), -1).any(axis=1)):
            vertices = rotations[:, link].reshape(-1, 3) @ self._vertices[link]
            low = vertices.min(axis=1).reshape(-1, 3) + positions[:, link]
            high = vertices.max(axis=1).reshape(-1, 3) + positions[:, link]
            gap = np.stack([low - self._box[0], self._box[1] - high], axis=-1) - self._wall_margins[link]
            walls[:, link] = gap.reshape(len(poses), -1)
        out[:, count:] = walls.reshape(len(poses), -1)
        return out


def load_collision_model(limits: Limits, config: ClearanceConfig, cache: Path) -> ArmCollisionModel:
    """Load the collision model that a robot file specifies.

    Args:
        limits: Limits of the joints.
        config: The robot file's part `clearance`.
        cache: Folder of the cached hulls.

    Raises:
        ConfigError: The model is missing or does not match the robot.
    """
    path = resolve_model_path(config.model)
    return ArmCollisionModel(read_spec(path), load_link_geometry(path, cache), limits, config)


def _replace_geometry(spec: mujoco.MjSpec, links: Mapping[str, LinkGeometry]) -> None:
    """Keep only frames and joints of the model and attach the hulls, one geom per link with the name of the link."""
    for kind in ("sensors", "actuators", "keys", "pairs", "excludes", "equalities", "tendons", "geoms", "meshes"):
        for element in list(getattr(spec, kind)):
            spec.delete(element)
    fixed = {spec.worldbody.name}
    for body in spec.bodies[1:]:
        if not body.joints and body.parent.name in fixed:
            fixed.add(body.name)
    for name, link in links.items():
        spec.add_mesh(name=name, uservert=link.vertices.ravel())
        frame = spec.worldbody if name in fixed else spec.body(name)
        frame.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, contype=0, conaffinity=0)


def _pairs(tree: KinematicTree, links: list[str], config: ClearanceConfig) -> list[tuple[str, str]]:
    """The monitored pairs of links: neither adjacent nor allowed by the configuration."""
    for name in itertools.chain.from_iterable(config.allowed):
        if name not in links:
            raise UnknownName("link", name, links, "the allowed pairs")
    allowed = {frozenset(pair) for pair in config.allowed}
    pairs = itertools.combinations(links, 2)
    return [(a, b) for a, b in pairs if frozenset((a, b)) not in allowed and not tree.adjacent(a, b)]


def _padded(vertices: list[Array]) -> Array:
    """The vertices of all links in one array, (L, 3, maximum count), padded with the first vertex of each link."""
    count = max(len(points) for points in vertices)
    return np.stack([np.concatenate([p, np.repeat(p[:1], count - len(p), axis=0)]).T for p in vertices])
