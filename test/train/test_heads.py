"""Every head, chosen on the command line: it learns a fixed batch, and a round trip through its file is exact."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vla_ros.config import config_dir, load_robot
from vla_ros.core.records import Observation
from vla_ros.data.episodes import DemoDataset, DemoInfo, Episode
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.heads.base import action_heads
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.train.batches import BatchMaker
from vla_ros.train.config import TrainConfig, load_config
from vla_ros.train.learner import Learner

JOINTS = load_robot("so101").joints
FRAMES = 16
SMALL = (
    f"batch={FRAMES}",
    "image_size=32",
    "lr=3e-3",
    "warmup=1",
    "ema=0.0",
    "joint_noise_rad=0.0",
    "bf16=off",
    "augment={shift_px: 0, gain: 0.0, tint: 0.0, bias: 0.0}",
    "network.channels=4",
    "network.keypoints=4",
    "network.language=hash",
    "network.bins=32",
    "network.transformer={width: 32, layers: 1, attention_heads: 2, image_tokens: 2}",
)


def settings(head: str, *more: str) -> TrainConfig:
    return load_config(config_dir() / "train" / "default.yaml", [*SMALL, f"head={head}", *more])


def fixed_batch() -> DemoDataset:
    """As many frames as a batch has: every step uses the same ones."""
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


@pytest.mark.parametrize("mixture", ["horizons=[]", "horizons=auto"])
@pytest.mark.parametrize("head", action_heads)
def test_a_head_learns_a_fixed_batch_and_survives_the_file(head: str, mixture: str, tmp_path: Path) -> None:
    config, data = settings(head, mixture), fixed_batch()
    learner = Learner(BatchMaker(data, config, 0), config, 0)
    losses = [learner.step(k / 40)["action"] for k in range(40)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]), losses
    net = learner.average
    info = CheckpointInfo("so101", "do", net.config)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_checkpoint(first, net, info)
    loaded, header = load_checkpoint(first, "so101", JOINTS)
    assert header.model.network == net.config.network
    assert header.model.network.head == head
    save_checkpoint(second, loaded, info)
    assert first.read_bytes() == second.read_bytes()
    # The file keeps weights in half precision: rounded the same way, the network in memory gives the same chunk.
    statistics = dict(net.named_buffers())
    rounded = {n: v if n in statistics else v.half().float() for n, v in net.state_dict().items()}
    net.load_state_dict(rounded)
    episode = data.episodes[0]
    images = {c: episode.images[c][0] for c in data.info.cameras}
    observation = Observation(5, images, JOINTS, episode.joints[0].astype(float))
    before, after = (CheckpointPolicy.from_model(m, info).infer(observation) for m in (net, loaded))
    np.testing.assert_array_equal(after.positions, before.positions)
    assert torch.equal(net.encoding.lower, loaded.encoding.lower)
