"""What every simulator offers: an episode is reset, observed, commanded, stepped and checked for success."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from vla_ros.core.records import Array, Observation
from vla_ros.registry import Registry

EVALUATION_SEED = 1_000_000
"""First seed of the evaluation scenes; training scenes have smaller seeds."""


class Simulator(Protocol):
    """One robot and one task in simulation, with cameras and a scripted expert; reused between episodes.

    Attributes:
        ground_truth_names: Names of the values of `ground_truth_vector` (A).
    """

    ground_truth_names: tuple[str, ...]

    @property
    def joints(self) -> tuple[str, ...]:
        """Joint names in the order of every array (J)."""

    @property
    def instruction(self) -> str:
        """The instruction of the current episode."""

    @property
    def timestep_s(self) -> float:
        """Step of the physics [s]."""

    @property
    def time_s(self) -> float:
        """Simulated time since the last reset [s]."""

    def reset(self, seed: int) -> None:
        """Start an episode: robot at home, scene chosen by `seed` alone, expert without memory."""

    def observe(self) -> Observation:
        """Joint positions, images and instruction, stamped with the simulated time."""

    def command(self, positions: Array) -> None:
        """Set the joint targets, shape (J,) [rad]; they are held until the next call."""

    def commanded(self) -> Array:
        """The current joint targets, shape (J,) [rad]."""

    def step(self, n: int = 1) -> None:
        """Advance the physics by `n` time steps."""

    def success(self) -> bool:
        """Whether the task is done."""

    def ground_truth(self) -> Any:
        """The complete state, in the simulator's own record; input of the two methods below."""

    def expert_path(self, ground_truth: Any, horizon_s: float, dt_s: float) -> Array:
        """The expert's joint targets from `ground_truth` on.

        Args:
            ground_truth: A state of this episode; states are given in the order of time.
            horizon_s: Length of the path [s].
            dt_s: Time between its rows [s].

        Returns:
            Row k is for (k + 1) `dt_s` after the state, shape (horizon_s / dt_s, J) [rad].
        """

    def ground_truth_vector(self, ground_truth: Any) -> Array:
        """Targets of the auxiliary loss, shape (A,); the expert's phase is the one of the last `expert_path`."""


SimulatorFactory = Callable[[str, tuple[str, ...]], Simulator]
"""(name of the task, names of the cameras to render) -> a simulator."""

simulators: Registry[SimulatorFactory] = Registry(
    "simulator", {"so101": "vla_ros.sim.so101.simulator", "aloha": "vla_ros.sim.aloha.simulator"}
)
"""Simulators by name."""
