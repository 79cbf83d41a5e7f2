"""Rendering of the simulated world from snapshots, in a thread other than the one that steps it."""

from __future__ import annotations

import copy
import threading

import mujoco
import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import UnknownName
from vla_ros.sim.so101.scene import CAMERAS, CUBE_NAMES
from vla_ros.sim.so101.tasks import Appearance
from vla_ros.sim.so101.world import Snapshot, World

Image = npt.NDArray[np.uint8]


class Cameras:
    """The cameras of a world, with their own copy of its model.

    Nothing is shared with the world after construction, so another thread may step and rearrange the world. The
    rendering context belongs to the thread of the first `render`; all later calls, and `close`, must come from it.

    Attributes:
        names: Names of the cameras.
        width: Of the images [px].
        height: Of the images [px].
    """

    def __init__(self, world: World, width: int = 224, height: int = 224, shadows: bool = False) -> None:
        """Copy the model; nothing is rendered yet.

        Args:
            world: The world whose snapshots will be rendered.
            width: Of the images, 16 to 4096 [px].
            height: Of the images, 16 to 4096 [px].
            shadows: Render shadows, at about ten times the cost; for animations, not for policies.

        Raises:
            ValueError: A size is outside its range.
        """
        if not (16 <= width <= 4096 and 16 <= height <= 4096):
            raise ValueError(f"images must be 16 to 4096 pixels wide and high; got {width} x {height}.")
        self.names = CAMERAS
        self.width, self.height = int(width), int(height)
        self._model = copy.copy(world.model)
        self._cubes = len(world.task.cubes)
        self._model.vis.global_.offwidth = self.width
        self._model.vis.global_.offheight = self.height
        self._data = mujoco.MjData(self._model)
        self._front_pos = self._model.camera("front").pos.copy()
        self._front_quat = self._model.camera("front").quat.copy()
        self._shadows = bool(shadows)
        if shadows:
            self._model.light_castshadow[self._model.light("main").id] = True
            self._model.vis.quality.shadowsize = 4096
            self._model.vis.quality.offsamples = 4
        self._renderer: mujoco.Renderer | None = None
        self._thread: int | None = None
        self._loaded: Snapshot | None = None

    def render(self, snapshot: Snapshot, camera: str) -> Image:
        """Render one image.

        Args:
            snapshot: The instant to render, from the world given at construction.
            camera: Name of the camera, one of `names`.

        Returns:
            RGB, shape (height, width, 3).

        Raises:
            UnknownName: There is no such camera; the text names the nearest.
            RuntimeError: Called from another thread than the first call.
        """
        if camera not in self.names:
            raise UnknownName("camera", str(camera), self.names)
        renderer = self._renderer_of_thread()
        if snapshot is not self._loaded:
            self._load(snapshot)
        renderer.update_scene(self._data, camera)
        return np.asarray(renderer.render()).copy()

    def render_all(self, snapshot: Snapshot) -> dict[str, Image]:
        """One image of every camera, by name."""
        return {name: self.render(snapshot, name) for name in self.names}

    def close(self) -> None:
        """Free the rendering context; a later `render` creates a new one."""
        if self._renderer is not None:
            self._check_thread()
            self._renderer.close()
        self._renderer, self._thread, self._loaded = None, None, None

    def _renderer_of_thread(self) -> mujoco.Renderer:
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self._model, self.height, self.width)
            self._thread = threading.get_ident()
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._renderer.scene.flags[flag] = self._shadows and flag == mujoco.mjtRndFlag.mjRND_SHADOW
        self._check_thread()
        return self._renderer

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("these cameras already render in another thread; create one Cameras per thread.")

    def _load(self, snapshot: Snapshot) -> None:
        self._data.qpos[:] = snapshot.qpos
        self._data.mocap_pos[:] = snapshot.mocap_pos
        self._data.mocap_quat[:] = snapshot.mocap_quat
        if self._loaded is None or snapshot.appearance is not self._loaded.appearance:
            self._apply_appearance(snapshot.appearance)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._loaded = snapshot

    def _apply_appearance(self, appearance: Appearance) -> None:
        m = self._model
        for name, colour in zip(CUBE_NAMES[: self._cubes], (appearance.cube, appearance.other), strict=False):
            m.geom(name).rgba = colour
        m.geom("bowl").rgba = appearance.bowl
        m.material("table").rgba = appearance.table
        m.light("main").diffuse = appearance.light
        m.light("main").dir = appearance.light_direction
        m.camera("front").pos = self._front_pos + np.array(appearance.camera_shift_m)
        turned, turn = np.zeros(4), np.zeros(4)
        angle = float(np.linalg.norm(appearance.camera_turn_rad))
        axis = np.array(appearance.camera_turn_rad) / angle if angle > 0.0 else np.array([0.0, 0.0, 1.0])
        mujoco.mju_axisAngle2Quat(turn, axis, angle)
        mujoco.mju_mulQuat(turned, self._front_quat, turn)
        m.camera("front").quat = turned
