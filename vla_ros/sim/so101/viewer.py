"""MuJoCo's own window on a world."""

from __future__ import annotations

from typing import Any

from vla_ros.core.errors import ConfigError
from vla_ros.sim.so101.world import World


def open_viewer(world: World) -> Any:
    """A passive window: `sync()` shows the present state, `is_running()` says whether it is still open.

    Raises:
        ConfigError: No window can be opened here.
    """
    import mujoco.viewer

    try:
        return mujoco.viewer.launch_passive(world.model, world.data)
    except Exception as error:  # whatever the window system has to say
        raise ConfigError(f"no window can be opened here ({error}); leave out --view.") from None
