"""The network a configuration asks for."""

from __future__ import annotations

from dataclasses import replace

from vla_ros.policy.encoders.keypoint import find_encoder
from vla_ros.policy.network.config import ModelConfig, VlaModel
from vla_ros.policy.network.model import ActorModel

Model = VlaModel | ActorModel
"""What can be trained, saved and asked for a chunk."""


def whole(config: ModelConfig) -> ModelConfig:
    """The same with the shape of its backbone in it, so that it can be built where the folder of weights is not.

    Raises:
        ConfigError: The folder does not hold what it should.
    """
    cls = find_encoder(config.encoder)
    if not config.backbone.weights or config.backbone.shape or not hasattr(cls, "shape_of"):
        return config
    return replace(config, backbone=replace(config.backbone, shape=cls.shape_of(config)))


def make_model(config: ModelConfig) -> Model:
    """An action transformer where `config` has one, else the residual trunk; with unit statistics.

    A backbone with a folder of weights reads them.

    Raises:
        ConfigError: Parts that do not fit each other, or a name that is not registered.
    """
    config = whole(config)
    return VlaModel(config) if config.actor is None else ActorModel(config)


def check_model(config: ModelConfig) -> None:
    """Build the network with random weights, so that one that cannot be built is refused before an hour of recording.

    Raises:
        ConfigError: As `make_model`.
    """
    config = whole(config)
    make_model(replace(config, backbone=replace(config.backbone, weights="")))
