"""SAFETY.md matches the code: its fault table equals the rules, and every file, name and test it refers to exists."""

from __future__ import annotations

import re
from pathlib import Path

from vla_ros.safety.fault_rules import RULES, Action

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "SAFETY.md").read_text(encoding="utf-8")
ACTIONS = {Action.WARN: "warning", Action.STOP: "stop", Action.ESTOP: "emergency stop"}


def test_the_fault_table_equals_the_rules() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", TEXT, re.MULTILINE)
    assert rows == [(n, r.description, ACTIONS[r.action], r.recovery.value) for n, r in RULES.items()]


def promises() -> list[list[str]]:
    part = TEXT.partition("## Promises")[2].partition("## Faults")[0]
    return [[c.strip() for c in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")][2:]


def test_every_promise_names_existing_code_and_tests() -> None:
    rows = promises()
    assert len(rows) > 10
    for promise, code, proof in rows:
        assert "/" in code, promise
        file = ROOT
        for name in re.findall(r"`([^`]+)`", code):
            if "/" in name or "." in name:
                file = ROOT / "vla_ros" / name
                assert file.exists(), f"{promise}: {name}"
            else:
                assert re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")), f"{promise}: {name}"
        current = ""
        found = re.findall(r"`([\w./]*)(?:::(\w+))?`", proof)
        assert found or "tests named here" in proof, promise
        for file_name, test in found:
            current = file_name or current
            paths = [ROOT / current] if "/" in current else list((ROOT / "test").rglob(current))
            assert paths, f"{promise}: {current}"
            if test:
                assert f"def {test}(" in paths[0].read_text(encoding="utf-8"), f"{promise}: {test}"
