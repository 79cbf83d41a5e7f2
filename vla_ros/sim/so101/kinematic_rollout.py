"""What the truth will be if the arm follows its targets: kinematics only, a held cube moves with the jaws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vla_ros.sim.so101.inverse_kinematics import ArmKinematics
from vla_ros.sim.so101.scene import BOWL_FLOOR_M
from vla_ros.sim.so101.tasks import BOWL_RADIUS_M, CUBE_HALF_M
from vla_ros.sim.so101.world import GRASP_POINT_M, Truth

Array = npt.NDArray[np.float64]

_TOUCH_RAD = 0.125
"""Gripper angle at which both jaws touch the cube [rad]."""


def imagine(truth: Truth, position: Array, arm: ArmKinematics) -> Truth:
    """The truth a moment after `truth`, with the joints at their targets `position`, shape (6,) [rad]."""
    tool, rotation = arm.tool(position, GRASP_POINT_M[0], -GRASP_POINT_M[2])
    cube = truth.cube_position
    across, lateral, along = rotation.T @ (cube - tool)
    between = -0.012 < across < 0.035 and abs(lateral) < 0.015 and abs(along) < 0.015
    held = bool((between or truth.held) and position[5] < _TOUCH_RAD)
    if held:
        cube = tool
    elif truth.held:
        cube = _fallen(cube, truth.bowl_position)
    jaws = max(float(position[5]), _TOUCH_RAD) if held else float(position[5])
    return replace(
        truth,
        joint_positions=np.append(position[:5], jaws),
        commanded=position,
        cube_position=cube,
        tool_position=tool,
        tool_rotation=rotation,
        held=held,
    )


def _fallen(cube: Array, bowl: Array) -> Array:
    inside = float(np.linalg.norm(cube[:2] - bowl[:2])) < BOWL_RADIUS_M
    return np.array([cube[0], cube[1], CUBE_HALF_M + (BOWL_FLOOR_M if inside else 0.0)])
