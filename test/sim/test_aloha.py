"""The task that is not ours, where gym-aloha is installed: the expert does it, and its tries are demonstrations."""

from types import SimpleNamespace

import numpy as np
import pytest

from vla_ros.data.episodes import DemoDataset
from vla_ros.evaluation.rollout import RolloutConfig, expert_driver, policy_driver
from vla_ros.evaluation.workers import Job

pytest.importorskip("gym_aloha", reason='gym-aloha is not installed; pip install "vla_ros[aloha]" brings it')


@pytest.fixture(scope="module")
def aloha():
    """The modules of bench/ that play it."""
    from bench import aloha_expert as aloha
    from vla_ros.sim.aloha import world

    return SimpleNamespace(**{**vars(world), **vars(aloha), "Stage": world.AlohaStage})


@pytest.fixture(scope="module")
def stage(aloha):
    return aloha.Stage(image_size=32)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_expert_hands_the_cube_over(aloha, stage, seed, monkeypatch):
    monkeypatch.setattr(stage, "names", ())
    result = stage.run(seed, expert_driver(aloha.DT_S), RolloutConfig(dt_s=aloha.DT_S), keep=False)
    assert result.success
    assert result.duration_s < 9.0
    truth = stage.world.ground_truth()
    assert truth.held["left"]
    assert not truth.on_table


def test_the_scene_is_the_environments_own(aloha, stage):
    import gymnasium as gym
    from gym_aloha.utils import sample_box_pose

    for seed in (0, 1):
        stage.world.reset(seed)
        np.testing.assert_allclose(stage.world.ground_truth().cube_position, sample_box_pose(seed)[:3])
    assert gym.spec("gym_aloha/AlohaTransferCube-v0").kwargs["task"] == aloha.TASK


def test_fifty_actions_a_second_and_no_success_without_reward(stage):
    world = stage.world
    world.reset(0)
    for _ in range(30):
        world.command(world.commanded())
        world.step(5)
    assert world.time_s == pytest.approx(0.30)
    assert not world.success()


def test_tries_are_demonstrations_of_fourteen_joints(aloha, stage, tmp_path):
    from vla_ros.data.episodes import DemoWriter

    config = RolloutConfig(image_size=32, dt_s=aloha.DT_S, limit_s=0.6)
    job = Job(aloha.TASK, aloha.ROBOT, aloha.CAMERAS, config, stage=aloha.Stage)
    result = stage.run(3, expert_driver(aloha.DT_S), config)
    DemoWriter(tmp_path, job.info(stage.world.joints)).write(result.episode, 3)
    data = DemoDataset(tmp_path)
    assert data.info.joints == stage.world.joints
    assert len(data.info.joints) == 14
    episode = data.episodes[0]
    assert episode.labels.shape[1:] == (32, 14)
    assert episode.truth.shape[1] == len(aloha.AUXILIARY)
    red = episode.images["top"][0].astype(int)
    assert ((red[..., 0] > 120) & (red[..., 0] > 2 * red[..., 1])).any()


def test_a_policy_drives_it(aloha, stage):
    from vla_ros.core.records import Chunk
    from vla_ros.policy.base import Policy

    class Still(Policy):
        joints, cameras = stage.world.joints, aloha.CAMERAS
        seen = 0

        def infer(self, observation):
            Still.seen += 1
            assert observation.images["top"].shape == (32, 32, 3)
            return Chunk.from_rate(
                observation.stamp_ns, self.joints, np.tile(observation.positions, (8, 1)), aloha.DT_S
            )

    result = stage.run(0, policy_driver(Still()), RolloutConfig(dt_s=aloha.DT_S, limit_s=0.5), keep=False)
    assert not result.success
    assert Still.seen >= 2


def test_another_task_is_refused(aloha):
    with pytest.raises(ValueError, match='there is the task "transfer_cube"; got "insertion"'):
        aloha.Stage("insertion")
