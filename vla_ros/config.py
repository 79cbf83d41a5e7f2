"""Finds and reads configuration: plain data into frozen dataclasses; unknown keys are refused by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import yaml

from vla_ros.core.errors import ConfigError, UnknownName, VlaError
from vla_ros.core.robot import ClearanceConfig, Limits, Robot

T = TypeVar("T")


SHIPPED_CHECKPOINT = "so101_pick_place_beast_moh.safetensors"
"""File in config/checkpoints: the learned policy of `./vla demo`."""


def config_dir() -> Path:
    """The folder of configuration: `config/` of the checkout, or the installed share folder.

    Raises:
        ConfigError: Neither exists.
    """
    here = Path(__file__).resolve()
    candidates = [here.parents[1] / "config"]
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    candidates += [Path(p) / "share" / "vla_ros" / "config" for p in prefixes]
    candidates += [parent / "share" / "vla_ros" / "config" for parent in here.parents]
    for folder in candidates:
        if (folder / "robots").is_dir():
            return folder
    raise ConfigError("the configuration folder of vla_ros was not found; is the package installed?")


def find_checkpoint(name: Path | str = SHIPPED_CHECKPOINT) -> Path:
    """The file `name` if it exists, otherwise the file of that name in config/checkpoints, which may not exist.

    Raises:
        ConfigError: The folder of configuration does not exist.
    """
    file = Path(name)
    return file if file.is_file() else config_dir() / "checkpoints" / file


def robots_dir() -> Path:
    """The folder with one file per robot."""
    return config_dir() / "robots"


def _duplicate_key(text: str) -> str | None:
    """A key that one mapping of the YAML `text` gives twice; PyYAML would silently keep the last value."""
    pending, visited = [yaml.compose(text, Loader=yaml.SafeLoader)], set()
    while pending:
        node = pending.pop()
        if isinstance(node, yaml.CollectionNode) and id(node) not in visited:
            visited.add(id(node))
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            keys = [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]
            for key in keys:
                if keys.count(key) > 1:
                    return str(key)
            pending += [value for _, value in pairs] or node.value
    return None


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of plain data; tags that would construct objects are refused.

    Raises:
        ConfigError: The file is missing, is not YAML, is not a mapping, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        duplicate, data = _duplicate_key(text), yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping; got {type(data).__name__}.")
    if duplicate is not None:
        raise ConfigError(f'{path} gives the key "{duplicate}" twice.')
    return data


_SCALARS: dict[Any, tuple[Any, str]] = {
    float: ((int, float), "a number (with a point: 1.0e-3, not 1e-3)"),
    int: (int, "a whole number"),
    bool: (bool, "true or false"),
    type(None): (type(None), "null"),
}


def from_mapping(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Build the frozen dataclass `cls` from plain data, with the dataclasses inside it; each validates its own fields.

    A mapping given for a field that is a dataclass, or an optional one, is built the same way. A list given for a tuple
    becomes a tuple. Numbers, booleans, tuples and dataclasses are checked against the type of the field; values of any
    other type are passed on.

    Args:
        cls: The dataclass.
        data: Field names and values, as read from YAML or JSON. Fields that are not given take their default.
        where: The name of the source, for errors, for example the name of the file.

    Raises:
        UnknownName: A key is not a field; the text names the nearest.
        ConfigError: A field without a default is missing, or a value has the wrong type. The text names the field by
            its path, for example "network.transformer.width".
    """
    return _build(cls, data, where, "")


def _build(cls: type[T], data: Mapping[str, Any], where: str, path: str) -> T:
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    hints, prefix = get_type_hints(cls), f"{path}." if path else ""
    values = {}
    for key, value in data.items():
        if key not in known:
            raise UnknownName("key", str(key), known, f"{path} of {where}" if path else where)
        values[key] = _convert(hints[key], value, where, prefix + key)
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{where}: {prefix}{name} is missing.")
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {path or cls.__name__}: {error}.") from None


def _convert(hint: Any, value: Any, where: str, path: str) -> Any:
    """The value for a field of type `hint`, checked, with lists as tuples and mappings as dataclasses."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    option = next((o for o in options if _accepts(o, value)), None)
    if option is None:
        expected = " or ".join(_expected(o) for o in options)
        raise ConfigError(f"{where}: {path} must be {expected}; got {value!r}.")
    if is_dataclass(option) and isinstance(value, Mapping):
        return _build(option, value, where, path)  # type: ignore[arg-type]
    if get_origin(option) is tuple:
        items = get_args(option)
        items = items[:1] * len(value) if items[-1:] == (...,) else items
        return tuple(_convert(t, v, where, f"{path}[{i}]") for i, (t, v) in enumerate(zip(items, value, strict=True)))
    return value


def _accepts(option: Any, value: Any) -> bool:
    """Whether a value has the form of a type; what it holds is checked later."""
    if is_dataclass(option):
        return isinstance(value, (Mapping, option))  # type: ignore[arg-type]
    if get_origin(option) is tuple:
        items = get_args(option)
        return isinstance(value, (list, tuple)) and (items[-1:] == (...,) or len(value) == len(items))
    if option in _SCALARS:
        return isinstance(value, bool) is (option is bool) and isinstance(value, _SCALARS[option][0])
    return True


def _expected(option: Any) -> str:
    if is_dataclass(option):
        return "a mapping"
    if get_origin(option) is tuple:
        items = get_args(option)
        return "a list" if items[-1:] == (...,) else f"a list of {len(items)}"
    return _SCALARS[option][1]


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError(message)` unless the condition holds; a comparison with NaN does not hold."""
    if not condition:
        raise ConfigError(message)


