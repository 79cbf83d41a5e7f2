"""The in-house network as a policy: loads a checkpoint, checks what it is shown, answers in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vla_ros.core.errors import RecordError
from vla_ros.core.records import Chunk, Observation, reorder
from vla_ros.policy.build import Model
from vla_ros.policy.checkpoint import CheckpointInfo, load_checkpoint
from vla_ros.policy.curve import curve_chunk, is_curve
from vla_ros.policy.images import shrink
from vla_ros.policy.instruction import embed
from vla_ros.policy.model import to_input
from vla_ros.policy.policy import policy


@policy("learned")
class LearnedPolicy:
    """A checkpoint at work.

    Attributes:
        joints: Names it commands, in the order it was trained with.
        cameras: Names of the cameras it needs.
        info: What the checkpoint says about itself.
        doubt_rad: How far the horizons of a mixture lie apart on what was sent last, the mean over its waypoints and
            the arm's joints [rad]; None before the first chunk, and for networks without a mixture.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        robot: str | None = None,
        joints: Sequence[str] | None = None,
        threads: int = 1,
    ) -> None:
        """Load `checkpoint`.

        Args:
            checkpoint: The safetensors file.
            robot: Name of the robot at hand; another robot's checkpoint is refused. None takes any.
            joints: Joints of the robot at hand; None takes any.
            threads: CPU threads for the whole process; one is enough, and leaves the rest to control.

        Raises:
            ConfigError: The checkpoint does not fit; see `load_checkpoint`.
        """
        torch.set_num_threads(threads)
        self._setup(*load_checkpoint(checkpoint, robot, joints))

    @classmethod
    def from_model(cls, model: Model, info: CheckpointInfo) -> LearnedPolicy:
        """Wrap a model in memory, without touching the number of threads (for training)."""
        self = cls.__new__(cls)
        self._setup(model, info)
        return self

    def _setup(self, model: Model, info: CheckpointInfo) -> None:
        self._model, self.info = model.eval(), info
        self.joints, self.cameras = info.model.joints, info.model.cameras
        actor = info.model.actor
        self._steps = tuple(actor is not None and name in actor.gripper for name in self.joints)
        self._words: tuple[str, torch.Tensor] | None = None
        self.doubt_rad: float | None = None

    def _embed(self, sentence: str) -> torch.Tensor:
        if self._words is None or self._words[0] != sentence:
            self._words = (sentence, torch.from_numpy(embed(sentence, self.info.model.words))[None])
        return self._words[1]

    def infer(self, observation: Observation) -> Chunk:
        """See `Policy.infer`; an empty instruction stands for the one of training.

        A mixture of horizons sends as far as its horizons agree, and no more: the less sure, the shorter the
        plan, and the sooner the arm slows down. The same observation gets the same chunk, from networks that draw too.
        Control points are sent as the curve they are, see `curve_chunk`.
        """
        missing = [name for name in self.cameras if name not in observation.images]
        if missing:
            raise RecordError(
                f"the observation lacks camera {', '.join(missing)}; it has {', '.join(observation.images) or 'none'}."
            )
        order = reorder(observation.joints, self.joints, "the observation")
        joints = torch.from_numpy(observation.positions[order].astype(np.float32))[None]
        size = self.info.model.image_size
        images = [to_input(torch.from_numpy(shrink(observation.images[n], size))[None]) for n in self.cameras]
        words = self._embed(observation.instruction or self.info.instruction)
        with torch.inference_mode():
            act = self._model.act(images, joints, words, seed=observation.stamp_ns)
        count = act.execute[0]
        self.doubt_rad = None if act.apart is None else float(act.apart[0, :count].mean())
        return self._chunk(observation.stamp_ns, act.waypoints[0, :count], act.points)

    def _chunk(self, stamp_ns: int, waypoints: torch.Tensor, points: torch.Tensor | None) -> Chunk:
        """What is sent: a spline's own curve as far as its waypoints are worth executing, else the waypoints."""
        spline, rows = self.info.model.spline, waypoints.double().numpy()
        if points is None or not is_curve(spline):
            return Chunk.from_rate(stamp_ns, self.joints, rows, spline.dt_s)
        return curve_chunk(stamp_ns, self.joints, points[0].double().numpy(), rows, spline, self._steps)

    def reset(self) -> None:
        """Forget how sure the last chunk was; the network has no memory."""
        self.doubt_rad = None
