"""Normalised maps: what changes in a picture reaches the end of an encoder that is trained from nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from policy.small import config, traced
from policy.small import seen as small_seen

from vla_ros.core.errors import UnknownName
from vla_ros.policy.encoders.keypoint import NORMS, find_encoder
from vla_ros.policy.network.build import make_model
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.network.config import ModelConfig
from vla_ros.train.config import NetworkConfig

CONFIG = ModelConfig(("a", "gripper"), ("front",), image_size=32, channels=8, keypoints=16, trunk=16)


def patches(seed: int) -> torch.Tensor:
    """One picture 64 times, a faint patch of 3 by 3 pixels elsewhere in each."""
    rng = np.random.default_rng(seed)
    images = np.repeat(rng.uniform(-0.3, 0.3, (1, 3, 32, 32)).astype(np.float32), 64, axis=0)
    for image, (x, y) in zip(images, rng.integers(2, 27, (64, 2)), strict=True):
        image[:, y : y + 3, x : x + 3] += 0.3
    return torch.from_numpy(images)


def seen(norm: str, seed: int) -> float:
    """How much of what a new encoder says of a picture changes with the patch, as a share of what it says."""
    torch.manual_seed(seed)
    net = find_encoder("keypoint")(replace(CONFIG, norm=norm))
    with torch.no_grad():
        said = net(patches(seed), torch.zeros(64, CONFIG.words))[:, 2 * CONFIG.keypoints :]
    return float(said.std(dim=0).mean() / said.abs().mean())


@pytest.mark.parametrize("seed", range(3))
def test_a_small_thing_is_seen_from_the_start_and_without_the_norm_it_is_not(seed: int) -> None:
    assert seen("group", seed) > 0.1
    assert seen("none", seed) < 0.002


@pytest.mark.parametrize("encoder", ["keypoint", "keypoint_film"])
def test_a_checkpoint_keeps_it(tmp_path: Path, encoder: str) -> None:
    torch.manual_seed(0)
    net = make_model(replace(CONFIG, encoder=encoder, norm="group")).eval()
    save_checkpoint(tmp_path / "made.safetensors", net, CheckpointInfo("so101", "go", net.config))
    read, info = load_checkpoint(tmp_path / "made.safetensors")
    assert info.model.norm == "group"
    inputs = [patches(0)[:2]], torch.zeros(2, 2), torch.ones(2, CONFIG.words)
    torch.testing.assert_close(read.act(*inputs).waypoints, net.act(*inputs).waypoints, atol=2e-3, rtol=0.0)


def test_a_pass_looks_at_no_value_and_makes_nothing_elsewhere() -> None:
    """What a CUDA graph needs, with the norm, too."""
    net = make_model(replace(config("beast"), encoder="keypoint_film", norm="group")).eval()
    images, joints, words = small_seen(1)
    assert traced(net, images, joints, words).waypoints.shape == (1, 12, 3)


def test_it_is_the_default_of_a_training_and_checkpoints_of_before_have_none() -> None:
    assert NetworkConfig().norm == "group"
    assert ModelConfig(("a",), ("front",)).norm == "none"


def test_another_is_refused() -> None:
    with pytest.raises(UnknownName, match=r'"groups".*did you mean "group"'):
        replace(CONFIG, norm="groups")
    assert NORMS == ("none", "group")
