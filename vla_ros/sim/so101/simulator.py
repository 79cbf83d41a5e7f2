"""The SO-101 scene with its cameras and its expert as a `Simulator`."""

from __future__ import annotations

import numpy as np

from vla_ros.core.records import NS, Array, Image, Observation
from vla_ros.sim.base import simulators
from vla_ros.sim.so101.cameras import Cameras
from vla_ros.sim.so101.expert import Expert
from vla_ros.sim.so101.phase_machine import Phase
from vla_ros.sim.so101.world import GroundTruth, World

GROUND_TRUTH_NAMES = (
    *("cube_x", "cube_y", "cube_z"),
    *("cube_tool_x", "cube_tool_y", "cube_tool_z"),
    *("cube_turn_cos", "cube_turn_sin"),
    *("bowl_tool_x", "bowl_tool_y", "bowl_tool_z"),
    "held",
    *(f"phase_{phase.name.lower()}" for phase in Phase),
)
"""Targets of the auxiliary loss: positions in world and gripper frame [m], cube yaw, grasp, phase (one-hot)."""


def ground_truth_vector(state: GroundTruth, phase: Phase) -> Array:
    """The values named in `GROUND_TRUTH_NAMES`, shape (A,)."""
    to_tool = state.tool_rotation.T
    w, x, y, z = state.cube_quaternion
    cube_yaw = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    tool_yaw = np.arctan2(state.tool_rotation[1, 0], state.tool_rotation[0, 0])
    one_hot = np.zeros(len(Phase))
    one_hot[phase] = 1.0
    return np.concatenate(
        [
            state.cube_position,
            to_tool @ (state.cube_position - state.tool_position),
            # A cube looks the same after a quarter turn.
            [np.cos(4.0 * (cube_yaw - tool_yaw)), np.sin(4.0 * (cube_yaw - tool_yaw))],
            to_tool @ (state.bowl_position - state.tool_position),
            [float(state.held)],
            one_hot,
        ]
    )


@simulators.register("so101")
class So101Simulator:
    """World, cameras and expert; see `vla_ros.sim.base.Simulator`.

    Attributes:
        world: The simulated scene.
        cameras: The cameras of the scene.
        expert: The scripted expert.
        camera_names: Names of the cameras that `observe` renders.
    """

    ground_truth_names = GROUND_TRUTH_NAMES

    def __init__(self, task: str = "pick_place", cameras: tuple[str, ...] = ("front", "wrist")) -> None:
        """Build the scene of `task`.

        Raises:
            UnknownName: There is no such task.
        """
        self.world = World(task)
        self.cameras, self.camera_names = Cameras(self.world), cameras
        self.expert = Expert()

    @property
    def joints(self) -> tuple[str, ...]:
        """See `Simulator`."""
        return self.world.joints

    @property
    def instruction(self) -> str:
        """See `Simulator`."""
        return self.world.instruction

    @property
    def timestep_s(self) -> float:
        """See `Simulator`."""
        return self.world.timestep_s

    @property
    def time_s(self) -> float:
        """See `Simulator`."""
        return self.world.time_s

    def reset(self, seed: int) -> None:
        """See `Simulator`."""
        self.world.reset(seed)
        self.expert.reset()

    def observe(self) -> Observation:
        """See `Simulator`."""
        snapshot = self.world.snapshot()
        images: dict[str, Image] = {name: self.cameras.render(snapshot, name) for name in self.camera_names}
        stamp_ns = round(self.world.time_s * NS)
        return Observation(stamp_ns, images, self.world.joints, self.world.joint_positions(), self.world.instruction)

    def command(self, positions: Array) -> None:
        """See `Simulator`."""
        self.world.command(positions)

    def commanded(self) -> Array:
        """See `Simulator`."""
        return self.world.commanded()

    def step(self, n: int = 1) -> None:
        """See `Simulator`."""
        self.world.step(n)

    def success(self) -> bool:
        """See `Simulator`."""
        return self.world.success()

    def ground_truth(self) -> GroundTruth:
        """See `Simulator`."""
        return self.world.ground_truth()

    def expert_path(self, ground_truth: GroundTruth, horizon_s: float, dt_s: float) -> Array:
        """See `Simulator`."""
        return self.expert.target_path(ground_truth, horizon_s, dt_s)

    def ground_truth_vector(self, ground_truth: GroundTruth) -> Array:
        """See `Simulator`."""
        return ground_truth_vector(ground_truth, self.expert.phase)
