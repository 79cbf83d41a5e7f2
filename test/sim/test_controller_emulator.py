"""The trajectory controller of the simulator does what the real one is documented to do."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.core.trajectory import Plan
from vla_ros.sim.controller_emulator import Follower

MS, NS, T0 = 10**6, 10**9, 1_700_000_000 * 10**9
JOINTS = ("a", "b")
HOME = np.array([0.1, -0.2])


def plan(start: int = T0, joints: tuple[str, ...] = JOINTS) -> Plan:
    offsets = np.array([0, 300 * MS, 700 * MS, NS])
    p = np.array([[0.1, -0.2], [0.2, 0.0], [0.4, 0.3], [0.5, 0.4]])
    v = np.array([[0.0, 0.0], [0.5, 0.8], [0.4, 0.6], [0.0, 0.0]])
    return Plan(joints, start, offsets, p, v, np.zeros_like(p))


def test_it_stays_until_it_is_told_and_after_the_last_point() -> None:
    follower = Follower(JOINTS, HOME)
    np.testing.assert_array_equal(follower.at(T0 + 5 * NS), HOME)
    follower.take(plan(), T0)
    np.testing.assert_allclose(follower.at(T0 + 2 * NS), [0.5, 0.4])
    np.testing.assert_allclose(follower.at(T0 + 3600 * NS), [0.5, 0.4])


def test_it_runs_along_the_quintics_between_the_points() -> None:
    follower = Follower(JOINTS, HOME)
    follower.take(plan(), T0)
    for t in range(T0, T0 + NS, 7 * MS):
        np.testing.assert_allclose(follower.at(t), plan().at(t).position, atol=1e-12)


def test_the_same_trajectory_again_changes_nothing() -> None:
    follower = Follower(JOINTS, HOME)
    for t in range(T0, T0 + NS, 93 * MS):
        follower.take(plan(), t)
        for later in (t, t + 40 * MS, t + 200 * MS):
            np.testing.assert_allclose(follower.at(later), plan().at(later).position, atol=1e-12)


def test_a_new_one_replaces_the_old_without_a_jump_and_points_past_are_dropped() -> None:
    follower = Follower(JOINTS, HOME)
    follower.take(plan(), T0)
    now = T0 + 500 * MS
    before = follower.at(now)
    other = Plan(JOINTS, T0 + 100 * MS, plan().offsets_ns, -plan().positions, -plan().velocities, plan().accelerations)
    follower.take(other, now)
    np.testing.assert_allclose(follower.at(now), before, atol=1e-12)
    np.testing.assert_allclose(follower.at(T0 + 800 * MS), [-0.4, -0.3])
    np.testing.assert_allclose(follower.at(T0 + 2 * NS), [-0.5, -0.4])


def test_what_a_controller_refuses_changes_nothing() -> None:
    follower = Follower(JOINTS, HOME)
    follower.take(plan(), T0)
    moving = Plan(JOINTS, T0, plan().offsets_ns, plan().positions, plan().velocities + 0.1, plan().accelerations)
    for bad, said in (
        (plan(T0 - 2 * NS), "ended 1.000 s ago"),
        (moving, "velocity 0"),
        (plan(joints=("b", "a")), "names"),
    ):
        with pytest.raises(ValueError, match=said):
            follower.take(bad, T0)
    np.testing.assert_allclose(follower.at(T0 + 2 * NS), [0.5, 0.4])
