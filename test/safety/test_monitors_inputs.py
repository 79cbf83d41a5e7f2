"""Watchdogs of everything else that speaks: clock, planner, button, deadman, cameras, other publishers."""

from __future__ import annotations

import pytest
from core.draw import T0
from safety.watching import MS, heard, names

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS
from vla_ros.safety.monitors import Watch, WatchConfig


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_clock_that_was_set_stays_a_fault_when_it_is_set_back(sign: int) -> None:
    watch = heard()
    watch.clock(sign * 99 * MS)
    assert names(watch, T0) == []
    watch.clock(sign * 101 * MS)
    watch.clock(0)
    assert names(watch, T0) == ["clock"]


def test_other_publishers() -> None:
    watch = heard()
    for others, found in ((0, []), (1, ["second_publisher"]), (-1, []), (2, ["second_publisher"])):
        watch.publishers(others)
        assert names(watch, T0) == found
    assert "3 publishers" in watch.faults(T0, False)[0].detail


def test_silence_of_the_planner_is_said_while_running() -> None:
    watch = heard(WatchConfig(joint_state_age_s=10.0))
    watch.plan(T0)
    assert names(watch, T0 + 2 * NS, running=True) == []
    assert names(watch, T0 + 2 * NS + MS, running=True) == ["no_plan"]
    assert names(watch, T0 + 2 * NS + MS, running=False) == []


@pytest.mark.parametrize(("age_ms", "found"), [(0, []), (100, []), (101, ["deadman"]), (-1, ["deadman"])])
def test_a_deadman_must_keep_saying_that_it_is_held(age_ms: int, found: list[str]) -> None:
    watch = heard(WatchConfig(deadman_s=0.1))
    assert names(watch, T0) == ["deadman"]
    watch.deadman(True, T0)
    assert [name for name in names(watch, T0 + age_ms * MS) if name == "deadman"] == found


def test_a_deadman_that_is_released_is_a_fault_at_once_and_held_again_is_none() -> None:
    watch = heard(WatchConfig(deadman_s=0.1))
    for k, (held, found) in enumerate([(True, []), (False, ["deadman"]), (False, ["deadman"]), (True, [])]):
        watch.deadman(held, T0 + k * MS)
        assert names(watch, T0 + k * MS) == found


def test_where_no_deadman_is_expected_its_word_does_not_matter() -> None:
    watch = heard()
    watch.deadman(False, T0)
    assert names(watch, T0 + 100 * MS) == []


TWO = WatchConfig(cameras=("front", "wrist"), camera_age_s=0.1, camera_stamp_age_s=0.2)


def seen(config: WatchConfig = TWO, **stamps_ns: int) -> Watch:
    """A watch that has just seen each camera's picture with its stamp."""
    watch = heard(config)
    for camera, stamp in stamps_ns.items():
        watch.picture(camera, stamp, T0)
    return watch


@pytest.mark.parametrize(("age_ms", "found"), [(0, []), (100, []), (101, ["camera"]), (-1, ["camera"])])
@pytest.mark.parametrize("silent", ["front", "wrist"])
def test_silence_of_each_camera(silent: str, age_ms: int, found: list[str]) -> None:
    watch, now = seen(front=T0, wrist=T0), T0 + age_ms * MS
    other = "wrist" if silent == "front" else "front"
    watch.picture(other, now, now)
    present = [fault for fault in watch.faults(now, False) if fault.name == "camera"]
    assert [fault.name for fault in present] == found
    assert all(silent in fault.detail and other not in fault.detail for fault in present)


@pytest.mark.parametrize(
    ("old_ms", "found"), [(0, []), (199, []), (201, ["camera_stamp"]), (-49, []), (-51, ["camera_stamp"])]
)
def test_stamps_of_pictures_too_old_or_in_the_future(old_ms: int, found: list[str]) -> None:
    watch = seen(front=T0, wrist=T0 - old_ms * MS)
    assert names(watch, T0) == found
    assert all("wrist" in fault.detail and "front" not in fault.detail for fault in watch.faults(T0, False))


def test_a_picture_that_comes_again_and_again_is_too_old_in_the_end() -> None:
    watch = heard(WatchConfig(cameras=("front",), joint_state_age_s=9.0))
    for ms in range(0, 600, 33):
        now = T0 + ms * MS
        watch.picture("front", T0, now)
        assert names(watch, now) == ([] if ms <= 300 else ["camera_stamp"])


def test_a_camera_that_was_never_seen_is_missing_and_all_are_named_at_once() -> None:
    assert names(seen(front=T0), T0) == ["camera"]
    faults = seen().faults(T0, False)
    assert [fault.name for fault in faults] == ["camera"]
    assert "front" in faults[0].detail
    assert "wrist" in faults[0].detail


def test_no_camera_is_watched_unless_it_is_named() -> None:
    assert names(heard(), T0) == []


@pytest.mark.parametrize("cameras", [("front", "front"), ("",)])
def test_cameras_have_names_of_their_own(cameras: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="cameras"):
        WatchConfig(cameras=cameras)


def test_the_button_and_its_heartbeat() -> None:
    watch = heard(WatchConfig(estop_heartbeat_s=0.1))
    assert names(watch, T0) == ["estop_missing"]
    watch.estop_input(False, T0)
    assert names(watch, T0 + 100 * MS) == []
    assert names(watch, T0 + 101 * MS) == ["estop_heartbeat"]
    watch.estop_input(True, T0 + 102 * MS)
    assert names(watch, T0 + 102 * MS) == ["estop_input"]
    watch.estop_input(False, T0 + 103 * MS)
    assert names(watch, T0 + 103 * MS) == []


def test_a_button_without_heartbeat_is_heard_too() -> None:
    watch = heard()
    watch.estop_input(True, T0)
    assert names(watch, T0 + 150 * MS) == ["estop_input"]
