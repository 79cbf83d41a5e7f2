"""ROS parameters become one frozen dataclass per node, or the node does not start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from rclpy.node import Node

from vla_ros.config import require
from vla_ros.core.errors import ConfigError, UnknownName

T = TypeVar("T")
_ROS_OWN = ("use_sim_time", "start_type_description_service")


def check_log_dir(log_dir: str) -> None:
    """Raise `ConfigError` unless logs can be kept there, or none are wanted ("")."""
    require(not log_dir or Path(log_dir).is_dir(), f'log_dir "{log_dir}" is not a folder.')


def _value(kind: Any, given: Any, where: str) -> Any:
    if kind is float and type(given) in (int, float):
        return float(given)
    if kind in (int, bool, str) and type(given) is kind:
        return given
    if kind == tuple[str, ...] and isinstance(given, (list, tuple)) and all(isinstance(g, str) for g in given):
        return tuple(given)
    name = getattr(kind, "__name__", str(kind))
    raise ConfigError(f"{where} must be {name}; got {given!r}.")


def load_params(node: Node, cls: type[T]) -> T:
    """Read every parameter given to `node` into `cls`, a frozen dataclass with defaults.

    Raises:
        UnknownName: A parameter is not a field of `cls`; the text names the nearest.
        ConfigError: A value is of the wrong type, or the dataclass itself refuses it.
    """
    kinds = get_type_hints(cls)
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    given = {}
    parameters: Mapping[str, Any] = node.get_parameters_by_prefix("")
    for name, parameter in parameters.items():
        if name in _ROS_OWN or name.startswith("qos_overrides"):
            continue
        if name not in known:
            raise UnknownName("parameter", name, known, f"node {node.get_name()}")
        given[name] = _value(kinds[name], parameter.value, f'parameter "{name}" of node {node.get_name()}')
    return cls(**given)
