"""The helpers of the tests themselves: no domain twice, no process left over."""

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
from vla_ros.system.processes import Processes, keep_to, own_domain

ROOT = Path(__file__).resolve().parents[2]
PYTHON_STUBBORN = """
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
    """Whether a process runs; one that has ended and waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_domain_is_given_to_one_test_at_a_time() -> None:
    with own_domain() as first, own_domain() as second:
        assert 1 <= first <= 101
        assert 1 <= second <= 101
        assert first != second
        code = "from vla_ros.system.processes import own_domain\nwith own_domain() as d: print(d)"
        other = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT / "test", capture_output=True, text=True, check=True
        )
        assert int(other.stdout) not in (first, second)


def test_a_domain_comes_back_from_a_killed_process() -> None:
    code = "import time\nfrom vla_ros.system.processes import own_domain\n"
    code += "with own_domain() as d: print(d, flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT / "test", stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    domain = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        claim.bind(f"\0vla_ros.domain.{domain}")


def test_the_fixture_isolates_children(ros_domain: int) -> None:
    assert os.environ["ROS_DOMAIN_ID"] == str(ros_domain)
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_a_stubborn_process_and_its_child_end(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stubborn_pkg").mkdir()
    (tmp_path / "stubborn_pkg" / "node.py").write_text(PYTHON_STUBBORN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = processes.start("stubborn_pkg.node", name="stubborn")
    assert wait_for(lambda: "ready" in processes.log("stubborn")), processes.log("stubborn")
    child = int(processes.log("stubborn").split()[1])
    assert alive(child)
    assert processes.stop("stubborn") == -signal.SIGKILL
    assert process.returncode is not None
    assert wait_for(lambda: not alive(child))


def test_a_name_is_used_once(processes: Processes) -> None:
    processes.start("json.tool", name="one")
    with pytest.raises(ValueError, match="another name"):
        processes.start("json.tool", name="one")


def test_a_module_of_the_folder_one_stands_in_is_found(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
class Kept:
    """What a thread of its own was left with."""

    cpus: set[int]
    refusal: str = ""


def kept(cpus: str) -> Kept:
    """Pin a thread that ends at once, so that nothing else is."""
    found = Kept(set())

    def work() -> None:
        try:
            keep_to(cpus)
        except ConfigError as error:
            found.refusal = str(error)
        found.cpus = os.sched_getaffinity(0)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


def test_a_thread_keeps_to_the_processors_it_is_given() -> None:
    have = sorted(os.sched_getaffinity(0))
    assert kept("").cpus == set(have)
    assert kept("auto").cpus == set(have[1:] or have)
    assert kept(str(have[-1])).cpus == {have[-1]}
    assert kept(",".join(map(str, have))).cpus == set(have)
    assert set(have) == os.sched_getaffinity(0)


@pytest.mark.parametrize("cpus", ["x", "1-", "9999", "0,,1", "3-2", "-1", "0;1"])
def test_processors_that_are_not_there_are_refused_with_a_sentence(cpus: str) -> None:
    found = kept(cpus)
    assert "must name some of" in found.refusal
    assert found.refusal.endswith(".")
