import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from vla_ros.sim.so101.environment import ENV_ID, PickPlaceEnv


@pytest.mark.parametrize("images", [True, False])
def test_the_environment_passes_the_gymnasium_checker(images):
    env = gym.make(ENV_ID, image_size=64, render_images=images, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")
        warnings.filterwarnings("ignore", message=".*not within the observation space.*")
        check_env(env.unwrapped)
    env.close()


def test_observations_are_in_the_observation_space():
    env = PickPlaceEnv()
    observation, info = env.reset(seed=3)
    assert set(observation) == {"front", "wrist", "joints"}
    assert observation["front"].shape == (224, 224, 3)
    assert env.observation_space.contains(observation)
    assert info["success"] is False
    assert np.allclose(observation["joints"], info["ground_truth"].joint_positions)
    env.close()


def test_servo_targets_are_interpolated():
    env = PickPlaceEnv(render_images=False)
    env.reset(seed=0)
    targets = []
    env.world.step = lambda n=1: targets.append(env.world.commanded())  # type: ignore[method-assign]
    home = env.world.home
    env.step((home + 0.25).astype(np.float32))
    path = np.concatenate([[home], targets])
    assert np.abs(np.diff(path, axis=0)).max() == pytest.approx(0.01, rel=0.01)
    assert np.allclose(path[-1], home + 0.25)


def test_an_idle_episode_is_truncated_after_twenty_seconds():
    env = PickPlaceEnv(render_images=False)
    env.reset(seed=0)
    steps, truncated = 0, False
    while not truncated:
        _, reward, terminated, truncated, info = env.step(env.world.home.astype(np.float32))
        steps += 1
        assert (reward, terminated, info["success"]) == (0.0, False, False)
    assert steps == 400


@pytest.mark.parametrize("action", [np.zeros(5), np.full(6, np.nan)])
def test_an_invalid_action_is_refused(action):
    env = PickPlaceEnv(render_images=False)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="a command "):
        env.step(action)
    assert env.world.time_s == 0.0


def test_an_unknown_render_mode_is_refused():
    with pytest.raises(ValueError, match='render_mode must be "rgb_array" or None'):
        PickPlaceEnv(render_mode="human")
