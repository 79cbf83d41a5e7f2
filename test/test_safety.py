"""SAFETY.md says what is: its fault table is the one in the code, and every test and file it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from vla_ros.safety.fault_rules import RULES, Action

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "SAFETY.md").read_text(encoding="utf-8")
WORDS = {Action.WARN: "warning", Action.STOP: "stop", Action.ESTOP: "emergency stop"}


def test_the_fault_table_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", TEXT, re.MULTILINE)
    assert rows == [(n, r.meaning, WORDS[r.action], r.clears.value) for n, r in RULES.items()]


def promises() -> list[list[str]]:
    part = TEXT.partition("## Promises")[2].partition("## Faults")[0]
    return [[c.strip() for c in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")][2:]


def test_every_promise_names_code_and_tests_that_exist() -> None:
    rows = promises()
    assert len(rows) > 10
    for promise, code, proof in rows:
        for name in re.findall(r"`((?:core|nodes|policy)/\w*(?:\.py)?|config\.py)`", code):
            assert (ROOT / "vla_ros" / name).exists(), f"{promise}: {name}"
        current = ""
        found = re.findall(r"`([\w./]*)(?:::(\w+))?`", proof)
        assert found or "tests named here" in proof, promise
        for file, test in found:
            current = file or current
            paths = [ROOT / current] if "/" in current else list((ROOT / "test").rglob(current))
            assert paths, f"{promise}: {current}"
            if test:
                assert f"def {test}(" in paths[0].read_text(encoding="utf-8"), f"{promise}: {test}"
