"""Time of one inference: against LeRobot's ACT, with a mixture of horizons, and with parallel or serial decoding.

One thread, random weights, all measurements interleaved. "cpu" is processor time, which depends less on other load than
"wall". FLOPs are counted, and compared with the rate of a plain matrix product on this machine.

--lerobot names the Python of an environment with LeRobot 0.4; without it (or VLA_LEROBOT_PYTHON) ACT is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.common import table
from bench.common.inference_baselines import Autoregressive, LeRobotProcess
from bench.common.networks import CAMERAS, JOINTS, LARGE, SMALL, make_network
from bench.common.timing import interleaved, matmul_rate, timed
from vla_ros.beast import BeastConfig, BeastTokenizer
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Observation
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.inference.image_input import to_input
from vla_ros.policy.network.checkpoint import CheckpointInfo
from vla_ros.policy.network.config import BackboneConfig
from vla_ros.policy.network.model import VlaNetwork

SIGLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
}
"""SigLIP-B/16 at 224 px, as published; the 400M model takes five times as long, which hides the rest even more."""
REQUIRED_RATIO = 1.5
PARTS = ("small", "large", "mixture", "tokens", "parallel")
LEROBOT_MISSING = """ACT was not measured. It needs an environment of its own with the same torch:
  python3 -m venv DIR && DIR/bin/pip install torch==2.13.0 lerobot==0.4.4   (or --no-deps, and what is missing)
  ./vla bench inference_speed --lerobot DIR/bin/python"""
Claims = list[tuple[str, bool]]


def network_input(network: VlaNetwork) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Images, joints and instruction of one random observation."""
    c = network.config
    raw = np.random.default_rng(0).integers(0, 256, (1, c.image_size, c.image_size, 3), dtype=np.uint8)
    images = [to_input(torch.from_numpy(raw)) for _ in c.cameras]
    return images, torch.zeros(1, len(c.joints)), torch.zeros(1, c.network.embedding_size)


def complete_inference(network: VlaNetwork) -> Callable[[], object]:
    """A call from uint8 images to a chunk, as in the policy node."""
    c = network.config
    policy = CheckpointPolicy.from_model(network, CheckpointInfo("bench", "go", c))
    rng = np.random.default_rng(0)
    images = {n: rng.integers(0, 256, (c.image_size, c.image_size, 3), dtype=np.uint8) for n in c.cameras}
    observation = Observation(1, images, c.joints, np.zeros(len(c.joints)), instruction="go")
    return lambda: policy.infer(observation)


def flops(network: VlaNetwork) -> int:
    """Floating-point operations of one forward pass."""
    with FlopCounterMode(display=False) as counter:
        network.predict(*network_input(network))
    return counter.get_total_flops()


def against_act(sizes: dict[str, int], python: Path | None, rounds: int, rate: float) -> Claims:
    """Print a table: our network with its own encoder, with ACT's convolutions, and LeRobot's ACT."""
    ours = {"ours": make_network(sizes), "ours with ResNet-18": make_network(sizes, "bench_resnet18")}
    calls = {}
    for name, network in ours.items():
        inputs, inference = network_input(network), complete_inference(network)
        calls[f"{name}, forward"] = lambda m=network, i=inputs: timed(lambda: m.predict(*i))
        calls[f"{name}, complete"] = lambda r=inference: timed(r)
    facts = {n: (flops(m), sum(p.numel() for p in m.parameters())) for n, m in ours.items()}
    act = None
    if python is not None:
        act = LeRobotProcess(python, {**sizes, "joints": len(JOINTS), "cameras": len(CAMERAS)})
        calls["LeRobot ACT, forward"] = lambda: act.timed("forward")
        calls["LeRobot ACT, complete"] = lambda: act.timed("complete")
        facts["LeRobot ACT"] = act.facts["flops"], act.facts["parameters"]
        print(f"torch {torch.__version__} here, {act.facts['torch']} with LeRobot", file=sys.stderr)
    times = interleaved(calls, rounds)
    if act is not None:
        act.close()
    rows, claims = [], []
    for name, (cpu, wall) in times.items():
        network_name, part = name.rsplit(", ", 1)
        reference = times.get(f"LeRobot ACT, {part}")
        ratio = "" if reference is None else f"{reference[0] / cpu:.2f}"
        work, size = facts[network_name][0], f"{facts[network_name][1] / 1e6:.1f}"
        share = f"{100 * work / rate / cpu:.0f} %"
        rows.append([name, f"{1e3 * cpu:.1f}", f"{1e3 * wall:.1f}", ratio, f"{work / 1e9:.2f}", size, share])
        if reference is not None and network_name != "LeRobot ACT":
            met = reference[0] >= REQUIRED_RATIO * cpu
            text = f"{name}: ACT takes {REQUIRED_RATIO} times as long, {sizes['image_size']} px ({ratio})"
            claims.append((text, met))
    title = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in sizes.items())
    head = ("regression, one inference [ms]", "cpu", "wall", "ACT / this", "GFLOP", "M param.", "of matmul rate")
    table.show(f"{title}; two cameras, six joints", head, rows)
    return claims


