"""The speed scale at its thresholds, and in what time it moves."""

import pytest
from core.draw import T0

from vla_ros.core.records import NS
from vla_ros.safety.speed_scaling import LEAST, PLANS, Speed, SpeedConfig, between


@pytest.mark.parametrize(
    ("value", "scale"), [(2.0, 1.0), (2.4, 0.82), (3.999, pytest.approx(0.1, abs=1e-3)), (4.0, LEAST)]
)
def test_the_line_begins_and_ends_at_its_thresholds(value: float, scale: float) -> None:
    assert between(value, 2.0, 4.0) == pytest.approx(scale)


@pytest.mark.parametrize("stop", [0.1 * k for k in range(4, 24)])
def test_at_the_warning_itself_not_even_rounding_slows(stop: float) -> None:
    assert between(0.3, 0.3, stop) == 1.0


def test_before_arming_it_is_slow_and_nothing_is_held_against_it() -> None:
    speed = Speed(SpeedConfig())
    assert speed.scale(0) == LEAST
    assert speed.scale(NS) == 1.0


@pytest.mark.parametrize(("share", "scale"), [(-1.0, 1.0), (0.0, 1.0), (0.5, 0.55), (0.999, 0.1009), (1.0, LEAST)])
def test_a_strain_slows_from_its_warning_to_its_stop_until_the_next_arming(share: float, scale: float) -> None:
    speed = Speed(SpeedConfig())
    assert speed.scale(NS) == 1.0
    speed.strain("other", 0.0)
    speed.strain("arm", share)
    assert speed.scale(NS) == pytest.approx(scale)
    speed.begin(T0)
    assert speed.scale(T0 + NS) == 1.0


@pytest.mark.parametrize(("refused", "scale"), [(6, 1.0), (7, 0.925), (12, 0.55), (18, LEAST), (20, LEAST)])
def test_the_share_is_of_the_newest_twenty(refused: int, scale: float) -> None:
    speed = Speed(SpeedConfig())
    speed.begin(T0 - 9 * NS)
    speed.scale(T0)
    for k in range(3 * PLANS):
        speed.plan(k < PLANS)
    for k in range(PLANS):
        speed.plan(k < refused)
    assert speed.scale(T0) == pytest.approx(scale)


@pytest.mark.parametrize(("latency", "scale"), [(1.0, 1.0), (1.75, 0.55), (2.5, LEAST)])
def test_the_latency_of_the_newest_plan_counts(latency: float, scale: float) -> None:
    speed = Speed(SpeedConfig())
    speed.begin(T0 - 9 * NS)
    speed.scale(T0)
    speed.plan(False, 9.0)
    speed.plan(False, latency)
    assert speed.scale(T0) == pytest.approx(scale)


def test_the_ramp_takes_the_time_it_is_given() -> None:
    speed = Speed(SpeedConfig(ramp_s=4.0))
    speed.begin(T0)
    assert speed.scale(T0 + 2 * NS) == pytest.approx(0.55)
    assert speed.scale(T0 + 4 * NS) == pytest.approx(1.0)


def test_arming_begins_slowly_though_time_stood_still() -> None:
    speed = Speed(SpeedConfig())
    speed.begin(T0)
    assert speed.scale(T0) == LEAST
    assert speed.scale(T0 + NS) == 1.0
    speed.begin(T0 + NS)
    assert speed.scale(T0 + NS) == LEAST


@pytest.mark.parametrize(("asked", "taken"), [(LEAST, True), (1.0, True), (0.0999, False), (1.0001, False)])
def test_what_the_operator_may_ask_for(asked: float, taken: bool) -> None:
    assert Speed(SpeedConfig()).ask(asked) is taken


@pytest.mark.parametrize("name", ["disagreement", "doubt", "latency", "refused"])
def test_equal_thresholds_are_refused_and_nearly_equal_ones_are_not(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SpeedConfig(**{f"{name}_warn": 0.5, f"{name}_stop": 0.5})
    assert SpeedConfig(**{f"{name}_warn": 0.5, f"{name}_stop": 0.5001})
