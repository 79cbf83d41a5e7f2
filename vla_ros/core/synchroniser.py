"""Observation synchroniser: the newest image of each camera with the joint state nearest to it in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, Image, JointState, Observation, Refusal, check_image


@dataclass(frozen=True)
class SynchroniserConfig:
    """Thresholds of the synchroniser.

    Attributes:
        image_age_s: Maximum age of an image in an observation [s].
        joint_skew_s: Maximum difference in time between the newest image and its joint state [s].
    """

    image_age_s: float = 0.3
    joint_skew_s: float = 0.05

    def __post_init__(self) -> None:
        """Check every value."""
        for field in fields(SynchroniserConfig):
            value = getattr(self, field.name)
            if not 0.0 < value < float("inf"):
                raise ConfigError(f"synchroniser: {field.name} must be greater than 0; got {value}.")


class Synchroniser:
    """Keeps the newest image of each camera and the last 200 joint states. Time and stamps are arguments."""

    def __init__(self, cameras: Sequence[str], joints: Sequence[str], config: SynchroniserConfig | None = None) -> None:
        """Require an image of every camera in `cameras` and states of the joints `joints` (J)."""
        self.config = config or SynchroniserConfig()
        self._cameras, self._joints = tuple(cameras), tuple(joints)
        self._images: dict[str, tuple[int, Image]] = {}
        self._states: deque[JointState] = deque(maxlen=200)

    def image(self, camera: str, stamp_ns: int, image: Image) -> None:
        """Add an image, (H, W, 3) RGB; it is dropped if it is older than the newest one.

        Raises:
            RecordError: It has another shape or type.
        """
        check_image(camera, image)
        if camera not in self._images or stamp_ns >= self._images[camera][0]:
            self._images[camera] = (stamp_ns, image)

    def joint_state(self, state: JointState) -> None:
        """Add a joint state; raises `RecordError` if it names other joints."""
        self._states.append(state.reordered(self._joints))

    def observe(self, now_ns: int, instruction: str = "") -> Observation | Refusal:
        """The observation at `now_ns`, or a refusal that names what is "missing", "stale" or from the "future"."""
        for camera in self._cameras:
            if camera not in self._images:
                return Refusal("missing", f'no image from camera "{camera}" yet.')
            age = (now_ns - self._images[camera][0]) / NS
            if not age >= -self.config.image_age_s:
                del self._images[camera]  # it would suppress every later image until its stamp is reached
                return Refusal("future", f'the newest image of camera "{camera}" is stamped {-age:.3f} s ahead of now.')
            if not age <= self.config.image_age_s:
                return Refusal(
                    "stale",
                    f'the newest image of camera "{camera}" is {age:.3f} s old; at most {self.config.image_age_s} s.',
                )
        if not self._states:
            return Refusal("missing", "no joint state yet.")
        stamp = max((self._images[c][0] for c in self._cameras), default=now_ns)
        nearest = min(self._states, key=lambda s: abs(s.stamp_ns - stamp))
        skew = abs(nearest.stamp_ns - stamp) / NS
        if not skew <= self.config.joint_skew_s:
            return Refusal(
                "stale",
                f"the joint state nearest in time to {'the newest image' if self._cameras else 'now'} differs by "
                f"{skew:.3f} s; at most {self.config.joint_skew_s} s.",
            )
        if not self._cameras:
            stamp = nearest.stamp_ns
        images = {c: self._images[c][1] for c in self._cameras}
        return Observation(stamp, images, self._joints, nearest.positions, instruction)
