"""The settings of a training run: one frozen dataclass, one YAML file, `key=value` on the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from vla_ros.config import from_mapping, load_yaml, require
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.data.augmentation import AugmentConfig
from vla_ros.data.lerobot.training_data import DataConfig
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.encoders.backbone_config import BackboneConfig
from vla_ros.policy.network.horizon_consensus import ConsensusConfig
from vla_ros.policy.network.transformer_config import ActorConfig
from vla_ros.policy.text.encoders import usual_language

EVALUATION_SEED = 1_000_000
"""Seeds from here on are never trained on."""


@dataclass(frozen=True)
class NetworkConfig:
    """The part of `ModelConfig` that is a choice and not given by robot and data; see there.

    `language` "auto" is settled at once: `backbone` where the encoder reads sentences, else `minilm` where its weights
    are installed, else `hash`. What it came to is what checkpoint and unfinished run keep.
    """

    channels: int = 16
    keypoints: int = 32
    trunk: int = 384
    blocks: int = 2
    words: int = 32
    language: str = "auto"
    encoder: str = "keypoint_film"
    norm: str = "group"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: str = "regression"

    def __post_init__(self) -> None:
        """Settle the language; a mapping becomes the backbone it stands for."""
        if isinstance(self.backbone, Mapping):
            object.__setattr__(self, "backbone", from_mapping(BackboneConfig, self.backbone, "network.backbone"))
        if self.language == "auto":
            object.__setattr__(self, "language", usual_language(self.encoder))


@dataclass(frozen=True)
class DemoConfig:
    """What is recorded.

    Attributes:
        episodes: Expert episodes before training starts.
        stride: Every `stride`-th control step becomes a frame.
        noise_rad: Deviation of the smooth disturbance added to executed commands [rad]; labels are clean.
        noise_s: Its correlation time [s].
        delay_steps: Greatest age of a chunk when it takes over, in control steps; drawn per chunk.
        replan_steps: Greatest number of control steps between chunks; drawn per episode.
        rounds: DAgger rounds: the policy so far drives, the expert labels.
        round_episodes: Episodes per round.
        round_noise_rad: Deviation of the disturbance in those [rad].
        processes: How many record at once.
    """

    episodes: int = 160
    stride: int = 2
    noise_rad: float = 0.06
    noise_s: float = 0.4
    delay_steps: int = 2
    replan_steps: int = 4
    rounds: int = 3
    round_episodes: int = 40
    round_noise_rad: float = 0.01
    processes: int = 2

    def __post_init__(self) -> None:
        """Check."""
        for name in ("episodes", "stride", "replan_steps", "processes"):
            require(getattr(self, name) >= 1, f"demos.{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("noise_rad", "round_noise_rad", "delay_steps", "rounds", "round_episodes"):
            require(getattr(self, name) >= 0, f"demos.{name} must not be negative; got {getattr(self, name)}.")
        require(self.noise_s > 0.0, "demos.noise_s must be greater than zero.")


@dataclass(frozen=True)
class TrackConfig:
    """How a run is watched and kept.

    Attributes:
        every: Steps between rows of the curve.
        held_out: Every n-th episode is not learned from, but validated on; 0 holds none out.
        validate: Steps between validations; 0 for none.
        episodes: Closed-loop episodes in each validation; 0 for none.
        tensorboard: Write the curve for TensorBoard too.
        wandb: Show curve and settings by wandb too, that is: send them where wandb is set up to.
        save_s: Time between states from which the run can go on [s]; 0 after every step.
    """

    every: int = 20
    held_out: int = 20
    validate: int = 500
    episodes: int = 0
    tensorboard: bool = False
    wandb: bool = False
    save_s: float = 60.0

    def __post_init__(self) -> None:
        """Check."""
        require(self.every >= 1, f"track.every must be at least 1; got {self.every}.")
        require(self.held_out != 1, "track.held_out 1 would leave nothing to learn from; choose 0 or 2 and more.")
        for name in ("held_out", "validate", "episodes", "save_s"):
            require(getattr(self, name) >= 0, f"track.{name} must not be negative; got {getattr(self, name)}.")


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        task: Name of the task in the simulator.
        robot: Name of the robot.
        cameras: Names of the cameras the policy is shown.
        image_size: Side of the images the policy is shown [px].
        steps: Optimizer steps in all; the minutes given on the command line may cut them short.
        batch: Frames per step.
        lr: Peak learning rate.
        weight_decay: Of AdamW.
        warmup: Steps of linear warm-up.
        ema: Decay of the averaged weights, which are the ones kept.
        joint_noise_rad: Noise on the measured joints [rad].
        auxiliary: Weight of the loss on truth (places of things, the expert's phase).
        late: Weight of the last waypoint relative to the first.
        joint_weights: Weight of a joint in the loss; 1 where not named.
        bf16: Compute the network in bfloat16: "auto" (where the CPU has it), "on" or "off".
        evaluate: Closed-loop episodes at the end; 0 for none.
        demos: What is recorded.
        network: The network.
        spline: The chunk.
        actor: The action transformer, in place of trunk and head of `network`; null for those.
        augment: What is done to images.
        data: A LeRobot dataset to learn from, in place of recording; its folder alone, or a mapping.
        track: How the run is watched and kept.
    """

    task: str = "pick_place"
    robot: str = "so101"
    cameras: tuple[str, ...] = ("front", "wrist")
    image_size: int = 96
    steps: int = 5000
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 200
    ema: float = 0.998
    joint_noise_rad: float = 0.004
    auxiliary: float = 0.3
    late: float = 0.3
    joint_weights: Mapping[str, float] = field(default_factory=dict)
    bf16: str = "auto"
    evaluate: int = 20
    demos: DemoConfig = field(default_factory=DemoConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    spline: SplineConfig = field(default_factory=SplineConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    actor: ActorConfig | None = None
    data: DataConfig | None = None
    track: TrackConfig = field(default_factory=TrackConfig)

    def weights_of(self, joints: Sequence[str]) -> tuple[float, ...]:
        """`joint_weights` in the order of `joints`.

        Raises:
            UnknownName: One is for a joint that is none of them.
        """
        for name in self.joint_weights:
            if name not in joints:
                raise UnknownName("joint", str(name), joints, "joint_weights")
        return tuple(self.joint_weights.get(name, 1.0) for name in joints)

    def __post_init__(self) -> None:
        """Check, and build the parts that came as mappings."""
        if isinstance(self.data, str):
            object.__setattr__(self, "data", DataConfig(self.data))
        if isinstance(self.data, Mapping):
            object.__setattr__(self, "data", from_mapping(DataConfig, self.data, "data"))
        require(self.data is None or isinstance(self.data, DataConfig), "data must be a folder, a mapping, or null.")
        for name, cls in _PARTS.items():
            value = getattr(self, name)
            if isinstance(value, Mapping):
                object.__setattr__(self, name, from_mapping(cls, value, name))
            require(isinstance(getattr(self, name), cls), f"{name} must be a mapping.")
        if isinstance(self.actor, Mapping):
            object.__setattr__(self, "actor", from_mapping(ActorConfig, self.actor, "actor"))
        require(self.actor is None or isinstance(self.actor, ActorConfig), "actor must be a mapping, or null.")
        object.__setattr__(self, "cameras", tuple(self.cameras))
        for name in ("image_size", "steps", "batch"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("lr",):
            require(getattr(self, name) > 0.0, f"{name} must be greater than zero; got {getattr(self, name)}.")
        for name in ("weight_decay", "warmup", "joint_noise_rad", "auxiliary", "late", "evaluate"):
            require(getattr(self, name) >= 0, f"{name} must not be negative; got {getattr(self, name)}.")
        require(0.0 <= self.ema < 1.0, f"ema must be in [0, 1); got {self.ema}.")
        require(all(w > 0.0 for w in self.joint_weights.values()), "joint_weights must be greater than zero.")
        # YAML reads a bare `on` as true.
        object.__setattr__(self, "bf16", {True: "on", False: "off"}.get(self.bf16, self.bf16))  # type: ignore[call-overload]
        if self.bf16 not in ("auto", "on", "off"):
            raise UnknownName("value of bf16", str(self.bf16), ("auto", "on", "off"))


_PARTS: dict[str, type] = {
    "demos": DemoConfig,
    "network": NetworkConfig,
    "spline": SplineConfig,
    "augment": AugmentConfig,
    "track": TrackConfig,
}
_PARTS_OF: dict[str, dict[str, type]] = {
    "actor": {"consensus": ConsensusConfig},
    "network": {"backbone": BackboneConfig},
}
"""Parts of parts."""


def _override(data: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f'"{text}" is not of the form key=value.')
    known: type = TrainConfig
    parts: Mapping[str, type] = {**_PARTS, "actor": ActorConfig, "data": DataConfig}
    *parents, leaf = key.split(".")
    for part in parents:
        if part not in parts:
            raise UnknownName("key", part, parts, "the command line")
        known, parts = parts[part], _PARTS_OF.get(part, {})
        old = data.get(part) or {}
        data[part] = data = {"folder": old} if isinstance(old, str) else dict(old)
    names = [f.name for f in fields(known) if is_dataclass(known)]
    if leaf not in names:
        raise UnknownName("key", leaf, names, "the command line")
    try:
        data[leaf] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f'the value in "{text}" is not valid YAML.') from None
    if isinstance(data[leaf], str):
        # YAML 1.1 takes 2e-3 for text.
        with contextlib.suppress(ValueError):
            data[leaf] = float(value)


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: A YAML file, or None for the defaults.
        overrides: `key=value` or `part.key=value`, applied on top.

    Raises:
        UnknownName: A key that is not there; the text names the nearest.
        ConfigError: A value that does not fit.
    """
    data = load_yaml(path) if path else {}
    for text in overrides:
        _override(data, text)
    if isinstance(data.get("data"), str):
        data = {**data, "data": {"folder": data["data"]}}
    return from_mapping(TrainConfig, data, path.name if path else "the defaults")
