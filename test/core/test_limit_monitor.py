"""The judge: silent about what is inside the limits, whatever the spacing, and sure about what is not."""

import numpy as np
import pytest
from core.draw import SEED, T0, arm_limits, planned
from hypothesis import given, settings

from vla_ros.core.limit_monitor import GAP_NS, Judge, divided_differences, judge
from vla_ros.core.records import NS

LIMITS = arm_limits(2)


def stamps(rng: np.random.Generator, start: int, end: int) -> np.ndarray:
    """About every 2 ms, jittered down to 0.1 ms."""
    steps = np.maximum(rng.normal(2e6, 1e6, (end - start) // 1_000_000), 1e5).astype(np.int64)
    times = start + np.cumsum(steps)
    return times[times < end]


@settings(max_examples=40)
@given(seed=SEED)
def test_a_stream_sampled_from_a_certified_plan_never_violates(seed: int):
    rng = np.random.default_rng(seed)
    plan = planned(rng, LIMITS)
    times = stamps(rng, plan.start_ns, plan.end_ns + NS // 10)
    found = judge(times, plan.at(times).position, LIMITS)
    assert found.samples == len(times)
    assert not any(found.violations.values()), found


@pytest.mark.parametrize(
    ("quantity", "size"), [("position", 5.0), ("velocity", 0.02), ("acceleration", 1e-4), ("jerk", 1e-5)]
)
def test_one_command_beside_the_curve_is_found(quantity: str, size: float):
    times = T0 + 2_000_000 * np.arange(500)
    told = np.zeros((500, 2))
    told[250:, 1] += size
    assert judge(times, np.zeros((500, 2)), LIMITS).violations[quantity] == 0
    assert judge(times, told, LIMITS).violations[quantity] > 0


def test_a_pause_begins_a_new_stream_and_is_counted():
    times = T0 + np.concatenate([2_000_000 * np.arange(50), GAP_NS * 3 + 2_000_000 * np.arange(50, 100)])
    told = np.zeros((100, 2))
    told[50:] += 0.5
    found = judge(times, told, LIMITS)
    assert found.silences == 1
    assert not any(found.violations.values())


def test_nothing_heard_is_nothing_violated():
    found = judge(np.zeros(0, dtype=np.int64), np.zeros((0, 2)), LIMITS)
    assert found.samples == 0


def test_not_a_number_is_a_violation():
    times = T0 + 2_000_000 * np.arange(5)
    told = np.zeros((5, 2))
    told[2, 0] = np.nan
    assert judge(times, told, LIMITS).violations["position"] == 1


def test_divided_differences_of_a_polynomial_are_its_derivatives():
    times = T0 + np.array([0, 3, 4, 9, 11, 15], dtype=np.int64) * 10**8
    t = (times - T0) / NS
    cubic = np.stack([2 * t**3 - t, t**2], axis=1)
    (velocity, _), (acceleration, _), (jerk, _) = divided_differences(times, cubic)
    assert velocity == pytest.approx(np.diff(cubic, axis=0) / np.diff(t)[:, None])
    assert jerk == pytest.approx(np.tile([12.0, 0.0], (3, 1)), abs=1e-9)
    assert acceleration[:, 1] == pytest.approx(2.0)


@settings(max_examples=60)
@given(seed=SEED)
def test_a_stream_judged_in_parts_is_judged_as_a_whole(seed: int):
    rng = np.random.default_rng(seed)
    steps = rng.choice([2_000_000, 5_000_000, 3 * GAP_NS], size=60, p=[0.6, 0.3, 0.1])
    times, told = T0 + np.cumsum(steps), np.cumsum(rng.normal(scale=1e-3, size=(60, 2)), axis=0)
    parts = Judge(LIMITS)
    cuts = np.sort(rng.integers(0, 61, size=6))
    for stamps_ns, positions in zip(np.split(times, cuts), np.split(told, cuts), strict=True):
        parts.add(stamps_ns, positions)
    found, whole = parts.judgement(), judge(times, told, LIMITS)
    assert found.peak_ratio == pytest.approx(whole.peak_ratio, rel=1e-6)
    assert (found.samples, found.silences, found.violations) == (whole.samples, whole.silences, whole.violations)
