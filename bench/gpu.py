"""Time of one inference by engine (eager, compiled, CUDA graph), precision, and where images are resized.

One inference is from two cameras' uint8 images of 640 x 480 to waypoints on the CPU, in wall time; all configurations
are interleaved. "deviation" is the maximum deviation of waypoints from those of the CPU in float32 for the same
observations; "first" the time of the first inference, which compiles or captures. Images are resized on the CPU and
then uploaded, or uploaded and resized on the GPU.

Takes some minutes, most of them for compiling. Without a GPU it measures eager execution in both precisions, and
compiled execution, on the CPU.
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

from bench.common import table
from bench.common.networks import LARGE, SMALL, make_network
from vla_ros.config import find_checkpoint
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Image
from vla_ros.policy.inference.engine import Engine
from vla_ros.policy.inference.image_input import DeviceImages, image_input
from vla_ros.policy.network.checkpoint import load_checkpoint
from vla_ros.policy.network.model import PolicyOutput, VlaNetwork

NETWORKS: dict[str, Callable[[], VlaNetwork]] = {
    "shipped": lambda: load_checkpoint(find_checkpoint())[0],
    "mixture": lambda: make_network(SMALL, horizons=(8, 16, 24, 32)),
    "flow": lambda: make_network(SMALL, head="flow"),
    "large": lambda: make_network(LARGE),
}
"""The shipped policy, and networks with random weights: four horizons, ten Euler steps, ACT's size."""
CPU = torch.device("cpu")
ON_CPU = (("eager", "float32"), ("eager", "bf16"), ("compiled", "float32"))
ON_GPU = tuple((e, p) for e in ("eager", "compiled", "graph", "compiled_graph") for p in ("float32", "bf16"))
EXACT_MRAD = 1.0
"""Maximum deviation of waypoints where only the order of float32 sums differs [mrad]."""
HEAD = ("", "precision", "resized", "median ms", "p99 ms", "first s", "deviation mrad")


@dataclass
class Measurement:
    """One configuration and its results.

    Attributes:
        cells: Engine, precision, where images are resized; the first cells of its row.
        infer: From images and a seed to an output.
        first_s: Time of the first inference; of the first with such images where the engine was used before [s].
        times_s: Wall time of each inference [s].
        chunks: Waypoints of each inference, shape (K, J) [rad].
    """

    cells: tuple[str, str, str]
    infer: Callable[[Sequence[Image], int], PolicyOutput]
    first_s: float
    times_s: list[float] = field(default_factory=list)
    chunks: list[np.ndarray] = field(default_factory=list)


def random_images(seed: int) -> list[Image]:
    """Images of two cameras: smooth random colours with a little noise."""
    rng = np.random.default_rng(seed)
    smooth = [cv2.resize(rng.uniform(0, 255, (12, 16, 3)), (640, 480), interpolation=cv2.INTER_CUBIC) for _ in range(2)]
    return [np.clip(s + rng.normal(0, 4, s.shape), 0, 255).astype(np.uint8) for s in smooth]


def configurations(network: VlaNetwork, device: torch.device) -> list[Measurement]:
    """The reference on the CPU, then every configuration on `device`; those that fail are reported and left out."""
    made = [*prepare(copy.deepcopy(network), CPU, "eager", "float32", ("cpu",))]
    on_device = copy.deepcopy(network).to(device)
    on_gpu = device.type == "cuda"
    for engine, precision in ON_GPU if on_gpu else ON_CPU[1:]:
        made += prepare(on_device, device, engine, precision, ("cpu", "gpu") if on_gpu else ("cpu",))
    return made


def prepare(
    network: VlaNetwork, device: torch.device, engine: str, precision: str, resized: Sequence[str]
) -> list[Measurement]:
    """An engine after its first inference, with images resized in each of `resized`; empty if it cannot execute."""
    c, execute = network.config, Engine(network, device, engine, precision)
    joints = torch.zeros(1, len(c.joints), device=device)
    instruction = torch.zeros(1, c.network.embedding_size, device=device)
    made = []
    for place in resized:
        to_input = DeviceImages(c.image_size, device) if place == "gpu" else image_input(c.image_size, CPU)

        def infer(images: Sequence[Image], seed: int, to_input: Callable = to_input) -> PolicyOutput:
            return execute([x.to(device) for x in to_input(images)], joints, instruction, seed)

        begun = time.perf_counter()
        try:
            infer(random_images(0), 0)
        except ConfigError as error:
            print(f"left out: {error}")
            return []
        cells = (f"{device.type}, {execute.name}", precision, place)
        made.append(Measurement(cells, infer, time.perf_counter() - begun))
    return made


def measure(measurements: Sequence[Measurement], rounds: int) -> None:
    """Run every configuration on the same observations, interleaved."""
    for n in range(rounds):
        images = random_images(n % 10)
        for one in measurements:
            begun = time.perf_counter()
            output = one.infer(images, n)
            one.times_s.append(time.perf_counter() - begun)
            one.chunks.append(output.waypoints[0].numpy())


def print_table(name: str, measurements: Sequence[Measurement]) -> list[tuple[str, bool]]:
    """Print the results; returns the claims on configurations that compute the same sums as the first one."""
    rows, claims = [], []
    for one in measurements:
        pairs = zip(one.chunks, measurements[0].chunks, strict=True)
        deviation = 1e3 * max(float(np.abs(a - b).max()) for a, b in pairs)
        median, p99 = (1e3 * float(np.quantile(one.times_s, q)) for q in (0.5, 0.99))
        rows.append([*one.cells, f"{median:.2f}", f"{p99:.2f}", f"{one.first_s:.1f}", f"{deviation:.3f}"])
        if one is not measurements[0] and one.cells[1:] == ("float32", "cpu"):
            text = f"{name}, {one.cells[0]}: at most {EXACT_MRAD:g} mrad from the CPU ({deviation:.3g})"
            claims.append((text, deviation <= EXACT_MRAD))
    table.show(f"{name}: one inference, from images to waypoints", HEAD, rows)
    return claims


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench only."""
    parser.add_argument(
        "--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="networks (default: all)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns 0 if the same sums give the same waypoints."""
    options = table.options(__doc__ or "", argv, add_options)
    torch.set_num_threads(1)
    device = torch.device("cuda") if torch.cuda.is_available() else CPU
    if device.type == "cuda":
        print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}")
    else:
        print(f"torch {torch.__version__} finds no GPU on this machine: only the CPU is measured.")
    claims = []
    for name in options.only:
        torch.compiler.reset()
        torch.manual_seed(0)
        measurements = configurations(NETWORKS[name](), device)
        measure(measurements, 20 if options.quick else 200)
        claims += print_table(name, measurements)
        if device.type == "cuda":
            claims.append((f"{name}: no configuration was left out", len(measurements) == 1 + 2 * len(ON_GPU)))
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
