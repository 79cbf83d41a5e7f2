"""Monitors of the other inputs: clock, plans, emergency stop button, deadman switch, cameras, other publishers."""

from __future__ import annotations

import pytest
from core.generators import T0
from safety.monitor_helpers import MS, fault_names, with_joint_state

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS
from vla_ros.safety.monitors import MonitorConfig, Monitors


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_clock_jump_remains_a_fault_after_the_clock_is_set_back(sign: int) -> None:
    monitors = with_joint_state()
    monitors.clock_drift(sign * 99 * MS)
    assert fault_names(monitors, T0) == []
    monitors.clock_drift(sign * 101 * MS)
    monitors.clock_drift(0)
    assert fault_names(monitors, T0) == ["clock_jump"]


def test_other_publishers() -> None:
    monitors = with_joint_state()
    for others, found in ((0, []), (1, ["second_publisher"]), (-1, []), (2, ["second_publisher"])):
        monitors.other_publishers(others)
        assert fault_names(monitors, T0) == found
    assert "3 publishers" in monitors.faults(T0, False)[0].detail


def test_missing_plans_are_reported_while_running() -> None:
    monitors = with_joint_state(MonitorConfig(joint_state_timeout_s=10.0))
    monitors.plan(T0)
    assert fault_names(monitors, T0 + 2 * NS, running=True) == []
    assert fault_names(monitors, T0 + 2 * NS + MS, running=True) == ["no_plan"]
    assert fault_names(monitors, T0 + 2 * NS + MS, running=False) == []


@pytest.mark.parametrize(("age_ms", "found"), [(0, []), (100, []), (101, ["deadman"]), (-1, ["deadman"])])
def test_timeout_of_the_deadman_switch(age_ms: int, found: list[str]) -> None:
    monitors = with_joint_state(MonitorConfig(deadman_timeout_s=0.1))
    assert fault_names(monitors, T0) == ["deadman"]
    monitors.deadman(True, T0)
    assert [name for name in fault_names(monitors, T0 + age_ms * MS) if name == "deadman"] == found


def test_releasing_the_deadman_switch_is_a_fault_until_it_is_held_again() -> None:
    monitors = with_joint_state(MonitorConfig(deadman_timeout_s=0.1))
    for k, (held, found) in enumerate([(True, []), (False, ["deadman"]), (False, ["deadman"]), (True, [])]):
        monitors.deadman(held, T0 + k * MS)
        assert fault_names(monitors, T0 + k * MS) == found


def test_a_deadman_switch_that_is_not_required_is_ignored() -> None:
    monitors = with_joint_state()
    monitors.deadman(False, T0)
    assert fault_names(monitors, T0 + 100 * MS) == []


TWO_CAMERAS = MonitorConfig(cameras=("front", "wrist"), camera_timeout_s=0.1, camera_stamp_max_age_s=0.2)


def with_images(config: MonitorConfig = TWO_CAMERAS, **stamps_ns: int) -> Monitors:
    """Monitors that have just received one image of each camera, with its stamp."""
    monitors = with_joint_state(config)
    for camera, stamp in stamps_ns.items():
        monitors.image(camera, stamp, T0)
    return monitors


@pytest.mark.parametrize(("age_ms", "found"), [(0, []), (100, []), (101, ["camera_timeout"]), (-1, ["camera_timeout"])])
@pytest.mark.parametrize("silent", ["front", "wrist"])
def test_camera_timeout(silent: str, age_ms: int, found: list[str]) -> None:
    monitors, now = with_images(front=T0, wrist=T0), T0 + age_ms * MS
    other = "wrist" if silent == "front" else "front"
    monitors.image(other, now, now)
    present = [fault for fault in monitors.faults(now, False) if fault.name == "camera_timeout"]
    assert [fault.name for fault in present] == found
    assert all(silent in fault.detail and other not in fault.detail for fault in present)


@pytest.mark.parametrize(
    ("age_ms", "found"), [(0, []), (199, []), (201, ["camera_stamp"]), (-49, []), (-51, ["camera_stamp"])]
)
def test_image_stamps_too_old_or_in_the_future(age_ms: int, found: list[str]) -> None:
    monitors = with_images(front=T0, wrist=T0 - age_ms * MS)
    assert fault_names(monitors, T0) == found
    assert all("wrist" in fault.detail and "front" not in fault.detail for fault in monitors.faults(T0, False))


def test_a_repeated_image_stamp_becomes_too_old() -> None:
    monitors = with_joint_state(MonitorConfig(cameras=("front",), joint_state_timeout_s=9.0))
    for ms in range(0, 600, 33):
        now = T0 + ms * MS
        monitors.image("front", T0, now)
        assert fault_names(monitors, now) == ([] if ms <= 300 else ["camera_stamp"])


def test_cameras_without_any_image_are_named_in_one_fault() -> None:
    assert fault_names(with_images(front=T0), T0) == ["camera_timeout"]
    faults = with_images().faults(T0, False)
    assert [fault.name for fault in faults] == ["camera_timeout"]
    assert "front" in faults[0].detail
    assert "wrist" in faults[0].detail


def test_no_camera_is_monitored_by_default() -> None:
    assert fault_names(with_joint_state(), T0) == []


@pytest.mark.parametrize("cameras", [("front", "front"), ("",)])
def test_camera_names_must_be_distinct_and_not_empty(cameras: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="cameras"):
        MonitorConfig(cameras=cameras)


def test_emergency_stop_button_with_timeout() -> None:
    monitors = with_joint_state(MonitorConfig(estop_timeout_s=0.1))
    assert fault_names(monitors, T0) == ["estop_missing"]
    monitors.estop_input(False, T0)
    assert fault_names(monitors, T0 + 100 * MS) == []
    assert fault_names(monitors, T0 + 101 * MS) == ["estop_timeout"]
    monitors.estop_input(True, T0 + 102 * MS)
    assert fault_names(monitors, T0 + 102 * MS) == ["estop_input"]
    monitors.estop_input(False, T0 + 103 * MS)
    assert fault_names(monitors, T0 + 103 * MS) == []


def test_emergency_stop_button_without_timeout() -> None:
    monitors = with_joint_state()
    monitors.estop_input(True, T0)
    assert fault_names(monitors, T0 + 150 * MS) == ["estop_input"]
