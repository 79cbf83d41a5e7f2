"""Configuration of the policy network: what a user chooses (`NetworkConfig`), and what the data give (`ModelConfig`).

The same classes are used by the training configuration and by the header of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vla_ros.config import require
from vla_ros.core.errors import UnknownName
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.network.horizon_consensus import ConsensusConfig
from vla_ros.policy.text.encoders import embedding_size

AUTO = "auto"
NORMS = ("none", "group")
FUSIONS = ("gate", "mean")


@dataclass(frozen=True)
class BackboneConfig:
    """A pretrained Hugging Face backbone; `NetworkConfig.encoder` names its kind.

    Attributes:
        weights: Folder with `config.json` and safetensors, and with `tokenizer.json` where the backbone encodes the
            instruction; empty for random weights. A checkpoint holds all weights and does not need the folder.
        shape: The content of `config.json`; read from `weights` where it is not given.
        frozen: Do not train the backbone.
    """

    weights: str = ""
    shape: Mapping[str, Any] = field(default_factory=dict)
    frozen: bool = True


@dataclass(frozen=True)
class TransformerConfig:
    """Size of the action transformer.

    Attributes:
        width: Width of its tokens.
        layers: Layers of the action transformer.
        attention_heads: Attention heads per layer; the width must be a multiple of twice as many.
        context_layers: Layers of self-attention over the context tokens, before the action transformer.
        image_tokens: Tokens per camera, for image encoders with one feature vector per image.
    """

    width: int = 96
    layers: int = 2
    attention_heads: int = 4
    context_layers: int = 1
    image_tokens: int = 4

    def __post_init__(self) -> None:
        """Check."""
        for name in ("width", "layers", "attention_heads", "image_tokens"):
            require(getattr(self, name) >= 1, f"transformer.{name} must be at least 1; got {getattr(self, name)}.")
        require(
            self.context_layers >= 0, f"transformer.context_layers must not be negative; got {self.context_layers}."
        )
        require(
            self.width % (2 * self.attention_heads) == 0,
            f"transformer.width must be a multiple of twice transformer.attention_heads; "
            f"got {self.width} and {self.attention_heads}.",
        )


@dataclass(frozen=True)
class MixtureConfig:
    """Mixture of horizons (arXiv:2511.19433).

    Attributes:
        horizons: Increasing, in steps of the head: control points of a B-spline head, waypoints of the others; the last
            one is all steps. Empty for a single horizon. "auto": three horizons that end after a third, two thirds and
            all of the chunk.
        fusion: "gate": weights from a learned linear gate; "mean": equal weights of the horizons that contain a step.
        balance: Weight of the loss that keeps the gate from choosing one horizon alone.
    """

    horizons: tuple[int, ...] | str = AUTO
    fusion: str = "gate"
    balance: float = 1e-3

    def __post_init__(self) -> None:
        """Check."""
        require(self.balance >= 0.0, f"mixture.balance must not be negative; got {self.balance}.")
        if self.fusion not in FUSIONS:
            raise UnknownName("fusion of horizons", str(self.fusion), FUSIONS)
        if self.horizons == AUTO:
            return
        integers = isinstance(self.horizons, tuple) and all(type(h) is int for h in self.horizons)
        increasing = integers and all(a < b for a, b in zip((0, *self.horizons), self.horizons, strict=False))  # type: ignore[operator,misc]
        require(
            increasing,
            f'mixture.horizons must be "auto" or integers that increase from 1 on; got {self.horizons!r}.',
        )


@dataclass(frozen=True)
class NetworkConfig:
    """What a user chooses. The defaults are those of training; a checkpoint stores its own values.

    Attributes:
        encoder: Name in the registry of image encoders.
        norm: "group": group normalisation after each convolution of an encoder trained from scratch (Wu and He,
            arXiv:1803.08494); "none": no normalisation, where an encoder may not learn to represent a small object.
        channels: Channels of the finest feature map of a keypoint encoder.
        keypoints: Keypoints per camera.
        backbone: For image encoders that are pretrained backbones.
        language: Name in the registry of text encoders. "auto", in a training configuration: "backbone" where the image
            encoder encodes the instruction, else "minilm" where its weights are installed, else "hash".
        instruction_size: Size of the embedding of "hash", or maximum number of tokens of "backbone".
        head: Name in the registry of action heads.
        grippers: Joints whose targets are absolute and not relative to the measured position, are never averaged over
            horizons, have degree 0 in splines and are left out of the consensus.
        bins: Values of a token, for heads that classify.
        euler_steps: Steps from noise to action, for flow heads.
        transformer: Size of the action transformer.
        mixture: Mixture of horizons.
        consensus: How many waypoints of a chunk are executed.
    """

    encoder: str = "keypoint_film"
    norm: str = "group"
    channels: int = 16
    keypoints: int = 32
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    language: str = AUTO
    instruction_size: int = 32
    head: str = "beast"
    grippers: tuple[str, ...] = ("gripper",)
    bins: int = 256
    euler_steps: int = 10
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    consensus: ConsensusConfig = field(default_factory=ConsensusConfig)

    def __post_init__(self) -> None:
        """Check."""
        for name in ("channels", "keypoints", "instruction_size", "euler_steps"):
            require(getattr(self, name) >= 1, f"network.{name} must be at least 1; got {getattr(self, name)}.")
        if self.norm not in NORMS:
            raise UnknownName("norm", str(self.norm), NORMS)
        count = len(self.mixture.horizons) if isinstance(self.mixture.horizons, tuple) else 3
        require(
            count < 2 or self.consensus.min_horizons <= count,
            f"consensus.min_horizons must not be greater than the number of horizons, {count}: only the first "
            f"consensus.min_steps waypoints would be executed; got {self.consensus.min_horizons}.",
        )

    @property
    def embedding_size(self) -> int:
        """Size of an instruction embedding, or its number of tokens.

        Raises:
            UnknownName: There is no text encoder of the name in `language`.
        """
        return embedding_size(self.language, self.instruction_size)


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines the structure of the network; stored in the checkpoint.

    Attributes:
        joints: Names, in the order of the network's columns (J).
        cameras: Names, in the order of the image encoders.
        image_size: Side of the square images [px].
        auxiliary: Number of auxiliary outputs, used in training only; 0 for none.
        spline: Shape of the chunk.
        network: What a user chooses.
    """

    joints: tuple[str, ...]
    cameras: tuple[str, ...]
    image_size: int = 96
    auxiliary: int = 0
    spline: SplineConfig = field(default_factory=SplineConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        """Check."""
        require(bool(self.joints and self.cameras), "a model needs at least one joint and one camera.")
        require(self.image_size > 0, f"image_size must be greater than zero; got {self.image_size}.")
        for name in self.network.grippers:
            if name not in self.joints:
                raise UnknownName("gripper", name, self.joints, "network.grippers")
        require(len(set(self.network.grippers)) < len(self.joints), "the network needs a joint that is not a gripper.")

    def to_json(self) -> dict[str, Any]:
        """Plain data, for the checkpoint."""
        return asdict(self)
