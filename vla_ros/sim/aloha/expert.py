"""A scripted expert for gym-aloha's transfer of a cube: the right arm picks it, the left arm takes it over.

It plans from the truth at every call, as the SO-101's expert does: which phase it is follows from where the cube is and
who touches it, so a lost cube is picked again, and what it says is a label wherever somebody else has driven to.

    truth ── judge ── goals of this phase and of all that follow ── one smooth segment to each ── targets
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import IntEnum

import mujoco
import numpy as np

from vla_ros.core.records import Array
from vla_ros.sim.minimum_jerk import Segment, segment

TOOL_M = 0.140
"""From a gripper's frame to the middle of what it holds, along the fingers, which end at 0.154 [m]."""
MEET_M = np.array([0.0, 0.5, 0.25])
"""Where the cube changes hands; the arms stand at x = -0.469 (left) and 0.469 (right), y = 0.5 [m]."""
OPEN, CLOSED = 1.0, 0.0
PITCH_RAD = np.radians(60.0)
"""How far the right gripper looks down."""

_FIRM = 0.66
"""Fingers no wider apart than this are closed on the cube, which keeps them at 0.605."""
_HOVER_M = 0.08
_LOW_M = 0.003
_WAIT_M = np.array([-0.13, 0.0, 0.0])
_PART_M = {"right": np.array([0.10, 0.0, 0.04]), "left": np.array([-0.06, 0.0, 0.0])}
_PRICE, _GRIPPER_PRICE = 400.0, 60_000.0
_DWELL_S = 0.35
"""For fingers to arrive: they are slower than what they are told [s]."""
_MEMORY_S, _STRAY = 2.0, 0.25
ARM = {"left": slice(0, 6), "right": slice(7, 13)}
GRIP = {"left": 6, "right": 13}

State = tuple[Array, Array, Array]
Place = tuple[float, float, float]


class Phase(IntEnum):
    """What the arms are about, in the order of an undisturbed episode."""

    REACH = 0
    DOWN = 1
    CLOSE = 2
    LIFT = 3
    MEET = 4
    TAKE = 5
    GIVE = 6
    PART = 7


@dataclass(frozen=True, eq=False)
class Truth:
    """What the expert may know, at one instant; joints in the environment's order, shape (14,).

    Attributes:
        time_s: Simulated time [s].
        joints: Measured [rad], grippers from 0 (closed) to 1 (open).
        commanded: Targets in force, the same.
        cube_position: Middle of the cube, shape (3,) [m].
        cube_quaternion: Its orientation, w first, shape (4,).
        tools: Where the middle of what a gripper holds would be, by side, shape (3,) [m].
        held: Whether the cube lies between the fingers of a gripper and one of them touches it, by side.
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


def judge(truth: Truth, last: Phase) -> Phase:
    """The phase that the truth calls for; `last` only widens the tolerances of going on with it."""
    cube, right, left = truth.cube_position, truth.tools["right"], truth.tools["left"]
    grip = {side: float(truth.commanded[k]) for side, k in GRIP.items()}
    holds = {side: truth.held[side] and grip[side] < 0.5 for side in GRIP}
    if holds["left"] and not truth.on_table:
        if grip["left"] > 0.08 or float(truth.joints[GRIP["left"]]) > _FIRM:
            return Phase.TAKE
        return Phase.GIVE if truth.held["right"] or float(truth.joints[GRIP["right"]]) < 0.85 else Phase.PART
    if holds["right"]:
        if _apart(right, MEET_M) > (0.030 if last >= Phase.MEET else 0.012):
            # Not before the fingers have closed: a cube only touched slips out.
            firm = grip["right"] <= 0.08 and float(truth.joints[GRIP["right"]]) <= _FIRM
            return Phase.LIFT if firm or not truth.on_table else Phase.CLOSE
        return Phase.TAKE if _apart(left, cube) < (0.030 if last == Phase.TAKE else 0.012) else Phase.MEET
    if float(truth.joints[GRIP["right"]]) < (0.5 if last in (Phase.DOWN, Phase.CLOSE) else 0.85):
        return Phase.REACH
    aside = _apart(right[:2], cube[:2])
    if aside < (0.025 if last == Phase.CLOSE else 0.010) and abs(right[2] - cube[2] - _LOW_M) < 0.012:
        return Phase.CLOSE
    return Phase.DOWN if aside < (0.025 if last == Phase.DOWN else 0.012) else Phase.REACH


class Arms:
    """Inverse kinematics of both arms on the environment's own model."""

    def __init__(self, model: mujoco.MjModel, start: Array) -> None:
        """Search from `start`, shape (14,), or from another place's answer: the same place gives the same joints."""
        self._model, self._data, self._start = model, mujoco.MjData(model), start
        self._body = {side: model.body(f"vx300s_{side}/gripper_link").id for side in ARM}
        joints = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
        self._joint = {side: [model.joint(f"vx300s_{side}/{j}").id for j in joints] for side in ARM}
        self.solve = functools.lru_cache(maxsize=64)(self._solve)

    def _solve(self, side: str, place: Place, yaw: float, near: Place | None) -> tuple[float, ...]:
        """Joints (6) [rad] that bring a gripper's tool to a place [m].

        Args:
            side: Whose.
            place: Where to.
            yaw: Turn of the right one about the vertical [rad].
            near: Of several answers the one next to that for this place: between them the tool moves straight.
        """
        m, d, body, ids = self._model, self._data, self._body[side], self._joint[side]
        wanted, turn = np.array(place), facing(side, yaw)
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


