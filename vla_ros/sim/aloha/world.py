"""gym-aloha's transfer of a cube, a task that is not ours, for the learning table; needs `pip install gym-aloha`.

Physics, random places, reward and success are the environment's own: 50 actions a second, success where its reward
is 4. Waypoints of a chunk are 0.06 s, three actions, apart, with a line between. Only its pictures are drawn otherwise:
the top camera alone, without shadows, at once at the size that is wanted, and only when somebody looks. The environment
draws three of 640 x 480 at every action, which takes many times as long as its physics.
"""

from __future__ import annotations

import collections
import copy
from typing import Any

import mujoco
import numpy as np
from aloha import CAMERAS, TASK
from dm_control import mujoco as dm_mujoco
from dm_control.rl import control
from gym_aloha.constants import ASSETS_DIR, DT, JOINTS
from gym_aloha.env import AlohaEnv
from gym_aloha.tasks.sim import BimanualViperXTask, TransferCubeTask

from vla_ros.core.records import NS, Array, Image, Observation
from vla_ros.evaluation.rollout import Stage
from vla_ros.sim.aloha.expert import ARM, TOOL_M, Arms, Expert, Phase, Truth

INSTRUCTION = "hand the red cube from the right arm to the left arm"
FINGERS = ("left", "right")
NEAR_M = 0.03
"""A cube no farther from the place between the fingers lies there [m]."""
AUXILIARY = (
    *(f"cube_{axis}" for axis in "xyz"),
    *(f"cube_{side}_{axis}" for side in ARM for axis in "xyz"),
    *(f"held_{side}" for side in ARM),
    *(f"phase_{phase.name.lower()}" for phase in Phase),
)
"""What the auxiliary outputs predict: the cube's place in the world and from each gripper [m], who holds it, phase."""


class _Task(TransferCubeTask):
    """The environment's task; it draws nothing by itself."""

    def get_observation(self, physics: Any) -> Any:
        return collections.OrderedDict(qpos=self.get_qpos(physics))


class _Env(AlohaEnv):
    """The environment, observed without pictures."""

    def _make_env_task(self, task_name: str) -> Any:
        physics = dm_mujoco.Physics.from_xml_path(str(ASSETS_DIR / "bimanual_viperx_transfer_cube.xml"))
        return control.Environment(physics, _Task(), float("inf"), control_timestep=DT, flat_observation=False)

    def _format_raw_obs(self, raw_obs: Any) -> Any:
        return {"agent_pos": raw_obs["qpos"]}


class AlohaWorld:
    """The environment behind the words of `vla_ros.sim.so101.world.World`.

    Attributes:
        joints: The environment's names of the 14 columns of an action.
    """

    def __init__(self) -> None:
        """Build it and reset it with seed 0."""
        self.joints = tuple(JOINTS)
        self.instruction = INSTRUCTION
        self._env = _Env(TASK)
        self.physics = self._env._env.physics
        self.timestep_s = float(self.physics.model.opt.timestep)
        self._per_action = round(DT / self.timestep_s)
        m = self.physics.model
        self._cube, self._table = m.name2id("red_box", "geom"), m.name2id("table", "geom")
        self._links = {s: m.name2id(f"vx300s_{s}/gripper_link", "body") for s in ARM}
        self._fingers = {s: [m.name2id(f"vx300s_{s}/10_{f}_gripper_finger", "geom") for f in FINGERS] for s in ARM}
        self._renderer: mujoco.Renderer | None = None
        self.reset(0)

    @property
    def time_s(self) -> float:
        """Simulated time since the last reset [s]."""
        return float(self.physics.data.time)

    def reset(self, seed: int) -> None:
        """Start over; the environment places its cube by the seed."""
        self._env.reset(seed=seed)
        self._command = self.joint_positions()
        self._due, self._success = 0, False

    def command(self, positions: Array) -> None:
        """Targets from the next action on, shape (14,)."""
        self._command = np.array(positions, dtype=np.float64)

    def commanded(self) -> Array:
        """Targets in force, shape (14,)."""
        return self._command.copy()

    def step(self, n: int = 1) -> None:
        """Let `n` steps of the physics go by: an action of the environment whenever one is due."""
        self._due += n
        while self._due >= self._per_action:
            self._due -= self._per_action
            self._success |= bool(self._env.step(self._command)[2])

    def joint_positions(self) -> Array:
        """Measured, as the environment observes them, shape (14,)."""
        return np.asarray(BimanualViperXTask.get_qpos(self.physics))

    def success(self) -> bool:
        """Whether the environment has given its reward of 4 since the last reset."""
        return self._success

    def truth(self) -> Truth:
        """What the expert may know, copied."""
        d = self.physics.data
        touched = {int(g) for c in d.contact.geom if self._cube in c for g in c}
        tools = {s: d.xpos[b] + d.xmat[b].reshape(3, 3)[:, 0] * TOOL_M for s, b in self._links.items()}
        cube = d.qpos[-7:].copy()
        near = {s: float(np.linalg.norm(tools[s] - cube[:3])) < NEAR_M for s in ARM}
        held = {s: near[s] and bool(touched.intersection(fingers)) for s, fingers in self._fingers.items()}
        return Truth(
            self.time_s, self.joint_positions(), self.commanded(), cube[:3], cube[3:], tools, held,
            self._table in touched,
        )  # fmt: skip

    def picture(self, camera: str, size: int) -> Image:
        """Draw one, (size, size, 3) uint8: what a square cut from the middle of the environment's own shows."""
        if self._renderer is None or self._renderer.height != size:
            model = copy.copy(self.physics.model.ptr)
            model.vis.global_.offwidth = model.vis.global_.offheight = size
            self._renderer = mujoco.Renderer(model, size, size)
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        self._renderer.update_scene(self.physics.data.ptr, camera)
        return np.asarray(self._renderer.render()).copy()


class AlohaStage(Stage):
    """The world with its camera and its expert, kept between tries."""

    auxiliary = AUXILIARY

    def __init__(self, task: str = TASK, cameras: tuple[str, ...] = CAMERAS, image_size: int = 96) -> None:
        """Build it once; there is one task."""
        if task != TASK:
            raise ValueError(f'of gym-aloha there is the task "{TASK}"; got "{task}".')
        self.world, self.names, self._size = AlohaWorld(), cameras, image_size
        self.expert = Expert(Arms(self.world.physics.model.ptr, self.world.joint_positions()))

    def observe(self) -> Observation:
        """What a policy may see now; simulated time is the clock."""
        w = self.world
        images = {name: w.picture(name, self._size) for name in self.names}
        return Observation(round(w.time_s * NS), images, w.joints, w.joint_positions(), w.instruction)

    def judged(self, truth: Truth) -> Array:
        """The numbers named in `AUXILIARY`, shape (A,)."""
        stage = np.zeros(len(Phase))
        stage[self.expert.phase] = 1.0
        cube = truth.cube_position
        seen = [cube - truth.tools[s] for s in ARM]
        return np.concatenate([cube, *seen, [float(truth.held[s]) for s in ARM], stage])
