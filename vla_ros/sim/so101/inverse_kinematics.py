"""Inverse kinematics of the arm: closed form, then corrected on the exact model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from vla_ros.core.records import Array
from vla_ros.sim.so101.scene import JOINTS

_ARM_JOINTS = 5
_END_STOP_MARGIN_RAD = 0.021
"""Margin to each end stop; the robot's own limits keep 0.020 [rad]."""
_SOLUTION_MARGIN_RAD = 0.05
"""Additional margin of solutions, for motion that overshoots them [rad]."""
_MAX_EXTENSION = 0.985
_TILTS = np.radians(np.arange(0.0, 60.1, 2.5))


@dataclass(frozen=True)
class Grip:
    """A goal of the jaws.

    Attributes:
        position: Of the tool point (x, y, z) [m].
        yaw: Direction in which the jaws open, seen from above, 0 along x [rad].
        across: Distance of the tool point from the roll axis, towards the moving jaw [m].
        along: Distance of the tool point from the gripper's frame, along the fingers [m].
    """

    position: tuple[float, float, float]
    yaw: float
    across: float
    along: float


class ArmKinematics:
    """Forward and inverse kinematics of the arm's five joints, with the jaws pointing down as far as possible.

    Attributes:
        lower: Minimum position of each joint, inside its end stop, shape (6,) [rad].
        upper: Maximum position, shape (6,) [rad].
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        """Read the link lengths from the model in its zero position."""
        self._model = model
        self._data = mujoco.MjData(model)
        self._qpos = np.array([model.joint(n).qposadr[0] for n in JOINTS])
        self._gripper = model.body("gripper").id
        ranges = np.array([model.joint(n).range for n in JOINTS])
        self.lower, self.upper = ranges[:, 0] + _END_STOP_MARGIN_RAD, ranges[:, 1] - _END_STOP_MARGIN_RAD
        self._forward(np.zeros(_ARM_JOINTS))
        at = {n: self._data.body(n).xpos.copy() for n in ("shoulder", "upper_arm", "lower_arm", "wrist", "gripper")}
        self._pan_axis = at["shoulder"][:2]
        side = [np.array([at[n][0] - self._pan_axis[0], at[n][2]]) for n in ("upper_arm", "lower_arm", "wrist")]
        self._shoulder = side[0]
        self._upper_arm, self._upper_angle = _polar(side[1] - side[0])
        self._fore_arm, self._fore_angle = _polar(side[2] - side[1])
        self._hand = float(at["gripper"][0] - at["wrist"][0])
        down = np.array([0.0, 0.0, 0.0, math.pi / 2, 0.0])
        self._yaw_zero = self._yaw(down)
        self._pan_sign = math.copysign(1.0, _wrap(self._yaw(down + np.eye(_ARM_JOINTS)[0] * 0.1) - self._yaw_zero))
        self._roll_sign = math.copysign(1.0, _wrap(self._yaw(down + np.eye(_ARM_JOINTS)[4] * 0.1) - self._yaw_zero))

    def tool(self, joints: Array, across: float, along: float) -> tuple[Array, Array]:
        """Position (3,) [m] of the tool point and axes (3, 3) of the gripper, for joints of shape (5,) or (6,)."""
        self._forward(joints[:_ARM_JOINTS])
        rotation = self._data.xmat[self._gripper].reshape(3, 3).copy()
        return self._data.xpos[self._gripper] + rotation @ np.array([across, 0.0, -along]), rotation

    def solve(self, grip: Grip) -> Array | None:
        """Joint positions of a goal, with the jaws as vertical as the reach allows.

        Args:
            grip: The goal.

        Returns:
            Shape (5,) [rad], within the joints' ranges; None if the goal is out of reach.
        """
        for tilt in _TILTS:
            joints = self._solve_tilted(grip, math.pi / 2 - float(tilt))
            if joints is not None:
                return joints
        return None

    def _solve_tilted(self, grip: Grip, pitch: float) -> Array | None:
        wanted = np.array(grip.position)
        corrected = wanted.copy()
        joints = None
        for _ in range(4):
            joints = self._closed_form(corrected, grip, pitch)
            if joints is None:
                return None
            error = wanted - self.tool(joints, grip.across, grip.along)[0]
            corrected += error
            if float(np.abs(error).max()) < 2e-4:
                break
        assert joints is not None
        low = self.lower[:_ARM_JOINTS] + _SOLUTION_MARGIN_RAD
        high = self.upper[:_ARM_JOINTS] - _SOLUTION_MARGIN_RAD
        inside = (joints >= low) & (joints <= high)
        return joints if bool(inside.all()) else None

    def _closed_form(self, corrected: Array, grip: Grip, pitch: float) -> Array | None:
        """The five joints, with the tool point's offset from the roll axis approximated as for vertical jaws."""
        x = corrected[0] - grip.across * math.cos(grip.yaw) - self._pan_axis[0]
        y = corrected[1] - grip.across * math.sin(grip.yaw) - self._pan_axis[1]
        facing = math.atan2(y, x)
        length = self._hand + grip.along
        wrist = np.array([math.hypot(x, y) - length * math.cos(pitch), corrected[2] + length * math.sin(pitch)])
        reach, angle = _polar(wrist - self._shoulder)
        a, b = self._upper_arm, self._fore_arm
        if not abs(a - b) * 1.05 < reach < _MAX_EXTENSION * (a + b):
            return None
        upper = angle + math.acos((a * a + reach * reach - b * b) / (2.0 * a * reach))
        fore = angle - math.acos((b * b + reach * reach - a * a) / (2.0 * b * reach))
        lift = self._upper_angle - upper
        elbow = self._fore_angle - fore - lift
        roll = self._roll_sign * _wrap(grip.yaw - self._yaw_zero - facing)
        return np.array([self._pan_sign * facing, lift, elbow, pitch - lift - elbow, roll])

    def roll_for(self, xy: Array, yaw: float) -> float:
        """Angle of wrist_roll for which the jaws open in direction `yaw`, near the position `xy`, shape (2,) [rad]."""
        facing = math.atan2(xy[1] - self._pan_axis[1], xy[0] - self._pan_axis[0])
        return self._roll_sign * _wrap(yaw - self._yaw_zero - facing)

    def yaw_for(self, xy: Array, roll: float) -> float:
        """Direction in which the jaws open, near the position `xy`, shape (2,), with wrist_roll at `roll` [rad]."""
        facing = math.atan2(xy[1] - self._pan_axis[1], xy[0] - self._pan_axis[0])
        return _wrap(facing + self._yaw_zero + self._roll_sign * roll)

    def _yaw(self, joints: Array) -> float:
        rotation = self.tool(joints, 0.0, 0.0)[1]
        return math.atan2(rotation[1, 0], rotation[0, 0])

    def _forward(self, joints: Array) -> None:
        self._data.qpos[self._qpos[:_ARM_JOINTS]] = joints
        mujoco.mj_kinematics(self._model, self._data)


def _polar(vector: Array) -> tuple[float, float]:
    return float(np.hypot(*vector)), math.atan2(vector[1], vector[0])


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2.0 * math.pi) - math.pi
