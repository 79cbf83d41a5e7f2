"""How a summary is said: the same sentences on the page and in the terminal."""

from __future__ import annotations

from typing import Any

UNKNOWN = "not known"
STEP_UNITS = ("rad", "rad/s", "rad/s²")
ROUNDING = 1e-9
"""A smaller step at a hand-over is arithmetic, not motion; the supervisor's own tolerance."""


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A number with its unit, or that it is not known."""
    if value is None:
        return UNKNOWN
    return f"{value:.{digits}f}{' ' + unit if unit else ''}"


def count(value: int | None) -> str:
    """A whole number with its thousands apart."""
    return UNKNOWN if value is None else f"{value:,}"


def microseconds(value: float | None) -> str:
    """A duration given in microseconds, in the unit that suits it."""
    if value is None:
        return UNKNOWN
    if value < 1e3:
        return f"{value:.0f} µs"
    return f"{value / 1e3:.1f} ms" if value < 1e6 else f"{value / 1e6:.1f} s"


def percent(value: float | None, digits: int = 0) -> str:
    """A fraction as a percentage."""
    return UNKNOWN if value is None else f"{100 * value:.{digits}f} %"


def violations(summary: dict[str, Any]) -> int | None:
    """Instants at which a limit was exceeded, all kinds together."""
    counts = summary["limit_violations"]
    if counts is None or None in counts.values():
        return None
    return int(sum(counts.values()))


def outcome(summary: dict[str, Any]) -> str:
    """How many episodes did what was asked."""
    done, all_ = summary["successes"], summary["episodes"]
    if all_ == 0:
        return "No episode came to its end"
    if (summary["task"] or "").startswith("pick_place"):
        return f"{done} of {all_} {'cube' if all_ == 1 else 'cubes'} in the bowl"
    return f"{done} of {all_} {'episode' if all_ == 1 else 'episodes'} succeeded"


def limits(summary: dict[str, Any]) -> str:
    """What became of the limits."""
    count = violations(summary)
    if count is None:
        return "limits not judged"
    return f"{count} limit violation{'' if count == 1 else 's'}"


def verdict(summary: dict[str, Any]) -> str:
    """The run in one line."""
    return f"{outcome(summary)}, {limits(summary)}"


def interval(summary: dict[str, Any]) -> str:
    """The uncertainty of the success rate."""
    found = summary["success_interval"]
    return f"95 % interval {100 * found[0]:.0f} to {100 * found[1]:.0f} %" if found else ""


def setting(summary: dict[str, Any]) -> str:
    """What was run."""
    shapes = {"policy": "{} policy", "task": "task {}", "robot": "arm {}", "seed": "seed {}"}
    parts = [shape.format(summary[key]) for key, shape in shapes.items() if summary[key] is not None]
    return ", ".join(parts) if parts else UNKNOWN


def delay(summary: dict[str, Any]) -> str:
    """What was added to every inference; nothing where nothing was."""
    given = summary["delay_ms"]
    if not isinstance(given, list) or len(given) != 2 or not given[1]:
        return ""
    low, high = given
    return f"{low:g} ms added" if low == high else f"{low:g} to {high:g} ms added"


def reasons(counts: dict[str, int]) -> str:
    """Counts by reason, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in ordered if n)


def answers(group: dict[str, Any] | None, done: str) -> str:
    """Plans or chunks: how many were taken and how many refused, and why."""
    if group is None:
        return UNKNOWN
    refused = sum(group["refused"].values())
    text = f"{group[done] or 0} {done}, {refused} refused"
    return f"{text} ({reasons(group['refused'])})" if refused else text


def jump(summary: dict[str, Any]) -> str:
    """The largest step at a hand-over, per quantity."""
    found = summary["handover_jump"]
    if found is None:
        return UNKNOWN
    return ", ".join(f"{v:.1g} {u}" if v else f"0 {u}" for v, u in zip(found.values(), STEP_UNITS, strict=True))


def largest_jump(summary: dict[str, Any]) -> str:
    """The step at a hand-over that counts most, "none" where all are rounding."""
    found = summary["handover_jump"]
    if found is None:
        return UNKNOWN
    value, unit = max(zip(found.values(), STEP_UNITS, strict=True))
    return "none" if value <= ROUNDING else f"{value:.2g} {unit}"


def inference(summary: dict[str, Any]) -> str:
    """How long one takes, and how long what came of it is driven."""
    text = number(summary["inference_ms"], 1, "ms")
    steps = summary["steps_per_inference"]
    return text if steps is None else f"{text}, {steps:.1f} control steps per inference"


def errors(group: dict[str, Any]) -> str:
    """Percentiles of a period error."""
    if group["p50"] is None:
        return UNKNOWN
    return ", ".join(f"{k} {microseconds(group[k])}" for k in ("p50", "p99", "max"))


def rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and text of every line of the table."""
    rate = percent(summary["success_rate"])
    rate += f" ({interval(summary)})" if interval(summary) else ""
    if summary["bar"] is not None:
        rate += f", bar {percent(summary['bar'])}"
    peaks = summary["peak_ratio"]
    delays, latency = delay(summary), summary["capture_to_command_ms"]
    capture = UNKNOWN
    if latency["p50"] is not None:
        capture = f"p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms, max {latency['max']:.0f} ms"
        capture += f"; {delays}" if delays else ""
    return [
        ("run", setting(summary)),
        ("success", rate),
        ("commands", f"{number(summary['command_rate_hz'], 1, 'Hz')}, {limits(summary)}"),
        ("peaks of the limits", ", ".join(f"{k} {percent(v, 2)}" for k, v in peaks.items()) if peaks else UNKNOWN),
        ("period error", errors(summary["period_error_us"])),
        ("  of a bare loop", errors(summary["baseline_period_error_us"])),
        ("hand-over steps", jump(summary)),
        ("plans", answers(summary["plans"], "accepted")),
        ("chunks", answers(summary["chunks"], "planned")),
        ("capture to command", capture),
        ("inference", inference(summary)),
        ("peak jerk of chunks", number(summary["chunk_jerk"], 2, "of the limit, the arm's, median over episodes")),
        (
            "simulation",
            f"{number(summary['real_time_factor'], 3)} × real time, cameras {number(summary['camera_hz'], 1, 'Hz')}",
        ),
    ]
