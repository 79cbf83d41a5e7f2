"""A checkpoint comes back as it was saved, or is refused with one sentence that says why."""

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vla_ros.core.errors import ConfigError
from vla_ros.policy.network.checkpoint import KEY, CheckpointInfo, load_checkpoint, save_checkpoint, write_whole
from vla_ros.policy.network.config import ModelConfig, VlaModel

JOINTS = ("a", "b", "c")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(JOINTS, ("front",), image_size=32, channels=4, keypoints=4, trunk=16, auxiliary=3)
    path = tmp_path / "policy.safetensors"
    info = CheckpointInfo("so101", "put it there", config, "python -m vla_ros.train", 7, {"steps": 3})
    save_checkpoint(path, VlaModel(config), info)
    return path


def edit(path: Path, tensors=None, **header) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        data = json.loads(file.metadata()[KEY])
    save_file(load_file(path) if tensors is None else tensors, path, metadata={KEY: json.dumps({**data, **header})})


def test_round_trip(saved: Path) -> None:
    model, info = load_checkpoint(saved, "so101", ("c", "a", "b"))
    assert (info.robot, info.instruction, info.seed, info.notes) == ("so101", "put it there", 7, {"steps": 3})
    assert info.model.joints == JOINTS
    assert info.model.spline.waypoints == 32
    assert model.auxiliary is None
    assert not model.training
    assert not list(saved.parent.glob("*.part"))


def test_another_robot_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match='trained for robot "so101", not for "panda"'):
        load_checkpoint(saved, "panda")


def test_other_joints_are_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match="moves a, b, c; the robot has a, b"):
        load_checkpoint(saved, "so101", ("a", "b"))


def test_another_format_is_refused(saved: Path) -> None:
    edit(saved, format=99)
    with pytest.raises(ConfigError, match="has checkpoint format 99; this version reads 1"):
        load_checkpoint(saved)


@pytest.mark.parametrize("header", [{"seed": "seven"}, {"notes": [1]}, {"model": 3}, {"sentences": [1]}])
def test_a_damaged_header_is_refused_in_one_sentence(saved: Path, header: dict) -> None:
    edit(saved, **header)
    with pytest.raises(ConfigError, match=r"policy\.safetensors"):
        load_checkpoint(saved)


def test_a_missing_tensor_is_refused(saved: Path) -> None:
    tensors = load_file(saved)
    del tensors["joint_std"]
    edit(saved, tensors)
    with pytest.raises(ConfigError, match=r"lacks tensor joint_std \(1 missing"):
        load_checkpoint(saved)


def test_a_tensor_of_another_shape_is_refused(saved: Path) -> None:
    edit(saved, {**load_file(saved), "joint_std": torch.ones(4)})
    with pytest.raises(ConfigError, match=r"tensor joint_std .* is \(4,\), not \(3,\)"):
        load_checkpoint(saved)


def test_a_tensor_with_nan_is_refused(saved: Path) -> None:
    edit(saved, {**load_file(saved), "joint_std": torch.tensor([1.0, float("nan"), 1.0])})
    with pytest.raises(ConfigError, match="NaN or infinite"):
        load_checkpoint(saved)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_what_could_not_be_read_again_does_not_replace_what_can(saved: Path, value: float) -> None:
    model, info = load_checkpoint(saved)
    before = saved.read_bytes()
    with torch.no_grad():
        model.inlet.weight[0, 0] = value
    with pytest.raises(ConfigError, match=r"policy.safetensors is not written: inlet\.weight has values"):
        save_checkpoint(saved, model, info)
    assert saved.read_bytes() == before


def test_an_unknown_key_of_the_model_is_refused(saved: Path) -> None:
    edit(saved, model={"joints": JOINTS, "cameras": ["front"], "chanels": 4})
    with pytest.raises(ConfigError, match='did you mean "channels"'):
        load_checkpoint(saved)


def test_something_else_is_refused(tmp_path: Path) -> None:
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


def test_where_there_is_no_room_the_old_file_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    write_whole(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a full disk, but for this process alone
    try:
        with pytest.raises(ConfigError, match=r"policy.safetensors .0.1 MB. cannot be written: File too large"):
            write_whole(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [f.name for f in tmp_path.iterdir()] == ["policy.safetensors"]
    assert path.read_bytes() == b"old"
