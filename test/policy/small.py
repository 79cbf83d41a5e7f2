"""A small action transformer with made-up data, for tests."""

import copy

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.inference.engine import Engine
from vla_ros.policy.network.build import Model
from vla_ros.policy.network.config import Answer, ModelConfig, VlaModel
from vla_ros.policy.network.model import ActorModel

JOINTS = ("a", "gripper", "b")
STEPS = {"regression": 12, "flow": 12, "bins": 12, "beast": 6, "beast_flow": 6, "beast_tokens": 6}
"""Steps of each head on the small chunk: 12 waypoints, or 6 control points."""
MIXED = {12: (4, 8, 12), 6: (4, 5, 6)}
"""Horizons by number of steps; a spline of degree 3 says nothing before its fourth control point."""


def data(count: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Measured joints (S, 3) and labels (S, 12, 3) [rad]: two joints on ramps, a gripper open or closed."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0.0, 0.3, (count, 3))
    ramp = np.linspace(1 / 12, 1.0, 12)[None, :, None]
    labels = joints[:, None] + ramp * rng.normal(0.0, 0.4, (count, 1, 3))
    shut = rng.integers(0, 13, (count, 1)) <= np.arange(12)[None]
    labels[:, :, 1] = np.where(shut, -0.06, 0.62)
    return joints.astype(np.float32), labels.astype(np.float32)


def config(head: str = "regression", horizons: tuple[int, ...] = (), **actor) -> ModelConfig:
    sizes = {"width": 32, "layers": 2, "attention": 2, "image_tokens": 2, "bins": 64}
    return ModelConfig(
        JOINTS,
        ("front",),
        image_size=32,
        channels=4,
        keypoints=4,
        spline=SplineConfig(control_points=6, degree=3, waypoints=12, dt_s=0.05),
        actor={"head": head, "horizons": horizons, **sizes, **actor},  # type: ignore[arg-type]
    )


def model(head: str = "regression", mixed: bool = False, seed: int = 0, **actor) -> ActorModel:
    """With statistics, and weights large enough that horizons differ."""
    torch.manual_seed(seed)
    made = ActorModel(config(head, MIXED[STEPS[head]] if mixed else (), **actor)).eval()
    made.set_statistics(*data())
    return made


def trunk() -> VlaModel:
    """The residual trunk, as small as it gets, with something to say."""
    torch.manual_seed(0)
    spline = SplineConfig(control_points=6, degree=3, waypoints=12, dt_s=0.05)
    net = VlaModel(ModelConfig(JOINTS, ("front",), 32, 4, 4, trunk=16, blocks=1, spline=spline)).eval()
    torch.nn.init.normal_(net.head.out.weight, std=0.2)
    return net


def seen(batch: int = 2, seed: int = 1) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Images, joints and words."""
    g = torch.Generator().manual_seed(seed)
    return (
        [torch.rand(batch, 3, 32, 32, generator=g) - 0.5],
        0.3 * torch.randn(batch, 3, generator=g),
        torch.randn(batch, 32, generator=g),
    )


def traced(net: Model, images: list[torch.Tensor], joints: torch.Tensor, words: torch.Tensor) -> Answer:
    """One pass with tensors that have shapes and no values, where what is made without saying where lies elsewhere.

    A value that is looked at, a tensor that is no input and no weight, or one on another device is an error: what a
    CUDA graph could not record.
    """
    mode, noise, net = FakeTensorMode(), net.noise(1, 3), copy.deepcopy(net)
    for part in net.modules():
        for values in (part._parameters, part._buffers):
            values.update({k: mode.from_tensor(v) for k, v in values.items() if v is not None})
    given, engine = [mode.from_tensor(t) for t in (*images, joints, words, noise)], Engine(net, torch.device("cpu"))
    with mode, torch.device("meta"), torch.inference_mode():
        return engine._run(*given)
