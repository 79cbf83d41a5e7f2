"""A scripted expert for gym-aloha's transfer of a cube: the right arm picks the cube and hands it to the left arm.

It plans from the ground truth at every call: the phase follows from the position of the cube and the contacts, so a
lost cube is picked again, and the expert can label states that another policy has reached.

    ground truth ── next_phase ── goals of this and all later phases ── a minimum-jerk segment to each ── targets
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import IntEnum

import mujoco
import numpy as np

from vla_ros.core.records import Array
from vla_ros.sim.minimum_jerk import Segment, minimum_jerk_segment

TOOL_M = 0.140
"""Distance from a gripper's frame to the centre of a held object, along the fingers, which end at 0.154 [m]."""
HANDOVER_M = np.array([0.0, 0.5, 0.25])
"""Position of the handover; the arms stand at x = -0.469 (left) and 0.469 (right), y = 0.5 [m]."""
OPEN, CLOSED = 1.0, 0.0
PITCH_RAD = np.radians(60.0)
"""Pitch of the right gripper below the horizontal [rad]."""

_GRASPED = 0.66
"""Measured gripper position up to which the fingers are closed on the cube; the cube keeps them at 0.605."""
_HOVER_M = 0.08
_GRASP_OFFSET_M = 0.003
_WAIT_OFFSET_M = np.array([-0.13, 0.0, 0.0])
_RETREAT_M = {"right": np.array([0.10, 0.0, 0.04]), "left": np.array([-0.06, 0.0, 0.0])}
_TIME_WEIGHT, _GRIPPER_TIME_WEIGHT = 400.0, 60_000.0
_DWELL_S = 0.35
"""Additional time for the fingers, which lag behind their command [s]."""
_MOTION_TIMEOUT_S, _MAX_DEVIATION = 2.0, 0.25
ARM = {"left": slice(0, 6), "right": slice(7, 13)}
GRIP = {"left": 6, "right": 13}

State = tuple[Array, Array, Array]
Position = tuple[float, float, float]


