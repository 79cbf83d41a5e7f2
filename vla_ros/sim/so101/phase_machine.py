"""Phase machine of the expert: the phase that the ground state requires, and the joint goal of each phase."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import mujoco
import numpy as np

from vla_ros.core.records import Array
from vla_ros.sim.so101.inverse_kinematics import ArmKinematics, Grip
from vla_ros.sim.so101.scene import in_bowl
from vla_ros.sim.so101.tasks import BOWL_RADIUS_M
from vla_ros.sim.so101.world import GRASP_POINT_M, HOME, GroundTruth

OPEN_RAD = 0.62
CLOSED_RAD = -0.06
"""Gripper command that holds the cube; the jaws touch it at about 0.13 rad and press with the torque limit [rad]."""
TIME_WEIGHT = 140.0
HOVER_HEIGHT_M = 0.072
CARRY_HEIGHT_M = 0.084

_CENTRE_M, _, _DEPTH = GRASP_POINT_M
_ALONG_M = -_DEPTH
_CLEARANCE_M = 0.009
_DROP_HEIGHT_M = 0.050
_RISEN_HEIGHT_M = 0.080
_LIFTED_HEIGHT_M = 0.060
_GRASP_HEIGHT_M = 0.0145


class Phase(IntEnum):
    """Phases in the order of an undisturbed episode."""

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
class MotionStyle:
    """Speed and heights of the motion; varied between episodes so that demonstrations differ.

    Attributes:
        time_weight: Cost of one second of arm motion, see `minimum_jerk_segment`; a greater weight moves faster.
        hover_m: Height of the tool point over the cube before the descent [m].
        carry_m: Height of the tool point on the way to the bowl [m].
    """

    time_weight: float = TIME_WEIGHT
    hover_m: float = HOVER_HEIGHT_M
    carry_m: float = CARRY_HEIGHT_M

    @classmethod
    def sample(cls, rng: np.random.Generator) -> MotionStyle:
        """A random style: up to a tenth slower or faster, heights within about a centimetre."""
        return cls(
            time_weight=TIME_WEIGHT * float(rng.uniform(0.6, 1.6)),
            hover_m=HOVER_HEIGHT_M + float(rng.uniform(-0.006, 0.012)),
            carry_m=CARRY_HEIGHT_M + float(rng.uniform(-0.006, 0.010)),
        )


def next_phase(state: GroundTruth, last: Phase) -> Phase:
    """The phase that a state requires.

    Args:
        state: The state of the world.
        last: The phase of the previous call; it only widens the tolerances of staying in it (hysteresis).
    """
    cube, bowl, tool = state.cube_position, state.bowl_position, state.tool_position
    distance = float(np.linalg.norm(cube[:2] - bowl[:2]))
    if state.held and state.commanded[5] < 0.10:
        if distance < (0.028 if last in (Phase.LOWER, Phase.RELEASE) else 0.014):
            return Phase.LOWER if tool[2] > _DROP_HEIGHT_M + 0.008 else Phase.RELEASE
        return Phase.LIFT if cube[2] < _LIFTED_HEIGHT_M else Phase.CARRY
    falling = distance < BOWL_RADIUS_M - 0.015 and last in (Phase.LOWER, Phase.RELEASE)
    if in_bowl(cube, bowl) or falling:
        near_bowl = float(np.linalg.norm(tool[:2] - bowl[:2])) < 0.09 and tool[2] < _RISEN_HEIGHT_M
        if not near_bowl:
            return Phase.HOME
        return Phase.RELEASE if state.commanded[5] < OPEN_RAD - 0.12 else Phase.RISE
    return _phase_before_grasp(state, last)


def _phase_before_grasp(state: GroundTruth, last: Phase) -> Phase:
    """The phase while the cube lies on the table: approach, descend or close."""
    local = state.tool_rotation.T @ (state.cube_position - state.tool_position)
    across, lateral = local[0], local[1]
    depth = abs(float(state.tool_position[2] - _grasp_height(state)))
    closing = last == Phase.CLOSE
    between = -0.004 < across < 0.030 and abs(lateral) < (0.014 if closing else 0.009)
    missed = state.joint_positions[5] < 0.08
    if between and depth < (0.014 if closing else 0.006) and not missed:
        return Phase.CLOSE
    error = math.hypot(across - _CLEARANCE_M, lateral)
    yaw_error = abs(_wrap_quarter(_yaw_of(state.tool_rotation[:, 0]) - _cube_yaw(state)))
    descending = last in (Phase.DESCEND, Phase.CLOSE)
    aligned = error < (0.018 if descending else 0.010) and yaw_error < (0.30 if descending else 0.15)
    if aligned and state.joint_positions[5] > OPEN_RAD - 0.20:
        return Phase.DESCEND
    return Phase.APPROACH


def phase_goal(phase: Phase, state: GroundTruth, position: Array, style: MotionStyle, arm: ArmKinematics) -> Array:
    """Joint positions at the end of a phase, shape (6,) [rad].

    Args:
        phase: The phase.
        state: The state of the world at the start of the phase; predicted for phases later than the current one.
        position: Joint targets at the start of the phase, shape (6,) [rad].
        style: Speed and heights.
        arm: Kinematics of the arm.
    """
    if phase == Phase.HOME:
        return np.array(HOME)
    gripper = CLOSED_RAD if Phase.CLOSE <= phase <= Phase.LOWER else OPEN_RAD
    if phase in (Phase.APPROACH, Phase.DESCEND, Phase.CLOSE):
        grip = _grip_at_cube(phase, state, position, style, arm)
    elif phase == Phase.LIFT:
        xy = arm.tool(position, _CENTRE_M, _ALONG_M)[0][:2]
        grip = _grip(xy, style.carry_m, arm.yaw_for(xy, position[4]))
    else:
        height = {Phase.CARRY: style.carry_m, Phase.RISE: style.carry_m + 0.02}.get(phase, _DROP_HEIGHT_M)
        xy = state.bowl_position[:2]
        grip = _grip(xy, height, arm.yaw_for(xy, 0.0))
    return np.append(_reachable(grip, position, arm), gripper)


def _grip_at_cube(phase: Phase, state: GroundTruth, position: Array, style: MotionStyle, arm: ArmKinematics) -> Grip:
    xy = state.cube_position[:2]
    far = float(np.linalg.norm(state.tool_position[:2] - xy)) > 0.03
    if phase == Phase.APPROACH and far and state.tool_position[2] < 0.045:
        here = state.tool_position[:2]
        return _grip(here, style.hover_m, arm.yaw_for(here, position[4]))
    base = _cube_yaw(state)
    yaws = [base + k * math.pi / 2 for k in range(4)]
    rolls = [arm.roll_for(xy, yaw) for yaw in yaws]
    costs = [abs(roll) + 0.3 * abs(roll - position[4]) for roll in rolls]
    yaw = yaws[int(np.argmin(costs))]
    height = style.hover_m if phase == Phase.APPROACH else _grasp_height(state)
    across = _CENTRE_M + (0.0 if phase == Phase.CLOSE else _CLEARANCE_M)
    return _grip(xy, height, yaw, across)


def _grip(xy: Array, height: float, yaw: float, across: float = _CENTRE_M) -> Grip:
    return Grip((float(xy[0]), float(xy[1]), float(height)), yaw, across, _ALONG_M)


def _reachable(grip: Grip, position: Array, arm: ArmKinematics) -> Array:
    """Joints for the grip, shape (5,) [rad].

    If the grip is out of reach, those for the highest reachable one below it; if there is none, `position`.
    """
    x, y, z = grip.position
    while z > 0.010:
        joints = arm.solve(Grip((x, y, z), grip.yaw, grip.across, grip.along))
        if joints is not None:
            return joints
        z -= 0.010
    return position[:5].copy()


def _grasp_height(state: GroundTruth) -> float:
    return max(_GRASP_HEIGHT_M, float(state.cube_position[2]))


def _cube_yaw(state: GroundTruth) -> float:
    """Direction of one horizontal face of the cube, whichever face it lies on [rad]."""
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, state.cube_quaternion)
    columns = axes.reshape(3, 3).T
    return _yaw_of(columns[int(np.argmin(np.abs(columns[:, 2])))])


def _yaw_of(direction: Array) -> float:
    return math.atan2(direction[1], direction[0])


def _wrap_quarter(angle: float) -> float:
    return (angle + math.pi / 4) % (math.pi / 2) - math.pi / 4
