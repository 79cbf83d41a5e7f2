"""Prediction of the ground truth by kinematics alone: joints at their targets, a held cube moves with the jaws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_ros.core.records import Array
from vla_ros.sim.so101.inverse_kinematics import ArmKinematics
from vla_ros.sim.so101.scene import BOWL_FLOOR_M
from vla_ros.sim.so101.tasks import BOWL_RADIUS_M, CUBE_HALF_M
from vla_ros.sim.so101.world import GRASP_POINT_M, GroundTruth

_CONTACT_RAD = 0.125
"""Gripper angle at which both jaws touch the cube [rad]."""


def predict(state: GroundTruth, position: Array, arm: ArmKinematics) -> GroundTruth:
    """The ground truth one step after `state`, with all joints at `position`, shape (6,) [rad].

    Time, velocities and contact flags other than `held` are copied from `state`.
    """
    tool, rotation = arm.tool(position, GRASP_POINT_M[0], -GRASP_POINT_M[2])
    cube = state.cube_position
    across, lateral, along = rotation.T @ (cube - tool)
    between = -0.012 < across < 0.035 and abs(lateral) < 0.015 and abs(along) < 0.015
    held = bool((between or state.held) and position[5] < _CONTACT_RAD)
    if held:
        cube = tool
    elif state.held:
        cube = _dropped(cube, state.bowl_position)
    jaws = max(float(position[5]), _CONTACT_RAD) if held else float(position[5])
    return replace(
        state,
        joint_positions=np.append(position[:5], jaws),
        commanded=position,
        cube_position=cube,
        tool_position=tool,
        tool_rotation=rotation,
        held=held,
    )


def _dropped(cube: Array, bowl: Array) -> Array:
    inside = float(np.linalg.norm(cube[:2] - bowl[:2])) < BOWL_RADIUS_M
    return np.array([cube[0], cube[1], CUBE_HALF_M + (BOWL_FLOOR_M if inside else 0.0)])
