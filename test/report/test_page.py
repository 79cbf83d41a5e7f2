"""Tests of the report page: self-contained, robust to missing logs, and its curves keep their peaks."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report.run_folder import BEGIN, JOINTS, PERIOD, change, write

from vla_ros.config import load_robot
from vla_ros.report import animation
from vla_ros.report.curves import command_curves, envelope
from vla_ros.report.logs import REQUIRED_LOGS, read_logs
from vla_ros.report.page import write_report
from vla_ros.report.svg import Scale, ticks

VOID = {"meta", "link", "img", "source", "br"}
LINKS = ("src", "href", "srcset", "data", "action", "poster")


class Reader(HTMLParser):
    """Checks that every tag is closed; collects the links, the classes and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.classes: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in LINKS]
        self.classes += [c for name, value in attrs if name == "class" for c in value.split()]

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(folder: Path) -> Reader:
    source = (folder / "report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(source)
    reader.close()
    assert reader.open == []
    assert all(link.startswith("data:") for link in reader.links)
    assert not re.search(r"(https?:)?//[a-z]|@import|url\(|<script", re.sub(r"data:[^\"]*", "", source))
    assert not re.search(r"\b(nan|None|undefined|inf)\b", reader.text)
    assert "nan" not in "".join(re.findall(r'<path d="([^"]*)"', source))
    return reader


def test_a_complete_run(tmp_path: Path) -> None:
    summary = write_report(write(tmp_path))
    assert json.loads((tmp_path / "report.json").read_text()) == summary
    page = read(tmp_path)
    assert "3 of 4 cubes" in page.text
    assert "0 limit violations in 2,000 commands" in page.text
    assert page.classes.count("tile") == 4
    assert page.classes.count("success") == 3
    assert page.classes.count("curve") == 4 * JOINTS
    assert page.classes.count("outline") == 1
    assert page.classes.count("limit") == 4 * 2 * JOINTS + 1
    assert (tmp_path / "report.html").stat().st_size < 6_000_000


@pytest.mark.parametrize("name", [*REQUIRED_LOGS, "baseline.npz", "video_0.npz"])
@pytest.mark.parametrize("left", [None, b"", b"PK"])
def test_any_log_may_be_missing_or_broken(tmp_path: Path, name: str, left: bytes | None) -> None:
    folder = write(tmp_path)
    (folder / name).unlink()
    if left is not None:
        (folder / name).write_bytes(left)
    summary = write_report(folder)
    assert summary["passed"] is (name not in REQUIRED_LOGS)
    page = read(folder)
    assert name in REQUIRED_LOGS or name == "baseline.npz" or "No video was recorded." in page.text
    expected = "No episode finished" if (name, left) == ("episodes.jsonl", b"") else name
    assert name not in REQUIRED_LOGS or expected in page.text


def test_an_empty_folder(tmp_path: Path) -> None:
    assert write_report(tmp_path)["passed"] is False
    assert "No episode finished" in read(tmp_path).text


def test_empty_arrays(tmp_path: Path) -> None:
    """An observer that received nothing, and a loop without a cycle."""
    folder = write(tmp_path, episodes=0, videos=())
    none = np.zeros(0, dtype=np.int64)
    rest = dict.fromkeys(("stamps_ns", "handovers_ns", "captures_ns", "capture_to_command_ns"), none)
    np.savez(folder / "commands.npz", positions=np.zeros((0, JOINTS)), **rest)
    np.savez(folder / "loop.npz", wake_latency_ns=none, period_ns=PERIOD)
    np.savez(folder / "baseline.npz", wake_latency_ns=none, period_ns=PERIOD)
    assert write_report(folder)["command_rate_hz"] is None
    read(folder)


def test_text_from_the_logs_is_escaped(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(folder, "run.json", policy="<script>alert(1)</script>", task="<b>")
    write_report(folder)
    read(folder)


def test_an_unknown_robot_has_no_curves_but_a_page(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(folder, "run.json", robot="of_tomorrow")
    write_report(folder)
    assert "curve" not in read(folder).classes


def test_the_end_of_a_long_run_is_plotted_if_only_that_was_kept(tmp_path: Path) -> None:
    folder = write(tmp_path, episodes=4, videos=(0,))
    with np.load(folder / "commands.npz") as data:
        arrays = {name: data[name] for name in data.files}
    arrays["stamps_ns"], arrays["positions"] = arrays["stamps_ns"][1500:], arrays["positions"][1500:]
    np.savez(folder / "commands.npz", **arrays)
    write_report(folder)
    assert read(folder).classes.count("curve") == 4 * JOINTS
    assert "Every command of one interval" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_envelope_keeps_every_peak() -> None:
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.uniform(0, 10, 20_000)), rng.normal(size=20_000)
    kept_x, kept_y = envelope(x, y, 100)
    assert len(kept_x) <= 400
    assert (np.diff(kept_x) >= 0).all()
    assert (kept_y.max(), kept_y.min()) == (y.max(), y.min())
    bins = np.minimum(((x - x[0]) / (x[-1] - x[0]) * 100).astype(int), 99)
    kept = np.minimum(((kept_x - x[0]) / (x[-1] - x[0]) * 100).astype(int), 99)
    for k in range(100):
        assert y[bins == k].max() == kept_y[kept == k].max()


def test_curves_of_a_cubic(tmp_path: Path) -> None:
    """Third differences of a cubic are its third derivative, whatever the spacing of the stamps."""
    folder = write(tmp_path)
    t = np.cumsum(np.random.default_rng(1).uniform(0.001, 0.004, 400))
    stamps = BEGIN + (t * 1e9).astype(np.int64)
    seconds = (stamps - BEGIN) / 1e9
    positions = np.tile((2.0 * seconds**3)[:, None], JOINTS)
    np.savez(folder / "commands.npz", stamps_ns=stamps, positions=positions, handovers_ns=stamps[:2])
    found = command_curves(read_logs(folder), BEGIN, BEGIN + 10**10)
    assert found is not None
    np.testing.assert_allclose(found.values[3], 12.0, rtol=1e-3)
    assert found.duration == 10.0
    assert len(found.handovers) == 2


def test_a_pause_makes_no_derivative(tmp_path: Path) -> None:
    folder = write(tmp_path)
    stamps = BEGIN + PERIOD * np.concatenate([np.arange(50), 1000 + np.arange(50)])
    positions = np.repeat([0.0, 1.0], 50)[:, None] * np.ones(JOINTS)
    np.savez(folder / "commands.npz", stamps_ns=stamps, positions=positions, handovers_ns=stamps[:0])
    found = command_curves(read_logs(folder), BEGIN, BEGIN + 10**10)
    assert found is not None
    assert [np.abs(v).max() for v in found.values] == [1.0, 0.0, 0.0, 0.0]
    assert [len(v) for v in found.values] == [100, 98, 96, 94]


def test_a_curve_beyond_its_limit_is_plotted_there(tmp_path: Path) -> None:
    folder = write(tmp_path)
    with np.load(folder / "commands.npz") as data:
        arrays = dict(data)
    arrays["positions"][100:110, 0] = 2.0 * load_robot("so101").limits.upper[0]
    np.savez(folder / "commands.npz", **arrays)
    write_report(folder)
    read(folder)


def test_the_animation_shows_an_episode_that_succeeded(tmp_path: Path) -> None:
    logs = read_logs(write(tmp_path, failed=(0,), videos=(0, 1)))
    assert animation.select_episode(logs) == 1
    assert animation.select_episode(read_logs(write(tmp_path / "b", failed=(0,)))) == 0
    assert animation.select_episode(read_logs(write(tmp_path / "c", videos=()))) is None


def test_a_subsampled_video_keeps_its_speed_and_its_last_frame() -> None:
    frames = np.zeros((40, 4, 8, 3), dtype=np.uint8)
    frames[:, 0, 0, 0] = np.arange(40)
    kept, durations = animation.subsample(frames, 20.0, 10.0)
    assert len(kept) == len(durations) == 20
    assert sum(durations[:-1]) == pytest.approx(39 * 50, abs=20)
    assert kept[-1, 0, 0, 0] == 39


@pytest.mark.parametrize("encode", [animation.encode, lambda f, d: (animation.encode_gif(f, d), "gif")])
def test_the_animation_moves_and_repeats(encode) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (6, 16, 32, 3), dtype=np.uint8)
    data, extension = encode(frames, [100] * 6)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format or "").lower() == extension
        assert image.n_frames == 6
        assert image.size == (32, 16)
        assert image.info["loop"] == 0


def test_the_gif_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (40, 48, 96, 3), dtype=np.uint8)
    assert len(animation.encode_small_gif(frames, 20.0, 60_000)) <= 60_000
    assert animation.main([str(write(tmp_path)), "--out", str(tmp_path / "new" / "demo.gif")]) == 0
    assert (tmp_path / "new" / "demo.gif").read_bytes().startswith(b"GIF89a")
    assert animation.main([str(tmp_path), "--episode", "9", "--out", str(tmp_path / "no.gif")]) == 1
    assert "no video of episode 9" in capsys.readouterr().out


def test_scales_and_ticks() -> None:
    assert float(Scale(1.0, 100.0, 0.0, 10.0, log=True)(10.0)) == pytest.approx(5.0)
    assert ticks(0.0, 11.4, 6) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert ticks(1.0, 1.0) == [1.0]
