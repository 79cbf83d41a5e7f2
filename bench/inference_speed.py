"""How long one inference takes: beside LeRobot's ACT, with a mixture of horizons, and token by token.

One thread, random weights, measurements of all in turn; "cpu" is processor time, which other work on the machine
disturbs less than "wall". FLOPs are counted, and set against what this machine does in a plain product of matrices.

--lerobot names the Python of an environment with LeRobot 0.4; without it (or VLA_LEROBOT_PYTHON) ACT is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.common import table
from bench.common.speed_parts import Autoregressive, Peer, interleaved, matmul_rate, timed
from vla_ros.beast import BeastConfig, BeastTokenizer
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Observation
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.checkpoint_policy import LearnedPolicy
from vla_ros.policy.encoders.backbone_config import BackboneConfig
from vla_ros.policy.network.checkpoint import CheckpointInfo
from vla_ros.policy.network.config import ModelConfig, to_input
from vla_ros.policy.network.model import ActorModel
from vla_ros.policy.network.transformer_config import ActorConfig

JOINTS = ("a", "b", "c", "d", "e", "gripper")
CAMERAS = ("front", "wrist")
SMALL = {"image_size": 96, "chunk": 32, "width": 128, "heads": 4, "seen_layers": 1, "layers": 3}
LARGE = {"image_size": 224, "chunk": 100, "width": 512, "heads": 8, "seen_layers": 4, "layers": 1}
"""What this package trains, and ACT's published transformer; feed-forward nets are 4 times as wide."""
SIGLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
}
"""SigLIP-B/16 at 224 px, as published; the 400M one takes five times as long and would show less of the rest."""
TO_REACH = 1.5
PARTS = ("small", "large", "mixture", "tokens", "parallel")
HOW = """ACT was not measured. It wants an environment of its own, with the same torch:
  python3 -m venv DIR && DIR/bin/pip install torch==2.13.0 lerobot==0.4.4   (or --no-deps, and what it misses)
  ./vla bench speed --lerobot DIR/bin/python"""


def actor(sizes: dict[str, int], encoder: str = "keypoint", head: str = "regression", **more) -> ActorModel:
    """An action transformer of these sizes, at work."""
    part = {k: more.pop(k) for k in ("backbone",) if k in more}
    a = ActorConfig(head, sizes["width"], sizes["layers"], sizes["heads"], sizes["seen_layers"], **more)
    spline = SplineConfig(control_points=10, degree=4, waypoints=sizes["chunk"], dt_s=0.05)
    torch.manual_seed(0)
    config = ModelConfig(JOINTS, CAMERAS, sizes["image_size"], encoder=encoder, spline=spline, actor=a, **part)
    return ActorModel(config).eval().to(memory_format=torch.channels_last)


def seen(model: ActorModel) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Images, joints and words."""
    c = model.config
    raw = np.random.default_rng(0).integers(0, 256, (1, c.image_size, c.image_size, 3), dtype=np.uint8)
    return [to_input(torch.from_numpy(raw)) for _ in c.cameras], torch.zeros(1, len(c.joints)), torch.zeros(1, c.words)


def whole(model: ActorModel):
    """From uint8 pictures to a chunk, as the policy node does it."""
    c = model.config
    policy = LearnedPolicy.from_model(model, CheckpointInfo("bench", "go", c))
    rng = np.random.default_rng(0)
    images = {n: rng.integers(0, 256, (c.image_size, c.image_size, 3), dtype=np.uint8) for n in c.cameras}
    observation = Observation(1, images, c.joints, np.zeros(len(c.joints)), instruction="go")
    return lambda: policy.infer(observation)


def flops(model: ActorModel) -> int:
    """Of one forward pass."""
    with FlopCounterMode(display=False) as counter:
        model.act(*seen(model))
    return counter.get_total_flops()


def beside_act(sizes: dict[str, int], python: Path | None, rounds: int, rate: float) -> list[tuple[str, bool]]:
    """One table: ours with its own encoder, ours over ACT's convolutions, and ACT."""
    ours = {"ours": actor(sizes), "ours over ResNet-18": actor(sizes, "bench_resnet18")}
    calls = {}
    for name, model in ours.items():
        given, run = seen(model), whole(model)
        calls[f"{name}, forward"] = lambda m=model, g=given: timed(lambda: m.act(*g))
        calls[f"{name}, whole"] = lambda r=run: timed(r)
    facts = {n: (flops(m), sum(p.numel() for p in m.parameters())) for n, m in ours.items()}
    peer = None
    if python is not None:
        peer = Peer(python, {**sizes, "joints": len(JOINTS), "cameras": len(CAMERAS)})
        calls["LeRobot ACT, forward"] = lambda: peer.timed("forward")
        calls["LeRobot ACT, whole"] = lambda: peer.timed("whole")
        facts["LeRobot ACT"] = peer.facts["flops"], peer.facts["parameters"]
        print(f"torch {torch.__version__} here, {peer.facts['torch']} there", file=sys.stderr)
    got = interleaved(calls, rounds)
    if peer is not None:
        peer.close()
    rows, claims = [], []
    for name, (cpu, wall) in got.items():
        who, part = name.rsplit(", ", 1)
        against = got.get(f"LeRobot ACT, {part}")
        ratio = "" if against is None else f"{against[0] / cpu:.2f}"
        work, size = facts[who][0], f"{facts[who][1] / 1e6:.1f}"
        share = f"{100 * work / rate / cpu:.0f} %"
        rows.append([name, f"{1e3 * cpu:.1f}", f"{1e3 * wall:.1f}", ratio, f"{work / 1e9:.2f}", size, share])
        if against is not None and who != "LeRobot ACT":
            met = against[0] >= TO_REACH * cpu
            claims.append((f"{name}: ACT takes {TO_REACH} times as long, {sizes['image_size']} px ({ratio})", met))
    title = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in sizes.items())
    head = ("regression, one inference [ms]", "cpu", "wall", "ACT / it", "GFLOP", "M param.", "of matmul rate")
    table.show(f"{title}; two cameras, six joints", head, rows)
    return claims


