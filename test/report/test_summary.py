"""`report.json`: every figure against arithmetic of its own, and what makes a run not whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from report.run_folder import change, write

from vla_ros.report.figures import command_rate_hz, period_errors_us, plain, wilson
from vla_ros.report.logs import LOGS
from vla_ros.report.summary import summarise
from vla_ros.report.table import render_table


def test_every_figure_of_a_whole_run(tmp_path: Path) -> None:
    s = summarise(write(tmp_path))
    assert (s["episodes"], s["episodes_asked"], s["successes"], s["success_rate"]) == (4, 4, 3, 0.75)
    assert s["command_rate_hz"] == pytest.approx(500.0)
    # Wake-ups at 0, 2010, 4000, 6000, 10500, 12000 us: one deadline is skipped after the late one.
    assert s["period_error_us"] == pytest.approx({"p50": 10.0, "p99": 2420.0, "max": 2500.0})
    assert s["baseline_period_error_us"] == pytest.approx({"p50": 0.0, "p99": 3.92, "max": 4.0})
    assert s["limit_violations"] == {"position": 0, "velocity": 0, "acceleration": 0, "jerk": 0}
    assert s["peak_ratio"] == {"position": 0.5, "velocity": 0.6, "acceleration": 0.7, "jerk": 0.9875}
    assert s["topics_agree"] is True
    assert s["handover_jump"] == {"position": 1e-16, "velocity": 2e-16, "acceleration": 3e-15}
    assert s["plans"] == {"accepted": 40, "refused": {"late": 3, "stale": 1}}
    assert s["chunks"] == {"planned": 44, "unanswered": 2, "refused": {"stale": 5}}
    assert s["capture_to_command_ms"] == pytest.approx({"p50": 20.5, "p99": 39.61, "max": 40.0})
    assert (s["real_time_factor"], s["camera_hz"], s["inference_ms"]) == (0.999, 19.5, 12.5)
    # Four seconds of steps of 50 ms, and 40 chunks; the roughest of each second, not the one on the way home.
    assert (s["steps_per_inference"], s["chunk_jerk"]) == pytest.approx((2.0, (1.9 + 2.9) / 2))
    assert (s["policy"], s["seed"], s["task"], s["robot"]) == ("expert", 7, "pick_place", "so101")
    assert s["delay_ms"] == [0.0, 500.0]
    assert s["whole"] is True
    assert s["why_not_whole"] == []


def test_keys_are_the_same_for_an_empty_folder(tmp_path: Path) -> None:
    whole, empty = summarise(write(tmp_path / "a")), summarise(tmp_path)
    assert list(whole) == list(empty)
    assert empty["whole"] is False
    assert [r for r in empty["why_not_whole"] if r.endswith("is missing.")] == [f"{n} is missing." for n in LOGS]


@pytest.mark.parametrize("name", LOGS)
def test_a_missing_or_broken_log_is_named(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path)
    file = folder / name
    file.write_bytes(file.read_bytes()[:-20])
    broken = summarise(folder)
    assert f"{name} could not be read." in broken["why_not_whole"]
    file.unlink()
    missing = summarise(folder)
    assert f"{name} is missing." in missing["why_not_whole"]
    assert not missing["whole"]
    assert not broken["whole"]
    assert render_table(missing)


def test_a_missing_baseline_does_not_spoil_a_run(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "baseline.npz").unlink()
    s = summarise(folder)
    assert s["whole"]
    assert s["missing"] == ["baseline.npz"]
    assert s["baseline_period_error_us"]["p50"] is None


@pytest.mark.parametrize(
    ("name", "entries", "sentence"),
    [
        ("observer.json", {"violations": {"position": 0, "velocity": 0, "acceleration": 0, "jerk": 3}}, "jerk limit"),
        ("observer.json", {"violations": {"velocity": 1}}, "velocity limit was exceeded at 1 instant."),
        ("observer.json", {"topics_agree": False}, "did not carry the same"),
        ("run.json", {"lost_processes": {"planner": "killed"}}, "Process lost: planner."),
        ("run.json", {"lost_processes": ["planner"]}, "Process lost: planner."),
        ("run.json", {"bar": 0.8}, "75 % is below the bar of 80 %"),
        ("run.json", {"episodes": 9}, "Only 4 of 9 episodes"),
        ("policy.json", {"inferences": 0}, "The policy never answered; the last line of policy.log says why."),
    ],
)
def test_what_makes_a_run_not_whole(tmp_path: Path, name: str, entries: dict, sentence: str) -> None:
    folder = write(tmp_path)
    change(folder, name, **entries)
    s = summarise(folder)
    assert s["whole"] is False
    assert any(sentence in reason for reason in s["why_not_whole"])


def test_an_unjudged_kind_is_not_taken_for_zero(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(folder, "observer.json", violations={"position": 0})
    s = summarise(folder)
    assert s["limit_violations"]["jerk"] is None
    assert not s["whole"]


def test_no_episode(tmp_path: Path) -> None:
    s = summarise(write(tmp_path, episodes=0, films=()))
    assert (s["episodes"], s["successes"], s["success_rate"], s["success_interval"]) == (0, 0, None, None)
    assert "No episode came to its end." in s["why_not_whole"]


def test_a_chunk_that_could_not_be_judged_is_not_taken_for_a_smooth_one(tmp_path: Path) -> None:
    folder = write(tmp_path, episodes=1)
    with np.load(folder / "commands.npz") as data:
        arrays = dict(data)
    arrays["chunk_jerk"][3] = np.nan
    np.savez(folder / "commands.npz", **arrays)
    s = summarise(folder)
    assert (s["steps_per_inference"], s["chunk_jerk"]) == (2.0, None)
    assert "2.0 control steps per inference" in render_table(s)
    del arrays["chunks_ns"]  # as an older run left it
    np.savez(folder / "commands.npz", **arrays)
    assert summarise(folder)["steps_per_inference"] is None


def test_no_nan_reaches_json(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(folder, "sim.json", real_time_factor=float("nan"), camera_hz=float("inf"))
    change(folder, "observer.json", peak_ratio={"position": float("nan")})
    s = summarise(folder)
    assert (s["real_time_factor"], s["camera_hz"], s["peak_ratio"]["position"]) == (None, None, None)
    assert json.loads(json.dumps(s, allow_nan=False)) == s


def test_plain_data() -> None:
    value = {1: np.float64("nan"), "a": (np.int64(3), np.bool_(True)), "b": np.array([1.5, np.inf]), "c": None}
    assert plain(value) == {"1": None, "a": [3, True], "b": [1.5, None], "c": None}


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # from the tables of Brown, Cai and DasGupta (2001) and Newcombe (1998)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_without_trials() -> None:
    assert wilson(0, 0) is None


def test_command_rate_leaves_out_pauses() -> None:
    stamps = np.concatenate([np.arange(0, 100), 10_000 + np.arange(0, 100)]) * 5_000_000
    assert command_rate_hz(stamps) == pytest.approx(200.0)
    assert command_rate_hz(stamps[:1]) is None


def test_period_errors_follow_the_loop_that_skips_deadlines() -> None:
    """Play the loop itself with random oversleeping; the errors are those of its true wake-ups."""
    rng = np.random.default_rng(3)
    deadline, wakes, late = 0, [], []
    for oversleep in rng.exponential(1_500_000, 500).astype(np.int64):
        wake = max(deadline, wakes[-1] if wakes else 0) + int(oversleep)
        late.append(wake - deadline)
        wakes.append(wake)
        deadline += 2_000_000 * max(1, 1 + late[-1] // 2_000_000)
    expected = np.abs(np.diff(wakes) - 2_000_000) / 1e3
    np.testing.assert_allclose(period_errors_us(np.array(late), 2_000_000), expected)


@pytest.mark.parametrize("whole", [True, False])
def test_the_table_fits_a_terminal(tmp_path: Path, whole: bool) -> None:
    text = render_table(summarise(write(tmp_path) if whole else tmp_path))
    assert len({len(line) for line in text.splitlines()}) == 1
    assert len(text.splitlines()[0]) <= 90
    assert ("3 of 4 cubes in the bowl, 0 limit violations" in text) is whole
    assert "nan" not in text.lower()
