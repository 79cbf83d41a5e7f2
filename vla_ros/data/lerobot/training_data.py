"""Any LeRobot dataset as demonstrations to learn from: chunk labels are made from its actions.

Frame i of an episode, at time i/fps, holds the action that was sent then and was in force for one frame. So action
i is taken as the target of time (i+1)/fps, which is also what `save_demos` writes; between these points the target is
linear. Waypoint k of frame i is that line at i/fps + (k+1)·dt. Beyond the last action it is held: the arm comes to rest
at the end of an episode, and a chunk that reaches over it says so. (LeRobot pads in the same way, but leaves the
padding out of the loss; here the policy is to learn when it is done.)
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
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.inference.images import shrink

if TYPE_CHECKING:
    from vla_ros.data.lerobot.writer import Frames, Head

STATE, ACTION, CAMERA = "observation.state", "action", "observation.images."


@dataclass(frozen=True)
class DataConfig:
    """A LeRobot dataset, and what its numbers mean.

    Attributes:
        folder: Of the dataset (v3.0).
        joints: The robot's names of the columns, in the order of the columns; empty where the dataset's own names are
            the robot's, but for an ending like ".pos".
        units: Of state and action: "rad" or "deg".
        scale: Factor of a joint in place of that of `units`, where it is counted in something else [rad per unit].
        cameras: Name of a camera to the dataset's feature; "observation.images.NAME" where not given.
    """

    folder: str
    joints: tuple[str, ...] = ()
    units: str = "rad"
    scale: Mapping[str, float] = field(default_factory=dict)
    cameras: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check."""
        object.__setattr__(self, "joints", tuple(self.joints))
        require(isinstance(self.folder, str) and bool(self.folder), "data.folder must be the folder of a dataset.")
        if self.units not in ("rad", "deg"):
            raise UnknownName("value of data.units", str(self.units), ("rad", "deg"))
        require(all(np.isfinite(f) and f != 0.0 for f in self.scale.values()), "data.scale must be finite and not 0.")


def chunk_labels(actions: Floats, fps: float, spline: SplineConfig) -> Floats:
    """Absolute targets on a chunk's grid, shape (T, K, J), of the actions (T, J) of one episode; see the top."""
    count = len(actions)
    times = (np.arange(count)[:, None] / fps + spline.dt_s * np.arange(1, spline.waypoints + 1)).ravel()
    known = np.arange(1, count + 1) / fps
    columns = [np.interp(times, known, column) for column in actions.T.astype(np.float64)]
    return np.stack(columns, axis=-1).reshape(count, spline.waypoints, -1).astype(np.float32)


def load_lerobot(
    config: DataConfig, task: str, robot: str, cameras: Sequence[str], image_size: int, spline: SplineConfig
) -> Iterator[tuple[DemoInfo, Episode]]:
    """The episodes of a dataset as demonstrations for `robot`, one at a time.

    Raises:
        ConfigError: No dataset of v3.0, damaged, without a camera that is asked for, with other joints than the robot,
            with values that are not finite, or in other units than said.
    """
    from vla_ros.data.lerobot.reader import read_dataset, read_head

    folder = Path(config.folder).expanduser()
    head, _ = read_head(folder)
    features = {name: _camera(config, head, name) for name in cameras}
    joints = _joints(config, head, robot)
    limits = load_robot(robot).limits
    unknown = [name for name in config.scale if name not in joints]
    if unknown:
        raise UnknownName("joint", unknown[0], joints, "data.scale")
    factor = np.array([config.scale.get(n, np.pi / 180.0 if config.units == "deg" else 1.0) for n in joints])
    order = [limits.joints.index(name) for name in joints]
    info = DemoInfo(task, robot, joints, tuple(cameras), (), image_size, spline.dt_s, spline.waypoints)
    for number, frames in enumerate(read_dataset(folder, features.values())):
        state, action = (_numbers(frames, key, number, joints) * factor for key in (STATE, ACTION))
        low, high = limits.lower[order], limits.upper[order]
        _check_units(folder, joints, state, low, high)
        images = {n: np.stack([shrink(x, image_size) for x in frames.images[key]]) for n, key in features.items()}
        labels = chunk_labels(action.astype(np.float32), head.fps, spline)
        truth = np.zeros((len(frames), 0), dtype=np.float32)
        yield info, Episode(images, state.astype(np.float32), labels, truth, frames.task, {"episode": number})


def _camera(config: DataConfig, head: Head, name: str) -> str:
    key = config.cameras.get(name, CAMERA + name)
    if key not in head.images:
        there = ", ".join(k.removeprefix(CAMERA) for k in head.images) or "none"
        raise ConfigError(
            f'{config.folder} has no camera "{name}" ({key}); it has {there}: choose with cameras=[...], or say '
            "which feature it is with data.cameras."
        )
    return key


def _joints(config: DataConfig, head: Head, robot: str) -> tuple[str, ...]:
    """The robot's names of the columns of state and action."""
    for key in (STATE, ACTION):
        if key not in head.vectors:
            raise ConfigError(f"{config.folder} has no {key}; it has {', '.join(head.vectors)}.")
    state, action = head.vectors[STATE], head.vectors[ACTION]
    if len(state) != len(action) or (not config.joints and state != action):
        raise ConfigError(f"{config.folder}: state ({', '.join(state)}) and action ({', '.join(action)}) differ.")
    has = load_robot(robot).joints
    own = tuple(n if n in has else n.rpartition(".")[0] or n for n in state)
    names = config.joints or own
    if names != own and sorted(names) == sorted(own) == sorted(has):
        raise ConfigError(
            f"{config.folder} itself names its columns {', '.join(own)}; data.joints would swap them: leave it out."
        )
    if len(names) != len(state) or sorted(names) != sorted(has):
        raise ConfigError(
            f'{config.folder} moves {", ".join(names)} ({len(state)} columns); robot "{robot}" has {", ".join(has)}: '
            "give the robot's names in the order of the columns with data.joints=[...]."
        )
    return names


def _numbers(frames: Frames, key: str, episode: int, joints: Sequence[str]) -> Floats:
    values = frames.vectors[key]
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        frame, column = bad[0].tolist()
        raise ConfigError(f"{key} of episode {episode} is not finite at frame {frame}, joint {joints[column]}.")
    return values


def _check_units(folder: Path, joints: Sequence[str], state: Floats, low: Array, high: Array) -> None:
    """Refuse what cannot be radians of this robot: half of the frames further outside the range than its width."""
    middle = np.median(state, axis=0)
    room = high - low
    for number in np.flatnonzero(~((middle >= low - room) & (middle <= high + room))).tolist():
        raise ConfigError(
            f"{folder}: {joints[number]} is mostly at {middle[number]:.3g}, the robot's range is {low[number]:.3g} to "
            f"{high[number]:.3g} rad; say data.units=deg or data.scale if the data count otherwise."
        )
