"""The network a configuration asks for."""

from __future__ import annotations

from vla_ros.policy.actor import ActorModel
from vla_ros.policy.model import ModelConfig, VlaModel

Model = VlaModel | ActorModel
"""What can be trained, saved and asked for a chunk."""


def make_model(config: ModelConfig) -> Model:
    """An action transformer where `config` has one, else the residual trunk; with unit statistics.

    Raises:
        ConfigError: Parts that do not fit each other, or a name that is not registered.
    """
    return VlaModel(config) if config.actor is None else ActorModel(config)
