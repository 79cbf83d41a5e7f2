"""A scripted expert that puts the cube in the bowl from any state of the scene, given the ground state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.records import Array
from vla_ros.sim.minimum_jerk import Segment, minimum_jerk_segment
from vla_ros.sim.so101.inverse_kinematics import ArmKinematics
from vla_ros.sim.so101.kinematic_rollout import predict
from vla_ros.sim.so101.phase_machine import MotionStyle, Phase, next_phase, phase_goal
from vla_ros.sim.so101.scene import build_model
from vla_ros.sim.so101.world import GroundTruth

_GRIPPER_TIME_WEIGHT = 9000.0
_MOTION_TIMEOUT_S = 2.0
"""The last motion is continued for at most this long after it was planned [s]."""
_PREDICTION_STEP_S = 0.05
_MAX_DEVIATION_RAD = 0.20
"""Within this deviation the arm counts as following the last motion, so noise and delay are not fed back [rad]."""

State = tuple[Array, Array, Array]
"""Position [rad], velocity [rad/s] and acceleration [rad/s^2], each of shape (6,)."""


@dataclass(frozen=True, eq=False)
class _Piece:
    """The first part of a segment.

    Attributes:
        motion: The segment.
        duration_s: Length of the part [s].
    """

    motion: Segment
    duration_s: float

    def state(self, time_s: float) -> State:
        """The state at a time after the start of the segment."""
        return self.motion.at(time_s), self.motion.at(time_s, 1), self.motion.at(time_s, 2)


class Expert:
    """Replans at every call; it keeps its last motion, for a smooth start, and the last phase.

    The phase follows from the ground state: where the cube is, whether it is held, where the jaws are. A lost cube is
    therefore picked again, and a call after a delay or after an external motion of the arm is no special case.

    Attributes:
        phase: The phase of the last call.
        style: Speed and heights of the motion.
    """

    def __init__(self, rng: np.random.Generator | None = None, kinematics: ArmKinematics | None = None) -> None:
        """Start without a motion.

        Args:
            rng: If given, each `reset` draws a new style from it.
            kinematics: Kinematics of the arm; computed from the scene if not given.
        """
        self._kinematics = ArmKinematics(build_model()) if kinematics is None else kinematics
        self._rng = rng
        self.reset()

    def reset(self) -> None:
        """Start an episode: discard the last motion, and draw a new style if there is a random generator."""
        self.phase = Phase.APPROACH
        self.style = MotionStyle() if self._rng is None else MotionStyle.sample(self._rng)
        self._motion: list[_Piece] = []
        self._motion_start_s = 0.0

    def target_path(self, state: GroundTruth, horizon_s: float, dt_s: float) -> Array:
        """Absolute joint targets from a state on.

        Args:
            state: The current state of the world.
            horizon_s: Length of the path [s].
            dt_s: Time between targets [s].

        Returns:
            Row k is for the time (k + 1) `dt_s` after `state.time_s`; shape (horizon_s / dt_s, 6) [rad].

        Raises:
            ValueError: Not 0 < `dt_s` <= `horizon_s`.
        """
        if not 0.0 < dt_s <= horizon_s:
            raise ValueError(f"dt_s must be above 0 and at most horizon_s; got {dt_s} and {horizon_s}.")
        self.phase = next_phase(state, self.phase)
        self._motion = self._plan(state, horizon_s)
        self._motion_start_s = state.time_s
        count = round(horizon_s / dt_s)
        path = np.stack([self._at((k + 1) * dt_s)[0] for k in range(count)])
        return np.clip(path, self._kinematics.lower, self._kinematics.upper)

    def _plan(self, state: GroundTruth, horizon_s: float) -> list[_Piece]:
        """Motion over the horizon: the phase machine is run on predicted states."""
        start = self._start(state)
        pieces: list[_Piece] = []
        predicted, phase, planned_s = state, self.phase, 0.0
        while planned_s < horizon_s:
            goal = phase_goal(phase, predicted, start[0], self.style, self._kinematics)
            motion = self._segment(start, goal)
            piece, predicted, phase = self._until_next_phase(motion, predicted, phase, horizon_s - planned_s)
            pieces.append(piece)
            planned_s += piece.duration_s
            start = piece.state(piece.duration_s)
        return pieces

    def _until_next_phase(
        self, motion: Segment, state: GroundTruth, phase: Phase, max_s: float
    ) -> tuple[_Piece, GroundTruth, Phase]:
        """Predict along a segment until the phase changes or `max_s` has passed."""
        now = 0.0
        while now < max_s:
            now += _PREDICTION_STEP_S
            state = predict(state, motion.at(now), self._kinematics)
            following = next_phase(state, phase)
            if following != phase:
                return _Piece(motion, now), state, following
        return _Piece(motion, now), state, phase

    def _segment(self, start: State, goal: Array) -> Segment:
        p, v, a = start
        arm = minimum_jerk_segment(p[:5], v[:5], a[:5], goal[:5], self.style.time_weight)
        return arm.joined(minimum_jerk_segment(p[5:], v[5:], a[5:], goal[5:], _GRIPPER_TIME_WEIGHT))

    def _at(self, after_s: float) -> State:
        """State of the last motion at a time after its start."""
        for piece in self._motion[:-1]:
            if after_s < piece.duration_s:
                return piece.state(after_s)
            after_s -= piece.duration_s
        return self._motion[-1].state(after_s)

    def _start(self, state: GroundTruth) -> State:
        """Start of the next motion: on the last motion while the arm follows it, otherwise the state of the arm."""
        age = state.time_s - self._motion_start_s
        if self._motion and 0.0 <= age < _MOTION_TIMEOUT_S:
            planned = self._at(age)
            if np.abs(planned[0] - state.commanded).max() < _MAX_DEVIATION_RAD:
                return planned
        position = state.commanded.copy()
        away = np.abs(state.commanded - state.joint_positions) > _MAX_DEVIATION_RAD
        away[5] = False  # Holding the cube, the gripper is commanded further than it can close.
        position[away] = state.joint_positions[away]
        velocity = np.append(np.clip(state.joint_velocities[:5], -1.5, 1.5), 0.0)
        return position, velocity, np.zeros(6)
