"""gym-aloha's transfer of a cube, if it is installed: the expert succeeds, and its episodes are demonstrations."""

import numpy as np
import pytest

from vla_ros.core.errors import UnknownName
from vla_ros.core.records import Chunk
from vla_ros.data.episodes import DemoDataset, DemoWriter
from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.rollout import RolloutConfig, expert_driver, policy_driver, run_episode
from vla_ros.policy.base import Policy
from vla_ros.sim.aloha import CAMERAS, DT_S, TASK
from vla_ros.sim.base import simulators

pytest.importorskip("gym_aloha", reason='gym-aloha is not installed; pip install "vla_ros[aloha]" installs it')


@pytest.fixture(scope="module")
def simulator():
    return simulators.get("aloha")(TASK, CAMERAS, image_size=32)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_expert_hands_the_cube_over(simulator, seed, monkeypatch):
    monkeypatch.setattr(simulator, "camera_names", ())
    result = run_episode(simulator, seed, expert_driver(DT_S), RolloutConfig(dt_s=DT_S), record=False)
    assert result.success
    assert result.duration_s < 9.0
    state = simulator.ground_truth()
    assert state.held["left"]
    assert not state.on_table


def test_the_scene_is_the_one_of_the_environment(simulator):
    import gymnasium as gym
    from gym_aloha.utils import sample_box_pose

    for seed in (0, 1):
        simulator.reset(seed)
        np.testing.assert_allclose(simulator.ground_truth().cube_position, sample_box_pose(seed)[:3])
    assert gym.spec("gym_aloha/AlohaTransferCube-v0").kwargs["task"] == TASK


def test_fifty_actions_per_second_and_no_success_without_reward(simulator):
    simulator.reset(0)
    for _ in range(30):
        simulator.command(simulator.commanded())
        simulator.step(5)
    assert simulator.time_s == pytest.approx(0.30)
    assert not simulator.success()


def test_episodes_are_demonstrations_of_fourteen_joints(simulator, tmp_path):
    config = RolloutConfig(image_size=32, dt_s=DT_S, timeout_s=0.6)
    job = EpisodeJob(TASK, "aloha", CAMERAS, config, simulator="aloha")
    result = run_episode(simulator, 3, expert_driver(DT_S), config)
    DemoWriter(tmp_path, job.info(simulator)).write(result.episode, 3)
    data = DemoDataset(tmp_path)
    assert data.info.joints == simulator.joints
    assert len(data.info.joints) == 14
    episode = data.episodes[0]
    assert episode.labels.shape[1:] == (32, 14)
    assert episode.ground_truth.shape[1] == len(simulator.ground_truth_names)
    red = episode.images["top"][0].astype(int)
    assert ((red[..., 0] > 120) & (red[..., 0] > 2 * red[..., 1])).any()


def test_a_policy_drives_it(simulator):
    class Hold(Policy):
        joints, cameras = simulator.joints, CAMERAS
        inferences = 0

        def infer(self, observation, committed=None):
            Hold.inferences += 1
            assert observation.images["top"].shape == (32, 32, 3)
            return Chunk.from_rate(observation.stamp_ns, self.joints, np.tile(observation.positions, (8, 1)), DT_S)

    result = run_episode(simulator, 0, policy_driver(Hold()), RolloutConfig(dt_s=DT_S, timeout_s=0.5), record=False)
    assert not result.success
    assert Hold.inferences >= 2


def test_another_task_is_refused():
    with pytest.raises(UnknownName, match='unknown task "insertion"'):
        simulators.get("aloha")("insertion", ())
