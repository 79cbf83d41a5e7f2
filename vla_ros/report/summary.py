"""What a run came to, as plain data: the contents of `report.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.core.limit_monitor import QUANTITIES
from vla_ros.report.figures import command_rate_hz, percentiles, period_errors_us, plain, wilson
from vla_ros.report.logs import BASELINE, LOGS, Logs, read_logs


def summarise(folder: Path) -> dict[str, Any]:
    """Sum up a run's folder; a figure whose log is missing is None.

    Args:
        folder: What the nodes wrote to.

    Returns:
        Ready for JSON: no NaN, no arrays. The keys are the same for every run.
    """
    return summarise_logs(read_logs(Path(folder)))


def summarise_logs(logs: Logs) -> dict[str, Any]:
    """`summarise` of logs already read."""
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
        "episodes_asked": run.get("episodes"),
        "episodes": episodes,
        "successes": successes,
        "success_rate": successes / episodes if episodes else None,
        "success_interval": wilson(successes, episodes),
        "bar": run.get("bar"),
        "seconds_to_success": percentiles(seconds or None, p50=50, max=100),  # type: ignore[arg-type]
        "command_rate_hz": None if stamps is None else command_rate_hz(stamps),
        "commands": observer.get("samples"),
        "commands_lost": observer.get("lost"),
        "period_error_us": _errors(logs, "loop.npz"),
        "baseline_period_error_us": _errors(logs, BASELINE),
        "limit_violations": _by_kind(observer.get("violations")),
        "peak_ratio": _by_kind(observer.get("peak_ratio")),
        "topics_agree": observer.get("topics_agree"),
        "handover_jump": _jump(logs),
        "plans": _plans(logs),
        "chunks": _chunks(logs),
        "capture_to_command_ms": percentiles(None if latency is None else latency / 1e6, p50=50, p99=99, max=100),
        "inference_ms": logs.table("policy.json").get("inference_ms"),
        "inferences": logs.table("policy.json").get("inferences"),
        **_driven(logs),
        "doubt_rad": _doubt(logs),
        "real_time_factor": sim.get("real_time_factor"),
        "camera_hz": sim.get("camera_hz"),
        "scheduling": logs.table("supervisor.json").get("scheduling"),
        "missing": logs.missing,
        "unreadable": logs.unreadable,
        "lost_processes": list(run.get("lost_processes") or []),
        "versions": run.get("versions") or {},
    }
    summary["why_not_whole"] = why_not_whole(summary)
    summary["whole"] = not summary["why_not_whole"]
    return plain(summary)  # type: ignore[no-any-return]


def _errors(logs: Logs, name: str) -> dict[str, float | None]:
    late, period = logs.array(name, "late_ns"), logs.array(name, "period_ns")
    errors = None if late is None or period is None else period_errors_us(late, int(period))
    return percentiles(errors, p50=50, p99=99, max=100)


def _by_kind(found: Any) -> dict[str, Any] | None:
    return {kind: found.get(kind) for kind in QUANTITIES} if isinstance(found, dict) else None


def _jump(logs: Logs) -> dict[str, float] | None:
    """The larger of what the observer saw and what the supervisor permitted."""
    seen = logs.table("observer.json").get("handover_jump")
    permitted = logs.table("supervisor.json").get("handover_jump")
    rows = [[seen[k] for k in QUANTITIES[:3]]] if isinstance(seen, dict) else []
    rows += [permitted] if isinstance(permitted, list) and len(permitted) == 3 else []
    return {k: max(r[i] for r in rows) for i, k in enumerate(QUANTITIES[:3])} if rows else None


def _plans(logs: Logs) -> dict[str, Any] | None:
    table = logs.table("supervisor.json")
    return {"accepted": table.get("accepted"), "refused": table.get("refused") or {}} if table else None


def _doubt(logs: Logs) -> dict[str, Any] | None:
    """How unsure a policy said it was [rad]; None where it said nothing."""
    table = logs.table("policy.json")
    found = {name: table.get(f"doubt_rad_{name}") for name in ("mean", "most")}
    return found if None not in found.values() else None


def _chunks(logs: Logs) -> dict[str, Any] | None:
    if "planner.json" not in logs.tables:
        return None
    table = logs.table("planner.json")
    return {
        "planned": table.get("planned", 0),
        "unanswered": table.get("unanswered", 0),
        "refused": {k.removeprefix("refused."): v for k, v in table.items() if k.startswith("refused.")},
    }


def _driven(logs: Logs) -> dict[str, float | None]:
    """Control steps per inference, and the greatest jerk of a chunk over the limit, as `./vla eval` counts them.

    Of the chunks that came in an episode, so the way home does not count; the jerk is the median over episodes.
    """
    came, jerk, step = (logs.array("commands.npz", key) for key in ("chunks_ns", "chunk_jerk", "step_s"))
    timed = [e for e in logs.episodes if {"seconds", "start_ns", "end_ns"} <= e.keys()]
    steps = peak = None
    if came is not None and jerk is not None and step is not None:
        within = [(came >= e["start_ns"]) & (came <= e["end_ns"]) for e in timed]
        asked = sum(int(w.sum()) for w in within)
        if asked:
            steps = sum(float(e["seconds"]) for e in timed) / float(step) / asked
            peak = float(np.median([jerk[w].max() for w in within if w.any()]))
    return {"steps_per_inference": steps, "chunk_jerk": peak}


def why_not_whole(summary: dict[str, Any]) -> list[str]:
    """Every reason not to call a run whole, one sentence each; an empty list if it was."""
    reasons = [f"Process lost: {name}." for name in summary["lost_processes"]]
    reasons += [f"{name} is missing." for name in summary["missing"] if name in LOGS]
    reasons += [f"{name} could not be read." for name in summary["unreadable"] if name in LOGS]
    for kind, count in (summary["limit_violations"] or {}).items():
        if count != 0:
            shown = "an unknown number of" if count is None else count
            reasons.append(f"The {kind} limit was exceeded at {shown} instant{'' if count == 1 else 's'}.")
    if summary["inferences"] == 0:
        reasons.append("The policy never answered; the last line of policy.log says why.")
    if summary["topics_agree"] is False:
        reasons.append("The two command topics did not carry the same commands.")
    return reasons + _about_success(summary)


def _about_success(summary: dict[str, Any]) -> list[str]:
    done, asked, rate, bar = (summary[k] for k in ("episodes", "episodes_asked", "success_rate", "bar"))
    if done == 0:
        return ["No episode came to its end."]
    reasons = []
    if asked is not None and done < asked:
        reasons.append(f"Only {done} of {asked} episodes came to their end.")
    if bar is not None and not rate >= bar:
        reasons.append(f"Success rate {100 * rate:.0f} % is below the bar of {100 * bar:.0f} %.")
    return reasons
