"""Tests of `report.json`: every figure against independent arithmetic, and every reason for which a run fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from report.run_folder import change, write

from vla_ros.report.logs import REQUIRED_LOGS
from vla_ros.report.summary import command_rate_hz, period_errors_us, summarise, to_json_data
from vla_ros.report.table import render_table


def test_every_figure_of_a_complete_run(tmp_path: Path) -> None:
    s = summarise(write(tmp_path))
    assert (s["episodes"], s["episodes_requested"], s["successes"], s["success_rate"]) == (4, 4, 3, 0.75)
    assert s["command_rate_hz"] == pytest.approx(500.0)
    # Wake-ups at 0, 2010, 4000, 6000, 10500, 12000 us: one deadline is skipped after the late one.
    assert s["period_error_us"] == pytest.approx({"p50": 10.0, "p99": 2420.0, "max": 2500.0})
    assert s["baseline_period_error_us"] == pytest.approx({"p50": 0.0, "p99": 3.92, "max": 4.0})
    assert s["limit_violations"] == {"position": 0, "velocity": 0, "acceleration": 0, "jerk": 0}
    assert s["peak_ratio"] == {"position": 0.5, "velocity": 0.6, "acceleration": 0.7, "jerk": 0.9875}
    assert s["topics_agree"] is True
    assert s["switch_discontinuity"] == {"position": 1e-16, "velocity": 2e-16, "acceleration": 3e-15}
    assert s["plans"] == {"accepted": 40, "refused": {"late": 3, "stale": 1}}
    assert s["chunks"] == {"planned": 44, "unconfirmed": 2, "refused": {"stale": 5}}
    assert s["capture_to_command_ms"] == pytest.approx({"p50": 20.5, "p99": 39.61, "max": 40.0})
    assert (s["real_time_factor"], s["camera_hz"], s["inference_ms"]) == (0.999, 19.5, 12.5)
    # Four seconds of 50 ms steps and 40 chunks; the largest jerk of each second, without the return home.
    assert (s["steps_per_inference"], s["chunk_jerk"]) == pytest.approx((2.0, (1.9 + 2.9) / 2))
    assert s["success_interval"] == pytest.approx((0.3006, 0.9544), abs=5e-5)
    assert (s["policy"], s["seed"], s["task"], s["robot"]) == ("expert", 7, "pick_place", "so101")
    assert s["delay_ms"] == [0.0, 500.0]
    assert s["passed"] is True
    assert s["failure_reasons"] == []


def test_keys_are_the_same_for_an_empty_folder(tmp_path: Path) -> None:
    complete, empty = summarise(write(tmp_path / "a")), summarise(tmp_path)
    assert list(complete) == list(empty)
    assert empty["passed"] is False
    assert [r for r in empty["failure_reasons"] if r.endswith("is missing.")] == [
        f"{n} is missing." for n in REQUIRED_LOGS
    ]


@pytest.mark.parametrize("name", REQUIRED_LOGS)
def test_a_missing_or_broken_log_is_named(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path)
    file = folder / name
    file.write_bytes(file.read_bytes()[:-20])
    broken = summarise(folder)
    assert f"{name} could not be read." in broken["failure_reasons"]
    file.unlink()
    missing = summarise(folder)
    assert f"{name} is missing." in missing["failure_reasons"]
    assert not missing["passed"]
    assert not broken["passed"]
    assert render_table(missing)


def test_a_run_without_a_baseline_log_passes(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "baseline.npz").unlink()
    s = summarise(folder)
    assert s["passed"]
    assert s["missing"] == ["baseline.npz"]
    assert s["baseline_period_error_us"]["p50"] is None


@pytest.mark.parametrize(
    ("name", "entries", "message"),
    [
        ("observer.json", {"violations": {"position": 0, "velocity": 0, "acceleration": 0, "jerk": 3}}, "jerk limit"),
        ("observer.json", {"violations": {"velocity": 1}}, "velocity limit was exceeded at 1 instant."),
        ("observer.json", {"topics_agree": False}, "did not carry the same"),
        ("run.json", {"lost_processes": {"planner": "killed"}}, "Process lost: planner."),
        ("run.json", {"lost_processes": ["planner"]}, "Process lost: planner."),
        ("run.json", {"success_threshold": 0.8}, "75 % is below the threshold of 80 %"),
        ("run.json", {"episodes": 9}, "Only 4 of 9 episodes"),
        ("policy.json", {"inferences": 0}, "The policy made no inference; see the last line of policy.log."),
    ],
)
def test_every_reason_for_which_a_run_fails(tmp_path: Path, name: str, entries: dict, message: str) -> None:
    folder = write(tmp_path)
    change(folder, name, **entries)
    s = summarise(folder)
    assert s["passed"] is False
    assert any(message in reason for reason in s["failure_reasons"])


def test_an_unknown_number_of_violations_is_not_zero(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(folder, "observer.json", violations={"position": 0})
    s = summarise(folder)
    assert s["limit_violations"]["jerk"] is None
    assert not s["passed"]


def test_no_episode(tmp_path: Path) -> None:
    s = summarise(write(tmp_path, episodes=0, videos=()))
    assert (s["episodes"], s["successes"], s["success_rate"], s["success_interval"]) == (0, 0, None, None)
    assert "No episode finished." in s["failure_reasons"]


def test_a_chunk_of_unknown_jerk_is_not_smooth(tmp_path: Path) -> None:
    folder = write(tmp_path, episodes=1)
    with np.load(folder / "commands.npz") as data:
        arrays = dict(data)
    arrays["chunk_jerk"][3] = np.nan
    np.savez(folder / "commands.npz", **arrays)
    s = summarise(folder)
    assert (s["steps_per_inference"], s["chunk_jerk"]) == (2.0, None)
    assert "2.0 control steps per inference" in render_table(s)
    del arrays["chunks_ns"]  # as in a log of an older version
    np.savez(folder / "commands.npz", **arrays)
    assert summarise(folder)["steps_per_inference"] is None


def test_no_nan_reaches_json(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(folder, "sim.json", real_time_factor=float("nan"), camera_hz=float("inf"))
    change(folder, "observer.json", peak_ratio={"position": float("nan")})
    s = summarise(folder)
    assert (s["real_time_factor"], s["camera_hz"], s["peak_ratio"]["position"]) == (None, None, None)
    assert json.loads(json.dumps(s, allow_nan=False)) == s


def test_json_data() -> None:
    value = {1: np.float64("nan"), "a": (np.int64(3), np.bool_(True)), "b": np.array([1.5, np.inf]), "c": None}
    assert to_json_data(value) == {"1": None, "a": [3, True], "b": [1.5, None], "c": None}


def test_command_rate_leaves_out_pauses() -> None:
    stamps = np.concatenate([np.arange(0, 100), 10_000 + np.arange(0, 100)]) * 5_000_000
    assert command_rate_hz(stamps) == pytest.approx(200.0)
    assert command_rate_hz(stamps[:1]) is None


def test_period_errors_of_a_loop_that_skips_deadlines() -> None:
    """Simulate the loop with random latencies; the errors must be those of its wake-up times."""
    rng = np.random.default_rng(3)
    deadline, wakes, latency = 0, [], []
    for delay in rng.exponential(1_500_000, 500).astype(np.int64):
        wake = max(deadline, wakes[-1] if wakes else 0) + int(delay)
        latency.append(wake - deadline)
        wakes.append(wake)
        deadline += 2_000_000 * max(1, 1 + latency[-1] // 2_000_000)
    expected = np.abs(np.diff(wakes) - 2_000_000) / 1e3
    np.testing.assert_allclose(period_errors_us(np.array(latency), 2_000_000), expected)


@pytest.mark.parametrize("complete", [True, False])
def test_the_table_fits_a_terminal(tmp_path: Path, complete: bool) -> None:
    text = render_table(summarise(write(tmp_path) if complete else tmp_path))
    assert len({len(line) for line in text.splitlines()}) == 1
    assert len(text.splitlines()[0]) <= 90
    assert ("3 of 4 cubes in the bowl, 0 limit violations" in text) is complete
    assert "nan" not in text.lower()
