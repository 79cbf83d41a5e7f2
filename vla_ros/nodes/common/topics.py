"""Every topic and service of the flow: name, type, quality of service; one home for each."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

JOINT_STATES = "joint_states"
CAMERA = "camera/{}/image_raw"
PICTURES = "vla/pictures"
"""std_msgs/Header: a picture came; its stamp, and the name of its camera as `frame_id`."""
INSTRUCTION = "vla/instruction"
"""std_msgs/String, latched: the task as a sentence; empty means rest."""
CHUNK = "vla/chunk"
PLAN = "vla/plan"
IN_FORCE = "vla/plan_in_force"
"""trajectory_msgs/JointTrajectory, latched: the newest permitted plan; without points, none."""
COMMAND = "vla/command"
"""sensor_msgs/JointState: a stamped copy of every command."""
STATE = "vla/state"
"""diagnostic_msgs/DiagnosticStatus, latched: mode, reason and counters of the supervisor."""
DISAGREEMENT = "vla/disagreement"
"""std_msgs/Float64: distance between chunk and plan in force at the hand-over [rad]."""
DOUBT = "vla/doubt"
"""std_msgs/Float64: how far a policy's own opinions of the chunk it just sent lie apart [rad], where it has several."""
ESTOP_INPUT = "vla/estop_input"
"""std_msgs/Bool: true = pressed; with `estop_heartbeat_s` its silence is an emergency stop."""
DEADMAN = "vla/deadman"
"""std_msgs/Bool: true while somebody holds it; with `deadman_s` its release and its silence are a stop."""
SPEED_SCALE = "vla/speed_scale"
"""std_msgs/Float64, latched: how fast the planner's clock shall run, 0.1 to 1; without it, 1."""
ROBOT_COMMAND = "forward_position_controller/commands"
ROBOT_TRAJECTORY = "joint_trajectory_controller/joint_trajectory"
DIAGNOSTICS = "diagnostics"
CLOCK = "/clock"
"""rosgraph_msgs/Clock: a simulator's time, for nodes with `use_sim_time`."""
SIM_SEED = "sim/seed"
"""std_msgs/Int64: rearrange the scene from this seed; the arm stays as it is."""
SIM_TRUTH = "sim/truth"
"""std_msgs/String, JSON: the simulator's truth (seed, success, poses, clock)."""

ARM, STOP, ESTOP, RESET = "vla/arm", "vla/stop", "vla/estop", "vla/reset"

SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""The newest is all that matters: pictures, a simulator's clock."""
IMAGE = NEWEST
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
STREAM = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
"""For whoever must see every command."""
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STREAM_LATCHED = QoSProfile(
    depth=2000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
