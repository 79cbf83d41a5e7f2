"""Whether a late chunk of a flow goes on with what is being executed, when it is told of it and when it is not.

A small flow learns a choice: both joints of the arm 0.6 rad to one side or to the other, at random, from the same
picture. Then an arm is on its way to one side, and the flow is asked for chunks that take over after 3 or 5 of their 12
waypoints, with other noise each time. "Same side" is the share of chunks that end where the arm was going; "prefix" is
the largest distance from the committed waypoints, the mean over chunks. Times are processor time of one chunk.
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
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.network.model import ActorModel

JOINTS, WAYPOINTS, REACH_RAD = ("a", "gripper", "b"), 12, 0.6
ARM = [0, 2]
HEAD = ("", "after", "same side", "told", "prefix mrad", "told", "ms", "told")


def config(head: str) -> ModelConfig:
    """The smallest that learns it."""
    sizes = {"width": 32, "layers": 2, "attention": 2, "image_tokens": 2}
    spline = SplineConfig(control_points=6, degree=3, waypoints=WAYPOINTS, dt_s=0.05)
    actor = {"head": head, **sizes}
    return ModelConfig(JOINTS, ("front",), 32, 4, 4, spline=spline, actor=actor)  # type: ignore[arg-type]


def way(side: float) -> torch.Tensor:
    """Waypoints to one side from 0, shape (1, K, J) [rad]."""
    ramp = REACH_RAD * side * torch.linspace(1 / WAYPOINTS, 1.0, WAYPOINTS)
    return ramp[None, :, None] * torch.tensor([1.0, 0.0, 1.0])


def learn(head: str, steps: int) -> ActorModel:
    """A flow that knows both sides."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = ActorModel(config(head))
    joints = rng.normal(0.0, 0.3, (512, 3)).astype(np.float32)
    side = rng.choice([-1.0, 1.0], (512, 1, 1)) * rng.normal(1.0, 0.03, (512, 1, 1))
    labels = (joints * [1, 0, 1])[:, None] + side * way(1.0).numpy()
    labels = labels.astype(np.float32)
    net.set_statistics(joints, labels)
    weights = net.loss_weights(joints, labels, np.ones(3), 0.5)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(steps):
        i = rng.integers(0, len(joints), 64)
        here, there = torch.from_numpy(joints[i]), torch.from_numpy(labels[i])
        prefix = net.features([torch.zeros(64, 3, 32, 32)], here, torch.zeros(64, 32))
        loss = net.loss(prefix, here, there, weights).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def mask(committed: int, held: int = 8) -> torch.Tensor:
    """How firmly the waypoints are wanted, shape (1, K), as `Committed.mask` has it of waypoints every 0.05 s."""
    fading = max(held - committed, 0)
    left = np.clip((committed + fading - np.arange(WAYPOINTS)) / (fading + 1), 0.0, 1.0)
    rows = np.where(np.arange(WAYPOINTS) < committed, 1.0, left * np.expm1(left) / np.expm1(1.0))
    return torch.from_numpy(rows).float()[None]


def ask(net: ActorModel, committed: int, told: bool, seeds: int) -> tuple[float, float, float]:
    """Share of chunks to the committed side, prefix error [mrad] and time [ms], over both sides."""
    same, apart, took = [], [], []
    seen = [torch.zeros(1, 3, 32, 32)], torch.zeros(1, 3), torch.zeros(1, 32)
    for side in (1.0, -1.0):
        for seed in range(seeds):
            start = time.thread_time_ns()
            with torch.no_grad():
                act = net.act(*seen, seed=seed, wanted=(way(side), mask(committed)) if told else None)
            took.append((time.thread_time_ns() - start) / NS)
            chunk, wanted = act.waypoints[0][:, ARM], way(side)[0][:, ARM]
            same.append(bool((torch.sign(chunk[-1]) == side).all()))
            apart.append(float((chunk - wanted)[:committed].abs().max()))
    return float(np.mean(same)), 1e3 * float(np.mean(apart)), 1e3 * float(np.median(took))


def main(argv: Sequence[str] | None = None) -> int:
    """Train, ask, print; 0 if the claims hold."""
    given = table.options(__doc__ or "", argv)
    torch.set_num_threads(1)
    rows, claims = [], []
    for head in ("flow", "beast_flow"):
        net = learn(head, 150 if given.quick else 600)
        for committed in (3, 5):
            free, bound = (ask(net, committed, told, 10 if given.quick else 50) for told in (False, True))
            pairs = [f"{x:.{d}f}" for a, b, d in zip(free, bound, (2, 0, 1), strict=True) for x in (a, b)]
            rows.append([head, str(committed), *pairs])
            claims.append((f"{head}, {committed}: at least 90 % stay on their side when told", bound[0] >= 0.9))
            claims.append((f"{head}, {committed}: prefix at most a third as far off", bound[1] <= free[1] / 3))
    table.show("chunks that take over after some of their waypoints", HEAD, rows)
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
