"""Tests of the start script `./vla`: first start, later starts, concurrent starts, interruption and failure.

The checkout of these tests has one small requirement, a wheel written here. It also stands in for MuJoCo, so the tests
do not depend on the graphics of the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from vla_ros.cli import _bootstrap

ROOT = Path(__file__).resolve().parents[2]

FAKE_MUJOCO = """
MjModel = MjData = type("Any", (), {"__init__": lambda *a: None, "from_xml_string": staticmethod(lambda text: None)})
Renderer = type("Renderer", (), {"__init__": lambda *a: None, "update_scene": lambda *a: 0, "render": lambda *a: 0})
"""

HELLO = '''"""Print which environment runs this command."""
import json, os, sys
import mujoco
def main(argv):
    keys = ("MUJOCO_GL", "RMW_IMPLEMENTATION", "ROS_AUTOMATIC_DISCOVERY_RANGE")
    print(json.dumps({"prefix": sys.prefix, "argv": argv, **{k: os.environ.get(k) for k in keys}}))
    return 7
'''


def write_wheel(folder: Path) -> Path:
    """Write a wheel with one module."""
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mujoco.py", FAKE_MUJOCO)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"mujoco.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return wheel


def write_setup(checkout: Path, *core: str, dev: tuple[str, ...] = ()) -> None:
    """Write a setup.py with these requirements and an empty list for every other group."""
    groups = {*_bootstrap.BASE_GROUPS, *chain(*_bootstrap.COMMAND_GROUPS.values())}
    extras: dict[str, list[str]] = {name: [] for name in groups}
    extras["ros"] = ["no-such-package-of-ros"] if (checkout / "fake_ros").exists() else []
    (checkout / "setup.py").write_text(f"CORE = {list(core)!r}\nEXTRAS = { ({**extras, 'dev': list(dev)})!r}\n")


def write_checkout(parent: Path) -> Path:
    """A checkout with the real start script and one command, in a folder whose name contains a space."""
    folder = parent / "a checkout"
    shutil.copytree(ROOT / "vla_ros" / "cli", folder / "vla_ros" / "cli", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "vla_ros" / "core").mkdir()
    for name in ("vla_ros/__init__.py", "vla_ros/core/errors.py", "vla"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "vla_ros" / "core" / "__init__.py").touch()  # the real one needs numpy
    (folder / "vla_ros" / "cli" / "hello.py").write_text(HELLO)
    write_wheel(folder)
    write_setup(folder, str(folder / "tiny-1.0-py3-none-any.whl"))
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without an environment."""
    return write_checkout(tmp_path)


@dataclass
class FirstStarts:
    """A checkout after two concurrent first starts, with exit status, standard output and standard error of both."""

    checkout: Path
    results: list[tuple[int, str, str]]


@pytest.fixture(scope="module")
def first_starts(tmp_path_factory: pytest.TempPathFactory) -> FirstStarts:
    folder = write_checkout(tmp_path_factory.mktemp("start"))
    command = [str(folder / "vla"), "hello", "an argument", "--x"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=ROOT, env=environment(), **pipes) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]
    return FirstStarts(folder, [(p.returncode, *o) for p, o in zip(both, outputs, strict=True)])


def environment(**more: str) -> dict[str, str]:
    kept = {k: os.environ[k] for k in ("HOME", "PIP_CERT", "PIP_FIND_LINKS") if k in os.environ}
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve().parent
    return {"PATH": f"{base}:/usr/bin:/bin", **kept, **more}


def start(checkout: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / "vla"), *(args or ("hello",))]
    return subprocess.run(command, cwd=ROOT, env=environment(**env), capture_output=True, text=True, check=False)


