"""Networks of given sizes with random weights, which suffice for inference times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.network.config import MixtureConfig, ModelConfig, NetworkConfig, TransformerConfig
from vla_ros.policy.network.model import VlaNetwork

JOINTS = ("a", "b", "c", "d", "e", "gripper")
CAMERAS = ("front", "wrist")
SMALL = {"image_size": 96, "chunk": 32, "width": 128, "attention_heads": 4, "context_layers": 1, "layers": 3}
"""About the size of the shipped network."""
LARGE = {"image_size": 224, "chunk": 100, "width": 512, "attention_heads": 8, "context_layers": 4, "layers": 1}
"""ACT's published transformer; feed-forward networks are 4 times as wide."""


def make_network(
    sizes: dict[str, int],
    encoder: str = "keypoint",
    head: str = "regression",
    horizons: Sequence[int] = (),
    **settings: Any,
) -> VlaNetwork:
    """A network in evaluation mode.

    Args:
        sizes: `SMALL` or `LARGE`.
        encoder: Name of the image encoder.
        head: Name of the action head.
        horizons: Horizons of a mixture; empty for a single horizon.
        settings: Further fields of `NetworkConfig`.
    """
    transformer = TransformerConfig(
        **{name: sizes[name] for name in ("width", "layers", "attention_heads", "context_layers")}
    )
    network = NetworkConfig(
        encoder=encoder,
        norm="none",
        language="hash",
        head=head,
        transformer=transformer,
        mixture=MixtureConfig(tuple(horizons)),
        **settings,
    )
    spline = SplineConfig(control_points=10, degree=4, waypoints=sizes["chunk"], dt_s=0.05)
    torch.manual_seed(0)
    config = ModelConfig(JOINTS, CAMERAS, sizes["image_size"], spline=spline, network=network)
    return VlaNetwork(config).eval().to(memory_format=torch.channels_last)
