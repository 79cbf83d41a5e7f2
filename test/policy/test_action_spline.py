"""Configurations of the action spline that are refused; its basis is tested in test/beast."""

import pytest

from vla_ros.core.errors import ConfigError
from vla_ros.policy.action_spline import SplineConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"control_points": 40}, "control points <= waypoints"),
        ({"degree": 10}, "degree < control points"),
        ({"dt_s": 0.0}, "must be in"),
    ],
)
def test_a_bad_grid_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SplineConfig(**values)
