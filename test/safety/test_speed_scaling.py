"""Speed scaling: falls immediately, rises by a ramp, always inside 0.1 to 1."""

import numpy as np
import pytest
from core.generators import T0, arm_limits

from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import NS, Chunk
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner
from vla_ros.safety.speed_scaling import MIN_SCALE, REFUSAL_WINDOW, SpeedScaling, SpeedScalingConfig, interpolate_scale


def at_full_scale(config: SpeedScalingConfig | None = None) -> SpeedScaling:
    speed = SpeedScaling(config or SpeedScalingConfig())
    speed.reset(T0 - 10 * NS)
    assert speed.scale(T0) == 1.0
    return speed


@pytest.mark.parametrize(
    ("value", "scale"),
    [
        (0.0, 1.0),
        (2.0, 1.0),
        (3.0, 0.55),
        (4.0, MIN_SCALE),
        (99.0, MIN_SCALE),
        (float("nan"), MIN_SCALE),
        (float("inf"), MIN_SCALE),
    ],
)
def test_linear_interpolation_between_the_thresholds(value: float, scale: float) -> None:
    assert interpolate_scale(value, 2.0, 4.0) == pytest.approx(scale)


def test_after_arming_the_scale_rises_from_its_minimum_to_1() -> None:
    speed = SpeedScaling(SpeedScalingConfig(ramp_s=2.0))
    speed.reset(T0)
    scales = [speed.scale(T0 + k * NS // 10) for k in range(25)]
    assert scales[0] == MIN_SCALE
    np.testing.assert_allclose(np.diff(scales[:20]), 0.045, atol=1e-12)
    assert scales[20] == pytest.approx(1.0)
    assert scales[-1] == 1.0


def test_a_clock_that_steps_back_does_not_raise_the_scale() -> None:
    speed = SpeedScaling(SpeedScalingConfig())
    speed.reset(T0)
    half = speed.scale(T0 + NS // 2)
    assert speed.scale(T0) == half
    assert speed.scale(T0 + NS // 2) == half


@pytest.mark.parametrize("quantity", ["handover_error", "uncertainty", "latency", "refused"])
def test_each_quantity_lowers_the_scale_immediately_and_it_recovers_by_the_ramp(quantity: str) -> None:
    speed = at_full_scale()
    if quantity == "handover_error":
        speed.handover_error(0.6)
    elif quantity == "uncertainty":
        speed.uncertainty(0.4)
    elif quantity == "latency":
        speed.plan(False, 1.75)
    else:
        for k in range(REFUSAL_WINDOW):
            speed.plan(k % 5 < 3)
    assert speed.scale(T0) == pytest.approx(0.55)
    speed.handover_error(0.0)
    speed.uncertainty(0.0)
    for _ in range(REFUSAL_WINDOW):
        speed.plan(False, 0.1)
    assert speed.scale(T0) == pytest.approx(0.55)
    assert speed.scale(T0 + NS // 10) == pytest.approx(0.64)
    assert speed.scale(T0 + NS) == 1.0


def test_a_plan_of_unknown_latency_keeps_the_last_latency() -> None:
    speed = at_full_scale()
    speed.plan(False, 9.0)
    speed.plan(False)
    assert speed.scale(T0) == pytest.approx(MIN_SCALE)


def test_arming_discards_all_reported_quantities() -> None:
    speed = at_full_scale()
    speed.handover_error(9.0)
    speed.plan(True, 9.0)
    for _ in range(REFUSAL_WINDOW):
        speed.plan(True)
    speed.reset(T0)
    assert speed.scale(T0 + 2 * NS) == 1.0


@pytest.mark.parametrize(("requested", "accepted"), [(0.1, True), (0.5, True), (1.0, True)])
def test_the_requested_scale_is_applied(requested: float, accepted: bool) -> None:
    speed = at_full_scale()
    assert speed.request(requested) is accepted
    assert speed.scale(T0) == requested


@pytest.mark.parametrize("requested", [0.0, 0.09, 1.01, -1.0, float("nan"), float("inf")])
def test_an_invalid_requested_scale_is_ignored(requested: float) -> None:
    speed = at_full_scale()
    speed.request(0.5)
    assert not speed.request(requested)
    assert speed.scale(T0) == 0.5


@pytest.mark.parametrize("name", list(SpeedScalingConfig.__annotations__))
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_an_invalid_setting_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        SpeedScalingConfig(**{name: value})


@pytest.mark.parametrize("name", [name for name in SpeedScalingConfig.__annotations__ if "_warn" in name])
def test_a_warning_threshold_above_the_stop_threshold_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        SpeedScalingConfig(**{name: 5.0, name.replace("_warn", "_stop"): 5.0})


def test_a_time_scaled_chunk_has_the_same_path() -> None:
    limits = arm_limits(2)
    path = 0.3 * np.sin(np.linspace(0.0, 2.0, 61)[1:, None] * [1.0, 2.0])
    chunk = Chunk.from_rate(T0, limits.joints, path, 1 / 30)
    slow = chunk.time_scaled(0.5)
    np.testing.assert_allclose(slow.at(T0 + NS), chunk.at(T0 + NS // 2), atol=1e-12)
    plans = [Planner(limits).plan(c, Plan.hold(limits.joints, np.zeros(2), T0), T0) for c in (chunk, slow)]
    assert all(isinstance(p, Plan) for p in plans)
    fast, scaled = (np.abs(p.at(p.start_ns + np.arange(0, 3 * NS, NS // 100)).velocity).max() for p in plans)
    assert 0.4 < scaled / fast < 0.65


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_time_scaling_above_1_is_refused(scale: float) -> None:
    chunk = Chunk.from_rate(T0, ("a",), np.zeros((3, 1)), 0.1)
    with pytest.raises(RecordError):
        chunk.time_scaled(scale)


@pytest.mark.parametrize(
    ("value", "scale"), [(2.0, 1.0), (2.4, 0.82), (3.999, pytest.approx(0.1, abs=1e-3)), (4.0, MIN_SCALE)]
)
def test_interpolation_at_the_thresholds(value: float, scale: float) -> None:
    assert interpolate_scale(value, 2.0, 4.0) == pytest.approx(scale)


@pytest.mark.parametrize("stop", [0.1 * k for k in range(4, 24)])
def test_exactly_at_the_warning_threshold_the_scale_is_1(stop: float) -> None:
    assert interpolate_scale(0.3, 0.3, stop) == 1.0


def test_the_initial_scale_is_the_minimum() -> None:
    speed = SpeedScaling(SpeedScalingConfig())
    assert speed.scale(0) == MIN_SCALE
    assert speed.scale(NS) == 1.0


@pytest.mark.parametrize(("share", "scale"), [(-1.0, 1.0), (0.0, 1.0), (0.5, 0.55), (0.999, 0.1009), (1.0, MIN_SCALE)])
def test_a_severity_lowers_the_scale_until_the_next_arming(share: float, scale: float) -> None:
    speed = SpeedScaling(SpeedScalingConfig())
    assert speed.scale(NS) == 1.0
    speed.severity("other", 0.0)
    speed.severity("arm", share)
    assert speed.scale(NS) == pytest.approx(scale)
    speed.reset(T0)
    assert speed.scale(T0 + NS) == 1.0


@pytest.mark.parametrize(("refused", "scale"), [(6, 1.0), (7, 0.925), (12, 0.55), (18, MIN_SCALE), (20, MIN_SCALE)])
def test_the_refusal_ratio_covers_the_newest_twenty_plans(refused: int, scale: float) -> None:
    speed = SpeedScaling(SpeedScalingConfig())
    speed.reset(T0 - 9 * NS)
    speed.scale(T0)
    for k in range(3 * REFUSAL_WINDOW):
        speed.plan(k < REFUSAL_WINDOW)
    for k in range(REFUSAL_WINDOW):
        speed.plan(k < refused)
    assert speed.scale(T0) == pytest.approx(scale)


@pytest.mark.parametrize(("latency", "scale"), [(1.0, 1.0), (1.75, 0.55), (2.5, MIN_SCALE)])
def test_the_latency_of_the_newest_plan_is_used(latency: float, scale: float) -> None:
    speed = SpeedScaling(SpeedScalingConfig())
    speed.reset(T0 - 9 * NS)
    speed.scale(T0)
    speed.plan(False, 9.0)
    speed.plan(False, latency)
    assert speed.scale(T0) == pytest.approx(scale)


def test_duration_of_the_ramp() -> None:
    speed = SpeedScaling(SpeedScalingConfig(ramp_s=4.0))
    speed.reset(T0)
    assert speed.scale(T0 + 2 * NS) == pytest.approx(0.55)
    assert speed.scale(T0 + 4 * NS) == pytest.approx(1.0)


def test_arming_restarts_the_ramp_without_elapsed_time() -> None:
    speed = SpeedScaling(SpeedScalingConfig())
    speed.reset(T0)
    assert speed.scale(T0) == MIN_SCALE
    assert speed.scale(T0 + NS) == 1.0
    speed.reset(T0 + NS)
    assert speed.scale(T0 + NS) == MIN_SCALE


@pytest.mark.parametrize(("requested", "accepted"), [(MIN_SCALE, True), (1.0, True), (0.0999, False), (1.0001, False)])
def test_range_of_the_requested_scale(requested: float, accepted: bool) -> None:
    assert SpeedScaling(SpeedScalingConfig()).request(requested) is accepted


@pytest.mark.parametrize("name", [name for name in SpeedScalingConfig.__annotations__ if "_warn" in name])
def test_equal_thresholds_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SpeedScalingConfig(**{name: 0.5, name.replace("_warn", "_stop"): 0.5})
    assert SpeedScalingConfig(**{name: 0.5, name.replace("_warn", "_stop"): 0.5001})
