"""Configuration files and mappings are read; a bad file, key or value is refused with one sentence that names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from vla_ros.config import (
    check_keys,
    config_dir,
    find_checkpoint,
    from_mapping,
    load_robot,
    load_yaml,
    require,
    robots_dir,
)
from vla_ros.core.errors import ConfigError, UnknownName, VlaError
from vla_ros.planning.planner import PlannerConfig

GOOD = """
name: two
joints:
  left: {position: [-1, 1.5], velocity: 2.0, acceleration: 10, jerk: 1.0e+2}
  right: {position: [-0.5, 0.5], velocity: 1.0, acceleration: 5.0, jerk: 50.0}
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "robot.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_robot_file_is_read_in_order(tmp_path: Path) -> None:
    robot = load_robot(write(tmp_path, GOOD))
    assert robot.name == "two"
    assert robot.joints == ("left", "right")
    np.testing.assert_array_equal(robot.limits.lower, [-1.0, -0.5])
    np.testing.assert_array_equal(robot.limits.upper, [1.5, 0.5])
    np.testing.assert_array_equal(robot.limits.jerk, [100.0, 50.0])


@pytest.mark.parametrize("path", sorted(robots_dir().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_robot_of_the_package_is_read(path: Path) -> None:
    assert load_robot(path.stem).limits.joints == load_robot(path).limits.joints


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: two", "nam: two", 'did you mean "name"'),
        ("name: two", "name: 2", "must have a name"),
        ("name: two", "", "must have a name"),
        ("velocity: 2.0", "velocty: 2.0", 'did you mean "velocity"'),
        ("velocity: 2.0, ", "", 'joint "left" in robot.yaml lacks velocity'),
        ("velocity: 2.0", "velocity: fast", "finite numbers"),
        ("velocity: 2.0", "velocity: true", "finite numbers"),
        ("velocity: 2.0", "velocity: .nan", "finite numbers"),
        ("velocity: 2.0", "velocity: .inf", "finite numbers"),
        ("velocity: 2.0", "velocity: [2.0]", "finite numbers"),
        ("velocity: 2.0", "velocity: null", "finite numbers"),
        ("velocity: 2.0", f"velocity: 1{'0' * 400}", "finite numbers"),
        ("velocity: 2.0", "velocity: 0.0", "velocity limit of left must be above 0"),
        ("velocity: 2.0", "velocity: -2.0", "velocity limit of left must be above 0"),
        ("acceleration: 5.0", "acceleration: 0", "acceleration limit of right must be above 0"),
        ("jerk: 50.0", "jerk: -1", "jerk limit of right must be above 0"),
        ("[-0.5, 0.5]", "[0.5, -0.5]", "lower limit of right must be less"),
        ("[-0.5, 0.5]", "[0.5, 0.5]", "lower limit of right must be less"),
        ("[-0.5, 0.5]", "[0.5]", "must be [lower, upper]"),
        ("[-0.5, 0.5]", "0.5", "must be [lower, upper]"),
        ("[-0.5, 0.5]", "[a, b]", "finite numbers"),
        ("  right:", "  left:", 'the key "left" twice'),
        ("jerk: 50.0", "jerk: 50.0, jerk: 5.0", 'the key "jerk" twice'),
        ("  right:", '  "":', "name its joints"),
        ("  right:", "  right: 1\n  other:", 'joint "right" in robot.yaml must be a mapping'),
        ("joints:", "joint:", 'did you mean "joints"'),
        ("joints:", "more: 1\njoints:", 'unknown key "more"'),
        (GOOD, "name: x\njoints: {}", "at least one joint"),
        (GOOD, "name: x\njoints: [a]", "mapping of joints"),
        (GOOD, "name: x", "mapping of joints"),
        (GOOD, "", "must hold a mapping"),
        (GOOD, "- 1", "must hold a mapping"),
        (GOOD, "just words", "must hold a mapping"),
        (GOOD, "a: [1", "not valid YAML"),
        (GOOD, "a: *b", "not valid YAML"),
        (GOOD, "a: 2020-99-99", "not valid YAML"),
        (GOOD, "? [1, 2]\n: 3", "not valid YAML"),
        (GOOD, "a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        (GOOD, b"name: \xff\xfe", "not valid YAML"),
        (GOOD, b"\x00", "not valid YAML"),
        (GOOD, "a: &a [*a]", "unknown key"),
        (GOOD, "[" * 3000, "not valid YAML"),
    ],
)
def test_a_bad_robot_file_is_refused_with_one_sentence(
    tmp_path: Path, old: str, new: str | bytes, expected: str
) -> None:
    text = new if old == GOOD else GOOD.replace(old, str(new), 1)
    assert text != GOOD
    with pytest.raises(VlaError) as caught:
        load_robot(write(tmp_path, text))
    message = str(caught.value)
    assert isinstance(caught.value, ConfigError)
    assert expected in message
    assert "robot.yaml" in message
    assert "\n" not in message
    assert message.endswith((".", "?"))


CLEARANCE = """
clearance:
  model: arm.xml
  box: {x: [-0.3, 0.5], y: [-0.5, 0.5], z: [0, 0.6]}
  box_distance: {stop: 0.0, slow: 0.004}
  self_distance: {stop: 0.003, slow: 0.02}
  allowed: [[wrist, jaw]]
"""


def test_the_clearance_of_a_robot_is_read(tmp_path: Path) -> None:
    read = load_robot(write(tmp_path, GOOD + CLEARANCE)).clearance
    assert read is not None
    assert read.model == str(tmp_path / "arm.xml")
    assert (read.box_lower, read.box_upper) == ((-0.3, -0.5, 0.0), (0.5, 0.5, 0.6))
    assert (read.box_stop_m, read.box_slow_m, read.self_stop_m, read.self_slow_m) == (0.0, 0.004, 0.003, 0.02)
    assert read.allowed == (("wrist", "jaw"),)
    assert load_robot(write(tmp_path, GOOD)).clearance is None


def test_the_former_key_of_the_clearance_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r'unknown key "space" in robot\.yaml'):
        load_robot(write(tmp_path, GOOD + CLEARANCE.replace("clearance:", "space:")))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  model: arm.xml\n", "", "lacks model"),
        ("model: arm.xml", "model: 3", "name of a file"),
        ("model: arm.xml", "modl: arm.xml", 'did you mean "model"'),
        ("z: [0, 0.6]", "z: [0.6, 0]", "lower less than upper"),
        ("z: [0, 0.6]", "z: [0, .inf]", "lower less than upper"),
        ("z: [0, 0.6]", "z: [0, .nan]", "lower less than upper"),
        ("z: [0, 0.6]", "z: [0]", "2 numbers"),
        ("z: [0, 0.6]", "w: [0, 1]", 'unknown key "w"'),
        ("slow: 0.02", "slow: 0.001", "0 <= stop < slow"),
        ("slow: 0.02", "slow: .nan", "0 <= stop < slow"),
        ("stop: 0.003", "stop: -0.1", "0 <= stop < slow"),
        ("stop: 0.003", "stop: near", "2 numbers"),
        ("[[wrist, jaw]]", "[wrist]", "pairs of links"),
        ("box_distance: {stop: 0.0, slow: 0.004}", "box_distance: 1", "must be a mapping"),
    ],
)
def test_a_bad_clearance_is_refused_with_one_sentence(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in CLEARANCE
    with pytest.raises(ConfigError) as caught:
        load_robot(write(tmp_path, GOOD + CLEARANCE.replace(old, new)))
    assert expected in str(caught.value)
    assert "robot.yaml" in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_an_unknown_robot_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match='did you mean "so101"'):
        load_robot("so100")


