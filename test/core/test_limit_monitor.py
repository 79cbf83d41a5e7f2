"""The limit monitor reports nothing for motions inside the limits at any spacing, and every violation."""

import numpy as np
import pytest
from core.generators import SEED, T0, arm_limits, chained_plan
from hypothesis import given, settings

from vla_ros.core.limit_monitor import GAP_NS, LimitMonitor, check_limits, divided_differences
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
    plan = chained_plan(rng, LIMITS)
    times = stamps(rng, plan.start_ns, plan.end_ns + NS // 10)
    found = check_limits(times, plan.at(times).position, LIMITS)
    assert found.samples == len(times)
    assert not any(found.violations.values()), found


@pytest.mark.parametrize(
    ("quantity", "size"), [("position", 5.0), ("velocity", 0.02), ("acceleration", 1e-4), ("jerk", 1e-5)]
)
def test_a_step_off_the_curve_is_a_violation(quantity: str, size: float):
    times = T0 + 2_000_000 * np.arange(500)
    commanded = np.zeros((500, 2))
    commanded[250:, 1] += size
    assert check_limits(times, np.zeros((500, 2)), LIMITS).violations[quantity] == 0
    assert check_limits(times, commanded, LIMITS).violations[quantity] > 0


def test_a_gap_begins_a_new_stream_and_is_counted():
    times = T0 + np.concatenate([2_000_000 * np.arange(50), GAP_NS * 3 + 2_000_000 * np.arange(50, 100)])
    commanded = np.zeros((100, 2))
    commanded[50:] += 0.5
    found = check_limits(times, commanded, LIMITS)
    assert found.gaps == 1
    assert not any(found.violations.values())


def test_no_samples_are_no_violations():
    found = check_limits(np.zeros(0, dtype=np.int64), np.zeros((0, 2)), LIMITS)
    assert found.samples == 0


def test_not_a_number_is_a_violation():
    times = T0 + 2_000_000 * np.arange(5)
    commanded = np.zeros((5, 2))
    commanded[2, 0] = np.nan
    assert check_limits(times, commanded, LIMITS).violations["position"] == 1


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
def test_a_stream_checked_in_parts_gives_the_same_report(seed: int):
    rng = np.random.default_rng(seed)
    steps = rng.choice([2_000_000, 5_000_000, 3 * GAP_NS], size=60, p=[0.6, 0.3, 0.1])
    times, commanded = T0 + np.cumsum(steps), np.cumsum(rng.normal(scale=1e-3, size=(60, 2)), axis=0)
    parts = LimitMonitor(LIMITS)
    cuts = np.sort(rng.integers(0, 61, size=6))
    for stamps_ns, positions in zip(np.split(times, cuts), np.split(commanded, cuts), strict=True):
        parts.add(stamps_ns, positions)
    found, complete = parts.report(), check_limits(times, commanded, LIMITS)
    assert found.peak_ratio == pytest.approx(complete.peak_ratio, rel=1e-6)
    assert (found.samples, found.gaps, found.violations) == (complete.samples, complete.gaps, complete.violations)
