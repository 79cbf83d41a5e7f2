"""Gymnasium environment of the SO-101 task, registered as `vla_ros/PickPlace-v0` when this module is imported."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vla_ros.sim.so101.cameras import Cameras
from vla_ros.sim.so101.scene import CAMERAS, JOINTS
from vla_ros.sim.so101.world import World

Observation = dict[str, npt.NDArray[Any]]

ENV_ID = "vla_ros/PickPlace-v0"
CONTROL_S = 0.05
TIMEOUT_S = 20.0


class PickPlaceEnv(gym.Env[Observation, npt.NDArray[np.float32]]):
    """Put the cube in the bowl.

    Observation: "front" and "wrist", shape (size, size, 3) uint8, and "joints", shape (6,) float32 [rad].
    Action: absolute joint targets, shape (6,) [rad], at 20 Hz; the servo targets are interpolated linearly between two
    actions. Reward: 1 with success, else 0. The episode terminates with success and is truncated at 20 s. `info` has
    "ground_truth" (a `GroundTruth`), "success" and "instruction", which names the cube.

    Attributes:
        world: The simulated world.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": round(1.0 / CONTROL_S)}

    def __init__(
        self,
        task: str = "pick_place",
        render_images: bool = True,
        image_size: int = 224,
        render_mode: str | None = None,
    ) -> None:
        """Build the world.

        Args:
            task: Name of the task.
            render_images: Whether observations contain images; without them an episode runs many times faster.
            image_size: Width and height of the images [px].
            render_mode: "rgb_array": `render` returns the front image; None: it returns None.

        Raises:
            ValueError: Unknown task or mode, or an invalid size.
        """
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'render_mode must be "rgb_array" or None; got {render_mode!r}.')
        self.render_mode = render_mode
        self.world = World(task)
        self._images = render_images
        self._cameras = Cameras(self.world, image_size, image_size)
        ranges = np.array([self.world.model.joint(n).range for n in JOINTS])
        self.action_space = gym.spaces.Box(ranges[:, 0].astype(np.float32), ranges[:, 1].astype(np.float32))
        spaces: dict[str, gym.Space[Any]] = {"joints": gym.spaces.Box(-np.pi, np.pi, (len(JOINTS),), np.float32)}
        if render_images:
            image = gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
            spaces |= dict.fromkeys(CAMERAS, image)
        self.observation_space = gym.spaces.Dict(spaces)
        self._substeps = round(CONTROL_S / self.world.timestep_s)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same scene as `World.reset`."""
        super().reset(seed=seed)
        self.world.reset(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self._observe(), self._info()

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move the targets to `action`, shape (6,) [rad], over one control period.

        Raises:
            ValueError: Wrong shape, or a value is not finite.
        """
        start, goal = self.world.commanded(), np.asarray(action, dtype=np.float64)
        self.world.command(goal)
        for k in range(self._substeps):
            self.world.command(start + (goal - start) * (k + 1) / self._substeps)
            self.world.step()
        info = self._info()
        terminated = bool(info["success"])
        truncated = not terminated and self.world.time_s >= TIMEOUT_S - 1e-9
        return self._observe(), float(terminated), terminated, truncated, info

    def render(self) -> npt.NDArray[np.uint8] | None:  # type: ignore[override]
        """The front image, shape (size, size, 3) uint8, if the render mode is "rgb_array"."""
        return self._cameras.render(self.world.snapshot(), "front") if self.render_mode else None

    def close(self) -> None:
        """Free the rendering context."""
        self._cameras.close()

    def _observe(self) -> Observation:
        observation: Observation = {"joints": self.world.joint_positions().astype(np.float32)}
        if self._images:
            observation |= self._cameras.render_all(self.world.snapshot())
        return observation

    def _info(self) -> dict[str, Any]:
        state = self.world.ground_truth()
        return {"ground_truth": state, "success": state.success, "instruction": self.world.instruction}


if ENV_ID not in gym.registry:
    gym.register(id=ENV_ID, entry_point="vla_ros.sim.so101.environment:PickPlaceEnv")
