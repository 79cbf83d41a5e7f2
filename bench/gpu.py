"""How a network is best run on a GPU: eager, compiled, as a CUDA graph; float32 or bf16; images resized here or there.

One inference is from two cameras' uint8 pictures of 640 x 480 to waypoints on the CPU, wall time, all ways in turn.
"apart" is the greatest distance of waypoints from those of the CPU in float32, over the same observations; "ready" the
time to the first answer. Images are "shrunk" on the CPU and then sent, or sent as they are and resized "there".

One command fills the table: ./vla bench gpu (some minutes, most of them compiling). Without a GPU it measures what a
CPU can do, which is eager in both precisions, and compiled.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor

from bench.common import table
from bench.speed import LARGE, SMALL, actor
from vla_ros.config import config_dir
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Image
from vla_ros.policy.inference.device_images import DeviceImages, image_input
from vla_ros.policy.inference.engine import Engine
from vla_ros.policy.network.build import Model
from vla_ros.policy.network.checkpoint import load_checkpoint
from vla_ros.policy.network.config import Act

NETWORKS: dict[str, Callable[[], Model]] = {
    "trunk": lambda: load_checkpoint(config_dir() / "checkpoints" / "so101_pick_place.safetensors")[0],
    "mixture": lambda: actor(SMALL, horizons=(8, 16, 24, 32)),
    "flow": lambda: actor(SMALL, head="flow"),
    "large": lambda: actor(LARGE),
}
"""A trained residual trunk, and action transformers with random weights: four horizons, ten Euler steps, ACT's size."""
CPU = torch.device("cpu")
ON_CPU = (("eager", "float32"), ("eager", "bf16"), ("compiled", "float32"))
ON_GPU = tuple((e, p) for e in ("eager", "compiled", "graph", "compiled_graph") for p in ("float32", "bf16"))
EXACT_MRAD = 1.0
"""How far apart waypoints may be where only the order of float32 sums differs [mrad]."""
HEAD = ("", "precision", "images", "median ms", "p99 ms", "ready s", "apart mrad")


@dataclass
class Way:
    """One way to run a network, and what it came to.

    Attributes:
        cells: Engine, precision, where images are made small; the first cells of a row.
        ask: Images and a seed, to an answer.
        ready_s: Time to the first answer; where the engine had been asked already, to the first with such images [s].
        times_s: Wall time of each inference [s].
        chunks: Waypoints of each (K, J) [rad].
    """

    cells: tuple[str, str, str]
    ask: Callable[[Sequence[Image], int], Act]
    ready_s: float
    times_s: list[float] = field(default_factory=list)
    chunks: list[np.ndarray] = field(default_factory=list)


def pictures(seed: int) -> list[Image]:
    """Two cameras' pictures: blots with a little noise."""
    rng = np.random.default_rng(seed)
    blots = [cv2.resize(rng.uniform(0, 255, (12, 16, 3)), (640, 480), interpolation=cv2.INTER_CUBIC) for _ in range(2)]
    return [np.clip(b + rng.normal(0, 4, b.shape), 0, 255).astype(np.uint8) for b in blots]


def ways(model: Model, device: torch.device) -> list[Way]:
    """Every way to run it there, after the one on the CPU that all are compared with; those that fail are told."""
    made = [*way(copy.deepcopy(model), CPU, "eager", "float32", ("shrunk",))]
    there = copy.deepcopy(model).to(device)
    on_gpu = device.type == "cuda"
    for engine, precision in ON_GPU if on_gpu else ON_CPU[1:]:
        made += way(there, device, engine, precision, ("shrunk", "there") if on_gpu else ("shrunk",))
    return made


def way(model: Model, device: torch.device, engine: str, precision: str, places: Sequence[str]) -> list[Way]:
    """An engine, ready, with images made small in each of `places`; none where it cannot run the network."""
    c, runs = model.config, Engine(model, device, engine, precision)
    joints, words = torch.zeros(1, len(c.joints)), torch.zeros(1, c.sentence)
    made = []
    for place in places:
        look = DeviceImages(c.image_size, device) if place == "there" else image_input(c.image_size, CPU)

        def ask(images: Sequence[Image], seed: int, look: Callable[..., list[Tensor]] = look) -> Act:
            return runs([x.to(device) for x in look(images)], joints.to(device), words.to(device), seed)

        begun = time.perf_counter()
        try:
            ask(pictures(0), 0)
        except ConfigError as error:
            print(f"left out: {error}")
            return []
        made.append(Way((f"{device.type}, {runs.name}", precision, place), ask, time.perf_counter() - begun))
    return made


def measure(all_ways: Sequence[Way], rounds: int) -> None:
    """Ask all of them in turn, each the same."""
    for n in range(rounds):
        seen = pictures(n % 10)
        for one in all_ways:
            begun = time.perf_counter()
            act = one.ask(seen, n)
            one.times_s.append(time.perf_counter() - begun)
            one.chunks.append(act.waypoints[0].numpy())


def print_table(name: str, all_ways: Sequence[Way]) -> list[tuple[str, bool]]:
    """Print what they came to; claims of those that compute the same sums."""
    rows, claims = [], []
    for one in all_ways:
        apart = 1e3 * max(float(np.abs(a - b).max()) for a, b in zip(one.chunks, all_ways[0].chunks, strict=True))
        median, p99 = (1e3 * float(np.quantile(one.times_s, q)) for q in (0.5, 0.99))
        rows.append([*one.cells, f"{median:.2f}", f"{p99:.2f}", f"{one.ready_s:.1f}", f"{apart:.3f}"])
        if one is not all_ways[0] and one.cells[1:] == ("float32", "shrunk"):
            met = apart <= EXACT_MRAD
            claims.append((f"{name}, {one.cells[0]}: at most {EXACT_MRAD:g} mrad from the CPU ({apart:.3g})", met))
    table.show(f"{name}: one inference, from pictures to waypoints", HEAD, rows)
    return claims


def options(parser: argparse.ArgumentParser) -> None:
    """What this bench has beside the usual."""
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="networks")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print; 0 if the same sums come to the same waypoints."""
    given = table.options(__doc__ or "", argv, options)
    torch.set_num_threads(1)
    device = torch.device("cuda") if torch.cuda.is_available() else CPU
    if device.type == "cuda":
        print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}")
    else:
        print(f"torch {torch.__version__} finds no GPU on this machine, so this is the CPU's part of the table only.")
    claims = []
    for name in given.only:
        torch.compiler.reset()
        torch.manual_seed(0)
        made = ways(NETWORKS[name](), device)
        measure(made, 20 if given.quick else 200)
        claims += print_table(name, made)
        if device.type == "cuda":
            claims.append((f"{name}: none of the ways was left out", len(made) == 1 + 2 * len(ON_GPU)))
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
