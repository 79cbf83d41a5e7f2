"""Two cubes: only the instruction determines the target."""

import numpy as np
import pytest

from vla_ros.evaluation.executors import PlannerExecutor
from vla_ros.evaluation.rollout import RolloutConfig, expert_driver, run_episode
from vla_ros.policy.text.encoders import hash_embedding
from vla_ros.sim.ground_truth_json import ground_truth_from_json, ground_truth_to_json
from vla_ros.sim.so101.environment import PickPlaceEnv
from vla_ros.sim.so101.scene import BOWL_FLOOR_M
from vla_ros.sim.so101.simulator import So101Simulator
from vla_ros.sim.so101.tasks import CUBE_HALF_M, CUBES, MIN_CUBE_DISTANCE_M, sample_layout, tasks
from vla_ros.sim.so101.world import World

TASK = "two_objects"
RED, BLUE = tasks.get(TASK).instructions


@pytest.fixture(scope="module")
def world():
    return World(TASK)


def place(world, name, xyz):
    q = int(world.model.joint(name).qposadr[0])
    world.data.qpos[q : q + 3] = xyz
    world.step(200)


def count_pixels(image, colour):
    """Number of pixels with the colour of a cube."""
    rgb = image.astype(int)
    main, others = (0, (1, 2)) if colour == "red" else (2, (0, 1))
    return int(((rgb[..., main] > 90) & (rgb[..., main] > 1.8 * rgb[..., others].max(axis=-1))).sum())


def test_the_target_is_random_and_independent_of_the_positions():
    layouts = [sample_layout(tasks.get(TASK), np.random.default_rng(seed)) for seed in range(600)]
    target = np.array([layout.instruction == BLUE for layout in layouts])
    assert {layout.instruction for layout in layouts} == {RED, BLUE}
    assert 0.44 < target.mean() < 0.56
    positions = np.array([[cube.xy for cube in layout.cubes] for layout in layouts])
    assert np.linalg.norm(positions[:, 0] - positions[:, 1], axis=1).min() >= MIN_CUBE_DISTANCE_M
    blue = np.where(target[:, None], positions[:, 0], positions[:, 1])
    for group in (positions[:, 0] - positions[:, 1], blue[target] - blue[~target].mean(axis=0)):
        assert np.abs(group.mean(axis=0)).max() < 4.0 * group.std(axis=0).max() / np.sqrt(len(group))


def test_the_colours_match_the_instruction():
    for seed in range(40):
        layout = sample_layout(tasks.get(TASK), np.random.default_rng(seed))
        target, other = ("red", "blue") if layout.instruction == RED else ("blue", "red")
        assert np.abs(np.array(layout.appearance.cube[:3]) - CUBES[target]).max() <= 0.13
        assert np.abs(np.array(layout.appearance.other[:3]) - CUBES[other]).max() <= 0.13


def test_only_the_target_cube_counts(world):
    world.reset(0)
    bowl = world.ground_truth().bowl_position + np.array([0.0, 0.0, BOWL_FLOOR_M + CUBE_HALF_M + 0.001])
    place(world, "other", bowl)
    assert world.wrong_cube_in_bowl()
    assert not world.success()
    world.reset(0)
    place(world, "cube", bowl)
    assert world.success()
    assert not world.wrong_cube_in_bowl()
    beside = np.array([0.015, 0.0, 0.0])
    place(world, "cube", bowl - beside)
    place(world, "other", bowl + beside)
    assert not world.success(), "both cubes in the bowl is no success"


@pytest.mark.parametrize("seed", [2, 3])
def test_the_expert_follows_the_instruction_through_the_planner(seed):
    simulator = So101Simulator(TASK, ())
    world = simulator.world
    other = int(world.model.joint("other").qposadr[0])
    world.reset(seed)
    before = world.data.qpos[other : other + 3].copy()
    result = run_episode(simulator, seed, expert_driver(0.05), RolloutConfig(), PlannerExecutor, record=False)
    assert result.success
    assert np.linalg.norm(world.data.qpos[other : other + 3] - before) < 0.002


def test_both_cubes_are_visible_at_the_image_size_of_the_policy():
    simulator = So101Simulator(TASK)
    for seed in range(6):
        result = run_episode(simulator, seed, expert_driver(0.05), RolloutConfig(timeout_s=0.1))
        first = result.episode.images["front"][0]
        assert first.shape == (96, 96, 3)
        assert result.episode.instruction == simulator.instruction
        assert count_pixels(first, "red") >= 6
        assert count_pixels(first, "blue") >= 6


def test_the_two_instructions_have_different_embeddings():
    red, blue = hash_embedding(RED, 32), hash_embedding(BLUE, 32)
    assert np.abs(red - blue).max() > 0.2


def test_the_environment_returns_the_instruction():
    env = PickPlaceEnv(TASK, render_images=False)
    assert {env.reset(seed=seed)[1]["instruction"] for seed in range(6)} == {RED, BLUE}


def test_the_ground_truth_message_carries_the_instruction(world):
    received = set()
    for seed in range(6):
        world.rearrange(seed)
        text = ground_truth_to_json(
            world.ground_truth(), 0, seed, {"instruction": world.instruction, "home": world.home.tolist(), "task": TASK}
        )
        received.add(ground_truth_from_json(text)[1]["instruction"])
    assert received == {RED, BLUE}
