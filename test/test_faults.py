"""The fault suite: its rows are whole, and a fault really goes through it."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def vla_faults(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vla_ros.cli", "faults", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)


def test_every_fault_has_a_name_of_its_own() -> None:
    listed = vla_faults("--list").stdout.splitlines()
    names = [line for line in listed if line]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


def test_every_row_that_is_kept_is_of_a_fault_there_is_and_did_what_it_must() -> None:
    listed = vla_faults("--list").stdout.splitlines()
    kept = [line for line in (ROOT / "docs" / "faults.md").read_text().splitlines() if line.startswith("| ")][1:]
    names = [line.split("|")[1].strip() for line in kept]
    assert names == [name for name in listed if name in names]
    assert len(names) >= 60
    assert all(line.endswith("| as it must |") for line in kept)


def test_rows_are_kept_beside_the_others_and_only_good_ones_are_not_missing(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("table", ROOT / "faults" / "table.py")
    assert spec
    assert spec.loader
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    table.FILE = tmp_path / "faults.md"
    names = ("one", "two", "three")
    table.write({"two": "| two | running | as it must |"}, names, whole=False)
    assert "Not run yet: one, three." in table.FILE.read_text()
    table.write({"one": "| one | stopped | **NOT**: late |"}, names, whole=False)
    assert list(table.known()) == ["one", "two"]
    assert table.good() == {"two"}
    table.write({name: f"| {name} | stopped | as it must |" for name in names}, names, whole=True)
    assert "3 faults, 0 not as they must be." in table.FILE.read_text()
    assert "Every row is of one run." in table.FILE.read_text()
    assert "Not run yet" not in table.FILE.read_text()


def test_no_row_that_is_kept_and_good_is_missing() -> None:
    kept = [line for line in (ROOT / "docs" / "faults.md").read_text().splitlines() if line.endswith("| as it must |")]
    missing = vla_faults("--missing", "--list").stdout.splitlines()
    assert not {line.split("|")[1].strip() for line in kept} & set(missing)


@pytest.mark.graph
def test_ctrl_c_ends_a_run_at_once_and_says_how_to_go_on(ros_domain: int) -> None:
    command = [sys.executable, "-m", "vla_ros.cli", "faults", "--only", "policy s"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert run.stderr is not None
    assert "3 faults, about" in run.stderr.readline()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "ended after 0 of 3" in err
    assert "Traceback" not in err
    assert "0 faults" in out


@pytest.mark.graph
def test_a_fault_is_injected_and_judged(ros_domain: int) -> None:
    done = vla_faults("--only", "emergency stop asked for")
    assert "| emergency stop asked for | estopped |" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
