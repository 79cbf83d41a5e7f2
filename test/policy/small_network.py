"""A small policy network with synthetic data, for tests."""

import copy
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.inference.engine import Engine
from vla_ros.policy.network.config import MixtureConfig, ModelConfig, NetworkConfig, TransformerConfig
from vla_ros.policy.network.horizon_consensus import ConsensusConfig
from vla_ros.policy.network.model import RawOutput, VlaNetwork

JOINTS = ("a", "gripper", "b")
STEPS = {"regression": 12, "flow": 12, "bins": 12, "beast": 6, "beast_flow": 6, "beast_tokens": 6}
"""Steps of each head: 12 waypoints, or 6 control points."""
HORIZONS = {12: (4, 8, 12), 6: (4, 5, 6)}
"""Horizons by number of steps; a spline of degree 3 determines no waypoint before its fourth control point."""


def data(count: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Measured joints (S, 3) and labels (S, 12, 3) [rad]: two joints on ramps, a gripper open or closed."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0.0, 0.3, (count, 3))
    ramp = np.linspace(1 / 12, 1.0, 12)[None, :, None]
    labels = joints[:, None] + ramp * rng.normal(0.0, 0.4, (count, 1, 3))
    closed = rng.integers(0, 13, (count, 1)) <= np.arange(12)[None]
    labels[:, :, 1] = np.where(closed, -0.06, 0.62)
    return joints.astype(np.float32), labels.astype(np.float32)


def config(
    head: str = "regression",
    horizons: tuple[int, ...] = (),
    consensus: ConsensusConfig | None = None,
    mixture: dict[str, Any] | None = None,
    transformer: dict[str, Any] | None = None,
    **network: Any,
) -> ModelConfig:
    """The configuration; `mixture` and `transformer` change single values of these parts."""
    sizes = {"width": 32, "layers": 2, "attention_heads": 2, "image_tokens": 2, **(transformer or {})}
    small = {"encoder": "keypoint", "norm": "none", "channels": 4, "keypoints": 4, "language": "hash", "bins": 64}
    return ModelConfig(
        JOINTS,
        ("front",),
        image_size=32,
        spline=SplineConfig(control_points=6, degree=3, waypoints=12, dt_s=0.05),
        network=NetworkConfig(
            head=head,
            transformer=TransformerConfig(**sizes),
            mixture=MixtureConfig(horizons, **(mixture or {})),
            consensus=consensus or ConsensusConfig(threshold_ratio=1.2),
            **{**small, **network},
        ),
    )


def model(head: str = "regression", mixed: bool = False, seed: int = 0, **choices: Any) -> VlaNetwork:
    """A network with statistics; `choices` as in `config`."""
    torch.manual_seed(seed)
    network = VlaNetwork(config(head, HORIZONS[STEPS[head]] if mixed else (), **choices)).eval()
    network.fit_statistics(*data(), np.zeros((1, 32), np.float32))
    return network


def observation(batch: int = 2, seed: int = 1) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Images, joints and instruction."""
    g = torch.Generator().manual_seed(seed)
    return (
        [torch.rand(batch, 3, 32, 32, generator=g) - 0.5],
        0.3 * torch.randn(batch, 3, generator=g),
        torch.randn(batch, 32, generator=g),
    )


def fake_pass(
    network: VlaNetwork, images: list[torch.Tensor], joints: torch.Tensor, instruction: torch.Tensor
) -> RawOutput:
    """One pass with fake tensors, which have shapes and no values; new tensors are on another device by default.

    Reading a value, a constant tensor, or a tensor on another device is an error: a CUDA graph could not capture it.
    """
    mode, noise, network = FakeTensorMode(), network.noise(1, 3), copy.deepcopy(network)
    for part in network.modules():
        for values in (part._parameters, part._buffers):
            values.update({k: mode.from_tensor(v) for k, v in values.items() if v is not None})
    inputs = [mode.from_tensor(t) for t in (*images, joints, instruction, noise)]
    engine = Engine(network, torch.device("cpu"))
    with mode, torch.device("meta"), torch.inference_mode():
        return engine._eager(*inputs)
