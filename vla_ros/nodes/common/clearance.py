"""Loads the collision model that a robot file asks for."""

from __future__ import annotations

from vla_ros.core.errors import ConfigError
from vla_ros.core.robot import Robot
from vla_ros.safety.clearance import ClearanceChecker
from vla_ros.sim.so101.assets import cache_root


def clearance_checker(robot: Robot) -> ClearanceChecker:
    """The clearance checker of `robot`; without a section `clearance` in its file it checks nothing.

    MuJoCo is imported only if it is needed.

    Raises:
        ConfigError: MuJoCo is needed and not installed.
    """
    if robot.clearance is None:
        return ClearanceChecker()
    try:
        from vla_ros.collision.arm_model import load_collision_model
    except ImportError as error:
        raise ConfigError(
            f"checking the clearance needs MuJoCo ({error}); pip install mujoco, or remove `clearance`."
        ) from None
    return ClearanceChecker(load_collision_model(robot.limits, robot.clearance, cache_root()))
