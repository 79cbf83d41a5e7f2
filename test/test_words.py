"""Retired names and coined words do not come back into code, configuration or documentation."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RETIRED = {
    "ActorConfig": "TransformerConfig or NetworkConfig",
    "ActorModel": "VlaNetwork",
    "Agreement": "StreamComparison",
    "Answer": "RawOutput or RequestResult",
    "ArmShape": "ArmCollisionModel",
    "ExpertPolicy": "ScriptedPolicy",
    "FARTHEST": "MAX",
    "GREATEST": "MAX",
    "HUGE": "MAX",
    "InForce": "ActivePlanListener",
    "Judge": "LimitMonitor",
    "Judgement": "LimitReport",
    "LEAST": "MIN",
    "Lateness": "WakeLatencyBuffer",
    "LearnedPolicy": "CheckpointPolicy",
    "Listener": "GraphClient",
    "LocalBasis": "scipy.interpolate.BSpline",
    "Looking": "IncrementalClearance",
    "MOST": "MAX",
    "ObserveConfig": "SynchroniserConfig",
    "Passage": "ClearanceResult",
    "Said": "DecodedActions",
    "SpaceConfig": "ClearanceConfig",
    "Tally": "metrics",
    "Telling": "StatusPublisher",
    "Trail": "DelayedTrajectory",
    "VlaModel": "VlaNetwork",
    "WatchConfig": "MonitorConfig",
    "braking_room": "braking_margin",
    "camera_age_s": "camera_timeout_s",
    "cameras_node": "camera_monitor_node",
    "deadman_s": "deadman_timeout_s",
    "delay_high_ms": "delay_max_ms",
    "delay_low_ms": "delay_min_ms",
    "doubt": "uncertainty",
    "doubts": "uncertainty",
    "estop_heartbeat_s": "estop_timeout_s",
    "evaluation_matrix": "basis_matrix",
    "greatest": "maximum or largest",
    "handover_jump": "switch_discontinuity",
    "hear": "receive or normalise",
    "heard": "received",
    "heed": "apply",
    "imagine": "predict",
    "imagined": "predicted",
    "in_force": "active_plan",
    "in_order": "reordered",
    "joint_stamp_age_s": "joint_stamp_max_age_s",
    "joint_state_age_s": "joint_state_timeout_s",
    "judge": "check",
    "judged": "checked",
    "judgement": "report",
    "largest_step": "max_command_step_rad",
    "load_shape": "load_collision_model",
    "longest_s": "episode_timeout_s",
    "max_disagreement": "max_handover_error_rad",
    "may_be_blocked": "untracked_joints",
    "mind_the_gap": "handle_loop_stall",
    "nearness": "proximity",
    "no_plan_s": "plan_timeout_s",
    "nursery": "worker pool",
    "of one mind": "deterministic",
    "picture": "image",
    "pictures": "images",
    "plan in force": "active plan",
    "plan_early_s": "max_plan_early_s",
    "plan_in_force": "active_plan",
    "plan_late_s": "max_plan_late_s",
    "rivals": "baselines",
    "said": "published, stated or predicted",
    "sample_basis": "uniform_basis",
    "seams": "chunk transitions",
    "splice": "switch or transition",
    "story": "fuzzer",
    "strain": "severity",
    "tally": "metrics",
    "told": "given, delayed or notified",
    "tracking_stop": "tracking_error_stop_rad",
    "tracking_warn": "tracking_error_warn_rad",
    "why_not_whole": "failure_reasons",
    "witness": "graph client",
}
"""Retired words and what to write instead, case-sensitive. A word without underscores also matches as part of a
snake_case name; a name with underscores matches as a complete name."""

RETIRED_NAMES = {
    "apart": "deviation, distance or spacing",
    "least": "min or minimum",
    "say": "decode or publish",
    "sight": "visual tokens",
    "tell": "publish or broadcast",
}
"""Ordinary words that are retired as parts of names in Python; prose may use them."""

ENDINGS = ("py", "md", "yaml", "xml", "j2", "c", "cpp")
EXEMPT = {"CHANGELOG.md", "test/test_words.py"}


def tracked() -> list[str]:
    """Tracked text files; in a copy without git, every file with these endings outside hidden folders."""
    git = ["git", "ls-files", *(f"*.{ending}" for ending in ENDINGS)]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:
        found = (path.relative_to(ROOT) for ending in ENDINGS for path in ROOT.rglob(f"*.{ending}"))
        names = [str(path) for path in found if not any(part.startswith(".") for part in path.parts)]
    return sorted(name for name in names if name not in EXEMPT and (ROOT / name).is_file())


def pattern(words: dict[str, str]) -> re.Pattern[str]:
    names = "|".join(re.escape(word) for word in words if "_" in word)
    parts = "|".join(re.escape(word) for word in words if "_" not in word)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{parts})(?![A-Za-z0-9])|\b(?:{names})\b")


PATTERN = pattern(RETIRED)
ELEMENT = re.compile(r"</?[a-z]+")
"""The name of an HTML element, for example "<picture"."""


def uses(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        for match in PATTERN.finditer(line):
            word = match.group()
            yield f'{number}: "{word}"; write {RETIRED[word]}: {line.strip()[:100]}'


def names(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            for word in RETIRED_NAMES.keys() & set(token.string.split("_")):
                yield f'{token.start[0]}: "{token.string}"; write {RETIRED_NAMES[word]}: {token.line.strip()[:100]}'


@pytest.mark.parametrize("name", tracked())
def test_a_file_and_its_path_use_no_retired_word(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".j2"):
        text = ELEMENT.sub("", text)
    found = [*uses(name), *uses(text), *(names(text) if name.endswith(".py") else ())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("def _heed(", 1),
        ("told_ns, untold", 1),
        ("the plan in force", 1),
        ("largest_step", 1),
        ("largest_steps, trail, Trails", 0),
    ],
)
def test_words_are_found_in_names_and_prose(text: str, count: int) -> None:
    assert len(list(uses(text))) == count


def test_names_are_found_in_code_only() -> None:
    source = "lines_apart = 1  # two lines apart\ntext = 'at least'\nresult.say(text)\n"
    assert [line.split(":")[0] for line in names(source)] == ["1", "3"]