def mixture(rounds: int) -> Claims:
    """Print the cost of four horizons over one: in the small network, and behind a large backbone."""
    rows, claims = [], []
    cases = {
        "small": ({}, SMALL, rounds),
        "behind SigLIP-B/16, 224 px": (
            {"encoder": "siglip", "backbone": BackboneConfig(shape=SIGLIP)},
            {**SMALL, "image_size": 224},
            max(2, rounds // 4),
        ),
    }
    for name, (settings, sizes, count) in cases.items():
        try:
            one = make_network(sizes, **settings)
            four = make_network(sizes, horizons=(8, 16, 24, 32), **settings)
        except ConfigError as error:
            print(f"\n{name}: left out; {error}")
            continue
        four.context_encoder = one.context_encoder  # the same weights, and half of the memory
        inputs = network_input(one)
        context = one.encode(*inputs)
        complete = interleaved(
            {
                "complete, one": lambda o=one, i=inputs: timed(lambda: o.predict(*i)),
                "complete, four": lambda f=four, i=inputs: timed(lambda: f.predict(*i)),
            },
            count,
        )
        # Behind a backbone the difference is smaller than the noise: what follows the context is measured alone, too.
        decoding = interleaved(
            {
                "one": lambda o=one, c=context: timed(lambda: decode(o, c)),
                "four": lambda f=four, c=context: timed(lambda: decode(f, c)),
            },
            max(rounds, 20),
        )
        base, more_s = complete["complete, one"][0], decoding["four"][0] - decoding["one"][0]
        share, complete_share = more_s / base, complete["complete, four"][0] / base - 1
        cells = [base, complete["complete, four"][0], decoding["one"][0], decoding["four"][0]]
        rows.append(
            [name, *[f"{1e3 * c:.1f}" for c in cells], f"{100 * complete_share:+.1f} %", f"{100 * share:+.1f} %"]
        )
        if settings:
            claims.append((f"four horizons cost at most 5 % more {name} ({100 * share:.1f} %)", share <= 0.05))
    head = ("four horizons over one, cpu [ms]", "one", "four", "decoding", "four", "complete", "by parts")
    table.show("mixture of horizons (8, 16, 24, 32), chunk 32, width 128", head, rows)
    return claims


def decode(network: VlaNetwork, context: torch.Tensor) -> object:
    """All that follows the context: transformer, gate, fusion, consensus."""
    noise = torch.zeros(1, network.encoding.steps, len(JOINTS))
    return network.apply_consensus(network.decode(context, torch.zeros(1, len(JOINTS)), noise))


def passes(network: VlaNetwork, context: torch.Tensor, noise: torch.Tensor) -> int:
    """Number of passes of the transformer for one chunk."""
    calls: list[int] = []
    hook = network.transformer.register_forward_hook(lambda *_: calls.append(1))
    network.head.decode(network.forward_pass(context), noise)
    hook.remove()
    return len(calls)


def parallel(rounds: int) -> Claims:
    """Print parallel against autoregressive decoding of BEAST tokens: same transformer, context and tokens."""
    rows, claims = [], []
    cases = (("small", SMALL), ("ACT's width, four layers", {**LARGE, "image_size": 96, "layers": 4}))
    for name, sizes in cases:
        network = make_network(sizes, head="beast_tokens")
        serial = Autoregressive(network).eval()
        context = network.encode(*network_input(network))
        noise = torch.zeros(1, network.encoding.steps, len(JOINTS))
        parallel_passes, tokens = passes(network, context, noise), len(network.head.queries)
        serial(context)
        serial_passes = serial.passes
        times = interleaved(
            {
                "parallel": lambda m=network, c=context, n=noise: timed(lambda: m.head.decode(m.forward_pass(c), n)),
                "autoregressive": lambda s=serial, c=context: timed(lambda: s(c)),
            },
            rounds,
        )
        one, other = times["parallel"], times["autoregressive"]
        cells = f"{1e3 * one[0]:.1f}", f"{1e3 * other[0]:.1f}", f"{other[0] / one[0]:.1f}"
        rows.append([name, f"{tokens}", f"{parallel_passes}", f"{serial_passes}", *cells])
        ratio = serial_passes / parallel_passes
        claims.append(
            (f"{name}: at least D N / 4 = {tokens / 4:g} times fewer passes ({ratio:g})", ratio >= tokens / 4)
        )
    head = ("BEAST tokens, after the context", "tokens", "passes", "serial", "cpu [ms]", "serial", "ratio")
    table.show("parallel against autoregressive decoding, 6 joints x 10 control points", head, rows)
    return claims


def tokenizer_cost(rounds: int, calls: int = 100) -> Claims:
    """Print the cost of encoding and decoding a chunk as BEAST tokens, over an inference of the small network."""
    chunks = np.random.default_rng(0).normal(0.0, 0.01, (50, 20, 7)).cumsum(axis=1)
    tokenizer = BeastTokenizer(BeastConfig(7)).fit(chunks)
    tokens = tokenizer.encode(chunks[0])
    fine = np.arange(500) / 500.0 * tokenizer.config.duration_s
    single = {
        "encode": lambda: tokenizer.encode(chunks[0]),
        "decode": lambda: tokenizer.decode(tokens),
        "decode to 500 points": lambda: tokenizer.decode_at(tokens, fine),
    }
    many = {name: lambda c=call: timed(lambda: [c() for _ in range(calls)]) for name, call in single.items()}
    inference = complete_inference(make_network(SMALL, head="beast_tokens"))
    measured = interleaved({**many, "inference": lambda: timed(inference)}, rounds)
    inference_s = measured["inference"][0]
    times = {name: measured[name][0] / calls for name in single}
    rows = [[name, f"{1e6 * t:.0f}", f"{100 * t / inference_s:.2f} %"] for name, t in times.items()]
    head = ("BEAST tokens of 20 x 7, numpy", "cpu [us]", "of one inference")
    table.show("the tokenizer alone", head, rows)
    both = times["encode"] + times["decode"]
    return [("encoding and decoding take at most 5 % of an inference", both <= 0.05 * inference_s)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench only."""
    default = os.environ.get("VLA_LEROBOT_PYTHON")
    parser.add_argument("--lerobot", default=default, type=Path, help="the Python of LeRobot's environment")
    parser.add_argument("--only", choices=PARTS, help="measure one part (default: all)")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns 1 if a claim that does not depend on the machine's speed is missed."""
    options = table.options(__doc__ or "", argv, add_options)
    parts = [options.only] if options.only else PARTS
    if options.lerobot is not None and not options.lerobot.is_file():
        print(f"there is no Python at {options.lerobot}.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    rounds = 6 if options.quick else 40
    times: Claims = []
    with torch.inference_mode():
        rate = matmul_rate()
        print(f"one thread multiplies matrices at {rate / 1e9:.0f} GFLOP/s (float32)")
        if "small" in parts:
            times += against_act(SMALL, options.lerobot, rounds, rate)
        if "large" in parts:
            times += against_act(LARGE, options.lerobot, max(3, rounds // 3), rate)
        if options.lerobot is None and {"small", "large"} & set(parts):
            print(f"\n{LEROBOT_MISSING}")
        if "mixture" in parts:
            times += mixture(rounds)
        if "tokens" in parts:
            times += tokenizer_cost(rounds)
        counts = parallel(rounds) if "parallel" in parts else []
    print("\ntimes, which depend on the machine:")
    table.verdict(times)
    return table.verdict(counts)


if __name__ == "__main__":
    sys.exit(main())
