"""What the start script asks of the machine: run a Python, install a system package, draw without a screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_DRAW = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(mujoco.MjData(model))
renderer.render()
"""


def say(text: str) -> None:
    """Tell the user one thing, apart from a command's own output."""
    print(f"vla: {text}", file=sys.stderr, flush=True)


def runs(python: str | Path, code: str, **env: str) -> bool:
    """Whether this Python runs this code without an error."""
    settings = {**clean_environment(), **env}
    return subprocess.run([str(python), "-c", code], capture_output=True, env=settings, check=False).returncode == 0


def clean_environment() -> dict[str, str]:
    """The environment without the library paths that ROS wheels of this interpreter put into it.

    They mark the process as prepared; an interpreter of another environment would then load foreign libraries.
    """
    env = dict(os.environ)
    if env.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None):
        paths = env.pop("LD_LIBRARY_PATH", "").split(os.pathsep)
        kept = [path for path in paths if path and not path.startswith(sys.prefix)]
        if kept:
            env["LD_LIBRARY_PATH"] = os.pathsep.join(kept)
    return env


def system_package(package: str, why: str) -> bool:
    """Install a Debian or Ubuntu package where this user may, else say in one line what to do."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing the system package {package} ({why}).")
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", package]):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=env)
        if done.returncode == 0:
            return True
    say(f"{why} needs the system package {package}: sudo apt-get install {package}")
    return False


def drawing(python: Path, *, may_install: bool) -> str:
    """The off-screen OpenGL that really draws here: "egl" or "osmesa", or "none".

    EGL comes first where there is a graphics device; else both draw on the processor, and OSMesa closes more quietly.
    """
    device = Path("/dev/nvidia0").exists() or any(Path("/dev/dri").glob("renderD*"))
    for _ in range(2):
        for name in ("egl", "osmesa") if device else ("osmesa", "egl"):
            if runs(python, _DRAW, MUJOCO_GL=name, PYOPENGL_PLATFORM=name):
                return name
        if not (may_install and system_package("libosmesa6", "drawing without a screen")):
            break
        may_install = False
    return "none"
