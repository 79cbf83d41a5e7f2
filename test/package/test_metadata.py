"""What is written in more than one place says the same; the launch file names what exists.

The launch file itself runs only where ROS's launch system is installed; here its source is read.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import vla_ros

ROOT = Path(__file__).resolve().parents[2]


def literals(path: Path) -> dict[str, ast.expr]:
    """The values assigned at the top of a file, by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}


SETUP = literals(ROOT / "setup.py")
LAUNCH = literals(ROOT / "launch" / "vla.launch.py")
NODES: list[str] = ast.literal_eval(SETUP["NODES"])
LAUNCHED: dict[str, tuple[str, ...]] = ast.literal_eval(LAUNCH["NODES"])


def arguments() -> dict[str, tuple[str, str, list[str] | None]]:
    """The declared arguments; a default may be an expression and is then given as source text."""
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


def test_the_version_is_one() -> None:
    manifest = ET.parse(ROOT / "package.xml").getroot()
    found = re.search(r'version="([^"]+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert found is not None
    assert manifest.findtext("version") == found.group(1) == vla_ros.__version__


def test_the_manifest_names_every_ros_package_that_is_imported() -> None:
    manifest = ET.parse(ROOT / "package.xml").getroot()
    declared = {e.text for e in manifest.findall("exec_depend")}
    sources = [f.read_text(encoding="utf-8") for f in (ROOT / "vla_ros" / "nodes").rglob("*.py")]
    used = {
        m
        for text in sources
        for m in re.findall(r"^\s*(?:from|import) (rclpy|rcl_interfaces|\w+_msgs|std_srvs)\b", text, re.M)
    }
    assert used <= declared
    wheels = {row.split(">=")[0].removeprefix("ros-jazzy-") for row in ast.literal_eval(SETUP["EXTRAS"])["ros"]}
    assert {name.replace("_", "-") for name in used} <= wheels


def test_every_node_of_the_entry_points_is_a_file() -> None:
    missing = [n for n in NODES if not (ROOT / "vla_ros" / "nodes" / f"{n}.py").is_file()]
    if len(missing) == len(NODES):
        pytest.skip("the nodes are not written yet")
    assert not missing


def test_the_launch_file_starts_exactly_the_installed_nodes() -> None:
    """All but the one that runs episodes of the simulator, which `vla demo` starts."""
    assert [*LAUNCHED, "episodes_node"] == NODES


def test_every_launch_argument_is_explained_and_used() -> None:
    declared = arguments()
    text = (ROOT / "launch" / "vla.launch.py").read_text(encoding="utf-8")
    used = {name for names in LAUNCHED.values() for name in names} | set(
        re.findall(r'LaunchConfiguration\("(\w+)"\)', text)
    )
    assert used == set(declared)
    for default, explanation, choices in declared.values():
        assert explanation.endswith(".")
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
