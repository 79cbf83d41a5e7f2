"""Which joints move which links, and how far one radian of a joint can carry a link at most."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array
from vla_ros.core.robot import Limits

_KINDS = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)


class Tree:
    """Links and joints of a compiled model in which every link has one geom of its name, a hull of its corners.

    Attributes:
        address: Where each joint's position stands in `qpos`, shape (J,).
    """

    def __init__(self, model: mujoco.MjModel, limits: Limits) -> None:
        """Match the joints by name.

        Raises:
            ConfigError: The model has other joints, or a link that does not move by one joint that turns or slides.
        """
        names = [model.joint(j).name for j in range(model.njnt)]
        if set(names) != set(limits.joints):
            raise ConfigError(f"the model has the joints {', '.join(names)}; the robot {', '.join(limits.joints)}.")
        if (model.body_jntnum > 1).any() or not np.isin(model.jnt_type, _KINDS).all():
            raise ConfigError("each link of the model must move by one joint that turns or slides.")
        self._model, self._data = model, mujoco.MjData(model)
        mujoco.mj_kinematics(model, self._data)
        self._joint = np.array([model.joint(name).id for name in limits.joints])
        self.address = model.jnt_qposadr[self._joint].astype(np.intp)
        farther = np.maximum(np.abs(limits.lower), np.abs(limits.upper)) + np.abs(model.qpos0[self.address])
        self._travel = np.zeros(model.njnt)
        self._travel[self._joint] = np.where(model.jnt_type[self._joint] == _KINDS[1], farther, 0.0)

    def chain(self, link: str) -> list[int]:
        """The model's joints that move a link, from the base on."""
        joints: list[int] = []
        body = int(self._model.geom(link).bodyid[0])
        while body:
            if self._model.body_jntnum[body]:
                joints.insert(0, int(self._model.body_jntadr[body]))
            body = int(self._model.body_parentid[body])
        return joints

    def neighbours(self, a: str, b: str) -> bool:
        """Whether two links are joined by one joint."""
        return len(set(self.chain(a)) ^ set(self.chain(b))) == 1

    def reach_of_pair(self, a: str, b: str) -> Array:
        """By how much the distance of two links can change per radian of each joint, shape (J,) [m/rad].

        A joint that moves both alike changes nothing.
        """
        reach = np.zeros(self._model.njnt)
        for link, other in ((a, b), (b, a)):
            for joint in set(self.chain(link)) - set(self.chain(other)):
                reach[joint] = self._carries(joint, link)
        return np.asarray(reach[self._joint])

    def reach_of_wall(self, link: str, axis: int) -> Array:
        """By how much the distance of a link from a wall across `axis` can change per radian, shape (J,) [m/rad].

        The first joint's axis stands still in the world, so it carries a link across itself only.
        """
        reach, chain = np.zeros(self._model.njnt), self.chain(link)
        for joint in chain:
            reach[joint] = self._carries(joint, link)
        along = self._data.xaxis[chain[0]][axis]
        turns = self._model.jnt_type[chain[0]] == _KINDS[0]
        reach[chain[0]] *= np.sqrt(max(1.0 - along * along, 0.0)) if turns else abs(along)
        return np.asarray(reach[self._joint])

    def _carries(self, joint: int, link: str) -> float:
        """The farthest any point of a link can be from the axis of a joint, however the joints between stand [m].

        The anchors of two joints that follow each other are as far apart in every pose, but for what a sliding one
        travels; the last stretch is from the last anchor to the link's corners.
        """
        model, data = self._model, self._data
        if model.jnt_type[joint] == _KINDS[1]:
            return 1.0
        chain = self.chain(link)
        later = chain[chain.index(joint) :]
        from_last = self._corners(link) - data.xanchor[later[-1]]
        if len(later) == 1:
            return float(np.linalg.norm(np.cross(from_last, data.xaxis[joint]), axis=1).max())
        steps = np.linalg.norm(np.diff(data.xanchor[later], axis=0), axis=1) + self._travel[later[1:]]
        return float(steps.sum() + np.linalg.norm(from_last, axis=1).max())

    def _corners(self, link: str) -> Array:
        """The corners of a link's hull in the world, joints at zero, shape (n, 3) [m]."""
        geom = self._model.geom(link)
        mesh = int(geom.dataid[0])
        start = int(self._model.mesh_vertadr[mesh])
        corners = self._model.mesh_vert[start : start + int(self._model.mesh_vertnum[mesh])].astype(np.float64)
        return np.asarray(corners @ self._data.geom_xmat[geom.id].reshape(3, 3).T + self._data.geom_xpos[geom.id])