def test_an_unknown_robot_without_a_near_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"known: .*so101"):
        load_robot("zzzzzzzz")


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for name in ("none.yaml", "folder.yaml"):
        with pytest.raises(ConfigError, match=name):
            load_yaml(tmp_path / name)


def test_the_configuration_of_the_checkout_is_found() -> None:
    assert (config_dir() / "robots" / "so101.yaml").is_file()


@dataclass(frozen=True)
class Settings:
    rate: float
    count: int = 3
    title: str = "x"
    on: bool = False


def test_a_mapping_becomes_a_dataclass() -> None:
    assert from_mapping(Settings, {"rate": 2, "on": True}, "here") == Settings(2, on=True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"rat": 1.0}, 'did you mean "rate"'),
        ({"rate": 1.0, 5: 1}, 'unknown key "5"'),
        ({}, "rate"),
        ({"rate": "1e-3"}, "rate must be a number"),
        ({"rate": True}, "rate must be a number"),
        ({"rate": None}, "rate must be a number"),
        ({"rate": 1.0, "count": 2.5}, "count must be a whole number; got 2.5"),
        ({"rate": 1.0, "count": True}, "count must be a whole number"),
        ({"rate": 1.0, "on": 1}, "on must be true or false"),
        ({"rate": 1.0, "on": "yes"}, "on must be true or false"),
    ],
)
def test_a_bad_mapping_is_refused_with_one_sentence(data: dict, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Settings, data, "here")
    assert expected in str(caught.value)
    assert "here" in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


