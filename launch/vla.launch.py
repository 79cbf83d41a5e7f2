"""The whole graph: cameras and joints -> policy -> planner -> supervisor -> commands, with an observer beside it.

    ros2 launch vla_ros vla.launch.py
    ros2 launch vla_ros vla.launch.py source:=none checkpoint:=/path/to/my.safetensors

With `source:=none` nothing is simulated: bring up your robot's driver and cameras on the topics that the
parameter file names. The supervisor starts disarmed and moves nothing until it is armed by its service.
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
        "Where joints and cameras come from: mujoco, or none for a robot of your own.",
        ["mujoco", "none"],
    ),
    "robot": ("so101", "A name in config/robots, or the path of a robot file.", None),
    "task": ("pick_place", "The scene and task of the simulation.", None),
    "policy": ("learned", "The policy: learned, expert (simulation only), hold, or a registered one.", None),
    "checkpoint": (
        "so101_pick_place_beast_moh.safetensors",
        "The checkpoint of a learned policy: a name in config/checkpoints, or a path.",
        None,
    ),
    "use_sim_time": (
        "false",
        "Whether time is a simulator's /clock (Gazebo, Isaac Sim); with source:=none.",
        ["true", "false"],
    ),
    "params": (str(CONFIG / "vla.yaml"), "The parameter file of all nodes: rates, ages, topics.", None),
}

# Which of the arguments each executable takes as ROS parameters, in the order of the data.
NODES = {
    "sim_node": ("robot", "task"),
    "cameras_node": (),
    "policy_node": ("robot", "policy", "checkpoint"),
    "planner_node": ("robot",),
    "supervisor_node": ("robot",),
    "observer_node": ("robot",),
}

# Who each is where security is on (`./vla security`); without it this means nothing.
ENCLAVES = {"sim_node": "/robot"}


def text(name: str) -> ParameterValue:
    """An argument as a string parameter, whatever it looks like."""
    return ParameterValue(LaunchConfiguration(name), value_type=str)


SIMULATED = {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}


def generate_launch_description() -> LaunchDescription:
    """Every argument, then every node; the simulation only if it is the source."""
    simulated = IfCondition(PythonExpression(["'", LaunchConfiguration("source"), "' == 'mujoco'"]))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=what, choices=choices)
                for name, (default, what, choices) in ARGUMENTS.items()
            ),
            *(
                Node(
                    package="vla_ros",
                    executable=executable,
                    name=executable.removesuffix("_node"),
                    output="screen",
                    ros_arguments=["--enclave", ENCLAVES.get(executable, f"/{executable.removesuffix('_node')}")],
                    parameters=[LaunchConfiguration("params"), {name: text(name) for name in names}, SIMULATED],
                    condition=simulated if executable == "sim_node" else None,
                )
                for executable, names in NODES.items()
            ),
        ]
    )
