import numpy as np
import pytest

from vla_ros.config import load_robot
from vla_ros.sim.so101.scene import in_bowl
from vla_ros.sim.so101.tasks import tasks
from vla_ros.sim.so101.world import World


@pytest.fixture(scope="module")
def world():
    return World()


def state(world):
    s = world.snapshot()
    return np.concatenate([s.qpos, s.mocap_pos.ravel(), [s.time_s]]), s.appearance


def test_joints_match_the_robot_file_and_home_is_within_its_limits(world):
    limits = load_robot("so101").limits
    assert world.joints == limits.joints
    assert ((limits.lower < world.home) & (world.home < limits.upper)).all()


def test_the_same_seed_gives_the_same_scene_and_the_same_future(world):
    ends = []
    for _ in range(2):
        world.reset(5)
        world.command(world.home + 0.2)
        world.step(300)
        ends.append(state(world))
    assert np.array_equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
    world.reset(6)
    assert state(world)[1] != ends[0][1]


@pytest.mark.parametrize("task", tasks)
def test_scenes_are_in_the_regions_of_the_task_and_not_solved(task):
    world, spec = World(task), tasks.get(task)
    for seed in range(50):
        world.reset(seed)
        state = world.ground_truth()
        assert not state.success
        assert not state.touched
        assert np.abs(state.bowl_position[:2] - spec.bowl_m).max() <= spec.bowl_spread_m
        assert np.linalg.norm(state.cube_position[:2] - state.bowl_position[:2]) > 0.10
        assert np.array_equal(state.joint_positions, world.home)


def test_the_wide_task_is_about_twice_as_wide():
    regions = (tasks.get(n).cube for n in ("pick_place", "pick_place_wide"))
    narrow, wide = (np.diff(np.square(r.radius_m))[0] / 2 * np.diff(r.angle_rad)[0] for r in regions)
    assert 0.008 < narrow < 0.012
    assert 1.8 < wide / narrow < 2.6


def test_the_arm_rests_at_home_and_the_cube_stays(world):
    world.reset(1)
    before = world.ground_truth()
    world.step(1000)
    after = world.ground_truth()
    assert np.abs(after.joint_positions - world.home).max() < 0.005
    assert np.linalg.norm(after.cube_position - before.cube_position) < 0.001
    assert world.time_s == pytest.approx(2.0)


def test_a_target_is_held(world):
    world.reset(2)
    goal = world.home + np.array([0.3, 0.2, -0.1, -0.2, 0.4, 0.3])
    world.command(goal)
    world.step(1000)
    assert np.abs(world.joint_positions() - goal).max() < 0.01
    world.step(1000)
    assert np.abs(world.joint_positions() - goal).max() < 0.01
    assert np.abs(world.joint_velocities()).max() < 0.01


def test_rearrange_changes_neither_arm_nor_time(world):
    world.reset(3)
    world.command(world.home + 0.3)
    world.step(200)
    joints, time = world.joint_positions(), world.time_s
    world.rearrange(4)
    assert np.array_equal(world.joint_positions(), joints)
    assert world.time_s == time
    moved = world.ground_truth()
    world.reset(4)
    assert np.array_equal(moved.cube_position, world.ground_truth().cube_position)
    assert moved.success is False


def test_rearrange_does_not_place_the_cube_in_the_arm(world):
    for seed in range(20):
        world.reset(seed)
        low = np.array([0.15, 0.35, 0.0, 1.2, 0.0, 0.3])
        for k in range(200):
            world.command(world.home + (low - world.home) * (k + 1) / 200)
            world.step(2)
        world.rearrange(seed)
        state = world.ground_truth()
        assert not state.touched
        assert np.linalg.norm(state.tool_position - state.cube_position) > 0.04


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.zeros(5), r"6 positions \(shoulder_pan, .*gripper\); got shape \(5,\)"),
        (np.zeros((1, 6)), r"got shape \(1, 6\)"),
        ([0, 0, np.nan, 0, 0, 0], "elbow_flex is not"),
        ([0, 0, 0, 0, 0, np.inf], "gripper is not"),
    ],
)
def test_an_invalid_command_is_refused_and_the_last_one_stays(world, positions, message):
    world.reset(0)
    world.command(world.home + 0.1)
    with pytest.raises(ValueError, match=message):
        world.command(positions)
    assert np.array_equal(world.commanded(), world.home + 0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: World("pick_plac"), 'unknown task "pick_plac"; did you mean "pick_place"'),
        (lambda w: World(timestep_s=0.0), "timestep_s must be above 0"),
        (lambda w: World(timestep_s=float("nan")), "timestep_s must be above 0"),
        (lambda w: w.reset(-1), "a seed must be an integer of at least 0; got -1"),
        (lambda w: w.reset(1.5), "a seed must be"),
        (lambda w: w.rearrange(True), "a seed must be"),
        (lambda w: w.step(0), "at least 1 time step"),
    ],
)
def test_invalid_input_is_refused(world, call, message):
    with pytest.raises(ValueError, match=message):
        call(world)


def test_a_cube_beside_or_above_the_bowl_is_not_in_it():
    bowl = np.array([0.2, 0.1, 0.0])
    assert in_bowl(bowl + np.array([0.0, 0.0, 0.018]), bowl)
    assert not in_bowl(bowl + np.array([0.0, 0.0, 0.060]), bowl)
    assert not in_bowl(bowl + np.array([0.055, 0.0, 0.018]), bowl)
    assert not in_bowl(np.full(3, np.nan), bowl)


def test_every_task_has_an_instruction():
    instructions = {n: set(tasks.get(n).instructions) for n in tasks}
    both = instructions.pop("two_objects")
    assert both == {"put the red cube in the bowl", "put the blue cube in the bowl"}
    assert all(texts == {"put the red cube in the bowl"} for texts in instructions.values())
    assert World().instruction == "put the red cube in the bowl"
