"""Tests of node processes: no ROS domain is reserved twice, no process survives its group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from vla_ros.core.errors import ConfigError
from vla_ros.system import processes as processes_module
from vla_ros.system.processes import ProcessGroup, environment_variables, reserve_domain_id, set_cpu_affinity

ROOT = Path(__file__).resolve().parents[2]
IGNORES_SIGNALS = """
import signal, subprocess, sys, time
for s in (signal.SIGINT, signal.SIGTERM):
    signal.signal(s, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("ready", child.pid, flush=True)
time.sleep(60)
"""


def wait_for(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_domain_is_reserved_once() -> None:
    with reserve_domain_id() as first, reserve_domain_id() as second:
        assert 1 <= first <= 101
        assert 1 <= second <= 101
        assert first != second
        code = "from vla_ros.system.processes import reserve_domain_id\nwith reserve_domain_id() as d: print(d)"
        other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert int(other.stdout) not in (first, second)


def test_a_killed_process_releases_its_domain() -> None:
    code = "import time\nfrom vla_ros.system.processes import reserve_domain_id\n"
    code += "with reserve_domain_id() as d: print(d, flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    domain = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reservation:
        reservation.bind(f"\0vla_ros.domain.{domain}")


def test_the_fixture_isolates_children(ros_domain: int) -> None:
    assert os.environ["ROS_DOMAIN_ID"] == str(ros_domain)
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_a_process_that_ignores_signals_is_killed_with_its_child(
    processes: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [number for number, _ in processes_module.STOP_TIMEOUTS_S] == [
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGKILL,
    ]
    assert [timeout_s for _, timeout_s in processes_module.STOP_TIMEOUTS_S] == [5.0, 3.0, 5.0]
    shorter = ((signal.SIGINT, 0.5), (signal.SIGTERM, 0.3), (signal.SIGKILL, 5.0))
    monkeypatch.setattr(processes_module, "STOP_TIMEOUTS_S", shorter)
    (tmp_path / "stubborn_pkg").mkdir()
    (tmp_path / "stubborn_pkg" / "node.py").write_text(IGNORES_SIGNALS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = processes.start("stubborn_pkg.node", name="stubborn")
    assert wait_for(lambda: "ready" in processes.log("stubborn")), processes.log("stubborn")
    child = int(processes.log("stubborn").split()[1])
    assert alive(child)
    begun = time.monotonic()
    assert processes.stop("stubborn") == -signal.SIGKILL
    assert time.monotonic() - begun >= 0.8
    assert process.returncode is not None
    assert wait_for(lambda: not alive(child))


def test_a_name_is_used_once(processes: ProcessGroup) -> None:
    processes.start("json.tool", name="one")
    with pytest.raises(ValueError, match="another name"):
        processes.start("json.tool", name="one")


def test_relative_entries_of_pythonpath_are_found(
    processes: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "my_node.py").write_text("import my_other_module; print('found', my_other_module.__name__)")
    (tmp_path / "here" / "my_other_module.py").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", ".")
    process = processes.start("here.my_node", name="mine")
    assert process.wait(timeout=30.0) == 0, processes.log("mine")
    assert "found my_other_module" in processes.log("mine")


@dataclass
class AffinityResult:
    """The CPUs of a thread after `set_cpu_affinity`, and the error if it was refused."""

    cpus: set[int]
    error: str = ""


def affinity_after(cpus: str) -> AffinityResult:
    """Call `set_cpu_affinity` in a thread of its own, so that the test process keeps its CPUs."""
    result = AffinityResult(set())

    def work() -> None:
        try:
            set_cpu_affinity(cpus)
        except ConfigError as error:
            result.error = str(error)
        result.cpus = os.sched_getaffinity(0)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return result


def test_a_thread_is_restricted_to_the_given_cpus() -> None:
    available = sorted(os.sched_getaffinity(0))
    assert affinity_after("").cpus == set(available)
    assert affinity_after("auto").cpus == set(available[1:] or available)
    assert affinity_after(str(available[-1])).cpus == {available[-1]}
    assert affinity_after(",".join(map(str, available))).cpus == set(available)
    assert set(available) == os.sched_getaffinity(0)


@pytest.mark.parametrize("cpus", ["x", "1-", "9999", "0,,1", "3-2", "-1", "0;1"])
def test_unavailable_cpus_are_refused(cpus: str) -> None:
    result = affinity_after(cpus)
    assert "must name some of" in result.error
    assert result.error.endswith(".")


@pytest.mark.parametrize("before", [None, "old"])
def test_environment_variables_are_restored_after_an_error(monkeypatch, before: str | None) -> None:
    name = "VLA_ROS_TEST_VARIABLE"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)

    def fail() -> None:
        with environment_variables({name: "new"}):
            assert os.environ[name] == "new"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.environ.get(name) == before
