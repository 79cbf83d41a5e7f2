"""The expert's script: which phase the truth calls for, and where the joints shall be at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import mujoco
import numpy as np
import numpy.typing as npt

from vla_ros.sim.so101.inverse_kinematics import ArmKinematics, Grip
from vla_ros.sim.so101.scene import in_bowl
from vla_ros.sim.so101.tasks import BOWL_RADIUS_M
from vla_ros.sim.so101.world import GRASP_POINT_M, HOME, Truth

Array = npt.NDArray[np.float64]

OPEN_RAD = 0.62
CLOSED_RAD = -0.06
"""Closed on the cube; the jaws meet it at about 0.13 rad and press with what torque the servo has."""
PRICE = 140.0
HOVER_M = 0.072
CARRY_M = 0.084

_CENTRE_M, _, _DEPTH = GRASP_POINT_M
_ALONG_M = -_DEPTH
_CLEARANCE_M = 0.009
_DROP_M = 0.050
_RISEN_M = 0.080
_CLEAR_M = 0.060
_GRASP_HEIGHT_M = 0.0145


class Phase(IntEnum):
    """What the arm is about, in the order of an undisturbed episode."""

    APPROACH = 0
    DESCEND = 1
    CLOSE = 2
    LIFT = 3
    CARRY = 4
    LOWER = 5
    RELEASE = 6
    RISE = 7
    HOME = 8


@dataclass(frozen=True)
class Style:
    """How the arm moves; varied from episode to episode so that demonstrations differ.

    Attributes:
        price: What a second of arm motion costs, see `profile.segment`; a greater price moves faster.
        hover_m: Height of the tool point over the cube before the descent [m].
        carry_m: Height of the tool point on the way to the bowl [m].
    """

    price: float = PRICE
    hover_m: float = HOVER_M
    carry_m: float = CARRY_M

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Style:
        """A style of its own: up to a tenth slower or faster, heights within a centimetre."""
        return cls(
            price=PRICE * float(rng.uniform(0.6, 1.6)),
            hover_m=HOVER_M + float(rng.uniform(-0.006, 0.012)),
            carry_m=CARRY_M + float(rng.uniform(-0.006, 0.010)),
        )


def judge(truth: Truth, last: Phase) -> Phase:
    """The phase that the truth calls for.

    Args:
        truth: The state of the world.
        last: The phase of the previous call; it only widens the tolerances of going on with it.
    """
    cube, bowl, tool = truth.cube_position, truth.bowl_position, truth.tool_position
    aside = float(np.linalg.norm(cube[:2] - bowl[:2]))
    if truth.held and truth.commanded[5] < 0.10:
        if aside < (0.028 if last in (Phase.LOWER, Phase.RELEASE) else 0.014):
            return Phase.LOWER if tool[2] > _DROP_M + 0.008 else Phase.RELEASE
        return Phase.LIFT if cube[2] < _CLEAR_M else Phase.CARRY
    falling = aside < BOWL_RADIUS_M - 0.015 and last in (Phase.LOWER, Phase.RELEASE)
    if in_bowl(cube, bowl) or falling:
        by_bowl = float(np.linalg.norm(tool[:2] - bowl[:2])) < 0.09 and tool[2] < _RISEN_M
        if not by_bowl:
            return Phase.HOME
        return Phase.RELEASE if truth.commanded[5] < OPEN_RAD - 0.12 else Phase.RISE
    return _judge_free(truth, last)


def _judge_free(truth: Truth, last: Phase) -> Phase:
    """The phase while the cube lies about: get over it, down to it, close."""
    local = truth.tool_rotation.T @ (truth.cube_position - truth.tool_position)
    across, lateral = local[0], local[1]
    depth = abs(float(truth.tool_position[2] - _grasp_height(truth)))
    closing = last == Phase.CLOSE
    between = -0.004 < across < 0.030 and abs(lateral) < (0.014 if closing else 0.009)
    missed = truth.joint_positions[5] < 0.08
    if between and depth < (0.014 if closing else 0.006) and not missed:
        return Phase.CLOSE
    error = math.hypot(across - _CLEARANCE_M, lateral)
    turned = abs(_wrap_quarter(_yaw_of(truth.tool_rotation[:, 0]) - _cube_yaw(truth)))
    going_down = last in (Phase.DESCEND, Phase.CLOSE)
    aligned = error < (0.018 if going_down else 0.010) and turned < (0.30 if going_down else 0.15)
    if aligned and truth.joint_positions[5] > OPEN_RAD - 0.20:
        return Phase.DESCEND
    return Phase.APPROACH


def target(phase: Phase, truth: Truth, position: Array, style: Style, arm: ArmKinematics) -> Array:
    """Where the joints shall be at the end of a phase, shape (6,) [rad].

    Args:
        phase: The phase.
        truth: The state of the world now; for a later phase than the present one it is taken to go on as planned.
        position: Joint targets at the start of the phase, shape (6,) [rad].
        style: Heights and pace.
        arm: Kinematics of the arm.
    """
    if phase == Phase.HOME:
        return np.array(HOME)
    gripper = CLOSED_RAD if Phase.CLOSE <= phase <= Phase.LOWER else OPEN_RAD
    if phase in (Phase.APPROACH, Phase.DESCEND, Phase.CLOSE):
        grip = _over_cube(phase, truth, position, style, arm)
    elif phase == Phase.LIFT:
        xy = arm.tool(position, _CENTRE_M, _ALONG_M)[0][:2]
        grip = _grip(xy, style.carry_m, arm.yaw_for(xy, position[4]))
    else:
        height = {Phase.CARRY: style.carry_m, Phase.RISE: style.carry_m + 0.02}.get(phase, _DROP_M)
        xy = truth.bowl_position[:2]
        grip = _grip(xy, height, arm.yaw_for(xy, 0.0))
    return np.append(_reachable(grip, position, arm), gripper)


def _over_cube(phase: Phase, truth: Truth, position: Array, style: Style, arm: ArmKinematics) -> Grip:
    xy = truth.cube_position[:2]
    far = float(np.linalg.norm(truth.tool_position[:2] - xy)) > 0.03
    if phase == Phase.APPROACH and far and truth.tool_position[2] < 0.045:
        here = truth.tool_position[:2]
        return _grip(here, style.hover_m, arm.yaw_for(here, position[4]))
    base = _cube_yaw(truth)
    yaws = [base + k * math.pi / 2 for k in range(4)]
    rolls = [arm.roll_for(xy, yaw) for yaw in yaws]
    costs = [abs(roll) + 0.3 * abs(roll - position[4]) for roll in rolls]
    yaw = yaws[int(np.argmin(costs))]
    height = style.hover_m if phase == Phase.APPROACH else _grasp_height(truth)
    across = _CENTRE_M + (0.0 if phase == Phase.CLOSE else _CLEARANCE_M)
    return _grip(xy, height, yaw, across)


def _grip(xy: Array, height: float, yaw: float, across: float = _CENTRE_M) -> Grip:
    return Grip((float(xy[0]), float(xy[1]), float(height)), yaw, across, _ALONG_M)


def _reachable(grip: Grip, position: Array, arm: ArmKinematics) -> Array:
    """Joints for the grip, lower where it is out of reach, or where the arm already is if nothing helps; (5,)."""
    x, y, z = grip.position
    while z > 0.010:
        joints = arm.solve(Grip((x, y, z), grip.yaw, grip.across, grip.along))
        if joints is not None:
            return joints
        z -= 0.010
    return position[:5].copy()


def _grasp_height(truth: Truth) -> float:
    return max(_GRASP_HEIGHT_M, float(truth.cube_position[2]))


def _cube_yaw(truth: Truth) -> float:
    """Direction of one horizontal face of the cube, whichever face it lies on [rad]."""
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, truth.cube_quaternion)
    columns = axes.reshape(3, 3).T
    return _yaw_of(columns[int(np.argmin(np.abs(columns[:, 2])))])


def _yaw_of(direction: Array) -> float:
    return math.atan2(direction[1], direction[0])


def _wrap_quarter(angle: float) -> float:
    return (angle + math.pi / 4) % (math.pi / 2) - math.pi / 4