class Phase(IntEnum):
    """Phases in the order of an undisturbed episode."""

    APPROACH = 0
    DESCEND = 1
    CLOSE = 2
    LIFT = 3
    MEET = 4
    TAKE = 5
    RELEASE = 6
    RETREAT = 7


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The complete state at one instant; joints in the environment's order, shape (14,).

    Attributes:
        time_s: Simulated time [s].
        joints: Measured positions [rad], grippers from 0 (closed) to 1 (open).
        commanded: Current targets, in the same units.
        cube_position: Centre of the cube, shape (3,) [m].
        cube_quaternion: Orientation of the cube, w first, shape (4,).
        tools: Tool points by side, each the centre of an object held by the gripper, shape (3,) [m].
        held: By side, whether the cube lies between the fingers and at least one finger touches it.
        on_table: Whether the cube touches the table.
    """

    time_s: float
    joints: Array
    commanded: Array
    cube_position: Array
    cube_quaternion: Array
    tools: dict[str, Array]
    held: dict[str, bool]
    on_table: bool


def next_phase(state: GroundTruth, last: Phase) -> Phase:
    """The phase that a state requires; `last` only widens the tolerances of staying in it (hysteresis)."""
    cube, right, left = state.cube_position, state.tools["right"], state.tools["left"]
    grip = {side: float(state.commanded[k]) for side, k in GRIP.items()}
    holds = {side: state.held[side] and grip[side] < 0.5 for side in GRIP}
    if holds["left"] and not state.on_table:
        if grip["left"] > 0.08 or float(state.joints[GRIP["left"]]) > _GRASPED:
            return Phase.TAKE
        return Phase.RELEASE if state.held["right"] or float(state.joints[GRIP["right"]]) < 0.85 else Phase.RETREAT
    if holds["right"]:
        if _distance(right, HANDOVER_M) > (0.030 if last >= Phase.MEET else 0.012):
            # Lift only once the fingers have closed: a cube that is only touched slips out.
            grasped = grip["right"] <= 0.08 and float(state.joints[GRIP["right"]]) <= _GRASPED
            return Phase.LIFT if grasped or not state.on_table else Phase.CLOSE
        return Phase.TAKE if _distance(left, cube) < (0.030 if last == Phase.TAKE else 0.012) else Phase.MEET
    if float(state.joints[GRIP["right"]]) < (0.5 if last in (Phase.DESCEND, Phase.CLOSE) else 0.85):
        return Phase.APPROACH
    offset = _distance(right[:2], cube[:2])
    if offset < (0.025 if last == Phase.CLOSE else 0.010) and abs(right[2] - cube[2] - _GRASP_OFFSET_M) < 0.012:
        return Phase.CLOSE
    return Phase.DESCEND if offset < (0.025 if last == Phase.DESCEND else 0.012) else Phase.APPROACH


class Arms:
    """Inverse kinematics of both arms on the environment's own model."""

    def __init__(self, model: mujoco.MjModel, start: Array) -> None:
        """Start every search from `start`, shape (14,), or from another solution; so solutions are reproducible."""
        self._model, self._data, self._start = model, mujoco.MjData(model), start
        self._body = {side: model.body(f"vx300s_{side}/gripper_link").id for side in ARM}
        joints = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
        self._joint = {side: [model.joint(f"vx300s_{side}/{j}").id for j in joints] for side in ARM}
        self.solve = functools.lru_cache(maxsize=64)(self._solve)

    def _solve(self, side: str, position: Position, yaw: float, near: Position | None) -> tuple[float, ...]:
        """Arm joints (6) [rad] that bring a gripper's tool point to a position, by damped least squares.

        Args:
            side: "left" or "right".
            position: Goal of the tool point [m].
            yaw: Of the right gripper about the vertical [rad].
            near: If given, the search starts from the solution for this position, so that the tool moves straight
                from one to the other.
        """
        m, d, body, ids = self._model, self._data, self._body[side], self._joint[side]
        wanted, turn = np.array(position), gripper_axes(side, yaw)
        dofs, (low, high) = m.jnt_dofadr[ids], m.jnt_range[ids].T
        q = self._start[ARM[side]].copy() if near is None else np.array(self.solve(side, near, yaw, None))
        along, about = np.zeros((3, m.nv)), np.zeros((3, m.nv))
        for _ in range(200):
            d.qpos[m.jnt_qposadr[ids]] = q
            mujoco.mj_kinematics(m, d)
            mujoco.mj_comPos(m, d)
            axes = d.xmat[body].reshape(3, 3)
            tool = d.xpos[body] + axes[:, 0] * TOOL_M
            error = np.concatenate([wanted - tool, 0.5 * np.cross(axes.T, turn.T).sum(axis=0)])
            if np.abs(error).max() < 1e-4:
                break
            mujoco.mj_jac(m, d, along, about, tool, body)
            jacobian = np.concatenate([along[:, dofs], about[:, dofs]])
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-4 * np.eye(6), error)
            q = np.clip(q + np.clip(step, -0.2, 0.2), low + 0.02, high - 0.02)
        return tuple(float(v) for v in q)


def gripper_axes(side: str, yaw: float) -> Array:
    """Axes of a gripper as columns: along the fingers, the opening direction, their cross product; shape (3, 3)."""
    if side == "left":
        along, opening = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    else:
        c, s = np.cos(yaw), np.sin(yaw)
        along = np.array([-c * np.cos(PITCH_RAD), -s * np.cos(PITCH_RAD), -np.sin(PITCH_RAD)])
        opening = np.array([s, -c, 0.0])
    return np.stack([along, opening, np.cross(along, opening)], axis=1)


@dataclass(frozen=True, eq=False)
class _Piece:
    motion: Segment
    duration_s: float


