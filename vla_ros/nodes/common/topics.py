"""Name, message type and quality of service of every topic and service; each is defined here only."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

JOINT_STATES = "joint_states"
"""sensor_msgs/JointState: the robot's measured joints."""
CAMERA = "camera/{}/image_raw"
"""sensor_msgs/Image, rgb8 or bgr8: one topic per camera name."""
IMAGE_STAMPS = "vla/image_stamps"
"""std_msgs/Header: an image was received; its stamp, and the name of its camera as `frame_id`."""
INSTRUCTION = "vla/instruction"
"""std_msgs/String, latched: the task in words; empty for none."""
CHUNK = "vla/chunk"
"""trajectory_msgs/JointTrajectory: an action chunk of a policy."""
PLAN = "vla/plan"
"""trajectory_msgs/JointTrajectory: a plan that the supervisor is to check."""
ACTIVE_PLAN = "vla/active_plan"
"""trajectory_msgs/JointTrajectory, latched: the plan accepted last; without points, none."""
COMMAND = "vla/command"
"""sensor_msgs/JointState: a stamped copy of every command."""
STATE = "vla/state"
"""diagnostic_msgs/DiagnosticStatus, latched: mode, reason and counters of the supervisor."""
HANDOVER_ERROR = "vla/handover_error"
"""std_msgs/Float64: distance between the chunk and the active plan at the handover [rad]."""
UNCERTAINTY = "vla/uncertainty"
"""std_msgs/Float64: uncertainty of the chunk just published [rad]; only of a policy that provides one."""
ESTOP_INPUT = "vla/estop_input"
"""std_msgs/Bool: true = pressed; with `estop_timeout_s` its absence is an emergency stop."""
DEADMAN = "vla/deadman"
"""std_msgs/Bool: true while held; with `deadman_timeout_s` its release or its absence stops the arm."""
SPEED_SCALE = "vla/speed_scale"
"""std_msgs/Float64, latched: rate of the planner's clock, 0.1 to 1; 1 until the first message."""
ROBOT_COMMAND = "forward_position_controller/commands"
"""std_msgs/Float64MultiArray: joint positions for a forward position controller."""
ROBOT_TRAJECTORY = "joint_trajectory_controller/joint_trajectory"
"""trajectory_msgs/JointTrajectory: for a joint trajectory controller."""
DIAGNOSTICS = "diagnostics"
"""diagnostic_msgs/DiagnosticArray: status of each node."""
CLOCK = "/clock"
"""rosgraph_msgs/Clock: a simulator's time, for nodes with `use_sim_time`."""
SIM_SEED = "sim/seed"
"""std_msgs/Int64: rearrange the scene from this seed; the arm keeps its pose."""
GROUND_TRUTH = "sim/ground_truth"
"""std_msgs/String, JSON, latched: the simulator's ground truth (seed, success, poses, clock)."""

ARM, STOP, ESTOP, RESET = "vla/arm", "vla/stop", "vla/estop", "vla/reset"
"""std_srvs/Trigger: services of the supervisor."""

SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For data of which only the newest message matters: images, a simulator's clock."""
IMAGE = NEWEST
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
STREAM = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
"""For subscribers that need every command."""
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STREAM_LATCHED = QoSProfile(
    depth=2000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
