"""A scripted expert that sees the truth and puts the cube in the bowl, however the scene stands when it is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.sim.minimum_jerk import Segment, segment
from vla_ros.sim.so101.inverse_kinematics import ArmKinematics
from vla_ros.sim.so101.kinematic_rollout import imagine
from vla_ros.sim.so101.phase_machine import Phase, Style, judge, target
from vla_ros.sim.so101.scene import build_model
from vla_ros.sim.so101.world import Truth

Array = npt.NDArray[np.float64]

_GRIPPER_PRICE = 9000.0
_MEMORY_S = 2.0
_STEP_S = 0.05
_STRAY_RAD = 0.20
"""As near to the last motion the arm counts as being on it; so neither noise nor delay is fed back [rad]."""

State = tuple[Array, Array, Array]
"""Position [rad], velocity [rad/s] and acceleration [rad/s^2], each of shape (6,)."""


@dataclass(frozen=True, eq=False)
class Piece:
    """The beginning of a segment.

    Attributes:
        motion: The segment.
        used_s: How much of it is gone through [s].
    """

    motion: Segment
    used_s: float

    def state(self, time_s: float) -> State:
        """The state a time after the start."""
        return self.motion.at(time_s), self.motion.at(time_s, 1), self.motion.at(time_s, 2)


class Expert:
    """Plans from the truth at every call; it remembers its last motion (for a smooth start) and the last phase.

    The phase follows from the truth: where the cube is, whether it is held, where the jaws are. A lost cube
    is therefore picked again, and a call that comes late, or after somebody moved the arm, is no special case.

    Attributes:
        phase: The phase of the last call.
        style: How it moves.
    """

    def __init__(self, rng: np.random.Generator | None = None, kinematics: ArmKinematics | None = None) -> None:
        """Prepare.

        Args:
            rng: If given, each `restart` draws a new style from it.
            kinematics: Of the arm; made from the scene if not given.
        """
        self._kinematics = ArmKinematics(build_model()) if kinematics is None else kinematics
        self._rng = rng
        self.restart()

    def restart(self) -> None:
        """Forget the last motion, and draw a new style if there is a source of them; for the start of an episode."""
        self.phase = Phase.APPROACH
        self.style = Style() if self._rng is None else Style.drawn(self._rng)
        self._motion: list[Piece] = []
        self._motion_start_s = 0.0

    def target_path(self, truth: Truth, horizon_s: float, dt_s: float) -> Array:
        """Absolute joint targets from now on.

        Args:
            truth: The state of the world now.
            horizon_s: How far ahead [s].
            dt_s: Time between targets [s].

        Returns:
            Row k is for the time (k + 1) `dt_s` after `truth.time_s`; shape (horizon_s / dt_s, 6) [rad].

        Raises:
            ValueError: The times are not 0 < dt_s <= horizon_s.
        """
        if not 0.0 < dt_s <= horizon_s:
            raise ValueError(f"dt_s must be above 0 and at most horizon_s; got {dt_s} and {horizon_s}.")
        self.phase = judge(truth, self.phase)
        self._motion = self._plan(truth, horizon_s)
        self._motion_start_s = truth.time_s
        count = round(horizon_s / dt_s)
        path = np.stack([self._at((k + 1) * dt_s)[0] for k in range(count)])
        return np.clip(path, self._kinematics.lower, self._kinematics.upper)

    def _plan(self, truth: Truth, horizon_s: float) -> list[Piece]:
        """Motion over the horizon: the same script, followed through what it will see if all goes well."""
        start = self._start(truth)
        pieces: list[Piece] = []
        view, phase, ahead = truth, self.phase, 0.0
        while ahead < horizon_s:
            goal = target(phase, view, start[0], self.style, self._kinematics)
            piece, view, phase = self._follow(self._segment(start, goal), view, phase, horizon_s - ahead)
            pieces.append(piece)
            ahead += piece.used_s
            start = piece.state(piece.used_s)
        return pieces

    def _follow(self, motion: Segment, view: Truth, phase: Phase, most_s: float) -> tuple[Piece, Truth, Phase]:
        """Go along a segment until the script calls for another phase, or `most_s` has passed."""
        now = 0.0
        while now < most_s:
            now += _STEP_S
            view = imagine(view, motion.at(now), self._kinematics)
            following = judge(view, phase)
            if following != phase:
                return Piece(motion, now), view, following
        return Piece(motion, now), view, phase

    def _segment(self, start: State, goal: Array) -> Segment:
        p, v, a = start
        arm = segment(p[:5], v[:5], a[:5], goal[:5], self.style.price)
        return arm.beside(segment(p[5:], v[5:], a[5:], goal[5:], _GRIPPER_PRICE))

    def _at(self, after_s: float) -> State:
        """The last motion, a time after its start."""
        for piece in self._motion[:-1]:
            if after_s < piece.used_s:
                return piece.state(after_s)
            after_s -= piece.used_s
        return self._motion[-1].state(after_s)

    def _start(self, truth: Truth) -> State:
        """Where to go on from: the last motion, as long as the arm is on it or nearly so; else the arm itself."""
        age = truth.time_s - self._motion_start_s
        if self._motion and 0.0 <= age < _MEMORY_S:
            planned = self._at(age)
            if np.abs(planned[0] - truth.commanded).max() < _STRAY_RAD:
                return planned
        position = truth.commanded.copy()
        stray = np.abs(truth.commanded - truth.joint_positions) > _STRAY_RAD
        stray[5] = False  # The jaws press by being commanded further than they can go.
        position[stray] = truth.joint_positions[stray]
        velocity = np.append(np.clip(truth.joint_velocities[:5], -1.5, 1.5), 0.0)
        return position, velocity, np.zeros(6)


if __name__ == "__main__":
    from vla_ros.sim.so101.trial import main

    raise SystemExit(main())