def facing(side: str, yaw: float) -> Array:
    """Axes of a gripper as columns: along the fingers, the way they open, the rest; (3, 3)."""
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
    used_s: float


class Expert:
    """Targets for both arms; remembers its last motion, for a smooth start, and the last phase.

    Attributes:
        phase: The phase of the last call.
    """

    def __init__(self, arms: Arms) -> None:
        """Prepare."""
        self._arms = arms
        self.restart()

    def restart(self) -> None:
        """Forget the last motion; for the start of an episode."""
        self.phase = Phase.REACH
        self._motion: list[_Piece] = []
        self._motion_start_s = 0.0

    def target_path(self, truth: Truth, horizon_s: float, dt_s: float) -> Array:
        """Targets from now on: row k is for (k + 1) `dt_s` after `truth.time_s`; shape (horizon_s / dt_s, 14)."""
        start = self._start(truth)
        self.phase = judge(truth, self.phase)
        pieces, ahead = [], 0.0
        for phase in list(Phase)[self.phase :]:
            if ahead > horizon_s:
                break
            goal = self._goal(phase, truth, start[0])
            motion = _both(start, goal)
            used = motion.duration_s + (_DWELL_S if phase in (Phase.CLOSE, Phase.TAKE, Phase.GIVE) else 0.0)
            pieces.append(_Piece(motion, used))
            ahead += used
            start = motion.at(used), motion.at(used, 1), motion.at(used, 2)
        self._motion, self._motion_start_s = pieces, truth.time_s
        return np.stack([self._at((k + 1) * dt_s)[0] for k in range(round(horizon_s / dt_s))])

    def _goal(self, phase: Phase, truth: Truth, before: Array) -> Array:
        """Where all joints shall be at the end of a phase, shape (14,); the arm that has nothing to do stays."""
        goal = before.copy()
        cube = truth.cube_position
        if phase <= Phase.CLOSE:
            over, yaw = cube + np.array([0.0, 0.0, _HOVER_M]), _turn(truth.cube_quaternion)
            down = cube + np.array([0.0, 0.0, _LOW_M])
            goal[ARM["right"]] = self._to("right", over if phase == Phase.REACH else down, yaw, over)
        if phase == Phase.LIFT:
            goal[ARM["right"]] = self._to("right", MEET_M)
        if phase <= Phase.LIFT:
            goal[ARM["left"]], goal[GRIP["left"]] = self._to("left", MEET_M + _WAIT_M), OPEN
        if phase in (Phase.MEET, Phase.TAKE):
            met = self.phase >= Phase.MEET
            goal[ARM["left"]] = self._to("left", cube if met else MEET_M, 0.0, MEET_M + _WAIT_M)
        if phase == Phase.PART:
            for side, away in _PART_M.items():
                goal[ARM[side]] = self._to(side, MEET_M + away, 0.0, MEET_M)
        goal[GRIP["right"]] = CLOSED if Phase.CLOSE <= phase <= Phase.TAKE else OPEN
        if phase >= Phase.MEET:
            goal[GRIP["left"]] = OPEN if phase == Phase.MEET else CLOSED
        return goal

    def _to(self, side: str, place: Array, yaw: float = 0.0, near: Array | None = None) -> Array:
        return np.array(
            self._arms.solve(side, _rounded(place), round(yaw, 2), None if near is None else _rounded(near))
        )

    def _at(self, after_s: float) -> State:
        """The last motion, a time after its start."""
        piece = self._motion[-1]
        for piece in self._motion:
            if after_s < piece.used_s:
                break
            after_s -= piece.used_s
        else:
            after_s += piece.used_s
        return piece.motion.at(after_s), piece.motion.at(after_s, 1), piece.motion.at(after_s, 2)

    def _start(self, truth: Truth) -> State:
        """Where to go on from: the last motion while the targets are on it or nearly so, else the targets, at rest."""
        age = truth.time_s - self._motion_start_s
        if self._motion and 0.0 <= age < _MEMORY_S:
            planned = self._at(age)
            if np.abs(planned[0] - truth.commanded).max() < _STRAY:
                return planned
        return truth.commanded.copy(), np.zeros(14), np.zeros(14)


def _both(start: State, goal: Array) -> Segment:
    """Each arm and each gripper in its own time, columns in the environment's order."""
    parts = []
    for columns, price in ((slice(0, 6), _PRICE), (slice(6, 7), _GRIPPER_PRICE)) * 2:
        shift = 7 if len(parts) >= 2 else 0
        c = slice(columns.start + shift, columns.stop + shift)
        parts.append(segment(start[0][c], start[1][c], start[2][c], goal[c], price))
    return functools.reduce(Segment.beside, parts)


def _turn(quaternion: Array) -> float:
    """How far a cube is turned about the vertical, within an eighth of a turn of straight [rad]."""
    w, x, y, z = quaternion
    yaw = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return float((yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def _rounded(place: Array) -> Place:
    x, y, z = (round(float(v), 3) for v in place)
    return x, y, z


def _apart(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b))
