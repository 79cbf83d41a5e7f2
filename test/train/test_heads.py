"""Each head, by its settings file: learns on a fixed batch, and comes back from its file exactly."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vla_ros.config import config_dir, load_robot
from vla_ros.core.records import Observation
from vla_ros.data.episodes import DemoDataset, DemoInfo, Episode
from vla_ros.policy.checkpoint_policy import LearnedPolicy
from vla_ros.policy.heads.base import action_heads
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.network.model import ActorModel
from vla_ros.train.batches import BatchMaker
from vla_ros.train.config import TrainConfig, load_config
from vla_ros.train.learner import Learner

JOINTS = load_robot("so101").joints
FRAMES = 16
TINY = (
    f"batch={FRAMES}",
    "image_size=32",
    "lr=3e-3",
    "warmup=1",
    "ema=0.0",
    "joint_noise_rad=0.0",
    "bf16=off",
    "network={channels: 4, keypoints: 4, language: hash}",
    "augment={shift_px: 0, gain: 0.0, tint: 0.0, bias: 0.0}",
    "actor.width=32",
    "actor.layers=1",
    "actor.attention=2",
    "actor.image_tokens=2",
    "actor.bins=32",
)


def settings(head: str, mixed: bool) -> TrainConfig:
    horizons = ("[6, 8, 10]" if head.startswith("beast") else "[8, 16, 32]") if mixed else "[]"
    return load_config(config_dir() / "train" / f"{head}.yaml", [*TINY, f"actor.horizons={horizons}"])


def fixed() -> DemoDataset:
    """As many frames as a batch has: every step sees the same ones."""
    rng = np.random.default_rng(0)
    info = DemoInfo("toy", "so101", JOINTS, ("front", "wrist"), ("x",), 32, 0.05, 32)
    images = {c: rng.integers(0, 256, (FRAMES, 32, 32, 3), dtype=np.uint8) for c in info.cameras}
    joints = rng.normal(0.0, 0.2, (FRAMES, 6)).astype(np.float32)
    ramp = np.linspace(1 / 32, 1.0, 32)[None, :, None]
    labels = joints[:, None] + ramp * rng.normal(0.0, 0.3, (FRAMES, 1, 6))
    labels[:, :, 5] = np.where(rng.integers(0, 33, (FRAMES, 1)) <= np.arange(32)[None], -0.06, 0.62)
    data = DemoDataset()
    data.add(info, Episode(images, joints, labels.astype(np.float32), joints[:, :1], "do"))
    return data


def test_every_head_has_settings() -> None:
    for head in action_heads():
        actor = load_config(config_dir() / "train" / f"{head}.yaml").actor
        assert actor is not None
        assert actor.head == head


@pytest.mark.parametrize("mixed", [False, True], ids=["single", "mixed"])
@pytest.mark.parametrize("head", action_heads())
def test_a_head_learns_a_fixed_batch_and_survives_the_file(head: str, mixed: bool, tmp_path: Path) -> None:
    config, data = settings(head, mixed), fixed()
    learner = Learner(BatchMaker(data, config, 0), config, 0)
    losses = [learner.step(k / 40)["action"] for k in range(40)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]), losses
    net = learner.average
    assert isinstance(net, ActorModel)
    info = CheckpointInfo("so101", "do", net.config)
    first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
    save_checkpoint(first, net, info)
    loaded, read = load_checkpoint(first, "so101", JOINTS)
    assert read.model.actor == net.config.actor
    save_checkpoint(again, loaded, info)
    assert first.read_bytes() == again.read_bytes()
    # The file keeps weights in half precision: rounded the same way, the net in memory answers the same.
    statistics = dict(net.named_buffers())
    rounded = {n: v if n in statistics else v.half().float() for n, v in net.state_dict().items()}
    net.load_state_dict(rounded)
    episode = data.episodes[0]
    see = Observation(5, {c: episode.images[c][0] for c in data.info.cameras}, JOINTS, episode.joints[0].astype(float))
    before, after = (LearnedPolicy.from_model(m, info).infer(see) for m in (net, loaded))
    np.testing.assert_array_equal(after.positions, before.positions)
    assert torch.equal(net.code.lower, loaded.code.lower)
