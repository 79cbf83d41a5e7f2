"""Tests of `colcon build`: the build type is ament_python, and every file is installed where ROS expects it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from package_source import copy_source, source_files

EXECUTABLES = {
    "sim_node",
    "camera_monitor_node",
    "policy_node",
    "planner_node",
    "supervisor_node",
    "observer_node",
    "episodes_node",
    "vla",
}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("colcon")
    copy_source(workspace / "src" / "vla_ros")
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH")}
    command = [sys.executable, "-m", "colcon", "--log-base", "log", "build", "--base-paths", "src"]
    done = subprocess.run(command, cwd=workspace, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (workspace / "install" / "vla_ros" / "share" / "vla_ros").is_dir(), done.stdout + done.stderr
    return workspace / "install" / "vla_ros"


def in_workspace(prefix: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command with the workspace sourced and without the checkout on the path."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    line = f'. "{prefix.parent}/local_setup.sh" && {command}'
    return subprocess.run(["sh", "-c", line], cwd=prefix, env=env, capture_output=True, text=True, check=False)


def test_the_build_type_is_ament_python(prefix: Path) -> None:
    assert (prefix / "share" / "vla_ros" / "hook" / "ament_prefix_path.sh").is_file()


def test_executables_are_where_ros2_run_expects_them(prefix: Path) -> None:
    folder = prefix / "lib" / "vla_ros"
    assert {f.name for f in folder.iterdir()} == EXECUTABLES
    assert all(os.access(f, os.X_OK) for f in folder.iterdir())


def test_the_marker_and_the_manifest_are_in_share(prefix: Path) -> None:
    assert (prefix / "share" / "ament_index" / "resource_index" / "packages" / "vla_ros").is_file()
    assert (prefix / "share" / "vla_ros" / "package.xml").is_file()


@pytest.mark.parametrize(("folder", "suffix"), [("config", ""), ("launch", ".py")])
def test_every_launch_and_configuration_file_is_in_share(prefix: Path, folder: str, suffix: str) -> None:
    expected = source_files(folder, suffix)
    assert expected
    share = prefix / "share" / "vla_ros"
    assert {str(f.relative_to(share)) for f in (share / folder).rglob("*") if f.is_file()} == expected


def test_every_file_of_the_package_is_installed(prefix: Path) -> None:
    site = next(prefix.glob("lib/python3*/site-packages"))
    missing = {f for f in source_files("vla_ros") if not (site / f).is_file()}
    assert not missing


def test_a_sourced_workspace_finds_its_own_configuration(prefix: Path) -> None:
    code = "from vla_ros import config; print(config.__file__); print(config.config_dir()); config.load_robot('so101')"
    done = in_workspace(prefix, f'"{sys.executable}" -c "{code}"')
    assert done.returncode == 0, done.stderr
    module, folder = done.stdout.splitlines()
    assert Path(module).is_relative_to(prefix)
    assert Path(folder) == prefix / "share" / "vla_ros" / "config"


def test_the_installed_command_starts(prefix: Path) -> None:
    done = in_workspace(prefix, f'"{prefix}/lib/vla_ros/vla" --help')
    assert done.returncode == 0, done.stderr
    assert "usage: vla" in done.stdout
