"""Launches the complete graph: cameras, joints -> policy -> planner -> supervisor -> commands, and the observer.

    ros2 launch vla_ros vla.launch.py
    ros2 launch vla_ros vla.launch.py source:=none checkpoint:=/path/to/my.safetensors

With `source:=none` nothing is simulated: start the driver and the cameras of your robot on the topics of
docs/architecture.md. The supervisor starts disarmed; it publishes no command until its service `vla/arm` is called.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(__file__).resolve().parents[1] / "config"

ARGUMENTS = {
    "source": (
        "mujoco",
        "Source of joints and images: mujoco, or none for your own robot.",
        ["mujoco", "none"],
    ),
    "robot": ("so101", "A name in config/robots, or the path of a robot file.", None),
    "task": ("pick_place", "Task of the simulation.", None),
    "policy": ("learned", "Name of the policy: learned, expert (simulation only), hold, or one of your own.", None),
    "checkpoint": (
        "so101_pick_place_beast_moh.safetensors",
        "Checkpoint of a learned policy: a name in config/checkpoints, or a path.",
        None,
    ),
    "use_sim_time": (
        "false",
        "Use the /clock of a simulator (Gazebo, Isaac Sim); with source:=none.",
        ["true", "false"],
    ),
    "params": (str(CONFIG / "vla.yaml"), "Parameter file of all nodes.", None),
}

# The launch arguments that each executable takes as ROS parameters, in the order of the data flow.
NODES = {
    "sim_node": ("robot", "task"),
    "camera_monitor_node": (),
    "policy_node": ("robot", "policy", "checkpoint"),
    "planner_node": ("robot",),
    "supervisor_node": ("robot",),
    "observer_node": ("robot",),
}

# Security enclaves that differ from the node name (`./vla security`); without security they have no effect.
ENCLAVES = {"sim_node": "/robot"}


def text(name: str) -> ParameterValue:
    """A launch argument as a parameter of type string, even if it looks like a number."""
    return ParameterValue(LaunchConfiguration(name), value_type=str)


USE_SIM_TIME = {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}


def generate_launch_description() -> LaunchDescription:
    """Every argument and every node; the simulation only with `source:=mujoco`."""
    simulated = IfCondition(PythonExpression(["'", LaunchConfiguration("source"), "' == 'mujoco'"]))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
                for name, (default, description, choices) in ARGUMENTS.items()
            ),
            *(
                Node(
                    package="vla_ros",
                    executable=executable,
                    name=executable.removesuffix("_node"),
                    output="screen",
                    ros_arguments=["--enclave", ENCLAVES.get(executable, f"/{executable.removesuffix('_node')}")],
                    parameters=[LaunchConfiguration("params"), {name: text(name) for name in names}, USE_SIM_TIME],
                    condition=simulated if executable == "sim_node" else None,
                )
                for executable, names in NODES.items()
            ),
        ]
    )
