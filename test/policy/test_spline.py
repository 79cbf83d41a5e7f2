"""The action head's spline gives back what it was given; its basis is tested in test/beast."""

import numpy as np
import pytest

from vla_ros.core.errors import ConfigError
from vla_ros.policy.action_spline import ChunkSpline, SplineConfig


def test_fit_returns_the_control_points_of_a_spline() -> None:
    spline = ChunkSpline(SplineConfig())
    control = np.random.default_rng(0).normal(size=(3, 10, 6))
    np.testing.assert_allclose(spline.fit(spline.evaluate(control)), control, atol=2e-2)
    np.testing.assert_allclose(
        spline.evaluate(spline.fit(spline.evaluate(control))), spline.evaluate(control), atol=1e-4
    )


def test_fit_of_a_smooth_motion_is_close() -> None:
    spline = ChunkSpline(SplineConfig())
    t = 0.05 * np.arange(1, 33)
    motion = 0.5 * np.sin(2 * np.pi * 0.8 * t)[:, None]
    assert np.abs(spline.evaluate(spline.fit(motion)) - motion).max() < 2e-3


def test_constant_offset_moves_control_points_by_itself() -> None:
    spline = ChunkSpline(SplineConfig())
    np.testing.assert_allclose(spline.fit(np.full((32, 2), 1.3)), 1.3, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: SplineConfig(control_points=40), "control points <= waypoints"),
        (lambda: SplineConfig(dt_s=0.0), "must be in"),
    ],
)
def test_bad_grids_are_refused(call, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        call()
