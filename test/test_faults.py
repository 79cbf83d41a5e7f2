"""The fault-injection suite: its rows and its table agree, and a fault runs from end to end."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults import results_table
from faults.rows import FAULTS

ROOT = Path(__file__).resolve().parents[1]


def vla_faults(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vla_ros.cli", "faults", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)


def table_rows() -> list[str]:
    lines = (ROOT / "docs" / "faults.md").read_text().splitlines()
    return [line for line in lines if line.startswith("| ")][1:]


def test_every_fault_has_a_unique_name() -> None:
    names = vla_faults("--list").stdout.splitlines()
    assert names == [fault.name for fault in FAULTS]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


def test_every_expected_reason_is_a_text_of_the_supervisor() -> None:
    """A reason that no code can produce would fail its row; names and numbers are inserted into the texts."""
    files = [f for room in ("safety", "nodes") for f in sorted((ROOT / "vla_ros" / room).rglob("*.py"))]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    texts = [n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is str]
    for fault in FAULTS:
        for part in re.split(r"\b(?:2|front|wrist)\b", fault.reason):
            assert any(part.strip() in text for text in texts), f"{fault.name}: {fault.reason}"


def test_every_row_of_the_table_is_of_an_existing_fault_and_has_passed() -> None:
    suite = [fault.name for fault in FAULTS]
    names = [line.split("|")[1].strip() for line in table_rows()]
    assert names == [name for name in suite if name in names]
    assert len(names) >= 60
    assert all(results_table.passed(line) for line in table_rows())


def test_new_rows_replace_old_ones_and_failed_rows_count_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "faults.md"
    monkeypatch.setattr(results_table, "FILE", file)
    names = ("one", "two", "three")
    results_table.write({"two": results_table.format_row(["two", "running"], [])}, names, complete=False)
    assert "Not run yet: one, three." in file.read_text()
    results_table.write({"one": results_table.format_row(["one", "stopped"], ["late"])}, names, complete=False)
    assert "| one | stopped | **FAILED**: late |" in file.read_text()
    assert list(results_table.read_rows()) == ["one", "two"]
    assert results_table.passed_names() == {"two"}
    results_table.write({name: results_table.format_row([name, "stopped"], []) for name in names}, names, complete=True)
    assert "3 faults, 0 failed." in file.read_text()
    assert "Every row is from one run." in file.read_text()
    assert "Not run yet" not in file.read_text()


def test_a_passed_row_is_not_missing() -> None:
    passed = {line.split("|")[1].strip() for line in table_rows() if results_table.passed(line)}
    missing = vla_faults("--missing", "--list").stdout.splitlines()
    assert not passed & set(missing)


@pytest.mark.graph
def test_ctrl_c_ends_a_run_and_reports_its_progress(ros_domain: int) -> None:
    command = [sys.executable, "-m", "vla_ros.cli", "faults", "--only", "policy s"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert run.stderr is not None
    assert "3 faults, about" in run.stderr.readline()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "interrupted after 0 of 3" in err
    assert "Traceback" not in err
    assert "0 faults" in out


@pytest.mark.graph
def test_a_fault_is_injected_and_checked(ros_domain: int) -> None:
    done = vla_faults("--only", "emergency stop requested")
    assert "| emergency stop requested | estopped |" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
