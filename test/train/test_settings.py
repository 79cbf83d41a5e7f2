"""Settings of a training run: read, overridden, refused."""

from pathlib import Path

import pytest

from vla_ros.config import config_dir
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.train.config import TrainConfig, load_config
from vla_ros.train.trainer import Trainer, TrainingRequest


def test_the_default_file_gives_the_defaults_of_the_classes() -> None:
    assert [file.name for file in (config_dir() / "train").glob("*")] == ["default.yaml"]
    assert load_config(config_dir() / "train" / "default.yaml") == load_config(None) == TrainConfig()


def test_head_encoder_and_horizons_have_short_keys() -> None:
    network = load_config(None, ["head=flow", "encoder=keypoint", "horizons=[8, 16, 32]"]).network
    assert (network.head, network.encoder, network.mixture.horizons) == ("flow", "keypoint", (8, 16, 32))
    assert load_config(None, ["horizons=[]"]).network.mixture.horizons == ()


def test_overrides_reach_nested_parts() -> None:
    config = load_config(None, ["lr=2e-3", "demos.episodes=7", "joint_weights={gripper: 3.0}", "bf16=off"])
    assert (config.lr, config.demos.episodes, config.joint_weights, config.bf16) == (2e-3, 7, {"gripper": 3.0}, "off")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batches=3", 'unknown key "batches" in the command line; did you mean "batch"'),
        ("demo.episodes=3", 'did you mean "demos"'),
        ("demos.episode=3", 'did you mean "episodes"'),
        ("batch", "is not of the form key=value"),
        ("batch=0", "batch must be at least 1"),
        ("lr=-1", "lr must be greater than zero"),
        ("ema=1.0", "ema must be in"),
        ("bf16=maybe", 'unknown value of bf16 "maybe"'),
        ("demos=3", "demos must be a mapping"),
        ("spline.degree=12", "degree < control points"),
        ("lr=fast", "lr must be a number"),
        ("network=3", "network must be a mapping"),
        ("network.mixture.horizon=[4]", 'did you mean "horizons"'),
        ("horizons=4", 'must be "auto" or integers'),
        ("network.consensus.threshold_ratio=0", "consensus.threshold_ratio must be greater than zero"),
        ("network.transformer.width=30", "multiple of twice transformer.attention_heads"),
        ("actor.head=flow", 'unknown key "actor" in the command line'),
        ("consensus.threshold_ratio=1.0", 'unknown key "consensus" in the command line'),
    ],
)
def test_a_value_that_does_not_fit_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


def test_an_unknown_key_in_a_file_is_refused(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("task: pick_place\nspline: {control_point: 8}\n")
    with pytest.raises(UnknownName, match=r'"control_point" in spline of mine\.yaml; did you mean "control_points"'):
        load_config(file)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="must not be negative; got -1"):
        Trainer(TrainingRequest(load_config(None), -1, 1.0, Path("nowhere"), "train"))
