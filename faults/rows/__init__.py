"""The rows of the suite by subject, in the order of the table."""

from __future__ import annotations

from faults.rows import (
    cameras,
    chunks,
    combinations,
    deadman,
    environment,
    joint_states,
    operator,
    processes,
    trajectory_controller,
)

FAULTS = (
    *processes.FAULTS,
    *joint_states.FAULTS,
    *chunks.FAULTS,
    *operator.FAULTS,
    *combinations.FAULTS,
    *deadman.FAULTS,
    *cameras.FAULTS,
    *environment.FAULTS,
    *trajectory_controller.FAULTS,
)
