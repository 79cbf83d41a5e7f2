"""Tests of setup.py, package.xml and the launch file: they agree with each other and with the imports.

The launch file runs only with the launch system of a ROS installation; most tests read its source instead.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import vla_ros

ROOT = Path(__file__).resolve().parents[2]


def literals(path: Path) -> dict[str, ast.expr]:
    """The values assigned at the top level of a file, by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}


SETUP = literals(ROOT / "setup.py")
LAUNCH = literals(ROOT / "launch" / "vla.launch.py")
NODES: list[str] = ast.literal_eval(SETUP["NODES"])
LAUNCHED: dict[str, tuple[str, ...]] = ast.literal_eval(LAUNCH["NODES"])


def arguments() -> dict[str, tuple[str, str, list[str] | None]]:
    """Default, description and choices of each launch argument; a default that is an expression is source text."""
    table = LAUNCH["ARGUMENTS"]
    assert isinstance(table, ast.Dict)
    rows = {}
    for key, value in zip(table.keys, table.values, strict=True):
        assert isinstance(key, ast.Constant)
        assert isinstance(value, ast.Tuple)
        default, text, choices = value.elts
        shown = default.value if isinstance(default, ast.Constant) else ast.unparse(default)
        rows[key.value] = (shown, ast.literal_eval(text), ast.literal_eval(choices))
    return rows


MANIFEST = ET.parse(ROOT / "package.xml").getroot()
EXEC_DEPENDS = {element.text for element in MANIFEST.findall("exec_depend")}
EXTRAS: dict[str, list[str]] = ast.literal_eval(SETUP["EXTRAS"])
CORE: list[str] = ast.literal_eval(SETUP["CORE"])
ROS_PACKAGES = {"rclpy", "launch", "launch_ros", "builtin_interfaces", "rcl_interfaces", "std_srvs"}
LAUNCH_PACKAGES = {"launch", "launch_ros"}
"""ROS packages without a wheel; only the launch file imports them."""
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml"}
"""Names on PyPI that differ from the name of the import by more than case and underscores."""
ROSDEP_KEYS = {
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
    "jinja2": "python3-jinja2",
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
"""Keys in rosdep/python.yaml of github.com/ros/rosdistro that install a system package of a permitted version."""
WITHOUT_ROSDEP_KEY = {
    *("accelerate", "av", "daqp", "dm_control", "gym_aloha", "markupsafe", "pyarrow", "ray", "safetensors"),
    *("tokenizers",),  # no key
    *("gymnasium", "mujoco", "wandb"),  # a key that runs pip
    *("torch",),  # a key of a version that setup.py refuses
}
"""Imports that only setup.py names; package.xml says why."""


def third_party_imports(*folders: str) -> set[str]:
    """The top-level names of all imports of the product, without those of Python and of the package itself."""
    found = set()
    for file in (f for folder in folders for f in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"vla_ros"}


IMPORTS = third_party_imports("vla_ros", "launch")
ROS_IMPORTS = {name for name in IMPORTS if name in ROS_PACKAGES or name.endswith("_msgs")}


def names(requirements: list[str]) -> set[str]:
    """The normalised distribution names of requirements such as "numpy>=1.23,<3"."""
    return {re.split(r"[<>=!~;\[ ]", row)[0].lower().replace("_", "-") for row in requirements}


def test_the_version_is_the_same_everywhere() -> None:
    found = re.search(r'version="([^"]+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert found is not None
    assert MANIFEST.findtext("version") == found.group(1) == vla_ros.__version__


def test_package_xml_names_every_ros_package_that_is_imported() -> None:
    assert ROS_IMPORTS <= EXEC_DEPENDS


def test_the_wheels_contain_every_ros_package_that_is_imported() -> None:
    wheels = {name.removeprefix("ros-jazzy-").replace("-", "_") for name in names(EXTRAS["ros"])}
    assert wheels >= ROS_IMPORTS - LAUNCH_PACKAGES


def test_setup_names_every_other_package_that_is_imported() -> None:
    declared = names([*CORE, *(row for group in EXTRAS.values() for row in group)])
    required = {name: DISTRIBUTIONS.get(name, name.lower().replace("_", "-")) for name in IMPORTS - ROS_IMPORTS}
    assert {name for name, distribution in required.items() if distribution not in declared} == set()


def test_package_xml_names_every_dependency_that_has_a_rosdep_key() -> None:
    third_party = IMPORTS - ROS_IMPORTS
    assert third_party == set(ROSDEP_KEYS) | WITHOUT_ROSDEP_KEY, "look up the rosdep key of a new dependency"
    assert {key for key in EXEC_DEPENDS if key and key.startswith("python3-")} == set(ROSDEP_KEYS.values())


def test_the_core_requirements_suffice_without_torch_and_simulator() -> None:
    """`pip install .` without extras must be enough for planning and supervising in one's own program."""
    used = third_party_imports(*(f"vla_ros/{room}" for room in ("core", "planning", "safety", "collision")))
    assert {DISTRIBUTIONS.get(name, name) for name in used} <= names(CORE)


def test_every_node_of_the_entry_points_is_a_file() -> None:
    assert [n for n in NODES if not (ROOT / "vla_ros" / "nodes" / f"{n}.py").is_file()] == []


def test_the_launch_file_starts_the_installed_nodes() -> None:
    """All except episodes_node, which only `vla demo` starts."""
    assert [*LAUNCHED, "episodes_node"] == NODES


def test_every_launch_argument_is_described_and_used() -> None:
    declared = arguments()
    text = (ROOT / "launch" / "vla.launch.py").read_text(encoding="utf-8")
    used = {name for names in LAUNCHED.values() for name in names} | set(
        re.findall(r'LaunchConfiguration\("(\w+)"\)', text)
    )
    assert used == set(declared)
    for default, description, choices in declared.values():
        assert description.endswith(".")
        assert choices is None or default in choices


@pytest.mark.parametrize("executable", LAUNCHED)
def test_every_launch_argument_is_a_parameter_with_the_same_default(executable: str) -> None:
    module = importlib.import_module(f"vla_ros.nodes.{executable}")
    kind = getattr(module, f"{executable.removesuffix('_node').title().replace('_', '')}Params")
    known = {field.name: field.default for field in dataclasses.fields(kind)}
    declared = arguments()
    assert {name: declared[name][0] for name in LAUNCHED[executable]}.items() <= known.items()


def test_the_launch_file_compiles() -> None:
    source = (ROOT / "launch" / "vla.launch.py").read_text(encoding="utf-8")
    compile(source, "vla.launch.py", "exec")


def test_the_launch_file_runs_where_launch_is_installed() -> None:
    pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS 2 installation, not as a wheel")
    spec = importlib.util.spec_from_file_location("vla_launch", ROOT / "launch" / "vla.launch.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(module.generate_launch_description().entities) == len(LAUNCHED) + len(arguments())
