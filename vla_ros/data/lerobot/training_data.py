"""Training data from any LeRobot dataset: chunk labels are computed from its actions.

Frame i of an episode, at time i/fps, holds the action that was sent then and applied for one frame. Action i is
therefore the target at time (i+1)/fps, which is also what `save_demos` writes; between these points the target is
linear. Waypoint k of frame i is that line at i/fps + (k+1)·dt. The last action is held: the arm comes to rest at the
end of an episode, and labels beyond the end contain this rest. (LeRobot pads in the same way but excludes the padding
from the loss; here the policy learns to stop.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vla_ros.config import load_robot, require
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.core.records import Array
from vla_ros.data.episodes import DemoInfo, Episode, Floats
from vla_ros.data.images import crop_and_resize

if TYPE_CHECKING:
    from vla_ros.data.lerobot.writer import DatasetHeader, Frames

STATE, ACTION, CAMERA = "observation.state", "action", "observation.images."


@dataclass(frozen=True)
class DataConfig:
    """A LeRobot dataset and the meaning of its values.

    Attributes:
        folder: Folder of the dataset (v3.0).
        joints: The robot's joint names in the order of the columns; empty if the names of the dataset are those of the
            robot, apart from a suffix such as ".pos".
        units: Units of state and action, "rad" or "deg".
        scale: Joint to the factor that replaces the one of `units`, for other units [rad per unit].
        cameras: Camera name to the feature of the dataset; default: "observation.images.NAME".
    """

    folder: str
    joints: tuple[str, ...] = ()
    units: str = "rad"
    scale: Mapping[str, float] = field(default_factory=dict)
    cameras: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "joints", tuple(self.joints))
        require(isinstance(self.folder, str) and bool(self.folder), "data.folder must be the folder of a dataset.")
        if self.units not in ("rad", "deg"):
            raise UnknownName("value of data.units", str(self.units), ("rad", "deg"))
        require(all(np.isfinite(f) and f != 0.0 for f in self.scale.values()), "data.scale must be finite and not 0.")


def chunk_labels(actions: Floats, fps: float, waypoints: int, dt_s: float) -> Floats:
    """Absolute waypoints from the actions of one episode; see the module docstring.

    Args:
        actions: Shape (T, J).
        fps: Actions per second.
        waypoints: Waypoints of a chunk (K).
        dt_s: Time between waypoints [s].

    Returns:
        Shape (T, K, J).
    """
    count = len(actions)
    times = (np.arange(count)[:, None] / fps + dt_s * np.arange(1, waypoints + 1)).ravel()
    action_times = np.arange(1, count + 1) / fps
    columns = [np.interp(times, action_times, column) for column in actions.T.astype(np.float64)]
    return np.stack(columns, axis=-1).reshape(count, waypoints, -1).astype(np.float32)


def load_lerobot(
    config: DataConfig,
    task: str,
    robot: str,
    cameras: Sequence[str],
    image_size: int,
    waypoints: int,
    dt_s: float,
) -> Iterator[tuple[DemoInfo, Episode]]:
    """Yield the episodes of a dataset as demonstrations for `robot`.

    Args:
        config: The dataset.
        task: Name of the task.
        robot: Name of the robot, or its file.
        cameras: Names of the cameras.
        image_size: Side of the square images [px].
        waypoints: Waypoints of a chunk.
        dt_s: Time between waypoints [s].

    Raises:
        ConfigError: Not a dataset of v3.0, damaged, a camera is missing, the joints are not those of the robot, values
            are not finite, or the values cannot be in the declared units.
    """
    from vla_ros.data.lerobot.reader import read_dataset, read_header

    folder = Path(config.folder).expanduser()
    header, _ = read_header(folder)
    features = {name: _camera_feature(config, header, name) for name in cameras}
    joints = _joint_names(config, header, robot)
    limits = load_robot(robot).limits
    unknown = [name for name in config.scale if name not in joints]
    if unknown:
        raise UnknownName("joint", unknown[0], joints, "data.scale")
    factor = np.array([config.scale.get(n, np.pi / 180.0 if config.units == "deg" else 1.0) for n in joints])
    order = [limits.joints.index(name) for name in joints]
    info = DemoInfo(task, robot, joints, tuple(cameras), (), image_size, dt_s, waypoints)
    for number, frames in enumerate(read_dataset(folder, features.values())):
        state, action = (_finite_values(frames, key, number, joints) * factor for key in (STATE, ACTION))
        low, high = limits.lower[order], limits.upper[order]
        _check_units(folder, joints, state, low, high)
        images = {
            name: np.stack([crop_and_resize(image, image_size) for image in frames.images[key]])
            for name, key in features.items()
        }
        labels = chunk_labels(action.astype(np.float32), header.fps, waypoints, dt_s)
        ground_truth = np.zeros((len(frames), 0), dtype=np.float32)
        yield info, Episode(images, state.astype(np.float32), labels, ground_truth, frames.task, {"episode": number})


def _camera_feature(config: DataConfig, header: DatasetHeader, name: str) -> str:
    key = config.cameras.get(name, CAMERA + name)
    if key not in header.images:
        available = ", ".join(k.removeprefix(CAMERA) for k in header.images) or "none"
        raise ConfigError(
            f'{config.folder} has no camera "{name}" ({key}); it has {available}: select with cameras=[...], '
            "or map the camera to a feature with data.cameras."
        )
    return key


def _joint_names(config: DataConfig, header: DatasetHeader, robot: str) -> tuple[str, ...]:
    """The robot's joint names of the columns of state and action."""
    for key in (STATE, ACTION):
        if key not in header.vectors:
            raise ConfigError(f"{config.folder} has no {key}; it has {', '.join(header.vectors)}.")
    state, action = header.vectors[STATE], header.vectors[ACTION]
    if len(state) != len(action) or (not config.joints and state != action):
        raise ConfigError(f"{config.folder}: state ({', '.join(state)}) and action ({', '.join(action)}) differ.")
    robot_joints = load_robot(robot).joints
    own = tuple(n if n in robot_joints else n.rpartition(".")[0] or n for n in state)
    names = config.joints or own
    if names != own and sorted(names) == sorted(own) == sorted(robot_joints):
        raise ConfigError(
            f"{config.folder} names its columns {', '.join(own)}; data.joints would permute them: omit it."
        )
    if len(names) != len(state) or sorted(names) != sorted(robot_joints):
        raise ConfigError(
            f"{config.folder} has {len(state)} columns ({', '.join(names)}); "
            f'robot "{robot}" has {", ".join(robot_joints)}: '
            "list the robot's joint names in the order of the columns with data.joints=[...]."
        )
    return names


def _finite_values(frames: Frames, key: str, episode: int, joints: Sequence[str]) -> Floats:
    values = frames.vectors[key]
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        frame, column = bad[0].tolist()
        raise ConfigError(f"{key} of episode {episode} is not finite at frame {frame}, joint {joints[column]}.")
    return values


def _check_units(folder: Path, joints: Sequence[str], state: Floats, low: Array, high: Array) -> None:
    """Raise if values cannot be radians: the median lies outside the joint range by more than the range's width."""
    median = np.median(state, axis=0)
    width = high - low
    for number in np.flatnonzero(~((median >= low - width) & (median <= high + width))).tolist():
        raise ConfigError(
            f"{folder}: {joints[number]} has median {median[number]:.3g}, the robot's range is {low[number]:.3g} to "
            f"{high[number]:.3g} rad; set data.units=deg or data.scale if the data have other units."
        )
