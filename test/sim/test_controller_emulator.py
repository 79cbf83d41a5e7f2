"""The controller emulator behaves as joint_trajectory_controller is documented to."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.core.trajectory import Plan
from vla_ros.sim.controller_emulator import TrajectoryControllerEmulator

MS, NS, T0 = 10**6, 10**9, 1_700_000_000 * 10**9
JOINTS = ("a", "b")
HOME = np.array([0.1, -0.2])


def plan(start: int = T0, joints: tuple[str, ...] = JOINTS) -> Plan:
    offsets = np.array([0, 300 * MS, 700 * MS, NS])
    p = np.array([[0.1, -0.2], [0.2, 0.0], [0.4, 0.3], [0.5, 0.4]])
    v = np.array([[0.0, 0.0], [0.5, 0.8], [0.4, 0.6], [0.0, 0.0]])
    return Plan(joints, start, offsets, p, v, np.zeros_like(p))


def test_it_holds_before_a_trajectory_and_after_the_last_point() -> None:
    controller = TrajectoryControllerEmulator(JOINTS, HOME)
    np.testing.assert_array_equal(controller.at(T0 + 5 * NS), HOME)
    controller.accept(plan(), T0)
    np.testing.assert_allclose(controller.at(T0 + 2 * NS), [0.5, 0.4])
    np.testing.assert_allclose(controller.at(T0 + 3600 * NS), [0.5, 0.4])


def test_it_follows_the_quintics_between_the_points() -> None:
    controller = TrajectoryControllerEmulator(JOINTS, HOME)
    controller.accept(plan(), T0)
    for t in range(T0, T0 + NS, 7 * MS):
        np.testing.assert_allclose(controller.at(t), plan().at(t).position, atol=1e-12)


def test_repeating_a_trajectory_changes_nothing() -> None:
    controller = TrajectoryControllerEmulator(JOINTS, HOME)
    for t in range(T0, T0 + NS, 93 * MS):
        controller.accept(plan(), t)
        for later in (t, t + 40 * MS, t + 200 * MS):
            np.testing.assert_allclose(controller.at(later), plan().at(later).position, atol=1e-12)


def test_a_new_trajectory_replaces_the_old_without_a_jump_and_past_points_are_dropped() -> None:
    controller = TrajectoryControllerEmulator(JOINTS, HOME)
    controller.accept(plan(), T0)
    now = T0 + 500 * MS
    before = controller.at(now)
    other = Plan(JOINTS, T0 + 100 * MS, plan().offsets_ns, -plan().positions, -plan().velocities, plan().accelerations)
    controller.accept(other, now)
    np.testing.assert_allclose(controller.at(now), before, atol=1e-12)
    np.testing.assert_allclose(controller.at(T0 + 800 * MS), [-0.4, -0.3])
    np.testing.assert_allclose(controller.at(T0 + 2 * NS), [-0.5, -0.4])


def test_a_refused_trajectory_changes_nothing() -> None:
    controller = TrajectoryControllerEmulator(JOINTS, HOME)
    controller.accept(plan(), T0)
    moving = Plan(JOINTS, T0, plan().offsets_ns, plan().positions, plan().velocities + 0.1, plan().accelerations)
    for invalid, message in (
        (plan(T0 - 2 * NS), "ended 1.000 s ago"),
        (moving, "velocity 0"),
        (plan(joints=("b", "a")), "must name"),
    ):
        with pytest.raises(ValueError, match=message):
            controller.accept(invalid, T0)
    np.testing.assert_allclose(controller.at(T0 + 2 * NS), [0.5, 0.4])
