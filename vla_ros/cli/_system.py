"""Operations of the start script on the host: run a Python, install a system package, find an OpenGL backend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(mujoco.MjData(model))
renderer.render()
"""


def log(text: str) -> None:
    """Print one line to standard error, which does not mix with the output of a command."""
    print(f"vla: {text}", file=sys.stderr, flush=True)


def python_runs(python: str | Path, code: str, **env: str) -> bool:
    """Whether an interpreter runs the code without an error."""
    settings = {**clean_environment(), **env}
    return subprocess.run([str(python), "-c", code], capture_output=True, env=settings, check=False).returncode == 0


def clean_environment() -> dict[str, str]:
    """The environment variables without the library paths that the ROS wheels of this interpreter have added.

    The wheels mark the process as prepared, and an interpreter of another environment would then load the libraries
    of this one.
    """
    env = dict(os.environ)
    if env.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None):
        paths = env.pop("LD_LIBRARY_PATH", "").split(os.pathsep)
        kept = [path for path in paths if path and not path.startswith(sys.prefix)]
        if kept:
            env["LD_LIBRARY_PATH"] = os.pathsep.join(kept)
    return env


def install_system_package(package: str, purpose: str) -> bool:
    """Install a Debian or Ubuntu package if this user may; otherwise print the command that does it.

    Returns:
        Whether the package was installed.
    """
    if os.geteuid() == 0 and shutil.which("apt-get"):
        log(f"installing the system package {package} ({purpose}).")
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", package]):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=env)
        if done.returncode == 0:
            return True
    log(f"{purpose} requires the system package {package}: sudo apt-get install {package}")
    return False


def find_opengl_backend(python: Path, *, may_install: bool) -> str:
    """The off-screen OpenGL backend with which MuJoCo renders on this host: "egl", "osmesa" or "none".

    EGL is tried first if there is a graphics device. Without one, both backends render on the CPU, and OSMesa is tried
    first because it shuts down without warnings.

    Args:
        python: Interpreter of the environment with MuJoCo.
        may_install: Install OSMesa if neither backend renders.
    """
    device = Path("/dev/nvidia0").exists() or any(Path("/dev/dri").glob("renderD*"))
    for _ in range(2):
        for name in ("egl", "osmesa") if device else ("osmesa", "egl"):
            if python_runs(python, _RENDER, MUJOCO_GL=name, PYOPENGL_PLATFORM=name):
                return name
        if not (may_install and install_system_package("libosmesa6", "off-screen rendering")):
            break
        may_install = False
    return "none"
