"""Consistency of a flow's late chunks with what is being executed, with and without real-time chunking.

A small flow learns a choice: both joints of the arm move by 0.6 rad to one side or to the other, at random, from the
same image. The arm is then on its way to one side, and the flow is queried for chunks that take over after 3 or 5 of
their 12 waypoints, with other noise each time. "same side" is the share of chunks that end where the arm was going;
"prefix" is the maximum deviation from the committed waypoints, the mean over chunks. Times are processor time per
chunk.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from bench.common import table
from vla_ros.core.records import NS
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.network.config import MixtureConfig, ModelConfig, NetworkConfig, TransformerConfig
from vla_ros.policy.network.model import VlaNetwork

JOINTS, WAYPOINTS, REACH_RAD = ("a", "gripper", "b"), 12, 0.6
ARM = [0, 2]
HEAD = ("", "after", "same side", "RTC", "prefix mrad", "RTC", "ms", "RTC")


def small_config(head: str) -> ModelConfig:
    """The smallest network that learns the choice."""
    network = NetworkConfig(
        encoder="keypoint",
        norm="none",
        channels=4,
        keypoints=4,
        language="hash",
        head=head,
        transformer=TransformerConfig(width=32, layers=2, attention_heads=2, image_tokens=2),
        mixture=MixtureConfig(()),
    )
    spline = SplineConfig(control_points=6, degree=3, waypoints=WAYPOINTS, dt_s=0.05)
    return ModelConfig(JOINTS, ("front",), 32, spline=spline, network=network)


def path_to(side: float) -> torch.Tensor:
    """Waypoints from 0 to one side, shape (1, K, J) [rad]."""
    ramp = REACH_RAD * side * torch.linspace(1 / WAYPOINTS, 1.0, WAYPOINTS)
    return ramp[None, :, None] * torch.tensor([1.0, 0.0, 1.0])


def train(head: str, steps: int) -> VlaNetwork:
    """A flow that knows both sides."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = VlaNetwork(small_config(head))
    joints = rng.normal(0.0, 0.3, (512, 3)).astype(np.float32)
    side = rng.choice([-1.0, 1.0], (512, 1, 1)) * rng.normal(1.0, 0.03, (512, 1, 1))
    labels = (joints * [1, 0, 1])[:, None] + side * path_to(1.0).numpy()
    labels = labels.astype(np.float32)
    network.fit_statistics(joints, labels, np.zeros((1, 32), np.float32))
    weights = network.loss_weights(joints, labels, np.ones(3), 0.5)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(steps):
        i = rng.integers(0, len(joints), 64)
        measured, targets = torch.from_numpy(joints[i]), torch.from_numpy(labels[i])
        context = network.encode([torch.zeros(64, 3, 32, 32)], measured, torch.zeros(64, 32))
        loss = network.loss(context, measured, targets, weights).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def guidance_weights(committed: int, held: int = 8) -> torch.Tensor:
    """Weights of the waypoints, shape (1, K), as those of `CommittedPrefix` for waypoints every 0.05 s."""
    fading = max(held - committed, 0)
    left = np.clip((committed + fading - np.arange(WAYPOINTS)) / (fading + 1), 0.0, 1.0)
    rows = np.where(np.arange(WAYPOINTS) < committed, 1.0, left * np.expm1(left) / np.expm1(1.0))
    return torch.from_numpy(rows).float()[None]


def query(network: VlaNetwork, committed: int, real_time_chunking: bool, seeds: int) -> tuple[float, float, float]:
    """Share of chunks to the committed side, prefix error [mrad] and time [ms], over both sides."""
    same, errors, times = [], [], []
    observation = [torch.zeros(1, 3, 32, 32)], torch.zeros(1, 3), torch.zeros(1, 32)
    for side in (1.0, -1.0):
        target = (path_to(side), guidance_weights(committed)) if real_time_chunking else None
        for seed in range(seeds):
            start = time.thread_time_ns()
            with torch.no_grad():
                output = network.predict(*observation, seed=seed, target=target)
            times.append((time.thread_time_ns() - start) / NS)
            chunk, expected = output.waypoints[0][:, ARM], path_to(side)[0][:, ARM]
            same.append(bool((torch.sign(chunk[-1]) == side).all()))
            errors.append(float((chunk - expected)[:committed].abs().max()))
    return float(np.mean(same)), 1e3 * float(np.mean(errors)), 1e3 * float(np.median(times))


def main(argv: Sequence[str] | None = None) -> int:
    """Train, query, print; returns 0 if the claims hold."""
    options = table.options(__doc__ or "", argv)
    torch.set_num_threads(1)
    rows, claims = [], []
    for head in ("flow", "beast_flow"):
        network = train(head, 150 if options.quick else 600)
        for committed in (3, 5):
            seeds = 10 if options.quick else 50
            off, on = (query(network, committed, active, seeds) for active in (False, True))
            pairs = [f"{x:.{d}f}" for a, b, d in zip(off, on, (2, 0, 1), strict=True) for x in (a, b)]
            rows.append([head, str(committed), *pairs])
            claims.append((f"{head}, {committed}: at least 90 % keep their side with real-time chunking", on[0] >= 0.9))
            claims.append((f"{head}, {committed}: prefix error at most a third", on[1] <= off[1] / 3))
    table.show("chunks that take over after some of their waypoints, without and with RTC", HEAD, rows)
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
