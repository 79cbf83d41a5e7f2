"""The scripted expert of the SO-101: success with delay and disturbance, smooth paths, kinematics."""

import numpy as np
import pytest

from vla_ros.config import load_robot
from vla_ros.evaluation.rollout import RolloutConfig, expert_driver, run_episode
from vla_ros.sim.minimum_jerk import minimum_jerk_segment
from vla_ros.sim.so101.expert import Expert
from vla_ros.sim.so101.inverse_kinematics import ArmKinematics, Grip
from vla_ros.sim.so101.simulator import So101Simulator
from vla_ros.sim.so101.tasks import tasks
from vla_ros.sim.so101.world import World


@pytest.fixture(scope="module")
def simulator():
    return So101Simulator(cameras=())


@pytest.fixture(scope="module")
def arm(simulator):
    return ArmKinematics(simulator.world.model)


def run(simulator, seed, delay_steps=0, noise_rad=0.0):
    """One episode in which the expert plans at every control step and all its plans arrive with the same delay."""
    config = RolloutConfig(
        min_delay_steps=delay_steps,
        max_delay_steps=delay_steps,
        max_replan_steps=1,
        noise_rad=noise_rad,
        timeout_s=20.0,
    )
    return run_episode(simulator, seed, expert_driver(config.dt_s), config, record=False)


def test_the_expert_succeeds(simulator):
    results = [run(simulator, seed) for seed in range(5)]
    assert [r.seed for r in results if not r.success] == []
    assert max(r.duration_s for r in results) < 9.0


def test_the_expert_succeeds_on_the_wide_task():
    simulator = So101Simulator("pick_place_wide", cameras=())
    assert all(run(simulator, seed).success for seed in range(3))


@pytest.mark.parametrize(("delay_steps", "noise_rad"), [(2, 0.0), (10, 0.0), (0, 0.1)])
def test_the_expert_succeeds_with_delay_and_disturbance(simulator, delay_steps, noise_rad):
    assert all(run(simulator, seed, delay_steps, noise_rad).success for seed in (20, 21))


def test_a_displaced_cube_is_picked_again(arm):
    world, expert = World(), Expert(kinematics=arm)
    world.reset(0)
    displaced = False
    while world.time_s < 20.0 and not world.success():
        state = world.ground_truth()
        if state.held and state.cube_position[2] > 0.06 and not displaced:
            displaced = True
            world.rearrange(7)
        world.command(expert.target_path(state, 0.5, 0.05)[0])
        world.step(25)
    assert displaced
    assert world.success()


def test_the_path_respects_the_limits_of_the_robot_with_a_margin(arm):
    limits = load_robot("so101").limits
    world, expert = World("pick_place_wide"), Expert(kinematics=arm)
    dt = 0.02
    for seed in range(3):
        world.reset(seed)
        expert.reset()
        commands = []
        while world.time_s < 8.0:
            commands.append(expert.target_path(world.ground_truth(), 0.2, dt)[0])
            world.command(commands[-1])
            world.step(10)
        path = np.array(commands)
        assert (path > limits.lower).all()
        assert (path < limits.upper).all()
        velocity = np.diff(path, axis=0) / dt
        assert (np.abs(velocity).max(axis=0) < 0.8 * limits.velocity).all()
        assert (np.abs(np.diff(velocity, axis=0)).max(axis=0) / dt < 0.6 * limits.acceleration).all()


def test_plans_of_different_times_agree(arm):
    world, expert = World(), Expert(kinematics=arm)
    world.reset(3)
    first = expert.target_path(world.ground_truth(), 3.0, 0.05)
    for k in range(20):
        world.command(first[k])
        world.step(25)
        later = expert.target_path(world.ground_truth(), 1.0, 0.05)
        assert np.abs(later - first[k + 1 : k + 21]).max() < 0.03


def test_the_path_starts_at_the_arm(arm):
    world, expert = World(), Expert(kinematics=arm)
    world.reset(0)
    path = expert.target_path(world.ground_truth(), 1.5, 0.02)
    assert path.shape == (75, 6)
    assert np.abs(path[0] - world.home).max() < 0.001
    elsewhere = world.home + np.array([0.3, 0.3, 0.3, -0.3, 0.3, 0.3])
    world.command(elsewhere)
    world.step(1000)
    assert np.abs(expert.target_path(world.ground_truth(), 1.5, 0.02)[0] - elsewhere).max() < 0.01


@pytest.mark.parametrize(("horizon_s", "dt_s"), [(1.0, 0.0), (0.1, 0.2), (float("nan"), 0.1)])
def test_invalid_times_are_refused(arm, horizon_s, dt_s):
    with pytest.raises(ValueError, match="dt_s must be above 0 and at most horizon_s"):
        Expert(kinematics=arm).target_path(World().ground_truth(), horizon_s, dt_s)


def test_styles_differ_between_episodes_and_repeat_with_the_seed(arm):
    styles = []
    for _ in range(2):
        expert = Expert(np.random.default_rng(4), arm)
        first = expert.style
        expert.reset()
        styles.append((first, expert.style))
    assert styles[0] == styles[1]
    assert styles[0][0] != styles[0][1]


def test_inverse_kinematics_matches_forward_kinematics(arm):
    rng = np.random.default_rng(0)
    region = tasks.get("pick_place_wide").cube
    for _ in range(200):
        xy = region.sample(rng)
        grip = Grip((xy[0], xy[1], rng.uniform(0.013, 0.075)), arm.yaw_for(xy, rng.uniform(-0.8, 0.8)), 0.015, 0.098)
        joints = arm.solve(grip)
        assert joints is not None
        position, axes = arm.tool(joints, 0.015, 0.098)
        assert np.abs(position - grip.position).max() < 3e-4
        assert axes[2, 2] > 0.8
    assert arm.solve(Grip((0.6, 0.0, 0.1), 0.0, 0.0, 0.098)) is None


def test_a_segment_ends_at_rest_and_replanning_changes_nothing():
    rng = np.random.default_rng(1)
    zero = np.zeros(5)
    for _ in range(20):
        start, goal = rng.uniform(-1, 1, (2, 5))
        motion = minimum_jerk_segment(start, zero, zero, goal, 140.0)
        duration = motion.duration_s
        assert np.allclose(motion.at(duration), goal)
        assert np.abs(motion.at(duration, 1)).max() < 1e-9
        assert np.abs(motion.at(duration, 2)).max() < 1e-8
        expected = (3600.0 * np.sum((goal - start) ** 2) / 140.0) ** (1 / 6)
        assert duration == pytest.approx(expected, rel=0.01)
        now = 0.4 * duration
        rest = minimum_jerk_segment(motion.at(now), motion.at(now, 1), motion.at(now, 2), goal, 140.0)
        assert rest.duration_s == pytest.approx(0.6 * duration, rel=0.02)
        assert np.abs(rest.at(0.3 * duration) - motion.at(0.7 * duration)).max() < 1e-3
