"""Writes the report page of a run: one HTML file that needs no other file and no network."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vla_ros.config import load_robot
from vla_ros.core.errors import VlaError
from vla_ros.core.limit_monitor import QUANTITIES
from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.report import animation, formatting, plots
from vla_ros.report.curves import command_curves, plotted_interval
from vla_ros.report.logs import BASELINE_LOG, REQUIRED_LOGS, Logs, read_logs
from vla_ros.report.summary import period_errors_us, summarise_logs

HERE = Path(__file__).parent
ANIMATION_HZ = 10.0
"""Frame rate of the animation; reduced until it fits into `ANIMATION_BYTES` [Hz]."""
ANIMATION_BYTES = 3_000_000


def write_report(folder: Path) -> dict[str, Any]:
    """Write `report.json`, `report.html` and the animation into the folder of a run.

    Args:
        folder: Folder with the log files of the nodes; any of them may be missing.

    Returns:
        The contents of `report.json`.
    """
    folder = Path(folder)
    logs = read_logs(folder)
    summary = summarise_logs(logs)
    (folder / "report.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    shown = animation.select_episode(logs)
    page = render_page(logs, summary, shown, _write_animation(logs, shown))
    (folder / "report.html").write_text(page, encoding="utf-8")
    return summary


def _write_animation(logs: Logs, number: int | None) -> dict[str, str] | None:
    """Encode the video of an episode, save it beside the page, and return what the page embeds."""
    video = None if number is None else animation.load_frames(logs, number)
    if video is None:
        return None
    frames, rate_hz = video
    data, extension = b"", ""
    for target_hz in (ANIMATION_HZ, 5.0, 2.5, 1.0):
        data, extension = animation.encode(*animation.subsample(frames, rate_hz, target_hz))
        if len(data) <= ANIMATION_BYTES:
            break
    (logs.folder / f"animation.{extension}").write_bytes(data)
    return {
        "moving": _data_uri(data, f"image/{extension}"),
        "still": _data_uri(animation.encode_jpeg(frames[-1]), "image/jpeg"),
        "width": str(frames.shape[2]),
        "height": str(frames.shape[1]),
    }


def _data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def render_page(logs: Logs, summary: dict[str, Any], shown: int | None, video: dict[str, str] | None) -> str:
    """Render the HTML.

    Args:
        logs: The logs of the run.
        summary: Their summary.
        shown: Number of the episode in the animation, or None.
        video: Data URIs "moving" and "still", and "width" and "height"; None without an animation.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        s=summary,
        formatting=formatting,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        video=video,
        shown=animation.find_episode(logs, shown),
        plotted=_plotted_episode(logs, shown),
        tiles=episode_tiles(logs, summary, shown),
        cards=cards(summary),
        motions=motions(logs, summary, shown),
        limit_use=Markup(plots.limit_use(summary["peak_ratio"])) if summary["peak_ratio"] else None,
        period_errors=period_errors(logs),
        latencies=latencies(logs),
        plan_rows=plots.acceptance_bars(summary["plans"], "accepted"),
        chunk_rows=plots.acceptance_bars(summary["chunks"], "planned"),
        incomplete=[n for n in summary["missing"] if n in REQUIRED_LOGS] + summary["unreadable"],
    )


def episode_tiles(logs: Logs, summary: dict[str, Any], shown: int | None) -> list[dict[str, Any]]:
    """One tile per finished episode, and one for each requested episode that did not finish."""
    tiles = []
    for e in logs.episodes:
        seconds = float(e.get("seconds", 0.0))
        result = "success" if e["success"] else "failure"
        tiles.append(
            {
                "kind": result,
                "text": f"{seconds:.1f}" if e["success"] else f"{seconds:.0f}",
                "title": f"episode {e['episode'] + 1}, seed {e.get('seed', '?')}: {result} after {seconds:.1f} s",
                "shown": e["episode"] == shown,
            }
        )
    requested = summary["episodes_requested"]
    remaining = max(0, requested - len(tiles)) if isinstance(requested, int) else 0
    return tiles + [{"kind": "unfinished", "text": "", "title": "not finished", "shown": False}] * remaining