def mixture(rounds: int) -> list[tuple[str, bool]]:
    """What four horizons cost over one: the small network, and behind a backbone of published proportions."""
    rows, claims = [], []
    cases = {"small": ({}, SMALL, rounds)}
    large = {**SMALL, "image_size": 224}
    bone = {"encoder": "siglip", "backbone": BackboneConfig(shape=SIGLIP)}
    cases["behind SigLIP-B/16, 224 px"] = (bone, large, max(2, rounds // 4))
    for name, (more, sizes, count) in cases.items():
        try:
            one, four = actor(sizes, **more), actor(sizes, horizons=(8, 16, 24, 32), **more)
        except ConfigError as error:
            print(f"\n{name}: left out; {error}")
            continue
        four.encoders = one.encoders  # the same weights, and half of the memory
        given = seen(one)
        prefix = one.features(*given)
        got = interleaved(
            {
                "whole, one": lambda o=one, g=given: timed(lambda: o.act(*g)),
                "whole, four": lambda f=four, g=given: timed(lambda: f.act(*g)),
            },
            count,
        )
        # Behind a backbone the difference drowns in its noise: what comes after the prefix is measured by itself, too.
        tails = interleaved(
            {
                "one": lambda o=one, p=prefix: timed(lambda: tail(o, p)),
                "four": lambda f=four, p=prefix: timed(lambda: tail(f, p)),
            },
            max(rounds, 20),
        )
        base, more_ms = got["whole, one"][0], tails["four"][0] - tails["one"][0]
        share = more_ms / base
        whole_ratio = got["whole, four"][0] / base - 1
        cells = [base, got["whole, four"][0], tails["one"][0], tails["four"][0]]
        rows.append([name, *[f"{1e3 * c:.1f}" for c in cells], f"{100 * whole_ratio:+.1f} %", f"{100 * share:+.1f} %"])
        if more:
            claims.append((f"four horizons cost at most 5 % more {name} ({100 * share:.1f} %)", share <= 0.05))
    head = ("four horizons over one, cpu [ms]", "one", "four", "after prefix", "four", "whole", "by parts")
    table.show("mixture of horizons (8, 16, 24, 32), chunk 32, width 128", head, rows)
    return claims


def tail(model: ActorModel, prefix: torch.Tensor) -> object:
    """All that a mixture does after the prefix: transformer, gate, fusion, consensus."""
    return model.judge(model.say(prefix, torch.zeros(1, len(JOINTS)), torch.zeros(1, model.code.steps, len(JOINTS))))


def passes(model: ActorModel, prefix: torch.Tensor, noise: torch.Tensor) -> int:
    """How often the transformer is run for one chunk."""
    calls: list[int] = []
    hook = model.body.register_forward_hook(lambda *_: calls.append(1))
    model.head.say(model.pass_from(prefix), noise)
    hook.remove()
    return len(calls)


def parallel(rounds: int) -> list[tuple[str, bool]]:
    """BEAST tokens all at once against one after the other, same transformer, same prefix, same tokens."""
    rows, claims = [], []
    for name, sizes in (("small", SMALL), ("ACT's width, four layers", {**LARGE, "image_size": 96, "layers": 4})):
        model = actor(sizes, head="beast_tokens")
        after = Autoregressive(model).eval()
        prefix = model.features(*seen(model))
        noise = torch.zeros(1, model.code.steps, len(JOINTS))
        once, slots = passes(model, prefix, noise), len(model.head.queries)
        after(prefix)
        each = after.passes
        got = interleaved(
            {
                "parallel": lambda m=model, p=prefix, n=noise: timed(lambda: m.head.say(m.pass_from(p), n)),
                "one by one": lambda a=after, p=prefix: timed(lambda: a(p)),
            },
            rounds,
        )
        one, other = got["parallel"], got["one by one"]
        times = f"{1e3 * one[0]:.1f}", f"{1e3 * other[0]:.1f}", f"{other[0] / one[0]:.1f}"
        rows.append([name, f"{slots}", f"{once}", f"{each}", *times])
        fewer = each / once
        claims.append((f"{name}: at least D N / 4 = {slots / 4:g} times fewer passes ({fewer:g})", fewer >= slots / 4))
    head = ("BEAST tokens, after the prefix", "tokens", "passes", "one by one", "cpu [ms]", "one by one", "times")
    table.show("parallel decoding against autoregressive, 6 joints x 10 control points", head, rows)
    return claims


def tokens(rounds: int, calls: int = 100) -> list[tuple[str, bool]]:
    """What making tokens of a chunk, and a chunk of tokens, adds to an inference of the small network."""
    chunks = np.random.default_rng(0).normal(0.0, 0.01, (50, 20, 7)).cumsum(axis=1)
    tokenizer = BeastTokenizer(BeastConfig(7)).fit(chunks)
    said = tokenizer.encode(chunks[0])
    fine = np.arange(500) / 500.0 * tokenizer.config.duration_s
    made = {
        "encode": lambda: tokenizer.encode(chunks[0]),
        "decode": lambda: tokenizer.decode(said),
        "decode to 500 points": lambda: tokenizer.decode_at(said, fine),
    }
    many = {name: lambda c=call: timed(lambda: [c() for _ in range(calls)]) for name, call in made.items()}
    run = whole(actor(SMALL, head="beast_tokens"))
    got = interleaved({**many, "inference": lambda: timed(run)}, rounds)
    inference = got["inference"][0]
    times = {name: got[name][0] / calls for name in made}
    rows = [[name, f"{1e6 * t:.0f}", f"{100 * t / inference:.2f} %"] for name, t in times.items()]
    head = ("BEAST tokens of 20 x 7, numpy", "cpu [us]", "of one inference")
    table.show("the tokenizer by itself", head, rows)
    both = times["encode"] + times["decode"]
    return [("encoding and decoding take at most 5 % of an inference", both <= 0.05 * inference)]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; times that are missed are told, and only what does not depend on the machine fails."""
    usual = os.environ.get("VLA_LEROBOT_PYTHON")

    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--lerobot", default=usual, type=Path, help="the Python of LeRobot's environment")
        parser.add_argument("--only", choices=PARTS, help="one part; all without it")

    given = table.options(__doc__ or "", argv, more)
    parts = [given.only] if given.only else PARTS
    if given.lerobot is not None and not given.lerobot.is_file():
        print(f"there is no Python at {given.lerobot}.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    rounds = 6 if given.quick else 40
    times: list[tuple[str, bool]] = []
    with torch.inference_mode():
        rate = matmul_rate()
        print(f"one thread multiplies matrices at {rate / 1e9:.0f} GFLOP/s (float32)")
        if "small" in parts:
            times += beside_act(SMALL, given.lerobot, rounds, rate)
        if "large" in parts:
            times += beside_act(LARGE, given.lerobot, max(3, rounds // 3), rate)
        if given.lerobot is None and {"small", "large"} & set(parts):
            print(f"\n{HOW}")
        if "mixture" in parts:
            times += mixture(rounds)
        if "tokens" in parts:
            times += tokens(rounds)
        sure = parallel(rounds) if "parallel" in parts else []
    print("\ntimes, which depend on the machine:")
    table.verdict(times)
    return table.verdict(sure)


if __name__ == "__main__":
    sys.exit(main())
