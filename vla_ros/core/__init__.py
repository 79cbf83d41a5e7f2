"""The core: records, planner, certificate, stops, supervisor. numpy and a QP solver; no ROS, torch or clock."""

from vla_ros.core.certify import Verdict, certify
from vla_ros.core.errors import ConfigError, RecordError, UnknownName, VlaError
from vla_ros.core.observe import ObserveConfig, Observer
from vla_ros.core.plan import Motion, Plan, State
from vla_ros.core.planner import Planner, PlannerConfig
from vla_ros.core.records import Chunk, JointState, Observation, Refusal
from vla_ros.core.robot import Limits, Robot
from vla_ros.core.supervisor import Command, Supervisor, SupervisorConfig

__all__ = [
    "Chunk",
    "Command",
    "ConfigError",
    "JointState",
    "Limits",
    "Motion",
    "Observation",
    "ObserveConfig",
    "Observer",
    "Plan",
    "Planner",
    "PlannerConfig",
    "RecordError",
    "Refusal",
    "Robot",
    "State",
    "Supervisor",
    "SupervisorConfig",
    "UnknownName",
    "Verdict",
    "VlaError",
    "certify",
]
