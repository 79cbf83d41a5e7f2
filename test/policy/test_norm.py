"""Group normalisation: a small change in an image changes the features of an encoder with random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from policy.small_network import config, fake_pass, observation

from vla_ros.core.errors import UnknownName
from vla_ros.policy.encoders.base import image_encoders
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.network.config import NORMS, ModelConfig, NetworkConfig
from vla_ros.policy.network.model import VlaNetwork

NETWORK = NetworkConfig(encoder="keypoint", channels=8, keypoints=16, language="hash")
CONFIG = ModelConfig(("a", "gripper"), ("front",), image_size=32, network=NETWORK)


def patches(seed: int) -> torch.Tensor:
    """One image 64 times, with a faint patch of 3 by 3 pixels at another position in each."""
    rng = np.random.default_rng(seed)
    images = np.repeat(rng.uniform(-0.3, 0.3, (1, 3, 32, 32)).astype(np.float32), 64, axis=0)
    for image, (x, y) in zip(images, rng.integers(2, 27, (64, 2)), strict=True):
        image[:, y : y + 3, x : x + 3] += 0.3
    return torch.from_numpy(images)


def sensitivity(norm: str, seed: int) -> float:
    """Standard deviation of the features over the positions of the patch, relative to their magnitude."""
    torch.manual_seed(seed)
    net = image_encoders.get("keypoint")(replace(CONFIG, network=replace(NETWORK, norm=norm)))
    with torch.no_grad():
        features = net(patches(seed), torch.zeros(64, 32))[:, 2 * NETWORK.keypoints :]
    return float(features.std(dim=0).mean() / features.abs().mean())


@pytest.mark.parametrize("seed", range(3))
def test_a_small_object_changes_the_features_only_with_normalisation(seed: int) -> None:
    assert sensitivity("group", seed) > 0.1
    assert sensitivity("none", seed) < 0.002


@pytest.mark.parametrize("encoder", ["keypoint", "keypoint_film"])
def test_a_checkpoint_keeps_it(tmp_path: Path, encoder: str) -> None:
    torch.manual_seed(0)
    net = VlaNetwork(replace(CONFIG, network=replace(NETWORK, encoder=encoder))).eval()
    save_checkpoint(tmp_path / "made.safetensors", net, CheckpointInfo("so101", "go", net.config))
    read, info = load_checkpoint(tmp_path / "made.safetensors")
    assert info.model.network.norm == "group"
    inputs = [patches(0)[:2]], torch.zeros(2, 2), torch.ones(2, 32)
    torch.testing.assert_close(read.predict(*inputs).waypoints, net.predict(*inputs).waypoints, atol=2e-3, rtol=0.0)


def test_a_pass_with_normalisation_reads_no_value() -> None:
    net = VlaNetwork(config("beast", encoder="keypoint_film", norm="group")).eval()
    assert fake_pass(net, *observation(1)).waypoints.shape == (1, 12, 3)


def test_group_normalisation_is_the_default() -> None:
    assert NetworkConfig().norm == "group"


def test_another_norm_is_refused() -> None:
    with pytest.raises(UnknownName, match=r'"groups".*did you mean "group"'):
        NetworkConfig(norm="groups")
    assert NORMS == ("none", "group")
