"""The settings of a training run: nested frozen dataclasses, one YAML file, `key=value` on the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from vla_ros.config import from_mapping, load_yaml, require
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.data.augmentation import AugmentConfig
from vla_ros.data.lerobot.training_data import DataConfig
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.network.config import ModelConfig, NetworkConfig
from vla_ros.policy.network.resolve import resolve_language

SHORT_KEYS = {"head": "network.head", "encoder": "network.encoder", "horizons": "network.mixture.horizons"}
"""Keys of the command line that may be given without their path."""


@dataclass(frozen=True)
class DemoConfig:
    """Demonstrations in the simulator.

    Attributes:
        episodes: Episodes of the expert, recorded before training starts.
        stride: Every `stride`-th control step becomes a frame.
        noise_rad: Standard deviation of the smooth disturbance of executed commands; labels are undisturbed [rad].
        noise_s: Correlation time of the disturbance [s].
        delay_steps: Maximum delay of a chunk, in control steps; drawn per chunk.
        replan_steps: Maximum number of control steps between chunks; drawn per episode.
        rounds: DAgger rounds (Ross et al. 2011): the current policy drives, the expert labels.
        round_episodes: Episodes per round.
        round_noise_rad: Standard deviation of the disturbance in these episodes [rad].
        processes: Processes that record in parallel.
    """

    episodes: int = 160
    stride: int = 2
    noise_rad: float = 0.05
    noise_s: float = 0.3
    delay_steps: int = 2
    replan_steps: int = 4
    rounds: int = 2
    round_episodes: int = 40
    round_noise_rad: float = 0.03
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
    """Logging, validation and saving of a run.

    Attributes:
        every: Steps between rows of the learning curve.
        held_out: Every n-th episode is used for validation and not for training; 0 for none.
        validate: Steps between validations; 0 for none.
        episodes: Closed-loop episodes per validation; 0 for none.
        tensorboard: Write the learning curve for TensorBoard as well.
        wandb: Send the learning curve and the settings to wandb as well, where wandb is set up.
        save_s: Time between saved states from which the run can be resumed; 0 saves after every step [s].
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
        require(self.held_out != 1, "track.held_out 1 leaves no episode for training; choose 0, or 2 and more.")
        for name in ("held_out", "validate", "episodes", "save_s"):
            require(getattr(self, name) >= 0, f"track.{name} must not be negative; got {getattr(self, name)}.")


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        task: Name of the task in the simulator.
        robot: Name of the robot, or its file.
        cameras: Names of the cameras of the policy.
        image_size: Side of the policy's images [px].
        steps: Optimizer steps; the minutes on the command line may end training earlier.
        batch: Frames per step.
        lr: Peak learning rate.
        weight_decay: Of AdamW.
        warmup: Steps of linear warm-up.
        ema: Decay of the averaged weights, which become the checkpoint.
        joint_noise_rad: Standard deviation of the noise on measured joints [rad].
        auxiliary: Weight of the loss on the ground truth (positions of objects, the expert's phase).
        late: Weight of the last waypoint relative to the first.
        joint_weights: Weight of a joint in the loss; 1 for joints that are not named.
        bf16: Compute the image encoders in bfloat16: "on", "off", or "auto" (on a GPU, and where the CPU supports it).
        evaluate: Closed-loop episodes at the end; 0 for none.
        demos: Demonstrations in the simulator.
        network: The network.
        spline: Shape of the chunk.
        augment: Image augmentation.
        data: A LeRobot dataset to train on, in place of recording: its folder, or a mapping; null records.
        track: Logging, validation and saving.
    """

    task: str = "pick_place"
    robot: str = "so101"
    cameras: tuple[str, ...] = ("front", "wrist")
    image_size: int = 96
    steps: int = 2200
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 100
    ema: float = 0.998
    joint_noise_rad: float = 0.004
    auxiliary: float = 0.3
    late: float = 0.3
    joint_weights: Mapping[str, float] = field(default_factory=lambda: {"gripper": 2.0})
    bf16: str = "auto"
    evaluate: int = 40
    demos: DemoConfig = field(default_factory=DemoConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    spline: SplineConfig = field(default_factory=SplineConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    data: DataConfig | str | None = None
    track: TrackConfig = field(default_factory=TrackConfig)

    def __post_init__(self) -> None:
        """Check, and replace language "auto": checkpoints and unfinished runs keep the language that was chosen."""
        if isinstance(self.data, str):
            object.__setattr__(self, "data", DataConfig(self.data))
        require(
            self.data is None or isinstance(self.data, DataConfig),
            f"data must be a folder, a mapping or null; got {self.data}.",
        )
        object.__setattr__(self, "network", resolve_language(self.network))
        for name in ("image_size", "steps", "batch"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1; got {getattr(self, name)}.")
        require(self.lr > 0.0, f"lr must be greater than zero; got {self.lr}.")
        for name in ("weight_decay", "warmup", "joint_noise_rad", "auxiliary", "late", "evaluate"):
            require(getattr(self, name) >= 0, f"{name} must not be negative; got {getattr(self, name)}.")
        require(0.0 <= self.ema < 1.0, f"ema must be in [0, 1); got {self.ema}.")
        require(all(w > 0.0 for w in self.joint_weights.values()), "joint_weights must be greater than zero.")
        if isinstance(self.bf16, bool):  # YAML reads a bare `on` as true
            object.__setattr__(self, "bf16", "on" if self.bf16 else "off")
        if self.bf16 not in ("auto", "on", "off"):
            raise UnknownName("value of bf16", str(self.bf16), ("auto", "on", "off"))

    def weights_of(self, joints: Sequence[str]) -> tuple[float, ...]:
        """`joint_weights` in the order of `joints`.

        Raises:
            UnknownName: A name in `joint_weights` is not in `joints`.
        """
        for name in self.joint_weights:
            if name not in joints:
                raise UnknownName("joint", str(name), joints, "joint_weights")
        return tuple(self.joint_weights.get(name, 1.0) for name in joints)

    def model(self, joints: Sequence[str], image_size: int, auxiliary: int = 0) -> ModelConfig:
        """The configuration of the network for data with these joints and images, and `auxiliary` auxiliary outputs.

        Raises:
            ConfigError: Sizes or names do not fit.
        """
        return ModelConfig(tuple(joints), self.cameras, image_size, auxiliary, self.spline, self.network)


def _dataclass_of(hint: Any) -> type | None:
    """The dataclass in the type of a field, if there is one."""
    options = (hint, *get_args(hint))
    return next((option for option in options if isinstance(option, type) and is_dataclass(option)), None)


def _override(data: dict[str, Any], text: str) -> None:
    """Apply `key=value` to nested plain data of a `TrainConfig`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f'"{text}" is not of the form key=value.')
    *parents, leaf = SHORT_KEYS.get(key, key).split(".")
    cls: type = TrainConfig
    for name in parents:
        hints = get_type_hints(cls)
        groups = {n: found for n in hints if (found := _dataclass_of(hints[n])) is not None}
        if name not in groups:
            raise UnknownName("key", name, groups, "the command line")
        cls, old = groups[name], data.get(name) or {}
        data[name] = data = {"folder": old} if isinstance(old, str) else dict(old)
    names = [f.name for f in fields(cls)]
    if leaf not in names:
        raise UnknownName("key", leaf, names, "the command line")
    try:
        data[leaf] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f'the value in "{text}" is not valid YAML.') from None
    if isinstance(data[leaf], str):
        # YAML 1.1 reads 2e-3 as text.
        with contextlib.suppress(ValueError):
            data[leaf] = float(value)


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: A YAML file, or None for the defaults.
        overrides: `key=value` or `part.key=value`, applied to the file in this order.

    Raises:
        UnknownName: A key does not exist; the text names the nearest.
        ConfigError: A value does not fit.
    """
    data = load_yaml(path) if path else {}
    for text in overrides:
        _override(data, text)
    return from_mapping(TrainConfig, data, path.name if path else "the defaults")
