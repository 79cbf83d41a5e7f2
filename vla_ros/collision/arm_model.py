"""How far an arm's links are from each other and from the walls of a box: kinematics and distances by MuJoCo."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

from vla_ros.collision.kinematic_tree import Tree
from vla_ros.collision.link_geometry import Body, load_bodies, model_file, read_spec
from vla_ros.core.errors import UnknownName
from vla_ros.core.records import Array
from vla_ros.core.robot import Limits, SpaceConfig

FARTHEST_M = 0.08
"""Distances between links are not told apart beyond this; less costs more poses, more costs more time each [m]."""
ROUNDING_M = 1e-5
"""Taken off every distance: MuJoCo's are exact to its tolerance of 1e-6, meshes are kept in single precision [m]."""
_WALLS = [(axis, side) for axis in range(3) for side in (-1.0, 1.0)]


class ArmShape:
    """The body of one arm, as `core.space.Shape` describes.

    Attributes:
        names: What is kept apart (K): pairs of links that are not neighbours, then moving links and walls.
        stop: Least distance, shape (K,) [m].
        slow: Distance below which the arm goes slower, shape (K,) [m].
        reach: By how much each distance can change per radian of a joint, shape (K, J) [m/rad].
    """

    def __init__(self, spec: mujoco.MjSpec, bodies: Mapping[str, Body], limits: Limits, config: SpaceConfig) -> None:
        """Put the hulls on the skeleton of the model.

        Args:
            spec: The model; it is changed.
            bodies: Body of each link.
            limits: The joints, in order; each is one of the model's, and the model has no other.
            config: Box, distances, allowed pairs.

        Raises:
            ConfigError: The joints are not the model's, or an allowed pair names a link that it has not.
        """
        _dress(spec, bodies)
        model = spec.compile()
        tree = Tree(model, limits)
        pairs = _pairs(tree, list(bodies), config)
        self._model = model
        self._data = mujoco.MjData(self._model)
        self._address = tree.address
        self._pairs = [(model.geom(a).id, model.geom(b).id) for a, b in pairs]
        moving = [name for name in bodies if tree.chain(name)]
        self._links = np.array([model.geom(name).bodyid[0] for name in moving])
        self._corners = _padded([bodies[name].corners for name in moving])
        self._box = np.array([config.box_lower, config.box_upper])
        self._skins = np.array([bodies[a].skin + bodies[b].skin + ROUNDING_M for a, b in pairs])
        self._wall_skins = np.array([bodies[name].skin + ROUNDING_M for name in moving])[:, None, None]
        self.names = tuple(f"{a} and {b}" for a, b in pairs) + tuple(
            f"{name} and the wall of the box at {'xyz'[axis]} = {self._box[int(side > 0), axis]:.3f} m"
            for name in moving
            for axis, side in _WALLS
        )
        walls = len(moving) * len(_WALLS)
        self.stop = np.repeat([config.self_stop_m, config.box_stop_m], [len(pairs), walls])
        self.slow = np.repeat([config.self_slow_m, config.box_slow_m], [len(pairs), walls])
        self.reach = np.array(
            [tree.reach_of_pair(a, b) for a, b in pairs]
            + [tree.reach_of_wall(name, axis) for name in moving for axis, _ in _WALLS]
        ).reshape(len(self.names), len(limits.joints))

    def distances(self, poses: Array, wanted: npt.NDArray[np.bool_] | None = None) -> Array:
        """Distances at poses of shape (n, J) [rad], shape (n, K) [m]; too small rather than too great.

        Those that are not `wanted`, shape (K,), may be given as infinite: distances of links cost most of the time.
        """
        model, data = self._model, self._data
        count = len(self._skins)
        out = np.full((len(poses), len(self.names)), np.inf)
        near = range(count) if wanted is None else np.flatnonzero(wanted[:count]).tolist()
        places = np.empty((len(poses), len(self._links), 3))
        turns = np.empty((len(poses), len(self._links), 9))
        for i, pose in enumerate(poses):
            data.qpos[self._address] = pose
            mujoco.mj_kinematics(model, data)
            places[i], turns[i] = data.xpos[self._links], data.xmat[self._links]
            for k in near:
                out[i, k] = mujoco.mj_geomDistance(model, data, *self._pairs[k], FARTHEST_M, None)
        out[:, :count] -= self._skins
        walls = out[:, count:].reshape(len(poses), len(self._links), -1)
        asked = np.full(len(self.names) - count, True) if wanted is None else wanted[count:]
        for link in np.flatnonzero(asked.reshape(len(self._links), -1).any(axis=1)):
            at = turns[:, link].reshape(-1, 3) @ self._corners[link]
            low = at.min(axis=1).reshape(-1, 3) + places[:, link]
            high = at.max(axis=1).reshape(-1, 3) + places[:, link]
            room = np.stack([low - self._box[0], self._box[1] - high], axis=-1) - self._wall_skins[link]
            walls[:, link] = room.reshape(len(poses), -1)
        out[:, count:] = walls.reshape(len(poses), -1)
        return out


def load_shape(limits: Limits, config: SpaceConfig, cache: Path) -> ArmShape:
    """The shape a robot's file asks for.

    Args:
        limits: The joints, in order.
        config: What stands in the file.
        cache: Where hulls are kept.

    Raises:
        ConfigError: The model is not there, or does not fit the robot.
    """
    path = model_file(config.model)
    return ArmShape(read_spec(path), load_bodies(path, cache), limits, config)


def _dress(spec: mujoco.MjSpec, bodies: Mapping[str, Body]) -> None:
    """Leave frames and joints of the model, and put the hulls on; a hull's geom has the name of its link."""
    for kind in ("sensors", "actuators", "keys", "pairs", "excludes", "equalities", "tendons", "geoms", "meshes"):
        for element in list(getattr(spec, kind)):
            spec.delete(element)
    fixed = {spec.worldbody.name}
    for body in spec.bodies[1:]:
        if not body.joints and body.parent.name in fixed:
            fixed.add(body.name)
    for name, body in bodies.items():
        spec.add_mesh(name=name, uservert=body.corners.ravel())
        frame = spec.worldbody if name in fixed else spec.body(name)
        frame.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, contype=0, conaffinity=0)


def _pairs(tree: Tree, links: list[str], config: SpaceConfig) -> list[tuple[str, str]]:
    for name in itertools.chain.from_iterable(config.allowed):
        if name not in links:
            raise UnknownName("link", name, links, "the allowed pairs")
    allowed = {frozenset(pair) for pair in config.allowed}
    pairs = itertools.combinations(links, 2)
    return [(a, b) for a, b in pairs if frozenset((a, b)) not in allowed and not tree.neighbours(a, b)]


def _padded(corners: list[Array]) -> Array:
    """The corners of all links in one array, shape (L, 3, most); the first of a link fills its row up."""
    most = max(len(points) for points in corners)
    return np.stack([np.concatenate([p, np.repeat(p[:1], most - len(p), axis=0)]).T for p in corners])
