"""A small training: a mixture of three horizons is no worse at the early waypoints than a single horizon."""

import numpy as np
import torch
from policy.small_network import config

from vla_ros.policy.network.model import VlaNetwork

STEPS, EARLY = 80, 4


def motions(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints and labels [rad]: a function of the joints, plus noise that grows with time."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0.0, 0.5, (count, 3)).astype(np.float32)
    t = np.linspace(1 / 12, 1.0, 12)[None, :, None]
    goal = np.stack([np.sin(3 * joints[:, 2]), np.zeros(count), joints[:, 0] * joints[:, 2]], axis=1)[:, None]
    wave = 0.2 * np.sin(6 * t * (1 + joints[:, :1, None]))
    labels = joints[:, None] + t * goal + wave + 0.15 * t**2 * rng.normal(size=(count, 1, 3))
    labels[:, :, 1] = np.where(t[:, :, 0] > 0.5 + 0.3 * joints[:, :1], -0.06, 0.62)
    return joints, labels.astype(np.float32)


def early_error(horizons: tuple[int, ...], seed: int) -> float:
    """Mean error of the arm at the first waypoints on validation data [rad]."""
    joints, labels = motions(256, 0)
    torch.manual_seed(seed)
    net = VlaNetwork(config("regression", horizons, mixture={"fusion": "mean"}))
    net.fit_statistics(joints, labels, np.zeros((1, 32), np.float32))
    weights = net.loss_weights(joints, labels, np.ones(3), 1.0)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    rng = np.random.default_rng(seed)
    for k in range(STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1.0 - k / STEPS)
        rows = rng.integers(0, 256, 32)
        measured = torch.from_numpy(joints[rows])
        context = net.encode([torch.zeros(32, 3, 32, 32)], measured, torch.zeros(32, 32))
        loss = net.loss(context, measured, torch.from_numpy(labels[rows]), weights).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    joints, labels = motions(256, 1)
    with torch.no_grad():
        chunk = net([torch.zeros(256, 3, 32, 32)], torch.from_numpy(joints), torch.zeros(256, 32)).numpy()
    return float(np.abs(chunk - labels)[:, :EARLY, [0, 2]].mean())


def test_a_mixture_is_no_worse_at_early_waypoints() -> None:
    single, mixed = (np.mean([early_error(h, seed) for seed in (0, 1)]) for h in ((), (4, 8, 12)))
    assert mixed <= single, (mixed, single)