def check_keys(data: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise `UnknownName` for the first key of `data` that is not in `known`; `where` names the source."""
    names = list(known)
    for key in data:
        if key not in names:
            raise UnknownName("key", str(key), names, where)


def _joint(name: str, entry: Any, where: str) -> tuple[float, ...]:
    keys = {"position", "velocity", "acceleration", "jerk"}
    if not isinstance(entry, Mapping):
        raise ConfigError(f'joint "{name}" in {where} must be a mapping with {", ".join(sorted(keys))}.')
    for key in entry:
        if key not in keys:
            raise UnknownName(f'key of joint "{name}"', str(key), keys, where)
    missing = sorted(keys - set(entry))
    if missing:
        raise ConfigError(f'joint "{name}" in {where} lacks {", ".join(missing)}.')
    position = entry["position"]
    if not (isinstance(position, list) and len(position) == 2):
        raise ConfigError(f'position of joint "{name}" in {where} must be [lower, upper]; got {position!r}.')
    values = (*position, entry["velocity"], entry["acceleration"], entry["jerk"])
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e300 for v in values):
        raise ConfigError(f'joint "{name}" in {where} must have finite numbers; got {values}.')
    return tuple(float(v) for v in values)


def _numbers(given: Any, count: int, what: str, where: str) -> tuple[float, ...]:
    numbers = given if isinstance(given, list) else []
    if len(numbers) != count or not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
        raise ConfigError(f"{what} in {where} must be {count} numbers in brackets; got {given!r}.")
    return tuple(float(n) for n in numbers)


def _keys(data: Any, keys: tuple[str, ...], what: str, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{what} in {where} must be a mapping with {', '.join(keys)}; got {data!r}.")
    check_keys(data, keys, f"{what} of {where}")
    missing = [key for key in keys if key not in data]
    if missing:
        raise ConfigError(f"{what} in {where} lacks {', '.join(missing)}.")
    return data


def _clearance(entry: Any, file: Path) -> ClearanceConfig:
    where = file.name
    given = dict(entry) if isinstance(entry, Mapping) else entry
    allowed = given.pop("allowed", []) if isinstance(given, dict) else []
    data = _keys(given, ("model", "box", "box_distance", "self_distance"), "clearance", where)
    box = _keys(data["box"], ("x", "y", "z"), "box", where)
    sides = [_numbers(box[axis], 2, f"{axis} of the box", where) for axis in "xyz"]
    distances: list[float] = []
    for name in ("box_distance", "self_distance"):
        row = _keys(data[name], ("stop", "slow"), name, where)
        distances += _numbers([row["stop"], row["slow"]], 2, name, where)
    if not isinstance(data["model"], str):
        raise ConfigError(f"model in {where} must be the name of a file; got {data['model']!r}.")
    if not (isinstance(allowed, list) and all(isinstance(p, list) and len(p) == 2 for p in allowed)):
        raise ConfigError(f"allowed in {where} must be a list of pairs of links; got {allowed!r}.")
    lower, upper = zip(*sides, strict=True)
    model = data["model"] if ":" in data["model"] else str(file.parent / data["model"])
    pairs = tuple((str(a), str(b)) for a, b in allowed)
    return ClearanceConfig(model, lower, upper, *distances, allowed=pairs)  # type: ignore[arg-type,misc]


def load_robot(name_or_file: str | Path) -> Robot:
    """Read a robot from `config/robots/<name>.yaml`, or from any YAML file.

    Args:
        name_or_file: The name of a robot, or a path that ends in .yaml or .yml.

    Raises:
        ConfigError: The file is incomplete, or a value is invalid.
        UnknownName: There is no robot of that name, or a key is unknown; the text names the nearest.
    """
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml"):
        folder = robots_dir()
        path = folder / f"{name_or_file}.yaml"
        if not path.is_file():
            raise UnknownName("robot", str(name_or_file), [p.stem for p in folder.glob("*.yaml")])
    data = load_yaml(path)
    check_keys(data, ("name", "joints", "clearance"), path.name)
    if not isinstance(data.get("name"), str) or not isinstance(data.get("joints"), Mapping):
        raise ConfigError(f"{path.name} must have a name and a mapping of joints.")
    rows = {str(n): _joint(str(n), entry, path.name) for n, entry in data["joints"].items()}
    require(bool(rows), f"{path.name} must have at least one joint.")
    try:
        clearance = _clearance(data["clearance"], path) if "clearance" in data else None
        return Robot(data["name"], Limits(tuple(rows), *np.array(list(rows.values())).T), clearance)
    except VlaError as error:
        raise ConfigError(f"{path.name}: {error}") from None
