"""Checkpoints: a round trip, and files that are refused with one sentence."""

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from policy.small_network import JOINTS, config
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vla_ros.core.errors import ConfigError
from vla_ros.policy.network.checkpoint import KEY, CheckpointInfo, load_checkpoint, save_checkpoint, write_atomic
from vla_ros.policy.network.model import VlaNetwork


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    shape = replace(config("beast", "auto"), auxiliary=3)
    path = tmp_path / "policy.safetensors"
    info = CheckpointInfo("so101", "put it there", shape, "python -m vla_ros.train", 7, {"steps": 3})
    save_checkpoint(path, VlaNetwork(shape), info)
    return path


def edit(path: Path, tensors=None, **header) -> None:
    with safe_open(path, framework="pt") as file:
        data = json.loads(file.metadata()[KEY])
    save_file(load_file(path) if tensors is None else tensors, path, metadata={KEY: json.dumps({**data, **header})})


def test_round_trip(saved: Path) -> None:
    model, info = load_checkpoint(saved, "so101", ("b", "gripper", "a"))
    assert (info.robot, info.instruction, info.seed, info.notes) == ("so101", "put it there", 7, {"steps": 3})
    assert info.model.joints == JOINTS
    assert info.model.spline.waypoints == 12
    assert info.model.network.mixture.horizons == (4, 5, 6), "open values are resolved"
    assert model.auxiliary is None
    assert not model.training
    assert not list(saved.parent.glob("*.part"))


def test_another_robot_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match='trained for robot "so101", not for "panda"'):
        load_checkpoint(saved, "panda")


def test_other_joints_are_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match="moves a, gripper, b; the robot has a, b"):
        load_checkpoint(saved, "so101", ("a", "b"))


def test_another_format_is_refused(saved: Path) -> None:
    edit(saved, format=1)
    message = r"policy.safetensors has checkpoint format 1; this version reads 2. Train the policy again"
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(saved)


@pytest.mark.parametrize("header", [{"seed": "seven"}, {"notes": [1]}, {"model": 3}, {"instructions": [1]}])
def test_a_damaged_header_is_refused_in_one_sentence(saved: Path, header: dict) -> None:
    edit(saved, **header)
    with pytest.raises(ConfigError, match=r"policy\.safetensors"):
        load_checkpoint(saved)


def test_a_missing_tensor_is_refused(saved: Path) -> None:
    tensors = load_file(saved)
    del tensors["context_encoder.joint_std"]
    edit(saved, tensors)
    with pytest.raises(ConfigError, match=r"lacks tensor context_encoder\.joint_std \(1 missing"):
        load_checkpoint(saved)


def test_a_tensor_of_another_shape_is_refused(saved: Path) -> None:
    edit(saved, {**load_file(saved), "context_encoder.joint_std": torch.ones(4)})
    with pytest.raises(ConfigError, match=r"tensor context_encoder\.joint_std .* is \(4,\), not \(3,\)"):
        load_checkpoint(saved)


def test_a_tensor_with_nan_is_refused(saved: Path) -> None:
    edit(saved, {**load_file(saved), "context_encoder.joint_std": torch.tensor([1.0, float("nan"), 1.0])})
    with pytest.raises(ConfigError, match="NaN or infinite"):
        load_checkpoint(saved)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_cannot_be_stored_do_not_replace_the_file(saved: Path, value: float) -> None:
    model, info = load_checkpoint(saved)
    before = saved.read_bytes()
    with torch.no_grad():
        model.head.readout.arm.weight[0, 0] = value
    with pytest.raises(ConfigError, match=r"policy.safetensors is not written: head\.readout\.arm\.weight has values"):
        save_checkpoint(saved, model, info)
    assert saved.read_bytes() == before


def test_an_unknown_key_of_the_model_is_refused(saved: Path) -> None:
    edit(saved, model={"joints": JOINTS, "cameras": ["front"], "network": {"chanels": 4}})
    with pytest.raises(ConfigError, match=r'"chanels" in network of policy\.safetensors; did you mean "channels"'):
        load_checkpoint(saved)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    with pytest.raises(ConfigError, match="there is no checkpoint"):
        load_checkpoint(path)
    path.write_bytes(b"\x80\x04 this is a pickle")
    with pytest.raises(ConfigError, match="is not a safetensors file"):
        load_checkpoint(path)
    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(ConfigError, match="not a checkpoint of vla_ros"):
        load_checkpoint(path)
    save_file({"x": torch.ones(2)}, path, metadata={KEY: "{"})
    with pytest.raises(ConfigError, match="header of policy"):
        load_checkpoint(path)


def test_on_a_full_disk_the_old_file_remains(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    write_atomic(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a full disk, for this process only
    try:
        with pytest.raises(ConfigError, match=r"policy.safetensors .0.1 MB. cannot be written: File too large"):
            write_atomic(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [f.name for f in tmp_path.iterdir()] == ["policy.safetensors"]
    assert path.read_bytes() == b"old"