class Expert:
    """Targets for both arms; keeps its last motion, for a smooth start, and the last phase.

    Attributes:
        phase: The phase of the last call.
    """

    def __init__(self, arms: Arms) -> None:
        """Start without a motion."""
        self._arms = arms
        self.reset()

    def reset(self) -> None:
        """Start an episode: discard the last motion."""
        self.phase = Phase.APPROACH
        self._motion: list[_Piece] = []
        self._motion_start_s = 0.0

    def target_path(self, state: GroundTruth, horizon_s: float, dt_s: float) -> Array:
        """Targets from a state on.

        Returns:
            Row k is for (k + 1) `dt_s` after `state.time_s`, shape (horizon_s / dt_s, 14).
        """
        start = self._start(state)
        self.phase = next_phase(state, self.phase)
        pieces, planned_s = [], 0.0
        for phase in list(Phase)[self.phase :]:
            if planned_s > horizon_s:
                break
            goal = self._goal(phase, state, start[0])
            motion = _joint_motion(start, goal)
            duration_s = motion.duration_s + (_DWELL_S if phase in (Phase.CLOSE, Phase.TAKE, Phase.RELEASE) else 0.0)
            pieces.append(_Piece(motion, duration_s))
            planned_s += duration_s
            start = motion.at(duration_s), motion.at(duration_s, 1), motion.at(duration_s, 2)
        self._motion, self._motion_start_s = pieces, state.time_s
        return np.stack([self._at((k + 1) * dt_s)[0] for k in range(round(horizon_s / dt_s))])

    def _goal(self, phase: Phase, state: GroundTruth, before: Array) -> Array:
        """Joint positions at the end of a phase, shape (14,); an arm without a goal in this phase stays."""
        goal = before.copy()
        cube = state.cube_position
        if phase <= Phase.CLOSE:
            above, yaw = cube + np.array([0.0, 0.0, _HOVER_M]), _cube_yaw(state.cube_quaternion)
            grasp = cube + np.array([0.0, 0.0, _GRASP_OFFSET_M])
            goal[ARM["right"]] = self._solve("right", above if phase == Phase.APPROACH else grasp, yaw, above)
        if phase == Phase.LIFT:
            goal[ARM["right"]] = self._solve("right", HANDOVER_M)
        if phase <= Phase.LIFT:
            goal[ARM["left"]], goal[GRIP["left"]] = self._solve("left", HANDOVER_M + _WAIT_OFFSET_M), OPEN
        if phase in (Phase.MEET, Phase.TAKE):
            reached = self.phase >= Phase.MEET
            goal[ARM["left"]] = self._solve("left", cube if reached else HANDOVER_M, 0.0, HANDOVER_M + _WAIT_OFFSET_M)
        if phase == Phase.RETREAT:
            for side, offset in _RETREAT_M.items():
                goal[ARM[side]] = self._solve(side, HANDOVER_M + offset, 0.0, HANDOVER_M)
        goal[GRIP["right"]] = CLOSED if Phase.CLOSE <= phase <= Phase.TAKE else OPEN
        if phase >= Phase.MEET:
            goal[GRIP["left"]] = OPEN if phase == Phase.MEET else CLOSED
        return goal

    def _solve(self, side: str, position: Array, yaw: float = 0.0, near: Array | None = None) -> Array:
        return np.array(
            self._arms.solve(side, _rounded(position), round(yaw, 2), None if near is None else _rounded(near))
        )

    def _at(self, after_s: float) -> State:
        """State of the last motion at a time after its start."""
        piece = self._motion[-1]
        for piece in self._motion:
            if after_s < piece.duration_s:
                break
            after_s -= piece.duration_s
        else:
            after_s += piece.duration_s
        return piece.motion.at(after_s), piece.motion.at(after_s, 1), piece.motion.at(after_s, 2)

    def _start(self, state: GroundTruth) -> State:
        """Start of the next motion: on the last motion while the targets follow it, otherwise the targets, at rest."""
        age = state.time_s - self._motion_start_s
        if self._motion and 0.0 <= age < _MOTION_TIMEOUT_S:
            planned = self._at(age)
            if np.abs(planned[0] - state.commanded).max() < _MAX_DEVIATION:
                return planned
        return state.commanded.copy(), np.zeros(14), np.zeros(14)


def _joint_motion(start: State, goal: Array) -> Segment:
    """Segments of both arms and both grippers, each with its own duration, in the environment's joint order."""
    parts: list[Segment] = []
    for columns, time_weight in ((slice(0, 6), _TIME_WEIGHT), (slice(6, 7), _GRIPPER_TIME_WEIGHT)) * 2:
        shift = 7 if len(parts) >= 2 else 0
        c = slice(columns.start + shift, columns.stop + shift)
        parts.append(minimum_jerk_segment(start[0][c], start[1][c], start[2][c], goal[c], time_weight))
    return functools.reduce(Segment.joined, parts)


def _cube_yaw(quaternion: Array) -> float:
    """Yaw of a cube, from -pi / 4 to pi / 4 because a cube looks the same after a quarter turn [rad]."""
    w, x, y, z = quaternion
    yaw = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return float((yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def _rounded(position: Array) -> Position:
    x, y, z = (round(float(v), 3) for v in position)
    return x, y, z


def _distance(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b))
