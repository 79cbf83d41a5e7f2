"""Kinematic tree of an arm: which joints move which links, and bounds of the motion that one radian causes."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array
from vla_ros.core.robot import Limits

_JOINT_TYPES = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)


class KinematicTree:
    """Links and joints of a compiled model in which every link has one geom of its name, a convex hull.

    Attributes:
        address: Index of each joint's position in `qpos`, shape (J,).
    """

    def __init__(self, model: mujoco.MjModel, limits: Limits) -> None:
        """Match the joints by name.

        Raises:
            ConfigError: The model has other joints, or a link with several joints or with a joint that is neither
                revolute nor prismatic.
        """
        names = [model.joint(j).name for j in range(model.njnt)]
        if set(names) != set(limits.joints):
            raise ConfigError(f"the model has the joints {', '.join(names)}; the robot {', '.join(limits.joints)}.")
        if (model.body_jntnum > 1).any() or not np.isin(model.jnt_type, _JOINT_TYPES).all():
            raise ConfigError("each link of the model must have at most one joint, revolute or prismatic.")
        self._model, self._data = model, mujoco.MjData(model)
        mujoco.mj_kinematics(model, self._data)
        self._joint = np.array([model.joint(name).id for name in limits.joints])
        self.address = model.jnt_qposadr[self._joint].astype(np.intp)
        travel = np.maximum(np.abs(limits.lower), np.abs(limits.upper)) + np.abs(model.qpos0[self.address])
        self._travel = np.zeros(model.njnt)
        self._travel[self._joint] = np.where(model.jnt_type[self._joint] == _JOINT_TYPES[1], travel, 0.0)

    def chain(self, link: str) -> list[int]:
        """Indices of the model's joints that move a link, from the base on."""
        joints: list[int] = []
        body = int(self._model.geom(link).bodyid[0])
        while body:
            if self._model.body_jntnum[body]:
                joints.insert(0, int(self._model.body_jntadr[body]))
            body = int(self._model.body_parentid[body])
        return joints

    def adjacent(self, a: str, b: str) -> bool:
        """Whether two links are connected by one joint."""
        return len(set(self.chain(a)) ^ set(self.chain(b))) == 1

    def pair_motion_bound(self, a: str, b: str) -> Array:
        """Maximum change of the distance of two links per radian of each joint, shape (J,) [m/rad].

        A joint that moves both links does not change their distance.
        """
        bound = np.zeros(self._model.njnt)
        for link, other in ((a, b), (b, a)):
            for joint in set(self.chain(link)) - set(self.chain(other)):
                bound[joint] = self._lever_arm(joint, link)
        return np.asarray(bound[self._joint])

    def wall_motion_bound(self, link: str, axis: int) -> Array:
        """Maximum change of the distance of a link from a wall normal to `axis` per radian, shape (J,) [m/rad].

        The axis of the first joint is fixed in the world, so that joint moves a link only perpendicularly to it.
        """
        bound, chain = np.zeros(self._model.njnt), self.chain(link)
        for joint in chain:
            bound[joint] = self._lever_arm(joint, link)
        along = self._data.xaxis[chain[0]][axis]
        revolute = self._model.jnt_type[chain[0]] == _JOINT_TYPES[0]
        bound[chain[0]] *= np.sqrt(max(1.0 - along * along, 0.0)) if revolute else abs(along)
        return np.asarray(bound[self._joint])

    def _lever_arm(self, joint: int, link: str) -> float:
        """The maximum distance of any point of a link from the axis of a joint over all joint positions [m].

        The distance between the anchors of two consecutive joints is the same in every pose, plus the travel of a
        prismatic joint. The last part is the distance from the last anchor to the vertices of the link.
        """
        model, data = self._model, self._data
        if model.jnt_type[joint] == _JOINT_TYPES[1]:
            return 1.0
        chain = self.chain(link)
        later = chain[chain.index(joint) :]
        from_last = self._vertices(link) - data.xanchor[later[-1]]
        if len(later) == 1:
            return float(np.linalg.norm(np.cross(from_last, data.xaxis[joint]), axis=1).max())
        steps = np.linalg.norm(np.diff(data.xanchor[later], axis=0), axis=1) + self._travel[later[1:]]
        return float(steps.sum() + np.linalg.norm(from_last, axis=1).max())

    def _vertices(self, link: str) -> Array:
        """The vertices of a link's hull in the world frame, all joints at zero, shape (n, 3) [m]."""
        geom = self._model.geom(link)
        mesh = int(geom.dataid[0])
        start = int(self._model.mesh_vertadr[mesh])
        vertices = self._model.mesh_vert[start : start + int(self._model.mesh_vertnum[mesh])].astype(np.float64)
        return np.asarray(vertices @ self._data.geom_xmat[geom.id].reshape(3, 3).T + self._data.geom_xpos[geom.id])
