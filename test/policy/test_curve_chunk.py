"""Control points as a curve: equal to the spline at every instant, complete or truncated; grippers hold values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.splines import uniform_basis
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.curve_chunk import curve_chunk, is_curve

NAMES = ("a", "b")
TIMES = np.arange(1, 33) / 32


@given(seed=st.integers(0, 2**31), degree=st.integers(3, 5), sent=st.integers(1, 32))
def test_the_chunk_equals_the_spline_up_to_the_last_waypoint(seed: int, degree: int, sent: int) -> None:
    spline = SplineConfig(10, degree, 32, 0.05)
    control = np.random.default_rng(seed).normal(0.0, 1.0, (10, 2))
    waypoints = (uniform_basis(TIMES, 10, spline.degree) @ control)[:sent]
    chunk = curve_chunk(5, NAMES, control, waypoints, spline, (False, False))
    assert (chunk.stamp_ns, chunk.joints, chunk.is_curve) == (5, NAMES, True)
    assert chunk.offsets_s[0] == 0.0
    assert chunk.offsets_s[-1] == pytest.approx(0.05 * sent, abs=1e-9)
    t = np.linspace(0.0, 0.05 * sent, 200)
    true = uniform_basis(np.minimum(t / 1.6, 1.0), 10, degree) @ control
    # Times are rounded to nanoseconds, in which such a curve moves 1e-8.
    np.testing.assert_allclose(chunk.sample(t), true, rtol=0, atol=1e-7)


@given(seed=st.integers(0, 2**31), sent=st.integers(1, 32))
def test_a_gripper_holds_its_waypoints_and_moves_between_them(seed: int, sent: int) -> None:
    spline = SplineConfig(10, 4, 32, 0.05)
    rng = np.random.default_rng(seed)
    control = rng.normal(0.0, 1.0, (10, 2))
    waypoints = (uniform_basis(TIMES, 10, spline.degree) @ control)[:sent]
    waypoints[:, 1] = np.repeat(rng.integers(0, 2, 8), 4)[:sent]
    chunk = curve_chunk(5, NAMES, control, waypoints, spline, (False, True))
    times = 0.05 * np.arange(1, sent + 1)
    np.testing.assert_allclose(chunk.sample(times), waypoints, rtol=0, atol=1e-7)
    t = np.linspace(0.0, 0.05 * sent, 300)
    sampled = chunk.sample(t)
    assert sampled[:, 1].min() >= waypoints[:, 1].min() - 1e-7
    assert sampled[:, 1].max() <= waypoints[:, 1].max() + 1e-7
    true = uniform_basis(np.minimum(t / 1.6, 1.0), 10, 4) @ control[:, :1]
    np.testing.assert_allclose(sampled[:, :1], true, rtol=0, atol=1e-7)


@pytest.mark.parametrize("degree", range(7))
def test_only_degrees_that_position_velocity_and_acceleration_determine_are_curves(degree: int) -> None:
    assert is_curve(SplineConfig(10, degree, 32)) == (3 <= degree <= 5)
