"""gym-aloha's transfer of a cube between two arms; its simulator needs the extra "aloha"."""

import importlib.util

TASK = "transfer_cube"
ROBOT = "aloha"
CAMERAS = ("top",)
GRIPPERS = ("left_arm_gripper", "right_arm_gripper")
"""Joints that go from 0 (closed) to 1 (open); the others are in rad."""
DT_S = 0.06
"""Time between waypoints: three of the environment's actions [s]."""
TIMEOUT_S = 8.0
"""Maximum duration of an episode: 400 actions, as in the evaluations of ACT (Zhao et al. 2023) [s]."""
NOT_INSTALLED = 'gym-aloha is not installed; install it with pip install "vla_ros[aloha]", with a MuJoCo below 3.9.'


def is_installed() -> bool:
    """Whether gym-aloha is installed."""
    return importlib.util.find_spec("gym_aloha") is not None
