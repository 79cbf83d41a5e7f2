"""The in-house policy network: cameras + joints + sentence -> control points of an action chunk.

    image per camera -> encoder ─┐
    joints (normalised) -> MLP ──┼─ concat -> trunk (residual MLP) -> head -> control points
    sentence (encoded) -> linear ┘        └─> auxiliary outputs, at training only

Control points are deltas to the *measured* joints, normalised per (joint, slot). Everything needed to
undo that is in the model's own buffers, so a checkpoint cannot lose its statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vla_ros.config import from_mapping
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.core.records import Array
from vla_ros.policy.action_spline import ChunkSpline, SplineConfig
from vla_ros.policy.encoders.backbone_config import BackboneConfig
from vla_ros.policy.encoders.keypoint import NORMS, find_encoder, make_encoders
from vla_ros.policy.heads.trunk import make_head
from vla_ros.policy.network.transformer_config import ActorConfig
from vla_ros.policy.text.encoders import sentence_size
from vla_ros.policy.text.normaliser import Hear


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the network's shape; stored in the checkpoint.

    Attributes:
        joints: Names, in the order of the network's columns (J).
        cameras: Names, in the order of the encoders.
        image_size: Side of the square images [px].
        channels: Width of the encoder's finest map.
        keypoints: Keypoints per camera.
        trunk: Width of the trunk.
        blocks: Residual blocks in the trunk.
        words: Buckets of a hashed sentence, or the most tokens of one that a backbone reads.
        language: Name in the registry of sentence encoders.
        encoder: Name in the registry of encoders.
        norm: "group": the maps of an encoder that is trained from nothing are brought to unit scale, in groups of
            channels, after each convolution (Wu and He, arXiv:1803.08494); "none": they are not, and where little
            changes in a picture they may never learn to show it.
        backbone: For encoders that are pretrained backbones.
        head: Name in the registry of heads.
        auxiliary: Numbers the training-only output predicts; 0 for none.
        spline: Shape of the chunk.
        actor: The action transformer, in place of trunk and head; None for those.
    """

    joints: tuple[str, ...]
    cameras: tuple[str, ...]
    image_size: int = 96
    channels: int = 16
    keypoints: int = 32
    trunk: int = 384
    blocks: int = 2
    words: int = 32
    language: str = "hash"
    encoder: str = "keypoint"
    norm: str = "none"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: str = "regression"
    auxiliary: int = 0
    spline: SplineConfig = field(default_factory=SplineConfig)
    actor: ActorConfig | None = None

    def __post_init__(self) -> None:
        """Check; lists from JSON become tuples."""
        object.__setattr__(self, "joints", tuple(self.joints))
        object.__setattr__(self, "cameras", tuple(self.cameras))
        if isinstance(self.backbone, Mapping):
            object.__setattr__(self, "backbone", from_mapping(BackboneConfig, self.backbone, "backbone"))
        if isinstance(self.spline, Mapping):
            object.__setattr__(self, "spline", from_mapping(SplineConfig, self.spline, "spline"))
        if isinstance(self.actor, Mapping):
            object.__setattr__(self, "actor", from_mapping(ActorConfig, self.actor, "actor"))
        if not self.joints or not self.cameras:
            raise ConfigError("a model needs at least one joint and one camera.")
        for name in ("image_size", "channels", "keypoints", "trunk", "words"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"model {name} must be greater than zero; got {getattr(self, name)}.")
        if self.norm not in NORMS:
            raise UnknownName("norm", str(self.norm), NORMS)

    @property
    def sentence(self) -> int:
        """How many numbers a sentence is."""
        return sentence_size(self.language, self.words)

    def to_json(self) -> dict[str, Any]:
        """Plain data, for the checkpoint."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Act:
    """What a network answers to B samples.

    Attributes:
        waypoints: Absolute targets, shape (B, K, J) [rad].
        execute: How many of them are worth executing, for each sample.
        apart: How far the horizons of a mixture lie from it at each waypoint, shape (B, K) [rad]; None where there is
            no mixture: one chunk has no second opinion.
        points: Control points of the spline the waypoints lie on, shape (B, N, J) [rad]; None where there is none.
    """

    waypoints: Tensor
    execute: list[int]
    apart: Array | None = None
    points: Tensor | None = None


class Answer(NamedTuple):
    """What a network says to B samples, in tensors that nobody has looked into: a pass up to here has no branches.

    Attributes:
        waypoints: Absolute targets, shape (B, K, J) [rad].
        points: As in `Act`.
        heads: What each horizon of a mixture says, shape (B, N, K, J) [rad]; None where there is none.
        shares: Of the horizons at each waypoint, shape (B, N, K); None where there is no mixture.
    """

    waypoints: Tensor
    points: Tensor | None = None
    heads: Tensor | None = None
    shares: Tensor | None = None


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class VlaModel(nn.Module):
    """See the module's text for the picture.

    Buffers (statistics, saved with the weights): `joint_mean`, `joint_std` (J,) [rad];
    `control_mean`, `control_std` (N, J) [rad]. `basis` (K, N) is recomputed, not saved.
    """

    joint_mean: Tensor
    joint_std: Tensor
    control_mean: Tensor
    control_std: Tensor
    basis: Tensor
    solver: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Build with unit statistics."""
        super().__init__()
        self.config = c = config
        n, j = c.spline.control_points, len(c.joints)
        self.register_buffer("joint_mean", torch.zeros(j))
        self.register_buffer("joint_std", torch.ones(j))
        self.register_buffer("control_mean", torch.zeros(n, j))
        self.register_buffer("control_std", torch.ones(n, j))
        spline = ChunkSpline(c.spline)
        self.register_buffer("basis", torch.from_numpy(spline.matrix).float(), persistent=False)
        self.register_buffer("solver", torch.from_numpy(spline.solver).float(), persistent=False)
        if getattr(find_encoder(c.encoder), "every_camera", False) or c.language == "backbone":
            raise ConfigError(
                f'the encoder "{c.encoder}" with language "{c.language}" needs an action transformer (actor).'
            )
        self.encoders = make_encoders(c)
        self.joint_net = nn.Sequential(nn.Linear(j, 64), nn.ReLU(inplace=True), nn.Linear(64, 64))
        self.hear, self.word_net = Hear(c.sentence), nn.Linear(c.sentence, 16)
        seen = sum(int(e.features) for e in self.encoders)
        self.inlet = nn.Linear(seen + 64 + 16, c.trunk)
        self.trunk = nn.Sequential(*[_Block(c.trunk) for _ in range(c.blocks)], nn.LayerNorm(c.trunk))
        self.head = make_head(c.head, c.trunk, n, j)
        self.auxiliary = nn.Linear(c.trunk, c.auxiliary) if c.auxiliary else None

    def set_statistics(self, joints: np.ndarray, labels: np.ndarray, floor: float = 0.01) -> None:
        """Take means and deviations from data.

        Args:
            joints: Measured positions, shape (S, J) [rad].
            labels: Absolute targets, shape (S, K, J) [rad].
            floor: Least deviation [rad]: a joint that hardly moves is not blown up to unit scale.
        """
        pairs = {"joint": joints, "control": self._relative(joints, labels)}
        for name, values in pairs.items():
            getattr(self, f"{name}_mean").copy_(torch.from_numpy(values.mean(axis=0)))
            getattr(self, f"{name}_std").copy_(torch.from_numpy(np.maximum(values.std(axis=0), floor)))

    def _relative(self, joints: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Control points relative to the measured joints, shape (S, N, J) [rad]."""
        return ChunkSpline(self.config.spline).fit(labels).astype(np.float32) - joints[:, None, :]

    def loss_weights(self, joints: np.ndarray, labels: np.ndarray, joint_weights: Array, late: float) -> Tensor:
        """Error in normalised control points to weighted error in waypoints, shape (K, N, J).

        Each waypoint of each joint is measured in units of how much it varies in the data, so that early
        waypoints, which move little and are executed for certain, count as much as far ones.

        Args:
            joints: As in `set_statistics`.
            labels: As in `set_statistics`.
            joint_weights: Shape (J,).
            late: Weight of the last waypoint relative to the first.
        """
        basis = ChunkSpline(self.config.spline).matrix
        relative = np.einsum("kn,snj->skj", basis, self._relative(joints, labels))
        scale = np.maximum(relative.std(axis=0), 0.02)
        time = np.linspace(1.0, late, len(basis))
        weight = joint_weights[None, :] * time[:, None] / scale
        metric = basis[:, :, None] * self.control_std.numpy()[None] * weight[:, None, :]
        return torch.from_numpy(metric).float()

    def features(self, images: list[Tensor], joints: Tensor, words: Tensor) -> Tensor:
        """Trunk features.

        Args:
            images: One batch per camera, in the order of `config.cameras`, (B, 3, S, S) in [-0.5, 0.5].
            joints: Measured positions, shape (B, J) [rad].
            words: Sentences, shape (B, W).

        Returns:
            Shape (B, trunk).
        """
        words = self.hear(words)
        seen = [net(image, words) for net, image in zip(self.encoders, images, strict=True)]
        # Only the encoders gain from half precision; coordinates and joints would lose by it.
        with torch.autocast(joints.device.type, enabled=False):
            state = self.joint_net((joints - self.joint_mean) / self.joint_std)
            return self.trunk(self.inlet(torch.cat([*seen, state, self.word_net(words)], dim=1)))

    def summary(self, features: Tensor) -> Tensor:
        """One vector per sample for the auxiliary outputs."""
        return features

    def encode(self, labels: Tensor, joints: Tensor) -> Tensor:
        """Absolute targets (B, K, J) and measured joints (B, J) to normalised control points (B, N, J)."""
        return self.normalise(torch.einsum("nk,bkj->bnj", self.solver, labels - joints[:, None, :]))

    def loss(self, features: Tensor, joints: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Loss per sample, shape (B,); `weights` is what `loss_weights` gave."""
        return self.head.loss(features, self.encode(labels, joints), weights)

    def normalise(self, controls: Tensor) -> Tensor:
        """Relative control points (B, N, J) [rad] to unit scale."""
        return (controls - self.control_mean) / self.control_std

    def decode(self, z: Tensor, joints: Tensor) -> Tensor:
        """Normalised control points (B, N, J) and measured joints (B, J) to waypoints (B, K, J) [rad]."""
        return torch.einsum("kn,bnj->bkj", self.basis, self.controls(z, joints))

    def controls(self, z: Tensor, joints: Tensor) -> Tensor:
        """Normalised control points to absolute ones, shape (B, N, J) [rad]; arguments as in `decode`."""
        return z.float() * self.control_std + self.control_mean + joints[:, None, :]

    def forward(self, images: list[Tensor], joints: Tensor, words: Tensor) -> Tensor:
        """Waypoints, shape (B, K, J) [rad], absolute; arguments as in `features`."""
        return self.decode(self.head(self.features(images, joints, words)), joints)

    def act(self, images: list[Tensor], joints: Tensor, words: Tensor, seed: int = 0) -> Act:
        """A chunk per sample, all of it to be executed; `seed` is for networks that draw."""
        return self.judge(self.say(self.features(images, joints, words), joints, self.noise(len(joints), seed)))

    def noise(self, batch: int, seed: int) -> Tensor:
        """What `say` draws from: nothing, this network is of one mind."""
        return torch.zeros(batch, 0)

    def say(self, features: Tensor, joints: Tensor, noise: Tensor) -> Answer:
        """The chunks of trunk features (B, trunk) and measured joints (B, J)."""
        points = self.controls(self.head(features), joints)
        return Answer(torch.einsum("kn,bnj->bkj", self.basis, points), points)

    def judge(self, answer: Answer) -> Act:
        """How much of it is worth executing: all of it."""
        count = len(answer.waypoints)
        return Act(answer.waypoints, [self.config.spline.waypoints] * count, points=answer.points)


def to_input(images: Tensor) -> Tensor:
    """Images (B, S, S, 3) uint8 to the network's range and layout, (B, 3, S, S) in [-0.5, 0.5]."""
    return (images.permute(0, 3, 1, 2).float() / 255.0 - 0.5).contiguous(memory_format=torch.channels_last)
