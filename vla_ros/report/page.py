"""The page: everything about a run in one file that can be mailed, and looked at rather than read."""

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
from vla_ros.report import film, plots
from vla_ros.report import formatting as words
from vla_ros.report.curves import curves, stretch
from vla_ros.report.figures import period_errors_us
from vla_ros.report.logs import BASELINE, LOGS, Logs, read_logs
from vla_ros.report.summary import summarise_logs

HERE = Path(__file__).parent
FILM_HZ = 10.0
FILM_BYTES = 3_000_000


def write_report(folder: Path) -> dict[str, Any]:
    """Write `report.json`, `report.html` and the film into a run's folder.

    Args:
        folder: What the nodes wrote to; any of their files may be missing.

    Returns:
        The contents of `report.json`.
    """
    folder = Path(folder)
    logs = read_logs(folder)
    summary = summarise_logs(logs)
    (folder / "report.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    shown = film.choose(logs)
    page = render_page(logs, summary, shown, _film(logs, shown))
    (folder / "report.html").write_text(page, encoding="utf-8")
    return summary


def _film(logs: Logs, number: int | None) -> dict[str, str] | None:
    """Encode the film, keep a copy beside the page, and hand back what the page embeds."""
    loaded = None if number is None else film.load(logs, number)
    if loaded is None:
        return None
    frames, rate = loaded
    made, ending = b"", ""
    for wanted_hz in (FILM_HZ, 5.0, 2.5, 1.0):
        made, ending = film.encode(*film.thin(frames, rate, wanted_hz))
        if len(made) <= FILM_BYTES:
            break
    (logs.folder / f"film.{ending}").write_bytes(made)
    return {
        "moving": _uri(made, f"image/{ending}"),
        "still": _uri(film.still(frames[-1]), "image/jpeg"),
        "width": str(frames.shape[2]),
        "height": str(frames.shape[1]),
    }


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def render_page(logs: Logs, summary: dict[str, Any], shown: int | None, moving: dict[str, str] | None) -> str:
    """The HTML, complete in itself."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        s=summary,
        words=words,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        film=moving,
        shown=film.episode(logs, shown),
        drawn=_drawn(logs, shown),
        cells=cells(logs, summary, shown),
        cards=cards(summary),
        motions=motions(logs, summary, shown),
        peaks=Markup(plots.peaks(summary["peak_ratio"])) if summary["peak_ratio"] else None,
        periods=periods(logs),
        latencies=latencies(logs),
        plan_rows=plots.tally(summary["plans"], "accepted"),
        chunk_rows=plots.tally(summary["chunks"], "planned"),
        absent=[n for n in summary["missing"] if n in LOGS] + summary["unreadable"],
    )


def cells(logs: Logs, summary: dict[str, Any], shown: int | None) -> list[dict[str, Any]]:
    """One coloured cell per episode, and an empty one for each that was asked for and never ended."""
    rows = []
    for e in logs.episodes:
        seconds = float(e.get("seconds", 0.0))
        end = "done" if e["success"] else "not done"
        title = f"episode {e['episode'] + 1}, seed {e.get('seed', '?')}: {end} after {seconds:.1f} s"
        rows.append(
            {
                "kind": "yes" if e["success"] else "no",
                "text": f"{seconds:.1f}" if e["success"] else f"{seconds:.0f}",
                "title": title,
            }
        )
        rows[-1]["shown"] = e["episode"] == shown
    asked = summary["episodes_asked"]
    left = max(0, asked - len(rows)) if isinstance(asked, int) else 0
    return rows + [{"kind": "never", "text": "", "title": "never came to its end", "shown": False}] * left


def cards(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Key figures: value, what it is, and a note."""
    s = summary
    error, bare, latency, peaks = (
        s[k] for k in ("period_error_us", "baseline_period_error_us", "capture_to_command_ms", "peak_ratio")
    )
    highest = max((v for v in peaks.values() if v is not None), default=None) if peaks else None
    plans = s["plans"] or {"accepted": None, "refused": {}}
    agree = {True: "both command topics agree", False: "command topics disagree", None: "topics not compared"}
    return [
        (words.percent(s["success_rate"]), "success", words.interval(s)),
        (
            words.number(s["command_rate_hz"], 0, "Hz"),
            "command rate",
            _note((s["commands"], f"{words.count(s['commands'])} commands"), (True, agree[s["topics_agree"]])),
        ),
        (
            words.microseconds(error["p99"]),
            "period error, 99 %",
            _note(
                (error["p50"], f"median {words.microseconds(error['p50'])}"),
                (bare["p99"], f"99 % of a bare loop beside it: {words.microseconds(bare['p99'])}"),
            ),
        ),
        (words.percent(highest, 2), "of a limit, at most", "every joint, every quantity, the whole run"),
        (
            words.number(latency["p50"], 0, "ms"),
            "capture to command",
            _note(
                (latency["p99"], f"99 % within {words.number(latency['p99'], 0, 'ms')}"),
                (words.delay(s) or None, f"{words.delay(s)} to every inference"),
            ),
        ),
        (words.largest_jump(s), "steps at hand-overs", f"at most {words.jump(s)}" if s["handover_jump"] else ""),
        (
            words.count(plans["accepted"]),
            "plans in force",
            _note((s["plans"], f"{sum(plans['refused'].values())} refused")),
        ),
        (
            words.number(s["inference_ms"], 1, "ms"),
            "inference",
            _note(
                (s["camera_hz"], f"cameras {words.number(s['camera_hz'], 1, 'Hz')}"),
                (s["real_time_factor"], f"physics {words.number(s['real_time_factor'], 2)} × real time"),
            ),
        ),
    ]


def _note(*parts: tuple[Any, str]) -> str:
    """What is known of a card's small print: the texts whose figure is there."""
    return "; ".join(text for figure, text in parts if figure is not None)


def _limits(summary: dict[str, Any]) -> Limits | None:
    try:
        return load_robot(summary["robot"] or "so101").limits
    except VlaError:
        return None


def motions(logs: Logs, summary: dict[str, Any], shown: int | None) -> list[dict[str, Any]]:
    """The four drawings of one episode's motion; none where the commands or the limits are not known."""
    limits, part = _limits(summary), stretch(logs, _drawn(logs, shown))
    found = curves(logs, *part) if part else None
    if found is None or limits is None or found.values[0].shape[1] != len(limits.joints):
        return []
    return [
        {"name": plots.NAMES[k], "unit": plots.UNITS[k], "svg": Markup(plots.motion(found, limits, k))}
        for k in range(len(QUANTITIES))
    ]


def _drawn(logs: Logs, shown: int | None) -> dict[str, Any] | None:
    """The episode whose motion is drawn: the film's, if its commands were kept; of a long run only the end is."""
    episode, stamps = film.episode(logs, shown) or _any_episode(logs), logs.array("commands.npz", "stamps_ns")
    if not episode or "start_ns" not in episode or stamps is None or not len(stamps):
        return None
    return episode if int(episode["start_ns"]) >= int(stamps[0]) - NS else None


def _any_episode(logs: Logs) -> dict[str, Any] | None:
    return next((e for e in logs.episodes if e["success"]), logs.episodes[0] if logs.episodes else None)


def periods(logs: Logs) -> Markup | None:
    """Histogram of the period error, None without the loop's log."""
    found = []
    for name in ("loop.npz", BASELINE):
        late, period = logs.array(name, "late_ns"), logs.array(name, "period_ns")
        errors = None if late is None or period is None else period_errors_us(late, int(period))
        found.append(errors if errors is not None and len(errors) else None)
    if found[0] is None:
        return None
    return Markup(plots.periods(found[0], found[1], float(logs.arrays["loop.npz"]["period_ns"]) / 1e3))


def latencies(logs: Logs) -> Markup | None:
    """Histogram of the latency, None where no plan was followed."""
    found = logs.array("commands.npz", "capture_to_command_ns")
    return Markup(plots.latencies(found / 1e6)) if found is not None and len(found) else None
