"""Formats the figures of a summary as text; the report page and the terminal table share it."""

from __future__ import annotations

from typing import Any

UNKNOWN = "not known"
DISCONTINUITY_UNITS = ("rad", "rad/s", "rad/s²")
ROUNDING = 1e-9
"""A discontinuity up to this is rounding; the supervisor uses the same tolerance."""


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A number with its unit."""
    if value is None:
        return UNKNOWN
    return f"{value:.{digits}f}{' ' + unit if unit else ''}"


def count(value: int | None) -> str:
    """An integer with thousands separators."""
    return UNKNOWN if value is None else f"{value:,}"


def microseconds(value: float | None) -> str:
    """A duration given in microseconds, in µs, ms or s."""
    if value is None:
        return UNKNOWN
    if value < 1e3:
        return f"{value:.0f} µs"
    return f"{value / 1e3:.1f} ms" if value < 1e6 else f"{value / 1e6:.1f} s"


def percent(value: float | None, digits: int = 0) -> str:
    """A fraction as a percentage."""
    return UNKNOWN if value is None else f"{100 * value:.{digits}f} %"


def violations(summary: dict[str, Any]) -> int | None:
    """Number of instants at which a limit was exceeded, over all quantities; None if one of them is unknown."""
    counts = summary["limit_violations"]
    if counts is None or None in counts.values():
        return None
    return int(sum(counts.values()))


def successes(summary: dict[str, Any]) -> str:
    """How many episodes succeeded."""
    done, all_ = summary["successes"], summary["episodes"]
    if all_ == 0:
        return "No episode finished"
    if (summary["task"] or "").startswith("pick_place"):
        return f"{done} of {all_} {'cube' if all_ == 1 else 'cubes'} in the bowl"
    return f"{done} of {all_} {'episode' if all_ == 1 else 'episodes'} succeeded"


def limit_violations(summary: dict[str, Any]) -> str:
    """How often a limit was exceeded."""
    count = violations(summary)
    if count is None:
        return "limits not checked"
    return f"{count} limit violation{'' if count == 1 else 's'}"


def headline(summary: dict[str, Any]) -> str:
    """The result of the run in one line."""
    return f"{successes(summary)}, {limit_violations(summary)}"


def interval(summary: dict[str, Any]) -> str:
    """Confidence interval of the success rate; "" if there is none."""
    bounds = summary["success_interval"]
    return f"95 % interval {100 * bounds[0]:.0f} to {100 * bounds[1]:.0f} %" if bounds else ""


def configuration(summary: dict[str, Any]) -> str:
    """Policy, task, robot and seed of the run."""
    formats = {"policy": "{} policy", "task": "task {}", "robot": "arm {}", "seed": "seed {}"}
    parts = [text.format(summary[key]) for key, text in formats.items() if summary[key] is not None]
    return ", ".join(parts) if parts else UNKNOWN


def delay(summary: dict[str, Any]) -> str:
    """The delay that was added to every inference; "" if there was none."""
    given = summary["delay_ms"]
    if not isinstance(given, list) or len(given) != 2 or not given[1]:
        return ""
    low, high = given
    return f"{low:g} ms added" if low == high else f"{low:g} to {high:g} ms added"


def reasons(counts: dict[str, int]) -> str:
    """Counts by reason, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in ordered if n)


def acceptance(group: dict[str, Any] | None, accepted: str) -> str:
    """Numbers of accepted and of refused plans or chunks, with the reasons.

    Args:
        group: `plans` or `chunks` of the summary.
        accepted: Key of the accepted ones: "accepted" or "planned".
    """
    if group is None:
        return UNKNOWN
    refused = sum(group["refused"].values())
    text = f"{group[accepted] or 0} {accepted}, {refused} refused"
    return f"{text} ({reasons(group['refused'])})" if refused else text


def discontinuities(summary: dict[str, Any]) -> str:
    """Maximum discontinuity at a switch of plans, per quantity."""
    values = summary["switch_discontinuity"]
    if values is None:
        return UNKNOWN
    return ", ".join(
        f"{v:.1g} {u}" if v else f"0 {u}" for v, u in zip(values.values(), DISCONTINUITY_UNITS, strict=True)
    )


def max_discontinuity(summary: dict[str, Any]) -> str:
    """The largest discontinuity over all quantities; "none" up to rounding."""
    values = summary["switch_discontinuity"]
    if values is None:
        return UNKNOWN
    value, unit = max(zip(values.values(), DISCONTINUITY_UNITS, strict=True))
    return "none" if value <= ROUNDING else f"{value:.2g} {unit}"


def inference(summary: dict[str, Any]) -> str:
    """Inference time, and control steps executed per inference if known."""
    text = number(summary["inference_ms"], 1, "ms")
    steps = summary["steps_per_inference"]
    return text if steps is None else f"{text}, {steps:.1f} control steps per inference"


def percentiles(group: dict[str, Any]) -> str:
    """Percentiles of a period error."""
    if group["p50"] is None:
        return UNKNOWN
    return ", ".join(f"{k} {microseconds(group[k])}" for k in ("p50", "p99", "max"))


def rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and text of every row of the table."""
    rate = percent(summary["success_rate"])
    rate += f" ({interval(summary)})" if interval(summary) else ""
    if summary["success_threshold"] is not None:
        rate += f", required {percent(summary['success_threshold'])}"
    peaks = summary["peak_ratio"]
    added, latency = delay(summary), summary["capture_to_command_ms"]
    capture = UNKNOWN
    if latency["p50"] is not None:
        capture = f"p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms, max {latency['max']:.0f} ms"
        capture += f"; {added}" if added else ""
    return [
        ("run", configuration(summary)),
        ("success", rate),
        ("commands", f"{number(summary['command_rate_hz'], 1, 'Hz')}, {limit_violations(summary)}"),
        ("peak use of limits", ", ".join(f"{k} {percent(v, 2)}" for k, v in peaks.items()) if peaks else UNKNOWN),
        ("period error", percentiles(summary["period_error_us"])),
        ("  of baseline loop", percentiles(summary["baseline_period_error_us"])),
        ("switch discontinuity", discontinuities(summary)),
        ("plans", acceptance(summary["plans"], "accepted")),
        ("chunks", acceptance(summary["chunks"], "planned")),
        ("capture to command", capture),
        ("inference", inference(summary)),
        ("peak jerk of chunks", number(summary["chunk_jerk"], 2, "of the limit, arm joints, median over episodes")),
        (
            "simulation",
            f"{number(summary['real_time_factor'], 3)} × real time, cameras {number(summary['camera_hz'], 1, 'Hz')}",
        ),
    ]
