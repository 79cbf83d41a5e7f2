"""Computes the figures of a run from its log files: the contents of `report.json`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.limit_monitor import GAP_NS, QUANTITIES
from vla_ros.core.records import NS
from vla_ros.core.statistics import wilson_interval
from vla_ros.report.logs import BASELINE_LOG, REQUIRED_LOGS, Logs, read_logs

Floats = npt.NDArray[np.float64]


def summarise(folder: Path) -> dict[str, Any]:
    """Summarise a run; a figure whose log is missing is None.

    Args:
        folder: Folder of the run, with the files that the nodes wrote.

    Returns:
        Data for JSON, without NaN and arrays. The keys are the same for every run.
    """
    return summarise_logs(read_logs(Path(folder)))


def summarise_logs(logs: Logs) -> dict[str, Any]:
    """The same as `summarise`, from logs that are read already."""
    run, observer, sim = logs.table("run.json"), logs.table("observer.json"), logs.table("sim.json")
    episodes = len(logs.episodes)
    successes = sum(e["success"] for e in logs.episodes)
    seconds = sorted(float(e["seconds"]) for e in logs.episodes if e["success"] and "seconds" in e)
    stamps = logs.array("commands.npz", "stamps_ns")
    latency = logs.array("commands.npz", "capture_to_command_ns")
    summary: dict[str, Any] = {
        "policy": run.get("policy"),
        "task": run.get("task"),
        "robot": run.get("robot"),
        "seed": run.get("seed"),
        "delay_ms": run.get("delay_ms"),
        "episodes_requested": run.get("episodes"),
        "episodes": episodes,
        "successes": successes,
        "success_rate": successes / episodes if episodes else None,
        "success_interval": wilson_interval(successes, episodes),
        "success_threshold": run.get("success_threshold"),
        "seconds_to_success": percentiles(seconds or None, p50=50, max=100),  # type: ignore[arg-type]
        "command_rate_hz": None if stamps is None else command_rate_hz(stamps),
        "commands": observer.get("samples"),
        "commands_lost": observer.get("lost"),
        "period_error_us": _period_error(logs, "loop.npz"),
        "baseline_period_error_us": _period_error(logs, BASELINE_LOG),
        "limit_violations": _by_quantity(observer.get("violations")),
        "peak_ratio": _by_quantity(observer.get("peak_ratio")),
        "topics_agree": observer.get("topics_agree"),
        "switch_discontinuity": _switch_discontinuity(logs),
        "plans": _plans(logs),
        "chunks": _chunks(logs),
        "capture_to_command_ms": percentiles(None if latency is None else latency / 1e6, p50=50, p99=99, max=100),
        "inference_ms": logs.table("policy.json").get("inference_ms"),
        "inferences": logs.table("policy.json").get("inferences"),
        **_execution(logs),
        "uncertainty_rad": _uncertainty(logs),
        "real_time_factor": sim.get("real_time_factor"),
        "camera_hz": sim.get("camera_hz"),
        "scheduling": logs.table("supervisor.json").get("scheduling"),
        "missing": logs.missing,
        "unreadable": logs.unreadable,
        "lost_processes": list(run.get("lost_processes") or []),
        "versions": run.get("versions") or {},
    }
    summary["failure_reasons"] = failure_reasons(summary)
    summary["passed"] = not summary["failure_reasons"]
    return to_json_data(summary)  # type: ignore[no-any-return]


def _period_error(logs: Logs, name: str) -> dict[str, float | None]:
    latency, period = logs.array(name, "wake_latency_ns"), logs.array(name, "period_ns")
    errors = None if latency is None or period is None else period_errors_us(latency, int(period))
    return percentiles(errors, p50=50, p99=99, max=100)


def _by_quantity(values: Any) -> dict[str, Any] | None:
    return {quantity: values.get(quantity) for quantity in QUANTITIES} if isinstance(values, dict) else None


def _switch_discontinuity(logs: Logs) -> dict[str, float] | None:
    """Per quantity the larger of what the observer measured and what the supervisor permitted."""
    measured = logs.table("observer.json").get("switch_discontinuity")
    permitted = logs.table("supervisor.json").get("switch_discontinuity")
    rows = [[measured[k] for k in QUANTITIES[:3]]] if isinstance(measured, dict) else []
    rows += [permitted] if isinstance(permitted, list) and len(permitted) == 3 else []
    return {k: max(r[i] for r in rows) for i, k in enumerate(QUANTITIES[:3])} if rows else None


def _plans(logs: Logs) -> dict[str, Any] | None:
    table = logs.table("supervisor.json")
    return {"accepted": table.get("accepted"), "refused": table.get("refusals") or {}} if table else None


def _uncertainty(logs: Logs) -> dict[str, Any] | None:
    """Mean and maximum of the uncertainty that the policy published [rad]; None if it published none."""
    table = logs.table("policy.json")
    values = {name: table.get(f"uncertainty_rad_{name}") for name in ("mean", "max")}
    return values if None not in values.values() else None


def _chunks(logs: Logs) -> dict[str, Any] | None:
    if "planner.json" not in logs.tables:
        return None
    table = logs.table("planner.json")
    return {
        "planned": table.get("planned", 0),
        "unconfirmed": table.get("unconfirmed", 0),
        "refused": {k.removeprefix("refused."): v for k, v in table.items() if k.startswith("refused.")},
    }


def _execution(logs: Logs) -> dict[str, float | None]:
    """Control steps per inference, and peak jerk of the chunks over the limit, as `./vla eval` computes them.

    Only chunks received during an episode count; the return to the home position does not. The jerk is the maximum
    of an episode, and the median over the episodes.
    """
    received, jerk, step = (logs.array("commands.npz", key) for key in ("chunks_ns", "chunk_jerk", "step_s"))
    timed = [e for e in logs.episodes if {"seconds", "start_ns", "end_ns"} <= e.keys()]
    steps = peak = None
    if received is not None and jerk is not None and step is not None:
        inside = [(received >= e["start_ns"]) & (received <= e["end_ns"]) for e in timed]
        chunks = sum(int(i.sum()) for i in inside)
        if chunks:
            steps = sum(float(e["seconds"]) for e in timed) / float(step) / chunks
            peak = float(np.median([jerk[i].max() for i in inside if i.any()]))
    return {"steps_per_inference": steps, "chunk_jerk": peak}


def failure_reasons(summary: dict[str, Any]) -> list[str]:
    """The reasons why a run did not pass, one sentence each; empty if it passed."""
    reasons = [f"Process lost: {name}." for name in summary["lost_processes"]]
    reasons += [f"{name} is missing." for name in summary["missing"] if name in REQUIRED_LOGS]
    reasons += [f"{name} could not be read." for name in summary["unreadable"] if name in REQUIRED_LOGS]
    for quantity, count in (summary["limit_violations"] or {}).items():
        if count != 0:
            shown = "an unknown number of" if count is None else count
            reasons.append(f"The {quantity} limit was exceeded at {shown} instant{'' if count == 1 else 's'}.")
    if summary["inferences"] == 0:
        reasons.append("The policy made no inference; see the last line of policy.log.")
    if summary["topics_agree"] is False:
        reasons.append("The two command topics did not carry the same commands.")
    return reasons + _success_failures(summary)


def _success_failures(summary: dict[str, Any]) -> list[str]:
    finished, requested = summary["episodes"], summary["episodes_requested"]
    rate, threshold = summary["success_rate"], summary["success_threshold"]
    if finished == 0:
        return ["No episode finished."]
    reasons = []
    if requested is not None and finished < requested:
        reasons.append(f"Only {finished} of {requested} episodes finished.")
    if threshold is not None and not rate >= threshold:
        reasons.append(f"Success rate {100 * rate:.0f} % is below the threshold of {100 * threshold:.0f} %.")
    return reasons


def period_errors_us(wake_latency_ns: npt.NDArray[np.int64], period_ns: int) -> Floats:
    """Absolute difference between the period and the time between consecutive wake-ups of a loop.

    The loop skips deadlines that it has missed by whole periods; the skipped time counts as error.

    Args:
        wake_latency_ns: Time from each deadline to its wake-up, shape (n,) [ns].
        period_ns: Time between deadlines [ns].

    Returns:
        Shape (n - 1,) [us].
    """
    latency = np.asarray(wake_latency_ns, dtype=np.int64).ravel()
    to_next_deadline = period_ns * np.maximum(1, 1 + latency[:-1] // period_ns)
    errors: Floats = np.abs(to_next_deadline + np.diff(latency) - period_ns) / 1e3
    return errors


def command_rate_hz(stamps_ns: npt.NDArray[np.int64]) -> float | None:
    """Mean rate of a command stream without its pauses; None with fewer than two commands [Hz]."""
    steps = np.diff(np.asarray(stamps_ns, dtype=np.int64))
    steps = steps[(steps > 0) & (steps <= GAP_NS)]
    return float(len(steps) * NS / steps.sum()) if len(steps) else None


def percentiles(values: Floats | None, **percents: float) -> dict[str, float | None]:
    """Percentiles by name, for example p50=50; each is None without values."""
    if values is None or len(values) == 0:
        return dict.fromkeys(percents)
    results = np.percentile(values, list(percents.values()))
    return {name: float(value) for name, value in zip(percents, results, strict=True)}


def to_json_data(value: Any) -> Any:
    """Convert to JSON types: arrays and tuples to lists, numbers that are not finite to None, keys to strings."""
    if isinstance(value, dict):
        return {str(k): to_json_data(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [to_json_data(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value if value is None else str(value)