def cards(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The key figures: value, label and note."""
    s = summary
    error, baseline, latency, peaks = (
        s[k] for k in ("period_error_us", "baseline_period_error_us", "capture_to_command_ms", "peak_ratio")
    )
    highest = max((v for v in peaks.values() if v is not None), default=None) if peaks else None
    plans = s["plans"] or {"accepted": None, "refused": {}}
    comparison = {True: "both command topics agree", False: "command topics disagree", None: "topics not compared"}
    fmt = formatting
    return [
        (fmt.percent(s["success_rate"]), "success", fmt.interval(s)),
        (
            fmt.number(s["command_rate_hz"], 0, "Hz"),
            "command rate",
            _note((s["commands"], f"{fmt.count(s['commands'])} commands"), (True, comparison[s["topics_agree"]])),
        ),
        (
            fmt.microseconds(error["p99"]),
            "period error, 99 %",
            _note(
                (error["p50"], f"median {fmt.microseconds(error['p50'])}"),
                (baseline["p99"], f"baseline loop, 99 %: {fmt.microseconds(baseline['p99'])}"),
            ),
        ),
        (fmt.percent(highest, 2), "of a limit at most", "over all joints, quantities and commands"),
        (
            fmt.number(latency["p50"], 0, "ms"),
            "capture to command",
            _note(
                (latency["p99"], f"99 % within {fmt.number(latency['p99'], 0, 'ms')}"),
                (fmt.delay(s) or None, f"{fmt.delay(s)} to every inference"),
            ),
        ),
        (
            fmt.max_discontinuity(s),
            "switch discontinuity",
            f"at most {fmt.discontinuities(s)}" if s["switch_discontinuity"] else "",
        ),
        (
            fmt.count(plans["accepted"]),
            "accepted plans",
            _note((s["plans"], f"{sum(plans['refused'].values())} refused")),
        ),
        (
            fmt.number(s["inference_ms"], 1, "ms"),
            "inference",
            _note(
                (s["camera_hz"], f"cameras {fmt.number(s['camera_hz'], 1, 'Hz')}"),
                (s["real_time_factor"], f"physics {fmt.number(s['real_time_factor'], 2)} × real time"),
            ),
        ),
    ]


def _note(*parts: tuple[Any, str]) -> str:
    """Join the texts whose figure is known."""
    return "; ".join(text for figure, text in parts if figure is not None)


def _limits(summary: dict[str, Any]) -> Limits | None:
    try:
        return load_robot(summary["robot"] or "so101").limits
    except VlaError:
        return None


def motions(logs: Logs, summary: dict[str, Any], shown: int | None) -> list[dict[str, Any]]:
    """The plots of position, velocity, acceleration and jerk; none if the commands or the limits are unknown."""
    limits, interval = _limits(summary), plotted_interval(logs, _plotted_episode(logs, shown))
    curves = command_curves(logs, *interval) if interval else None
    if curves is None or limits is None or curves.values[0].shape[1] != len(limits.joints):
        return []
    return [
        {"name": plots.NAMES[k], "unit": plots.UNITS[k], "svg": Markup(plots.joint_motion(curves, limits, k))}
        for k in range(len(QUANTITIES))
    ]


def _plotted_episode(logs: Logs, shown: int | None) -> dict[str, Any] | None:
    """The episode of the animation, else the first success; None if its commands were not kept.

    Of a long run, the observer keeps only the last commands.
    """
    episode = animation.find_episode(logs, shown) or _first_success(logs)
    stamps = logs.array("commands.npz", "stamps_ns")
    if not episode or "start_ns" not in episode or stamps is None or not len(stamps):
        return None
    return episode if int(episode["start_ns"]) >= int(stamps[0]) - NS else None


def _first_success(logs: Logs) -> dict[str, Any] | None:
    """The first successful episode, else the first; None without episodes."""
    return next((e for e in logs.episodes if e["success"]), logs.episodes[0] if logs.episodes else None)


def period_errors(logs: Logs) -> Markup | None:
    """Histogram of the period errors; None without the log of the command loop."""
    errors = []
    for name in ("loop.npz", BASELINE_LOG):
        latency, period = logs.array(name, "wake_latency_ns"), logs.array(name, "period_ns")
        found = None if latency is None or period is None else period_errors_us(latency, int(period))
        errors.append(found if found is not None and len(found) else None)
    if errors[0] is None:
        return None
    period_us = float(logs.arrays["loop.npz"]["period_ns"]) / 1e3
    return Markup(plots.period_error_histogram(errors[0], errors[1], period_us))


def latencies(logs: Logs) -> Markup | None:
    """Histogram of the latency from image capture to command; None if no plan was executed."""
    values = logs.array("commands.npz", "capture_to_command_ns")
    return Markup(plots.latency_histogram(values / 1e6)) if values is not None and len(values) else None
