"""The public interface: records, synchroniser, planner, limit certificate, supervisor. Needs numpy, scipy and daqp."""

from vla_ros.core.errors import ConfigError, RecordError, UnknownName, VlaError
from vla_ros.core.records import Chunk, JointState, Observation, Refusal
from vla_ros.core.robot import ClearanceConfig, Limits, Robot
from vla_ros.core.synchroniser import Synchroniser, SynchroniserConfig
from vla_ros.core.trajectory import Motion, Plan, State
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.limit_certificate import Verdict, certify
from vla_ros.safety.monitors import MonitorConfig
from vla_ros.safety.speed_scaling import SpeedScalingConfig
from vla_ros.safety.supervisor import Command, Supervisor, SupervisorConfig

__all__ = [
    "Chunk",
    "ClearanceConfig",
    "Command",
    "ConfigError",
    "JointState",
    "Limits",
    "MonitorConfig",
    "Motion",
    "Observation",
    "Plan",
    "Planner",
    "PlannerConfig",
    "RecordError",
    "Refusal",
    "Robot",
    "SpeedScalingConfig",
    "State",
    "Supervisor",
    "SupervisorConfig",
    "Synchroniser",
    "SynchroniserConfig",
    "UnknownName",
    "Verdict",
    "VlaError",
    "certify",
]
