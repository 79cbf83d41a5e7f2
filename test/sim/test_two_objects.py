"""Two cubes, one asked for: the sentence decides, nothing else tells."""

import numpy as np
import pytest

from vla_ros.evaluation.executors import PlannerExecutor
from vla_ros.evaluation.rollout import RolloutConfig, Stage, expert_driver
from vla_ros.sim.ground_truth_json import ground_truth_from_json, ground_truth_to_json
from vla_ros.policy.text.encoders import embed
from vla_ros.sim.so101.environment import PickPlaceEnv
from vla_ros.sim.so101.scene import BOWL_FLOOR_M
from vla_ros.sim.so101.tasks import CUBE_HALF_M, CUBES, CUBES_APART_M, get_task, sample_layout
from vla_ros.sim.so101.world import World

TASK = "two_objects"
RED, BLUE = get_task(TASK).instructions


@pytest.fixture(scope="module")
def world():
    return World(TASK)


def put(world, name, xyz):
    q = int(world.model.joint(name).qposadr[0])
    world.data.qpos[q : q + 3] = xyz
    world.step(200)


def coloured(picture, colour):
    """Pixels that are like the cube of that colour."""
    rgb = picture.astype(int)
    main, others = (0, (1, 2)) if colour == "red" else (2, (0, 1))
    return int(((rgb[..., main] > 90) & (rgb[..., main] > 1.8 * rgb[..., others].max(axis=-1))).sum())


def test_the_sentence_is_drawn_and_the_places_do_not_tell_it():
    layouts = [sample_layout(get_task(TASK), np.random.default_rng(seed)) for seed in range(600)]
    asked = np.array([layout.instruction == BLUE for layout in layouts])
    assert {layout.instruction for layout in layouts} == {RED, BLUE}
    assert 0.44 < asked.mean() < 0.56
    places = np.array([[cube.xy for cube in layout.cubes] for layout in layouts])
    assert np.linalg.norm(places[:, 0] - places[:, 1], axis=1).min() >= CUBES_APART_M
    blue = np.where(asked[:, None], places[:, 0], places[:, 1])
    for group in (places[:, 0] - places[:, 1], blue[asked] - blue[~asked].mean(axis=0)):
        assert np.abs(group.mean(axis=0)).max() < 4.0 * group.std(axis=0).max() / np.sqrt(len(group))


def test_the_colours_go_with_the_sentence():
    for seed in range(40):
        layout = sample_layout(get_task(TASK), np.random.default_rng(seed))
        asked, other = ("red", "blue") if layout.instruction == RED else ("blue", "red")
        assert np.abs(np.array(layout.appearance.cube[:3]) - CUBES[asked]).max() <= 0.13
        assert np.abs(np.array(layout.appearance.other[:3]) - CUBES[other]).max() <= 0.13


def test_only_the_cube_that_is_asked_for_counts(world):
    world.reset(0)
    bowl = world.ground_truth().bowl_position + np.array([0.0, 0.0, BOWL_FLOOR_M + CUBE_HALF_M + 0.001])
    put(world, "other", bowl)
    assert world.mistaken()
    assert not world.success()
    world.reset(0)
    put(world, "cube", bowl)
    assert world.success()
    assert not world.mistaken()
    beside = np.array([0.015, 0.0, 0.0])
    put(world, "cube", bowl - beside)
    put(world, "other", bowl + beside)
    assert not world.success(), "both cubes in the bowl are not what was asked for"


@pytest.mark.parametrize("seed", [2, 3])
def test_the_expert_does_what_the_sentence_says_through_the_planner(seed):
    stage = Stage(TASK, ())
    other = int(stage.world.model.joint("other").qposadr[0])
    stage.world.reset(seed)
    before = stage.world.data.qpos[other : other + 3].copy()
    result = stage.run(seed, expert_driver(0.05), RolloutConfig(), executor=PlannerExecutor, keep=False)
    assert result.success
    assert np.linalg.norm(stage.world.data.qpos[other : other + 3] - before) < 0.002


def test_both_cubes_can_be_told_apart_at_the_size_a_policy_is_shown():
    stage = Stage(TASK)
    for seed in range(6):
        stage.world.reset(seed)
        result = stage.run(seed, expert_driver(0.05), RolloutConfig(limit_s=0.1))
        first = result.episode.images["front"][0]
        assert first.shape == (96, 96, 3)
        assert result.episode.instruction == stage.world.instruction
        assert coloured(first, "red") >= 6
        assert coloured(first, "blue") >= 6


def test_a_policy_is_given_different_numbers_for_the_two_sentences():
    red, blue = embed(RED, 32), embed(BLUE, 32)
    assert np.abs(red - blue).max() > 0.2


def test_the_environment_says_which_cube():
    env = PickPlaceEnv(TASK, render_images=False)
    assert {env.reset(seed=seed)[1]["instruction"] for seed in range(6)} == {RED, BLUE}


def test_the_truth_on_the_topic_carries_the_sentence_of_its_scene(world):
    told = set()
    for seed in range(6):
        world.rearrange(seed)
        text = ground_truth_to_json(
            world.ground_truth(), 0, seed, {"instruction": world.instruction, "home": world.home.tolist(), "task": TASK}
        )
        told.add(ground_truth_from_json(text)[1]["instruction"])
    assert told == {RED, BLUE}
