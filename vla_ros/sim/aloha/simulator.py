"""gym-aloha's transfer of a cube as a `Simulator`; needs the extra "aloha" (gym-aloha).

Physics, initial positions, reward and success are those of the environment: 50 actions per second, success when the
reward is 4. Rendering differs: only the requested cameras, without shadows, at the requested size, and only when
`observe` is called. The environment renders three 640 x 480 images per action, which takes many times as long as its
physics.
"""

from __future__ import annotations

import collections
import copy
from typing import Any

import mujoco
import numpy as np
from dm_control import mujoco as dm_mujoco
from dm_control.rl import control
from gym_aloha.constants import ASSETS_DIR, DT, JOINTS
from gym_aloha.env import AlohaEnv
from gym_aloha.tasks.sim import BimanualViperXTask, TransferCubeTask

from vla_ros.core.errors import UnknownName
from vla_ros.core.records import NS, Array, Image, Observation
from vla_ros.sim.aloha import CAMERAS, TASK
from vla_ros.sim.aloha.expert import ARM, TOOL_M, Arms, Expert, GroundTruth, Phase
from vla_ros.sim.base import simulators

INSTRUCTION = "hand the red cube from the right arm to the left arm"
FINGERS = ("left", "right")
NEAR_M = 0.03
"""Maximum distance between cube and tool point at which the cube counts as between the fingers [m]."""
GROUND_TRUTH_NAMES = (
    *(f"cube_{axis}" for axis in "xyz"),
    *(f"cube_{side}_{axis}" for side in ARM for axis in "xyz"),
    *(f"held_{side}" for side in ARM),
    *(f"phase_{phase.name.lower()}" for phase in Phase),
)
"""Targets of the auxiliary loss: cube position in the world and from each tool point [m], grasps, phase (one-hot)."""


class _Task(TransferCubeTask):
    """The environment's task with observations that contain no images."""

    def get_observation(self, physics: Any) -> Any:
        return collections.OrderedDict(qpos=self.get_qpos(physics))


class _Env(AlohaEnv):
    """The environment with observations that contain no images."""

    def _make_env_task(self, task_name: str) -> Any:
        physics = dm_mujoco.Physics.from_xml_path(str(ASSETS_DIR / "bimanual_viperx_transfer_cube.xml"))
        return control.Environment(physics, _Task(), float("inf"), control_timestep=DT, flat_observation=False)

    def _format_raw_obs(self, raw_obs: Any) -> Any:
        return {"agent_pos": raw_obs["qpos"]}


