import numpy as np
import pytest

from vla_ros.config import load_robot
from vla_ros.sim.minimum_jerk import segment
from vla_ros.sim.so101.environment import PickPlaceEnv
from vla_ros.sim.so101.expert import Expert
from vla_ros.sim.so101.inverse_kinematics import ArmKinematics, Grip
from vla_ros.sim.so101.tasks import get_task
from vla_ros.sim.so101.trial import main, run, smooth_noise
from vla_ros.sim.so101.world import World


@pytest.fixture(scope="module")
def env():
    return PickPlaceEnv(render_images=False)


@pytest.fixture(scope="module")
def arm(env):
    return ArmKinematics(env.world.model)


def test_the_expert_succeeds(env, arm):
    outcomes = [run(env, Expert(kinematics=arm), seed) for seed in range(5)]
    assert [o.seed for o in outcomes if not o.success] == []
    assert max(o.time_s for o in outcomes) < 9.0


def test_the_expert_succeeds_on_the_wide_task():
    env = PickPlaceEnv("pick_place_wide", render_images=False)
    assert all(run(env, Expert(), seed).success for seed in range(3))


@pytest.mark.parametrize(("delay_s", "noise_rad"), [(0.1, 0.0), (0.5, 0.0), (0.0, 0.03)])
def test_the_expert_succeeds_late_and_disturbed(env, arm, delay_s, noise_rad):
    assert all(run(env, Expert(kinematics=arm), seed, delay_s, noise_rad).success for seed in (20, 21))


def test_a_cube_that_is_taken_away_is_picked_again(arm):
    world, expert = World(), Expert(kinematics=arm)
    world.reset(0)
    taken = False
    while world.time_s < 20.0 and not world.success():
        truth = world.truth()
        if truth.held and truth.cube_position[2] > 0.06 and not taken:
            taken = True
            world.rearrange(7)
        world.command(expert.target_path(truth, 0.5, 0.05)[0])
        world.step(25)
    assert taken
    assert world.success()


def test_the_path_respects_the_robot_with_room_to_spare(env, arm):
    limits = load_robot("so101").limits
    world, expert = World("pick_place_wide"), Expert(kinematics=arm)
    dt = 0.02
    for seed in range(3):
        world.reset(seed)
        expert.restart()
        commands = []
        while world.time_s < 8.0:
            commands.append(expert.target_path(world.truth(), 0.2, dt)[0])
            world.command(commands[-1])
            world.step(10)
        path = np.array(commands)
        assert (path > limits.lower).all()
        assert (path < limits.upper).all()
        velocity = np.diff(path, axis=0) / dt
        assert (np.abs(velocity).max(axis=0) < 0.8 * limits.velocity).all()
        assert (np.abs(np.diff(velocity, axis=0)).max(axis=0) / dt < 0.6 * limits.acceleration).all()


def test_plans_made_at_different_times_agree(arm):
    world, expert = World(), Expert(kinematics=arm)
    world.reset(3)
    first = expert.target_path(world.truth(), 3.0, 0.05)
    for k in range(20):
        world.command(first[k])
        world.step(25)
        later = expert.target_path(world.truth(), 1.0, 0.05)
        assert np.abs(later - first[k + 1 : k + 21]).max() < 0.03


def test_the_path_begins_where_the_arm_is(arm):
    world, expert = World(), Expert(kinematics=arm)
    world.reset(0)
    path = expert.target_path(world.truth(), 1.5, 0.02)
    assert path.shape == (75, 6)
    assert np.abs(path[0] - world.home).max() < 0.001
    elsewhere = world.home + np.array([0.3, 0.3, 0.3, -0.3, 0.3, 0.3])
    world.command(elsewhere)
    world.step(1000)
    assert np.abs(expert.target_path(world.truth(), 1.5, 0.02)[0] - elsewhere).max() < 0.01


@pytest.mark.parametrize(("horizon_s", "dt_s"), [(1.0, 0.0), (0.1, 0.2), (float("nan"), 0.1)])
def test_times_that_are_none_are_refused(arm, horizon_s, dt_s):
    with pytest.raises(ValueError, match="dt_s must be above 0 and at most horizon_s"):
        Expert(kinematics=arm).target_path(World().truth(), horizon_s, dt_s)


def test_styles_differ_between_episodes_and_repeat_with_the_seed(arm):
    styles = []
    for _ in range(2):
        expert = Expert(np.random.default_rng(4), arm)
        first = expert.style
        expert.restart()
        styles.append((first, expert.style))
    assert styles[0] == styles[1]
    assert styles[0][0] != styles[0][1]


def test_inverse_kinematics_meets_the_exact_forward_kinematics(arm):
    rng = np.random.default_rng(0)
    region = get_task("pick_place_wide").cube
    for _ in range(200):
        xy = region.sample(rng)
        grip = Grip((xy[0], xy[1], rng.uniform(0.013, 0.075)), arm.yaw_for(xy, rng.uniform(-0.8, 0.8)), 0.015, 0.098)
        joints = arm.solve(grip)
        assert joints is not None
        position, axes = arm.tool(joints, 0.015, 0.098)
        assert np.abs(position - grip.position).max() < 3e-4
        assert axes[2, 2] > 0.8
    assert arm.solve(Grip((0.6, 0.0, 0.1), 0.0, 0.0, 0.098)) is None


def test_a_segment_ends_at_rest_and_planning_again_changes_nothing():
    rng = np.random.default_rng(1)
    zero = np.zeros(5)
    for _ in range(20):
        start, goal = rng.uniform(-1, 1, (2, 5))
        whole = segment(start, zero, zero, goal, 140.0)
        duration = whole.duration_s
        assert np.allclose(whole.at(duration), goal)
        assert np.abs(whole.at(duration, 1)).max() < 1e-9
        assert np.abs(whole.at(duration, 2)).max() < 1e-8
        expected = (3600.0 * np.sum((goal - start) ** 2) / 140.0) ** (1 / 6)
        assert duration == pytest.approx(expected, rel=0.01)
        now = 0.4 * duration
        rest = segment(whole.at(now), whole.at(now, 1), whole.at(now, 2), goal, 140.0)
        assert rest.duration_s == pytest.approx(0.6 * duration, rel=0.02)
        assert np.abs(rest.at(0.3 * duration) - whole.at(0.7 * duration)).max() < 1e-3


def test_noise_is_smooth_and_as_large_as_asked():
    noise = smooth_noise(np.random.default_rng(0), 0.03, 20000, 0.05)
    assert noise.std() == pytest.approx(0.03, rel=0.1)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.03


def test_the_command_prints_a_summary(capsys):
    assert main(["--episodes", "1", "--seed", "3"]) == 0
    assert capsys.readouterr().out.startswith("pick_place: 1 of 1 succeeded, mean time")
    with pytest.raises(SystemExit):
        main(["--task", "pick_plce"])
    assert 'did you mean "pick_place"' in capsys.readouterr().err
