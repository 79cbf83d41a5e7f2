"""Reads the ROS parameters of a node into one frozen dataclass; an invalid parameter stops the start.

A field that is itself a dataclass is flattened: its fields are parameters of their own names, so that the parameter
file stays flat and each class validates its own fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from rclpy.node import Node

from vla_ros.config import require
from vla_ros.core.errors import ConfigError, UnknownName

T = TypeVar("T")
_ROS_PARAMETERS = ("use_sim_time", "start_type_description_service")


def check_log_dir(log_dir: str) -> None:
    """Raise `ConfigError` unless `log_dir` is an existing folder or "" (no logs)."""
    require(not log_dir or Path(log_dir).is_dir(), f'log_dir "{log_dir}" is not a folder.')


def parameter_types(cls: type) -> dict[str, Any]:
    """Name and type of every parameter of a dataclass, nested dataclasses flattened.

    Raises:
        TypeError: Two of the nested classes have a field of the same name.
    """
    types: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for field in fields(cls):
        kind = hints[field.name]
        found = parameter_types(kind) if is_dataclass(kind) and isinstance(kind, type) else {field.name: kind}
        twice = sorted(found.keys() & types.keys())
        if twice:
            raise TypeError(f"{cls.__name__} has more than one parameter named {', '.join(twice)}.")
        types |= found
    return types


def _checked(kind: Any, value: Any, name: str) -> Any:
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    if kind == tuple[str, ...] and isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise ConfigError(f"{name} must be {getattr(kind, '__name__', str(kind))}; got {value!r}.")


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the dataclass `cls` from flat parameter values; absent parameters keep their defaults."""
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for field in fields(cls):  # type: ignore[arg-type]
        kind = hints[field.name]
        if is_dataclass(kind) and isinstance(kind, type):
            arguments[field.name] = build(kind, values)
        elif field.name in values:
            arguments[field.name] = values[field.name]
    return cls(**arguments)


def load_params(node: Node, cls: type[T]) -> T:
    """Read every parameter of `node` into `cls`, a frozen dataclass in which every field has a default.

    Raises:
        UnknownName: A parameter is not a field of `cls`; the text names the nearest field.
        ConfigError: A value has the wrong type, or the dataclass rejects it.
    """
    types = parameter_types(cls)
    values = {}
    parameters: Mapping[str, Any] = node.get_parameters_by_prefix("")
    for name, parameter in parameters.items():
        if name in _ROS_PARAMETERS or name.startswith("qos_overrides"):
            continue
        if name not in types:
            raise UnknownName("parameter", name, list(types), f"node {node.get_name()}")
        values[name] = _checked(types[name], parameter.value, f'parameter "{name}" of node {node.get_name()}')
    return build(cls, values)
