"""The speed scale: down at once where doubt grows, up slowly, never outside 0.1 to 1."""

import numpy as np
import pytest
from core.draw import T0, arm_limits

from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import NS, Chunk
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner
from vla_ros.safety.speed_scaling import LEAST, PLANS, Speed, SpeedConfig, between


def full(config: SpeedConfig | None = None) -> Speed:
    speed = Speed(config or SpeedConfig())
    speed.begin(T0 - 10 * NS)
    assert speed.scale(T0) == 1.0
    return speed


@pytest.mark.parametrize(
    ("value", "scale"),
    [(0.0, 1.0), (2.0, 1.0), (3.0, 0.55), (4.0, LEAST), (99.0, LEAST), (float("nan"), LEAST), (float("inf"), LEAST)],
)
def test_a_straight_line_between_warning_and_stop(value: float, scale: float) -> None:
    assert between(value, 2.0, 4.0) == pytest.approx(scale)


def test_after_arming_it_rises_from_the_least_to_full_speed() -> None:
    speed = Speed(SpeedConfig(ramp_s=2.0))
    speed.begin(T0)
    seen = [speed.scale(T0 + k * NS // 10) for k in range(25)]
    assert seen[0] == LEAST
    np.testing.assert_allclose(np.diff(seen[:20]), 0.045, atol=1e-12)
    assert seen[20] == pytest.approx(1.0)
    assert seen[-1] == 1.0


def test_a_clock_that_steps_back_does_not_speed_up() -> None:
    speed = Speed(SpeedConfig())
    speed.begin(T0)
    half = speed.scale(T0 + NS // 2)
    assert speed.scale(T0) == half
    assert speed.scale(T0 + NS // 2) == half


@pytest.mark.parametrize("doubt", ["disagreement", "doubt", "latency", "refused"])
def test_each_doubt_slows_at_once_and_lets_go_slowly(doubt: str) -> None:
    speed = full()
    if doubt == "disagreement":
        speed.disagreement(0.6)
    elif doubt == "doubt":
        speed.doubt(0.4)
    elif doubt == "latency":
        speed.plan(False, 1.75)
    else:
        for k in range(PLANS):
            speed.plan(k % 5 < 3)
    assert speed.scale(T0) == pytest.approx(0.55)
    speed.disagreement(0.0)
    speed.doubt(0.0)
    for _ in range(PLANS):
        speed.plan(False, 0.1)
    assert speed.scale(T0) == pytest.approx(0.55)
    assert speed.scale(T0 + NS // 10) == pytest.approx(0.64)
    assert speed.scale(T0 + NS) == 1.0


def test_a_plan_of_unknown_latency_says_nothing_about_it() -> None:
    speed = full()
    speed.plan(False, 9.0)
    speed.plan(False)
    assert speed.scale(T0) == pytest.approx(LEAST)


def test_arming_holds_nothing_against_the_past() -> None:
    speed = full()
    speed.disagreement(9.0)
    speed.plan(True, 9.0)
    for _ in range(PLANS):
        speed.plan(True)
    speed.begin(T0)
    assert speed.scale(T0 + 2 * NS) == 1.0


@pytest.mark.parametrize(("asked", "taken"), [(0.1, True), (0.5, True), (1.0, True)])
def test_the_operator_is_obeyed(asked: float, taken: bool) -> None:
    speed = full()
    assert speed.ask(asked) is taken
    assert speed.scale(T0) == asked


@pytest.mark.parametrize("asked", [0.0, 0.09, 1.01, -1.0, float("nan"), float("inf")])
def test_what_is_no_speed_changes_nothing(asked: float) -> None:
    speed = full()
    speed.ask(0.5)
    assert not speed.ask(asked)
    assert speed.scale(T0) == 0.5


@pytest.mark.parametrize("name", list(SpeedConfig.__annotations__))
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_every_bad_setting_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        SpeedConfig(**{name: value})


@pytest.mark.parametrize("name", ["disagreement", "doubt", "latency", "refused"])
def test_a_warning_after_the_stop_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        SpeedConfig(**{f"{name}_warn": 5.0, f"{name}_stop": 5.0})


def test_a_slowed_chunk_is_the_same_path_on_a_slower_clock() -> None:
    limits = arm_limits(2)
    path = 0.3 * np.sin(np.linspace(0.0, 2.0, 61)[1:, None] * [1.0, 2.0])
    chunk = Chunk.from_rate(T0, limits.joints, path, 1 / 30)
    slow = chunk.slowed(0.5)
    np.testing.assert_allclose(slow.at(T0 + NS), chunk.at(T0 + NS // 2), atol=1e-12)
    plans = [Planner(limits).plan(c, Plan.hold(limits.joints, np.zeros(2), T0), T0) for c in (chunk, slow)]
    assert all(isinstance(p, Plan) for p in plans)
    fast, slowed = (np.abs(p.at(p.start_ns + np.arange(0, 3 * NS, NS // 100)).velocity).max() for p in plans)
    assert 0.4 < slowed / fast < 0.65


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_a_chunk_is_never_hastened(scale: float) -> None:
    chunk = Chunk.from_rate(T0, ("a",), np.zeros((3, 1)), 0.1)
    with pytest.raises(RecordError):
        chunk.slowed(scale)
