"""MuJoCo's passive viewer for a world."""

from __future__ import annotations

from typing import Any

from vla_ros.core.errors import ConfigError
from vla_ros.sim.so101.world import World


def open_viewer(world: World) -> Any:
    """Open a passive viewer: `sync()` shows the current state, `is_running()` is false once it was closed.

    Raises:
        ConfigError: No window can be opened on this machine.
    """
    import mujoco.viewer

    try:
        return mujoco.viewer.launch_passive(world.model, world.data)
    except Exception as error:  # the window system raises many types
        raise ConfigError(f"no window can be opened on this machine ({error}); omit --view.") from None
