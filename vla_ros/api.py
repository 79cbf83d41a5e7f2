"""The public interface of the package: records, planner, limit certificate, supervisor. Needs numpy and daqp only."""

from vla_ros.core.errors import ConfigError, RecordError, UnknownName, VlaError
from vla_ros.core.records import Chunk, JointState, Observation, Refusal
from vla_ros.core.robot import Limits, Robot
from vla_ros.core.synchroniser import SynchroniserConfig, Synchroniser
from vla_ros.core.trajectory import Motion, Plan, State
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.limit_certificate import Verdict, certify
from vla_ros.safety.supervisor import Command, Supervisor, SupervisorConfig

__all__ = [
    "Chunk",
    "Command",
    "ConfigError",
    "JointState",
    "Limits",
    "Motion",
    "Observation",
    "SynchroniserConfig",
    "Synchroniser",
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
