"""The fault suite: its rows are whole, and a fault really goes through it."""

from __future__ import annotations

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


@pytest.mark.graph
def test_a_fault_is_injected_and_judged(ros_domain: int) -> None:
    done = vla_faults("--only", "emergency stop asked for")
    assert "| emergency stop asked for | estopped |" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