@simulators.register("aloha")
class AlohaSimulator:
    """Environment, camera and expert; see `vla_ros.sim.base.Simulator`.

    Attributes:
        joints: The environment's names of the 14 values of an action.
        instruction: The instruction, the same in every episode.
        physics: The environment's dm_control physics.
        camera_names: Names of the cameras that `observe` renders.
        expert: The scripted expert.
    """

    ground_truth_names = GROUND_TRUTH_NAMES

    def __init__(self, task: str = TASK, cameras: tuple[str, ...] = CAMERAS, image_size: int = 96) -> None:
        """Build the environment and reset it with seed 0.

        Args:
            task: Name of the task; there is one.
            cameras: Names of the cameras that `observe` renders.
            image_size: Width and height of the images [px].

        Raises:
            UnknownName: There is no such task.
        """
        if task != TASK:
            raise UnknownName("task", task, (TASK,))
        self.joints = tuple(JOINTS)
        self.instruction = INSTRUCTION
        self.camera_names, self._image_size = cameras, image_size
        self._env = _Env(TASK)
        self.physics = self._env._env.physics
        self.timestep_s = float(self.physics.model.opt.timestep)
        self._per_action = round(DT / self.timestep_s)
        m = self.physics.model
        self._cube, self._table = m.name2id("red_box", "geom"), m.name2id("table", "geom")
        self._links = {s: m.name2id(f"vx300s_{s}/gripper_link", "body") for s in ARM}
        self._fingers = {s: [m.name2id(f"vx300s_{s}/10_{f}_gripper_finger", "geom") for f in FINGERS] for s in ARM}
        self._renderer: mujoco.Renderer | None = None
        self._reset_environment(0)
        self.expert = Expert(Arms(self.physics.model.ptr, self.joint_positions()))

    @property
    def time_s(self) -> float:
        """Simulated time since the last reset [s]."""
        return float(self.physics.data.time)

    def reset(self, seed: int) -> None:
        """See `Simulator`; the environment draws the position of the cube from the seed."""
        self._reset_environment(seed)
        self.expert.reset()

    def _reset_environment(self, seed: int) -> None:
        self._env.reset(seed=seed)
        self._command = self.joint_positions()
        self._pending_steps, self._success = 0, False

    def command(self, positions: Array) -> None:
        """See `Simulator`; the targets apply from the next action on, shape (14,)."""
        self._command = np.array(positions, dtype=np.float64)

    def commanded(self) -> Array:
        """See `Simulator`; shape (14,)."""
        return self._command.copy()

    def step(self, n: int = 1) -> None:
        """See `Simulator`; the environment executes one action per 0.02 s."""
        self._pending_steps += n
        while self._pending_steps >= self._per_action:
            self._pending_steps -= self._per_action
            self._success |= bool(self._env.step(self._command)[2])

    def joint_positions(self) -> Array:
        """Measured positions, as the environment observes them, shape (14,)."""
        return np.asarray(BimanualViperXTask.get_qpos(self.physics))

    def success(self) -> bool:
        """Whether the environment has returned its reward of 4 since the last reset."""
        return self._success

    def ground_truth(self) -> GroundTruth:
        """See `Simulator`."""
        d = self.physics.data
        touched = {int(g) for c in d.contact.geom if self._cube in c for g in c}
        tools = {s: d.xpos[b] + d.xmat[b].reshape(3, 3)[:, 0] * TOOL_M for s, b in self._links.items()}
        cube = d.qpos[-7:].copy()
        near = {s: float(np.linalg.norm(tools[s] - cube[:3])) < NEAR_M for s in ARM}
        held = {s: near[s] and bool(touched.intersection(fingers)) for s, fingers in self._fingers.items()}
        return GroundTruth(
            self.time_s, self.joint_positions(), self.commanded(), cube[:3], cube[3:], tools, held,
            self._table in touched,
        )  # fmt: skip

    def _render(self, camera: str) -> Image:
        """One image, (size, size, 3) uint8: the central square of the environment's own image."""
        size = self._image_size
        if self._renderer is None:
            model = copy.copy(self.physics.model.ptr)
            model.vis.global_.offwidth = model.vis.global_.offheight = size
            self._renderer = mujoco.Renderer(model, size, size)
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        self._renderer.update_scene(self.physics.data.ptr, camera)
        return np.asarray(self._renderer.render()).copy()

    def observe(self) -> Observation:
        """See `Simulator`."""
        images = {name: self._render(name) for name in self.camera_names}
        return Observation(round(self.time_s * NS), images, self.joints, self.joint_positions(), self.instruction)

    def expert_path(self, ground_truth: GroundTruth, horizon_s: float, dt_s: float) -> Array:
        """See `Simulator`."""
        return self.expert.target_path(ground_truth, horizon_s, dt_s)

    def ground_truth_vector(self, ground_truth: GroundTruth) -> Array:
        """See `Simulator`."""
        one_hot = np.zeros(len(Phase))
        one_hot[self.expert.phase] = 1.0
        cube = ground_truth.cube_position
        from_tools = [cube - ground_truth.tools[s] for s in ARM]
        return np.concatenate([cube, *from_tools, [float(ground_truth.held[s]) for s in ARM], one_hot])
