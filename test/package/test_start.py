"""`./vla` from nothing, interrupted, twice at once, and the second time: on a checkout whose one requirement is tiny.

The requirement is a wheel made here. It stands in for MuJoCo too, so no machine's graphics take part.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from itertools import chain
from pathlib import Path

import pytest

from vla_ros.cli import _bootstrap

ROOT = Path(__file__).resolve().parents[2]

FAKE_MUJOCO = """
MjModel = MjData = type("Any", (), {"__init__": lambda *a: None, "from_xml_string": staticmethod(lambda text: None)})
Renderer = type("Renderer", (), {"__init__": lambda *a: None, "update_scene": lambda *a: 0, "render": lambda *a: 0})
"""

HELLO = '''"""Say which environment runs this."""
import json, os, sys
import mujoco
def main(argv):
    keys = ("MUJOCO_GL", "RMW_IMPLEMENTATION", "ROS_AUTOMATIC_DISCOVERY_RANGE")
    print(json.dumps({"prefix": sys.prefix, "argv": argv, **{k: os.environ.get(k) for k in keys}}))
    return 7
'''


def make_wheel(folder: Path) -> Path:
    """A wheel with one module, written by hand."""
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
    extras: dict[str, list[str]] = {name: [] for name in {*_bootstrap.BASE, *chain(*_bootstrap.EXTRA.values())}}
    extras["ros"] = ["no-such-package-of-ros"] if (checkout / "fake_ros").exists() else []
    (checkout / "setup.py").write_text(f"CORE = {list(core)!r}\nEXTRAS = { ({**extras, 'dev': list(dev)})!r}\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real start script and one command, in a folder whose name has a space."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "vla_ros" / "cli", folder / "vla_ros" / "cli", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "vla_ros" / "core").mkdir()
    for name in ("vla_ros/__init__.py", "vla_ros/core/errors.py", "vla"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "vla_ros" / "core" / "__init__.py").touch()  # the real one needs numpy
    (folder / "vla_ros" / "cli" / "hello.py").write_text(HELLO)
    make_wheel(folder)
    write_setup(folder, str(folder / "tiny-1.0-py3-none-any.whl"))
    return folder


def environment(**more: str) -> dict[str, str]:
    kept = {k: os.environ[k] for k in ("HOME", "PIP_CERT", "PIP_FIND_LINKS") if k in os.environ}
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve().parent
    return {"PATH": f"{base}:/usr/bin:/bin", **kept, **more}


def start(checkout: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / "vla"), *(args or ("hello",))]
    return subprocess.run(command, cwd=ROOT, env=environment(**env), capture_output=True, text=True, check=False)


def test_from_nothing_then_the_second_start_only_goes_on(checkout: Path) -> None:
    first = start(checkout, "hello", "an argument", "--x")
    assert first.returncode == 7, first.stderr
    said = json.loads(first.stdout)
    assert said["prefix"] == str(checkout / ".venv")
    assert said["argv"] == ["an argument", "--x"]
    assert said["MUJOCO_GL"] in ("egl", "osmesa")
    assert said["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
    assert said["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "setting up .venv" in first.stderr

    before = (checkout / ".venv" / "vla.json").stat()
    spent = time.monotonic()
    second = start(checkout, "hello", ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET")
    spent = time.monotonic() - spent
    assert second.returncode == 7
    assert second.stderr == ""
    assert json.loads(second.stdout)["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert (checkout / ".venv" / "vla.json").stat().st_mtime_ns == before.st_mtime_ns
    assert spent < 2.0  # measured 0.1 s; a machine under test may be busy


def test_an_interrupted_environment_is_made_again(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python")
    again = start(checkout)
    assert again.returncode == 7, again.stderr
    (checkout / ".venv" / "vla.json").unlink()  # what a kill leaves: packages, but no record
    (checkout / ".venv" / "half").write_text("made")
    again = start(checkout)
    assert again.returncode == 7, again.stderr
    assert not (checkout / ".venv" / "half").exists()
    (checkout / ".venv" / "vla.json").write_text('{"base": ')  # a disk that was full
    assert start(checkout).returncode == 7


def test_a_failed_install_says_why_and_the_next_start_recovers(checkout: Path) -> None:
    write_setup(checkout, str(checkout / "missing-1.0-py3-none-any.whl"))
    failed = start(checkout)
    assert failed.returncode == 1
    assert "missing-1.0-py3-none-any.whl" in failed.stderr
    assert "Traceback" not in failed.stderr
    write_setup(checkout, str(checkout / "tiny-1.0-py3-none-any.whl"))
    assert start(checkout).returncode == 7


def test_two_starts_wait_for_each_other(checkout: Path) -> None:
    command = [str(checkout / "vla"), "hello"]
    both = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [7, 7], said
    assert sum("setting up .venv" in text for text in said) == 1
    assert sum("waiting for it" in text for text in said) == 1


def test_a_command_with_more_needs_completes_the_environment(checkout: Path) -> None:
    assert start(checkout).returncode == 7
    (checkout / "vla_ros" / "cli" / "bench.py").write_text(HELLO)
    done = start(checkout, "bench")
    assert done.returncode == 7, done.stderr
    assert "completing .venv" in done.stderr
    assert {"base", "bench", "gl"} == set(json.loads((checkout / ".venv" / "vla.json").read_text()))
    (checkout / "vla_ros" / "cli" / "test.py").write_text(HELLO)
    assert "completing .venv" in start(checkout, "test").stderr
    assert [start(checkout, command).stderr for command in ("hello", "bench", "test")] == ["", "", ""]


def test_a_sourced_ros_is_used_and_none_is_installed(checkout: Path) -> None:
    (checkout / "fake_ros").mkdir()
    (checkout / "fake_ros" / "rclpy.py").write_text("")
    write_setup(checkout, str(checkout / "tiny-1.0-py3-none-any.whl"))
    done = start(checkout, ROS_DISTRO="jazzy", PYTHONPATH=str(checkout / "fake_ros"))
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout)["prefix"] == str(checkout / ".venv-jazzy")
    assert "include-system-site-packages = true" in (checkout / ".venv-jazzy" / "pyvenv.cfg").read_text()
    assert start(checkout, ROS_DISTRO="jazzy", PYTHONPATH=str(checkout / "fake_ros")).stderr == ""


def test_help_and_a_mistyped_command_install_nothing(checkout: Path) -> None:
    helped = start(checkout, "--help")
    assert helped.returncode == 0
    assert "hello     Say which environment runs this." in helped.stdout
    wrong = start(checkout, "helo")
    assert wrong.returncode == 2
    assert wrong.stderr == 'vla: unknown command "helo"; did you mean "hello"?\n'
    assert not (checkout / ".venv").exists()


def test_an_old_python_is_one_clear_line(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "bin"
    old.mkdir()
    (old / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.1" && exit 0\nexit 1\n')
    (old / "python3").chmod(0o755)
    for tool in ("sh", "dirname"):
        (old / tool).symlink_to(shutil.which(tool) or "")
    done = start(checkout, PATH=str(old), VLA_PYTHON="python3")
    assert done.returncode == 1
    assert done.stderr == "vla: needs Python 3.10 or newer as python3 on the PATH (found: Python 3.8.1).\n"