def test_the_first_start_sets_up_the_environment_and_runs_the_command(first_starts: FirstStarts) -> None:
    for status, output, errors in first_starts.results:
        assert status == 7, errors
        printed = json.loads(output)
        assert printed["prefix"] == str(first_starts.checkout / ".venv")
        assert printed["argv"] == ["an argument", "--x"]
        assert printed["MUJOCO_GL"] in ("egl", "osmesa")
        assert printed["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
        assert printed["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_concurrent_first_starts_set_up_once(first_starts: FirstStarts) -> None:
    errors = [text for _, _, text in first_starts.results]
    assert sum("setting up .venv" in text for text in errors) == 1
    assert sum("waiting for it" in text for text in errors) == 1


def test_a_later_start_installs_nothing(first_starts: FirstStarts) -> None:
    record = first_starts.checkout / ".venv" / "vla.json"
    before = record.stat()
    begun = time.monotonic()
    second = start(first_starts.checkout, "hello", ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET")
    elapsed_s = time.monotonic() - begun
    assert second.returncode == 7
    assert second.stderr == ""
    assert json.loads(second.stdout)["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert record.stat().st_mtime_ns == before.st_mtime_ns
    assert elapsed_s < 2.0  # measured 0.1 s; the machine may be busy


def test_a_command_with_more_requirements_completes_the_environment(first_starts: FirstStarts) -> None:
    checkout = first_starts.checkout
    (checkout / "vla_ros" / "cli" / "bench.py").write_text(HELLO)
    done = start(checkout, "bench")
    assert done.returncode == 7, done.stderr
    assert "completing .venv" in done.stderr
    assert {"base", "bench", "gl"} == set(json.loads((checkout / ".venv" / "vla.json").read_text()))
    (checkout / "vla_ros" / "cli" / "test.py").write_text(HELLO)
    assert "completing .venv" in start(checkout, "test").stderr
    assert [start(checkout, command).stderr for command in ("hello", "bench", "test")] == ["", "", ""]


def test_an_environment_with_a_missing_interpreter_is_created_again(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python")
    again = start(checkout)
    assert again.returncode == 7, again.stderr


@pytest.mark.parametrize("record", [None, '{"base": ', "[]"], ids=["missing", "truncated", "not a mapping"])
def test_an_environment_without_a_valid_record_counts_as_empty(tmp_path: Path, record: str | None) -> None:
    if record is not None:
        (tmp_path / "vla.json").write_text(record)
    assert _bootstrap.read_record(tmp_path) == {}


def test_a_failed_install_reports_the_reason_and_the_next_start_creates_the_environment_again(checkout: Path) -> None:
    """A failed or killed set-up leaves an environment with packages but without a record."""
    write_setup(checkout, str(checkout / "missing-1.0-py3-none-any.whl"))
    failed = start(checkout)
    assert failed.returncode == 1
    assert "missing-1.0-py3-none-any.whl" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert (checkout / ".venv" / "bin" / "python").exists()
    assert not (checkout / ".venv" / "vla.json").exists()
    (checkout / ".venv" / "half").write_text("installed")
    write_setup(checkout, str(checkout / "tiny-1.0-py3-none-any.whl"))
    assert start(checkout).returncode == 7
    assert not (checkout / ".venv" / "half").exists()


def test_a_sourced_ros_is_used_and_none_is_installed(checkout: Path) -> None:
    (checkout / "fake_ros").mkdir()
    (checkout / "fake_ros" / "rclpy.py").write_text("")
    write_setup(checkout, str(checkout / "tiny-1.0-py3-none-any.whl"))
    done = start(checkout, ROS_DISTRO="jazzy", PYTHONPATH=str(checkout / "fake_ros"))
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout)["prefix"] == str(checkout / ".venv-jazzy")
    assert "include-system-site-packages = true" in (checkout / ".venv-jazzy" / "pyvenv.cfg").read_text()
    assert start(checkout, ROS_DISTRO="jazzy", PYTHONPATH=str(checkout / "fake_ros")).stderr == ""


def test_help_and_an_unknown_command_install_nothing(checkout: Path) -> None:
    helped = start(checkout, "--help")
    assert helped.returncode == 0
    assert "hello      Print which environment runs this command." in helped.stdout
    wrong = start(checkout, "helo")
    assert wrong.returncode == 2
    assert wrong.stderr == 'vla: unknown command "helo"; did you mean "hello"?\n'
    assert not (checkout / ".venv").exists()


def test_an_old_python_is_reported_in_one_line(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "bin"
    old.mkdir()
    (old / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.1" && exit 0\nexit 1\n')
    (old / "python3").chmod(0o755)
    for tool in ("sh", "dirname"):
        (old / tool).symlink_to(shutil.which(tool) or "")
    done = start(checkout, PATH=str(old), VLA_PYTHON="python3")
    assert done.returncode == 1
    assert done.stderr == "vla: requires Python 3.10 or newer as python3 on the PATH (found: Python 3.8.1).\n"
