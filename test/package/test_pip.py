"""Tests of `pip install` without requirements: every file is installed, and the package finds its configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from package_source import copy_source, source_files


def pip(*args: str, cwd: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *args]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy_source(folder / "src")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "out", "./src", cwd=folder)
    (found,) = (folder / "out").iterdir()
    return found


def run_isolated(target: Path, code: str) -> list[str]:
    """Run code with only `target` on PYTHONPATH, outside the checkout."""
    env = {**os.environ, "PYTHONPATH": str(target), "AMENT_PREFIX_PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=target, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_wheel_contains_every_file_of_the_package_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shared = {n.partition("/data/share/vla_ros/")[2] for n in names}
    assert not {f for f in source_files("vla_ros") if f not in names}
    assert source_files("config") | source_files("launch", ".py") | {"package.xml"} <= shared
    assert not any(n.startswith("test") for n in names)


def test_an_installed_package_finds_its_configuration(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip("install", "--no-deps", "--target", str(target), str(wheel), cwd=tmp_path)
    code = (
        "from vla_ros import config; print(config.__file__, config.config_dir(), sep='\\n'); config.load_robot('so101')"
    )
    module, folder = run_isolated(target, code)
    assert Path(module).is_relative_to(target)
    assert Path(folder) == target / "share" / "vla_ros" / "config"
    assert (target / "bin" / "vla").is_file()
    assert (target / "bin" / "supervisor_node").is_file()


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    source = copy_source(tmp_path / "src")
    done = subprocess.run([sys.executable, "setup.py", "-q", "sdist"], cwd=source, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (sdist,) = (source / "dist").iterdir()
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "out", str(sdist), cwd=tmp_path)
    (again,) = (tmp_path / "out").iterdir()
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())
