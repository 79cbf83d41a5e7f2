"""Tokens: order, bounds, exact files, and equality with torch; numbers refer to the reference list."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from beast.motions import motion, one_second, times
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.beast import BeastConfig, BeastTokenizer
from vla_ros.core.errors import ConfigError, RecordError


def ranged(low: float, high: float, slots: int = 4, dofs: int = 2) -> BeastTokenizer:
    config = BeastConfig(dofs, control_points=slots, degree=1)
    return BeastTokenizer(config, np.full((slots, dofs), low), np.full((slots, dofs), high))


def arm(**settings) -> tuple[BeastTokenizer, np.ndarray, np.ndarray | None]:
    """A fitted tokenizer of six joints and a gripper, with its data: 40 chunks and their starts."""
    names = (*(f"joint_{k}" for k in range(6)), "gripper")
    tokenizer = BeastTokenizer(BeastConfig(names, steps=("gripper",), **settings))
    rng = np.random.default_rng(5)
    actions = motion(2, count=280)(times(tokenizer)).reshape(7, 40, 20).transpose(1, 2, 0).copy()
    actions[..., 6] = np.where(actions[..., 6] > 0, 1.0, -1.0)
    pinned = tokenizer.config.pinned
    start = 0.3 * rng.normal(size=(40, pinned, 7)) if pinned else None
    return tokenizer.fit(actions, start), actions, start


def test_05_worked_quantiser() -> None:
    control = np.array([[3.0, 2.2], [1.0, 2.3], [1.6, 1.3], [2.0, 9.0]])
    tokens = ranged(1.0, 3.0).quantise(control)
    assert tokens.tolist() == [255, 153, 0, 166, 77, 38, 128, 255]  # basis-major, and clipped outside
    assert tokens.dtype == np.int64


def test_05_basis_major_order() -> None:
    control = np.arange(8.0).reshape(4, 2)
    assert (np.diff(ranged(0.0, 7.0).quantise(control)) > 0).all()
    np.testing.assert_allclose(ranged(0.0, 7.0).restore(ranged(0.0, 7.0).quantise(control)), control, atol=7 / 510)


@given(st.integers(0, 2**32 - 1))
def test_06_quantiser_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokenizer = BeastTokenizer(BeastConfig(3), -rng.uniform(0.1, 5, (10, 3)), rng.uniform(0.1, 5, (10, 3)))
    control = rng.uniform(tokenizer.lower, tokenizer.upper)
    tokens = tokenizer.quantise(control)
    step = (tokenizer.upper - tokenizer.lower) / 510
    assert (np.abs(tokenizer.restore(tokens) - control) <= step * (1 + 1e-9)).all()
    deviation = np.abs(tokenizer.decode(tokens) - tokenizer.evaluate(control))
    assert (deviation <= step.max(axis=0) * (1 + 1e-9)).all()
    assert (tokenizer.quantise(tokenizer.restore(tokens)) == tokens).all()


def test_06_zero_is_between_two_bins() -> None:
    back = ranged(-1.0, 1.0).restore(ranged(-1.0, 1.0).quantise(np.zeros((4, 2))))
    np.testing.assert_allclose(np.abs(back), 1 / 255, rtol=1e-12)


def test_06_the_error_of_the_fit_exceeds_that_of_the_quantiser() -> None:
    tokenizer = one_second(10, 20)
    actions = motion(3)(times(tokenizer))
    tokens = tokenizer.fit(actions).encode(actions)
    fitted = tokenizer.evaluate(tokenizer.control_points(actions))
    assert 1.8e-3 / 2 < np.mean((fitted - actions) ** 2) < 1.8e-3 * 2
    assert 2.6e-5 / 2 < np.mean((tokenizer.decode(tokens) - fitted) ** 2) < 2.6e-5 * 2


@pytest.mark.parametrize(
    ("dofs", "slots", "samples", "count", "ratio"),
    [(7, 10, 20, 70, 2), (8, 5, 20, 40, 4), (8, 15, 80, 120, 16 / 3), (8, 10, 80, 80, 8)],
)
def test_07_token_count(dofs: int, slots: int, samples: int, count: int, ratio: float) -> None:
    tokenizer = BeastTokenizer(BeastConfig(dofs, samples=samples, control_points=slots))
    actions = np.random.default_rng(0).normal(size=(3, 2, samples, dofs))
    tokens = tokenizer.fit(actions).encode(actions)
    assert tokens.shape == (3, 2, count)
    assert samples * dofs / count == pytest.approx(ratio)
    assert tokenizer.decode(tokens).shape == actions.shape
    assert tokenizer.encode(1e6 * actions[0, 0]).shape == (count,)


@pytest.mark.parametrize("settings", [{}, {"pinned": 2, "grid": "ends"}, {"pinned": 1, "tail": 0.01, "bins": 1000}])
def test_15_a_reload_gives_the_same_tokens(settings: dict, tmp_path: Path) -> None:
    tokenizer, actions, start = arm(**settings)
    tokenizer.save(tmp_path / "tokens.json")
    again = BeastTokenizer.load(tmp_path / "tokens.json")
    assert again.config == tokenizer.config
    assert (again.lower == tokenizer.lower).all()
    assert (again.upper == tokenizer.upper).all()
    tokens = tokenizer.encode(actions, start)
    assert (again.encode(actions, start) == tokens).all()
    assert (again.decode(tokens, start) == tokenizer.decode(tokens, start)).all()
    assert [p.name for p in tmp_path.iterdir()] == ["tokens.json"]


def test_15_bounds_are_fitted_and_then_frozen() -> None:
    tokenizer, actions, _ = arm()
    lower = tokenizer.lower.copy()
    tokenizer.encode(100.0 * actions)
    tokenizer.decode(tokenizer.encode(-100.0 * actions))
    assert (tokenizer.lower == lower).all()
    with pytest.raises(ValueError, match="read-only"):
        tokenizer.lower[0] = 0.0


@pytest.mark.parametrize("grid", ["ends", "after"])
def test_15_bounds_of_one_would_clip(grid: str) -> None:
    tokenizer = one_second(10, 20, grid)
    actions = motion(3)(times(tokenizer))
    control = tokenizer.control_points(actions)
    assert 0.15 < np.mean(np.abs(control) > 1.0) < 0.6
    assert 2.5 < np.abs(control).max() < 10
    fitted = tokenizer.fit(actions)
    fixed = BeastTokenizer(tokenizer.config, -np.ones((10, 1)), np.ones((10, 1)))
    lost = [np.mean((t.decode(t.encode(actions)) - actions) ** 2) for t in (fitted, fixed)]
    assert lost[1] > 5 * lost[0]


def test_15_quantiles_are_narrower_and_clip_what_is_outside() -> None:
    tokenizer = one_second(10, 20)
    actions = motion(3)(times(tokenizer))
    full = tokenizer.fit(actions)
    cut = one_second(10, 20, tail=0.01).fit(actions)
    assert (cut.upper < full.upper).all()
    assert (cut.lower > full.lower).all()
    tokens = cut.encode(actions)
    assert 0.01 < np.mean(np.isin(tokens, [0, 255])) < 0.05
    assert np.abs(cut.encode_continuous(actions)).max() > 1.0  # continuous tokens are not clipped


@pytest.mark.parametrize("pinned", [0, 1, 2])
def test_torch_gives_the_same_tokens(pinned: int) -> None:
    tokenizer, actions, start = arm(pinned=pinned)
    rng = np.random.default_rng(1)
    many = np.concatenate([actions, rng.normal(size=(3000, 20, 7))])
    starts = None if start is None else rng.normal(size=(3040, pinned, 7))
    tensor_start = None if starts is None else torch.from_numpy(starts)
    tokens = tokenizer.encode(many, starts)
    same = tokenizer.encode(torch.from_numpy(many), tensor_start)
    assert same.dtype == torch.int64
    assert (same.numpy() == tokens).all()
    assert (tokenizer.decode(same, tensor_start).numpy() == tokenizer.decode(tokens, starts)).all()
    scaled = tokenizer.encode_continuous(torch.from_numpy(many), tensor_start)
    assert (scaled.numpy() == tokenizer.encode_continuous(many, starts)).all()
    curve = tokenizer.decode_continuous(scaled, tensor_start)
    assert (curve.numpy() == tokenizer.decode_continuous(scaled.numpy(), starts)).all()


def test_torch_gradients_pass_through_the_curve() -> None:
    tokenizer, _, start = arm(pinned=1)
    prediction = torch.zeros(40, 10, 7, requires_grad=True)
    tokenizer.decode_continuous(prediction, torch.from_numpy(start)).square().sum().backward()
    assert (prediction.grad[:, 0, :6] == 0.0).all()  # pinned
    assert (prediction.grad[:, 1:].abs().sum(dim=(0, 2)) > 0.0).all()


@pytest.mark.parametrize("pinned", [1, 2])
def test_pinned_control_points_hold_for_any_tokens(pinned: int) -> None:
    tokenizer, actions, start = arm(pinned=pinned)
    prediction = np.random.default_rng(2).integers(0, 256, (40, 70))
    first = tokenizer.decode_at(prediction, [0.0, 1e-7], start)
    assert (first[:, 0, :6] == start[:, 0, :6]).all()
    if pinned == 2:
        np.testing.assert_allclose((first[:, 1] - first[:, 0])[:, :6] / 1e-7, start[:, 1, :6], atol=2e-4)
    gripper = tokenizer.decode(prediction, start)[..., 6]
    assert (np.unique(np.round(gripper, 12)).size) <= 256  # held values, bins only
    assert (np.sign(tokenizer.decode(tokenizer.encode(actions, start), start)[..., 6]) == actions[..., 6]).mean() > 0.9


def test_continuous_tokens_are_inverted_exactly() -> None:
    tokenizer, actions, _ = arm()
    scaled = tokenizer.encode_continuous(actions)
    assert scaled.min() == pytest.approx(-1.0)
    assert scaled.max() == pytest.approx(1.0)
    fitted = tokenizer.evaluate(tokenizer.control_points(actions))
    np.testing.assert_allclose(tokenizer.decode_continuous(scaled), fitted, atol=1e-12)
    np.testing.assert_allclose(tokenizer.decode_continuous(scaled, times_s=[0.05, 1.0]), fitted[:, [0, -1]], atol=1e-12)


def test_a_joint_without_motion_stays() -> None:
    still = np.full((30, 20, 1), 0.7)
    tokenizer = BeastTokenizer(BeastConfig(1)).fit(still)
    np.testing.assert_allclose(tokenizer.decode(tokenizer.encode(still)), 0.7, atol=1e-4)


def test_importing_loads_numpy_only() -> None:
    others = ("torch", "daqp", "yaml", "scipy", "rclpy", "safetensors")
    code = f"import sys, vla_ros.beast; print([m for m in {others} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


DAMAGE = [
    (lambda s: "{", "is not JSON"),
    (lambda s: "[]", "not a tokenizer of this version"),
    (lambda s: json.dumps({**json.loads(s), "format": "vla_ros beast 9"}), "not a tokenizer of this version"),
    (lambda s: json.dumps({**json.loads(s), "config": {"dofs": 7, "spin": 1}}), "spin"),
    (lambda s: json.dumps({**json.loads(s), "lower": [[1.0]]}), "must have shape"),
    (lambda s: json.dumps({**json.loads(s), "upper": json.loads(s)["lower"]}), "the upper above the lower"),
    (lambda s: s.replace('"upper": [', '"upper": ["x",', 1), "does not describe a tokenizer"),
]


@pytest.mark.parametrize(("damage", "expected"), DAMAGE)
def test_a_damaged_file_is_refused(damage, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    arm()[0].save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(ConfigError, match=expected):
        BeastTokenizer.load(path)
    with pytest.raises(ConfigError, match="there is no tokenizer"):
        BeastTokenizer.load(tmp_path / "other.json")


GOOD = BeastConfig(("a", "b"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"dofs": 0}, "needs a degree of freedom"),
        ({"degree": 10}, "degree < control points"),
        ({"control_points": 4.5}, "must be a whole number"),
        ({"bins": 1}, "bins must be"),
        ({"grid": "end"}, 'did you mean "ends"'),
        ({"ridge": float("nan")}, "the ridge not negative"),
        ({"tail": 0.5}, "tail"),
        ({"pinned": 3}, "can be pinned"),
        ({"degree": 1, "pinned": 2}, "can be pinned"),
        ({"ridge": 0.0, "control_points": 25}, "need a ridge"),
        ({"steps": ("c",)}, 'unknown degree of freedom "c"'),
        ({"steps": (2,)}, "no degree of freedom 2"),
        ({"steps": (1,), "control_points": 25}, "at least one sample per interval"),
        ({"dofs": ("a", "a")}, "no two the same"),
        ({"dofs": (1, 2)}, "need a name each"),
        ({"dofs": True}, "a number or a list of names"),
        ({"dofs": "abc"}, "a number or a list of names"),
    ],
)
def test_a_bad_setting_is_refused(change: dict, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        replace(GOOD, **change)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda t: t.encode(np.zeros((20, 3))), "last dimensions of actions"),
        (lambda t: t.encode([["a"]]), "must be numbers"),
        (lambda t: t.encode(np.zeros((20, 2)), np.zeros((1, 2))), "pins no control points"),
        (lambda t: t.decode(np.zeros(19)), "last dimensions of tokens"),
        (lambda t: t.decode(np.full(20, 256)), "whole numbers from 0 to 255"),
        (lambda t: t.decode(np.full(20, 0.5)), "whole numbers from 0 to 255"),
        (lambda t: t.decode(torch.full((20,), -1)), "whole numbers from 0 to 255"),
        (lambda t: t.encode(torch.full((20, 2), torch.nan)), "must be finite"),
        (lambda t: t.decode_continuous(np.full((10, 2), np.inf)), "must be finite"),
        (lambda t: t.fit(np.zeros((0, 20, 2))), "no chunks"),
        (lambda t: BeastTokenizer(replace(GOOD, pinned=2)).control_points(np.zeros((20, 2))), "position and velocity"),
    ],
)
def test_bad_data_is_refused(call, expected: str) -> None:
    tokenizer = BeastTokenizer(GOOD, -np.ones((10, 2)), np.ones((10, 2)))
    with pytest.raises(RecordError, match=expected):
        call(tokenizer)


def test_tokens_need_bounds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="call fit first"):
        BeastTokenizer(GOOD).encode(np.zeros((20, 2)))
    with pytest.raises(ConfigError, match="call fit first"):
        BeastTokenizer(GOOD).save(tmp_path / "t.json")
    with pytest.raises(ConfigError, match="both bounds or none"):
        BeastTokenizer(GOOD, lower=np.zeros((10, 2)))
