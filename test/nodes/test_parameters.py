"""Parameter dataclasses are flattened; the parameter file has only known parameters."""

import dataclasses
from dataclasses import dataclass, field

import pytest

from vla_ros.config import config_dir, load_yaml
from vla_ros.core.errors import ConfigError
from vla_ros.nodes.camera_monitor_node import CameraMonitorParams
from vla_ros.nodes.common.parameters import build, parameter_types
from vla_ros.nodes.episodes_node import EpisodesParams
from vla_ros.nodes.observer_node import ObserverParams
from vla_ros.nodes.planner_node import PlannerParams
from vla_ros.nodes.policy_node import PolicyParams
from vla_ros.nodes.sim_node import SimParams
from vla_ros.nodes.supervisor_node import SupervisorParams

PARAMS = {
    "camera_monitor": CameraMonitorParams,
    "episodes": EpisodesParams,
    "observer": ObserverParams,
    "planner": PlannerParams,
    "policy": PolicyParams,
    "sim": SimParams,
    "supervisor": SupervisorParams,
}


@dataclass(frozen=True)
class Inner:
    rate_hz: float = 1.0

    def __post_init__(self) -> None:
        if self.rate_hz <= 0.0:
            raise ConfigError("rate_hz must be positive.")


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ambiguous:
    inner: Inner = field(default_factory=Inner)
    rate_hz: float = 2.0


@pytest.mark.parametrize("node", PARAMS)
def test_parameters_of_a_node_are_unique_and_have_the_defaults_of_their_class(node: str) -> None:
    assert parameter_types(PARAMS[node])
    assert build(PARAMS[node], {}) == PARAMS[node]()


@pytest.mark.parametrize("node", load_yaml(config_dir() / "vla.yaml"))
def test_the_parameter_file_has_only_known_parameters_with_valid_values(node: str) -> None:
    given = load_yaml(config_dir() / "vla.yaml")[node]["ros__parameters"]
    assert given.keys() <= parameter_types(PARAMS[node]).keys()
    build(PARAMS[node], given)


def test_nested_fields_are_parameters_of_their_own() -> None:
    assert parameter_types(Outer) == {"rate_hz": float, "names": tuple[str, ...]}
    made = build(Outer, {"rate_hz": 3.0, "names": ("a",)})
    assert dataclasses.asdict(made) == {"inner": {"rate_hz": 3.0}, "names": ("a",)}


def test_a_nested_class_validates_its_own_fields() -> None:
    with pytest.raises(ConfigError, match="rate_hz must be positive"):
        build(Outer, {"rate_hz": 0.0})


def test_two_parameters_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="Ambiguous has more than one parameter named rate_hz"):
        parameter_types(Ambiguous)
