"""The simulated arm, table, cubes and bowl: command, step, snapshot, ground truth and success."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import mujoco
import numpy as np
import numpy.typing as npt

from vla_ros.core.records import Array
from vla_ros.sim.so101.scene import CUBE_NAMES, JOINTS, build_model, in_bowl
from vla_ros.sim.so101.tasks import CUBE_HALF_M, Appearance, Layout, Task, sample_layout, tasks

HOME = (0.0, -1.05, 0.55, 1.5, 0.0, 0.5)
"""Start position of the arm [rad]: retracted and raised, jaws half open."""
GRASP_POINT_M = (0.0056, 0.0, -0.098)
"""Centre of a held cube in the frame of the body "gripper": x across the jaws, -z along the fingers [m]."""
_MAX_REST_SPEED_M_S = 0.02
_MIN_TOOL_DISTANCE_M = 0.045


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The complete state of the scene at one instant, for the scripted expert and for checking success.

    "The cube" is the one that the instruction names; another cube only matters for `success`.

    Attributes:
        time_s: Simulated time [s].
        joint_positions: Measured, order of `World.joints`, shape (6,) [rad].
        joint_velocities: Measured, shape (6,) [rad/s].
        commanded: Current targets, shape (6,) [rad].
        cube_position: Centre of the cube, shape (3,) [m].
        cube_quaternion: Orientation of the cube, w first, shape (4,).
        bowl_position: Centre of the bowl's foot, shape (3,) [m].
        tool_position: Tool point, which is the centre of a held cube, shape (3,) [m].
        tool_rotation: Axes of the gripper as columns, shape (3, 3).
        held: Whether both fingers touch the cube.
        touched: Whether any part of the arm touches the cube.
        success: Whether the task is done; see `World.success`.
    """

    time_s: float
    joint_positions: Array
    joint_velocities: Array
    commanded: Array
    cube_position: Array
    cube_quaternion: Array
    bowl_position: Array
    tool_position: Array
    tool_rotation: Array
    held: bool
    touched: bool
    success: bool

    def __eq__(self, other: object) -> bool:
        """Whether every value is equal."""
        if not isinstance(other, GroundTruth):
            return NotImplemented
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything needed to render the world at one instant, copied from it.

    Attributes:
        time_s: Simulated time [s].
        qpos: Positions of all joints of the model, shape (nq,).
        mocap_pos: Positions of the mocap bodies, shape (nmocap, 3) [m].
        mocap_quat: Their orientations, shape (nmocap, 4).
        appearance: Colours, light and camera placement.
    """

    time_s: float
    qpos: Array
    mocap_pos: Array
    mocap_quat: Array
    appearance: Appearance


class World:
    """One arm in one scene.

    A target given to `command` is held until the next one, as by a forward position controller. The world is not
    thread safe: one thread steps it, other threads render from a `Snapshot`.

    Attributes:
        task: The current task.
        joints: Names of the joints, in the order of every array (6).
        home: Start position of the arm, shape (6,) [rad].
    """

    def __init__(self, task: str = "pick_place", timestep_s: float = 0.002) -> None:
        """Build the scene and reset it with seed 0.

        Args:
            task: Name of the task.
            timestep_s: Step of the physics, greater than 0 and at most 0.004 [s].

        Raises:
            UnknownName: There is no such task; the text names the nearest. It is a `ValueError`.
            ValueError: The time step is outside its range.
        """
        self.task: Task = tasks.get(task)
        if not 0.0 < timestep_s <= 0.004:
            raise ValueError(f"timestep_s must be above 0 and at most 0.004; got {timestep_s}.")
        self.joints = JOINTS
        self.home = np.array(HOME)
        self.home.setflags(write=False)
        self._model = build_model(timestep_s, len(self.task.cubes))
        self._data = mujoco.MjData(self._model)
        self._appearance = Appearance()
        self._joint_qpos = np.array([self._model.joint(n).qposadr[0] for n in JOINTS])
        self._joint_dof = np.array([self._model.joint(n).dofadr[0] for n in JOINTS])
        names = CUBE_NAMES[: len(self.task.cubes)]
        self._cubes_qpos = [int(self._model.joint(n).qposadr[0]) for n in names]
        self._cubes_dof = [int(self._model.joint(n).dofadr[0]) for n in names]
        self._cube_geoms = [self._model.geom(n).id for n in names]
        self._cube_qpos, self._cube_dof = self._cubes_qpos[0], self._cubes_dof[0]
        self._gripper = self._model.body("gripper").id
        self._fixed, self._moving = (self._model.geom(n).id for n in ("fixed_finger", "moving_finger"))
        arm = self._model.body_rootid == self._model.body("base").id
        self._arm_geoms = arm[self._model.geom_bodyid]
        self.reset(0)

    @property
    def model(self) -> mujoco.MjModel:
        """The compiled model; shared, must not be modified."""
        return self._model

    @property
    def data(self) -> mujoco.MjData:
        """The state of the model; shared, must not be modified."""
        return self._data

    @property
    def instruction(self) -> str:
        """The instruction; of two cubes it names the one that the seed chose."""
        return self._instruction

    @property
    def timestep_s(self) -> float:
        """Step of the physics [s]."""
        return float(self._model.opt.timestep)

    @property
    def time_s(self) -> float:
        """Simulated time since the last reset [s]."""
        return float(self._data.time)

    def reset(self, seed: int) -> None:
        """Start an episode: arm at home and at rest, time 0, scene and appearance chosen by the seed alone."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[self._joint_qpos] = self.home
        self._data.ctrl[:] = self.home
        self._place(sample_layout(self.task, np.random.default_rng(_check_seed(seed))))

    def rearrange(self, seed: int) -> None:
        """Draw a new scene while arm and time continue.

        Uses the scene of `reset(seed)`; if it collides with the arm, draws further scenes from the same seed.
        """
        rng = np.random.default_rng(_check_seed(seed))
        for _ in range(200):
            self._place(sample_layout(self.task, rng))
            if not self._arm_obstructs_scene():
                return

    def _place(self, layout: Layout) -> None:
        for q, v, cube in zip(self._cubes_qpos, self._cubes_dof, layout.cubes, strict=True):
            half = cube.yaw / 2.0
            self._data.qpos[q : q + 7] = [*cube.xy, CUBE_HALF_M, math.cos(half), 0.0, 0.0, math.sin(half)]
            self._data.qvel[v : v + 6] = 0.0
        self._data.mocap_pos[0] = [*layout.bowl_xy, 0.0]
        self._instruction, self._appearance = layout.instruction, layout.appearance
        mujoco.mj_forward(self._model, self._data)

    def _arm_obstructs_scene(self) -> bool:
        if any(self._touches(self._arm_geoms, geom) for geom in self._cube_geoms):
            return True
        tool = self._tool_position()
        low = tool[2] < 0.09
        near_cube = any(np.linalg.norm(tool[:2] - self._data.qpos[q : q + 2]) < 0.05 for q in self._cubes_qpos)
        near_bowl = np.linalg.norm(tool[:2] - self._data.mocap_pos[0, :2]) < 0.09
        return bool(low and (near_cube or near_bowl))

    def command(self, positions: npt.ArrayLike) -> None:
        """Set absolute servo targets, held until the next call.

        Args:
            positions: In the order of `joints`, shape (6,) [rad]; a target outside a joint's range moves the joint to
                the end of its range.

        Raises:
            ValueError: Wrong shape, or a value is not finite; the current targets are kept.
        """
        target = np.asarray(positions, dtype=np.float64)
        if target.shape != (len(JOINTS),):
            raise ValueError(
                f"a command needs {len(JOINTS)} positions ({', '.join(JOINTS)}); got shape {target.shape}."
            )
        if not np.isfinite(target).all():
            bad = ", ".join(n for n, p in zip(JOINTS, target, strict=True) if not math.isfinite(p))
            raise ValueError(f"a command must be finite; {bad} is not.")
        self._data.ctrl[:] = target

    def step(self, n: int = 1) -> None:
        """Advance the physics by `n` time steps."""
        if n < 1:
            raise ValueError(f"step needs at least 1 time step; got {n}.")
        mujoco.mj_step(self._model, self._data, n)

    def joint_positions(self) -> Array:
        """Measured positions, shape (6,) [rad]."""
        return np.array(self._data.qpos[self._joint_qpos])

    def joint_velocities(self) -> Array:
        """Measured velocities, shape (6,) [rad/s]."""
        return np.array(self._data.qvel[self._joint_dof])

    def commanded(self) -> Array:
        """Current targets, shape (6,) [rad]."""
        return np.array(self._data.ctrl)

    def success(self) -> bool:
        """Whether only the named cube lies in the bowl, at rest, untouched, with the gripper away from it."""
        d = self._data
        cube = d.qpos[self._cube_qpos : self._cube_qpos + 3]
        speed = float(np.linalg.norm(d.qvel[self._cube_dof : self._cube_dof + 3]))
        return bool(
            in_bowl(cube, d.mocap_pos[0])
            and speed < _MAX_REST_SPEED_M_S
            and not self._touches(self._arm_geoms)
            and float(np.linalg.norm(self._tool_position() - cube)) > _MIN_TOOL_DISTANCE_M
            and not self.wrong_cube_in_bowl()
        )

    def wrong_cube_in_bowl(self) -> bool:
        """Whether a cube that the instruction does not name is in the bowl."""
        d = self._data
        return any(in_bowl(d.qpos[q : q + 3], d.mocap_pos[0]) for q in self._cubes_qpos[1:])

    def ground_truth(self) -> GroundTruth:
        """The current state, copied."""
        q, d = self._cube_qpos, self._data
        finger = np.zeros(self._model.ngeom, dtype=bool)
        held = True
        for geom in (self._fixed, self._moving):
            finger[:] = False
            finger[geom] = True
            held = held and self._touches(finger)
        return GroundTruth(
            time_s=self.time_s,
            joint_positions=self.joint_positions(),
            joint_velocities=self.joint_velocities(),
            commanded=self.commanded(),
            cube_position=d.qpos[q : q + 3].copy(),
            cube_quaternion=d.qpos[q + 3 : q + 7].copy(),
            bowl_position=d.mocap_pos[0].copy(),
            tool_position=self._tool_position(),
            tool_rotation=d.xmat[self._gripper].reshape(3, 3).copy(),
            held=held,
            touched=self._touches(self._arm_geoms),
            success=self.success(),
        )

    def snapshot(self) -> Snapshot:
        """What `Cameras` needs to render this instant, copied."""
        d = self._data
        return Snapshot(self.time_s, d.qpos.copy(), d.mocap_pos.copy(), d.mocap_quat.copy(), self._appearance)

    def _tool_position(self) -> Array:
        rotation = self._data.xmat[self._gripper].reshape(3, 3)
        return np.asarray(self._data.xpos[self._gripper] + rotation @ np.array(GRASP_POINT_M))

    def _touches(self, geoms: npt.NDArray[np.bool_], cube: int | None = None) -> bool:
        """Whether a cube (a geom id, default: the named cube) is in contact with any geom set in `geoms` (ngeom,)."""
        pairs = self._data.contact.geom
        if len(pairs) == 0:
            return False
        with_cube = (pairs == (self._cube_geoms[0] if cube is None else cube)).any(axis=1)
        return bool(geoms[pairs[with_cube]].any())


def _check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"a seed must be an integer of at least 0; got {seed!r}.")
    return int(seed)