@dataclass(frozen=True)
class Inner:
    width: int = 4
    sizes: tuple[int, ...] = ()
    pairs: tuple[tuple[str, float], ...] = ()
    scale: float | None = None


@dataclass(frozen=True)
class Middle:
    inner: Inner = field(default_factory=Inner)
    other: Inner | None = None


@dataclass(frozen=True)
class Outer:
    middle: Middle
    box: tuple[float, float] = (0.0, 1.0)
    weights: Mapping[str, float] = field(default_factory=dict)
    count: int | tuple[str, ...] = 1
    derived: int = field(default=0, init=False)


def test_nested_mappings_become_nested_dataclasses() -> None:
    inner = {"width": 8, "sizes": [1, 2], "pairs": [["a", 1.0], ["b", 2]], "scale": 2}
    built = from_mapping(
        Outer,
        {"middle": {"inner": inner, "other": {}}, "box": [1, 2.5], "weights": {"a": 1.0}, "count": ["x", "y"]},
        "here",
    )
    expected = Inner(8, (1, 2), (("a", 1.0), ("b", 2)), 2)
    assert built == Outer(Middle(expected, Inner()), (1, 2.5), {"a": 1.0}, ("x", "y"))
    hash(built.middle)


def test_nested_dataclasses_are_passed_on_and_null_is_kept() -> None:
    middle = Middle(Inner(5))
    assert from_mapping(Outer, {"middle": middle}, "here").middle is middle
    assert from_mapping(Middle, {"other": None, "inner": {"scale": None}}, "here") == Middle()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"middle": {"inner": {"widht": 1}}}, 'unknown key "widht" in middle.inner of here; did you mean "width"'),
        ({"middle": {"iner": {}}}, 'unknown key "iner" in middle of here; did you mean "inner"'),
        ({"middle": {}, "derived": 1}, 'unknown key "derived"'),
        ({"middle": {"inner": {"width": 1.5}}}, "here: middle.inner.width must be a whole number; got 1.5"),
        ({"middle": {"inner": {"width": True}}}, "middle.inner.width must be a whole number; got True"),
        ({"middle": {"inner": {"sizes": [1, True]}}}, "middle.inner.sizes[1] must be a whole number; got True"),
        ({"middle": {"inner": {"sizes": 3}}}, "middle.inner.sizes must be a list; got 3"),
        ({"middle": {"inner": {"sizes": "ab"}}}, "middle.inner.sizes must be a list; got 'ab'"),
        ({"middle": {"inner": {"pairs": [["a"]]}}}, "middle.inner.pairs[0] must be a list of 2; got ['a']"),
        ({"middle": {"inner": {"pairs": [["a", "b"]]}}}, "middle.inner.pairs[0][1] must be a number"),
        ({"middle": {"inner": {"scale": "x"}}}, "middle.inner.scale must be a number"),
        ({"middle": {"inner": 3}}, "middle.inner must be a mapping; got 3"),
        ({"middle": {"inner": None}}, "middle.inner must be a mapping; got None"),
        ({"middle": {"inner": Middle()}}, "middle.inner must be a mapping"),
        ({"middle": {"other": [1]}}, "middle.other must be a mapping or null; got [1]"),
        ({"middle": {}, "box": [1.0]}, "box must be a list of 2; got [1.0]"),
        ({"middle": {}, "count": 1.5}, "count must be a whole number or a list; got 1.5"),
        ({}, "here: middle is missing"),
    ],
)
def test_an_error_in_a_nested_mapping_names_the_path(data: dict, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, data, "here")
    assert expected in str(caught.value)
    assert "here" in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_the_validation_of_the_dataclass_runs() -> None:
    with pytest.raises(ConfigError, match="margin must be in"):
        from_mapping(PlannerConfig, {"margin": 2.0}, "here")


def test_a_comparison_with_nan_does_not_meet_a_requirement() -> None:
    require(True, "never")
    with pytest.raises(ConfigError, match="message"):
        require(float("nan") > 0.0, "message")


def test_unknown_keys_are_named() -> None:
    check_keys({"a": 1}, ["a", "b"], "here")
    with pytest.raises(UnknownName, match='unknown key "bb" in here; did you mean "b"'):
        check_keys({"a": 1, "bb": 2}, ["a", "b"], "here")


def test_a_checkpoint_is_a_file_or_a_name_in_the_folder_of_configuration(tmp_path: Path) -> None:
    assert find_checkpoint().is_file()
    own = tmp_path / "own.safetensors"
    own.touch()
    assert find_checkpoint(own) == own
    assert find_checkpoint("none.safetensors") == config_dir() / "checkpoints" / "none.safetensors"
