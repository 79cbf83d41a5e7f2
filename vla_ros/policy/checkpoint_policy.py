"""The in-house network as a policy: loads a checkpoint, checks what it is shown, answers in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import NS, Chunk, Observation, reorder
from vla_ros.core.trajectory import Plan
from vla_ros.policy.base import Policy, PolicyContext, policies
from vla_ros.policy.curve_chunk import curve_chunk, is_curve
from vla_ros.policy.inference.device_images import image_input
from vla_ros.policy.inference.engine import Engine, find_engine
from vla_ros.policy.network.build import Model
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint
from vla_ros.policy.network.config import Act
from vla_ros.policy.network.model import ActorModel
from vla_ros.policy.real_time_chunking import CommittedPrefix, pin
from vla_ros.policy.text.encoders import Sentences


def find_device(name: str) -> torch.device:
    """The device called "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigError: There is none of that name on this machine.
    """
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or (kind == "cpu" and number):
        raise ConfigError(f'device must be "cpu", "cuda" or "cuda:0", "cuda:1" and so on; got "{name}".')
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and not int(number or 0) < count:
        raise ConfigError(
            f'device "{name}": torch {torch.__version__} finds {count} GPUs on this machine; use device "cpu", or a '
            f"torch built for the GPU that is there."
        )
    return torch.device(name)


class CheckpointPolicy(Policy):
    """A checkpoint at work.

    Attributes:
        joints: Names it commands, in the order it was trained with.
        cameras: Names of the cameras it needs.
        info: What the checkpoint says about itself.
        uncertainty_rad: How far the horizons of a mixture lie apart on what was sent last, the mean over its waypoints and
            the arm's joints [rad]; None before the first chunk, and for networks without a mixture.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        robot: str | None = None,
        joints: Sequence[str] | None = None,
        threads: int = 1,
        condition: bool = False,
        device: str = "cpu",
        engine: str = "auto",
        precision: str = "float32",
    ) -> None:
        """Load `checkpoint`.

        Args:
            checkpoint: The safetensors file.
            robot: Name of the robot at hand; another robot's checkpoint is refused. None takes any.
            joints: Joints of the robot at hand; None takes any.
            threads: CPU threads for the whole process; one is enough, and leaves the rest to control.
            condition: Make chunks agree with the plan in force where `infer` is told of it.
            device: "cpu", or "cuda" with or without a number.
            engine: How it is run, see `engine.py`; "auto" is what suits the device.
            precision: "float32", or "bf16" for what encodes images.

        Raises:
            ConfigError: The checkpoint does not fit, see `load_checkpoint`; it cannot be conditioned; or there is no
                such device, engine or precision.
        """
        found = find_device(device)
        find_engine(engine, precision, found)  # said before the checkpoint is read
        torch.set_num_threads(threads)
        self._setup(*load_checkpoint(checkpoint, robot, joints), condition, found, engine, precision)

    @classmethod
    def from_model(
        cls,
        model: Model,
        info: CheckpointInfo,
        condition: bool = False,
        device: str = "cpu",
        engine: str = "auto",
        precision: str = "float32",
    ) -> CheckpointPolicy:
        """Wrap a model in memory, which moves to `device`, without touching the number of threads (for training)."""
        self = cls.__new__(cls)
        self._setup(model, info, condition, find_device(device), engine, precision)
        return self

    def _setup(
        self, model: Model, info: CheckpointInfo, condition: bool, device: torch.device, engine: str, precision: str
    ) -> None:
        if device.index is not None:
            torch.cuda.set_device(device)  # streams and graphs are of the current one
        self._model, self.info, self._device = model.to(device).eval(), info, device
        self._engine = Engine(self._model, device, engine, precision)
        self._look = image_input(info.model.image_size, device)
        self._guides = isinstance(model, ActorModel) and model.head.noisy
        splines = is_curve(info.model.spline) and not (isinstance(model, ActorModel) and not model.code.as_spline)
        if condition and not (self._guides or splines):
            raise ConfigError(
                "this checkpoint's head cannot be conditioned on the plan in force: that takes a flow, or a spline of "
                "degree 3 to 5; leave `condition` off."
            )
        self.accepts_committed_prefix = condition
        self.joints, self.cameras = info.model.joints, info.model.cameras
        m, actor = info.model, info.model.actor
        self._steps = tuple(actor is not None and name in actor.gripper for name in self.joints)
        self._sentences = Sentences(m.language, m.words, m.backbone.weights, info.sentences)
        self._sentences(info.instruction)  # what its encoder lacks is said now, not under way
        self.uncertainty_rad = None

    def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
        """See `Policy.infer`; an empty instruction stands for the one of training.

        A mixture of horizons sends as far as its horizons agree, and no more: the less sure, the shorter the
        plan, and the sooner the arm slows down. The same observation gets the same chunk, from networks that draw too.
        Control points are sent as the curve they are, see `curve_chunk`. With `condition`, what is `committed` guides a
        flow, or pins a spline.
        """
        missing = [name for name in self.cameras if name not in observation.images]
        if missing:
            raise RecordError(
                f"the observation lacks camera {', '.join(missing)}; it has {', '.join(observation.images) or 'none'}."
            )
        order = reorder(observation.joints, self.joints, "the observation")
        joints = torch.from_numpy(observation.positions[order].astype(np.float32))[None].to(self._device)
        images = self._look([observation.images[name] for name in self.cameras])
        words = self._words(observation.instruction or self.info.instruction)
        committed = committed if self.accepts_committed_prefix else None
        stamp = observation.stamp_ns
        wanted = self._wanted(committed, stamp) if committed is not None and self._guides else None
        if wanted is not None and isinstance(self._model, ActorModel):
            with torch.no_grad():  # gradients inside: as it is, in float32, whatever the engine
                act = self._model.act(images, joints, words, stamp, wanted)
        else:
            act = self._engine(images, joints, words, seed=stamp)
        count = act.execute[0]
        self.uncertainty_rad = None if act.apart is None else float(act.apart[0, :count].mean())
        return self._chunk(stamp, act, None if self._guides else committed)

    def _words(self, sentence: str) -> torch.Tensor:
        """The sentence as the network takes it.

        Raises:
            RecordError: It is a new one, and its encoder is not here: that is for whoever said it, and not the end.
        """
        try:
            return torch.from_numpy(self._sentences(sentence))[None].to(self._device)
        except ConfigError as error:
            raise RecordError(f'"{sentence}" is new to this checkpoint: {error}') from None

    def _wanted(self, committed: CommittedPrefix, stamp_ns: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Where the plan in force is at the waypoints, and how firmly that is wanted; None where nothing is."""
        spline = self.info.model.spline
        times = spline.dt_s * np.arange(1.0, spline.waypoints + 1)
        mask = committed.mask(stamp_ns, times)
        if not mask.any():
            return None
        rows = (committed.targets(stamp_ns, times), mask)
        return tuple(torch.from_numpy(x).float()[None].to(self._device) for x in rows)  # type: ignore[return-value]

    def _chunk(self, stamp_ns: int, act: Act, committed: CommittedPrefix | None) -> Chunk:
        """What is sent: a spline's own curve as far as its waypoints are worth executing, else the waypoints."""
        spline, rows = self.info.model.spline, act.waypoints[0, : act.execute[0]].double().cpu().numpy()
        if act.points is None or not is_curve(spline):
            return Chunk.from_rate(stamp_ns, self.joints, rows, spline.dt_s)
        points = act.points[0].double().cpu().numpy()
        if committed is not None:
            moved = pin(points, spline, committed, stamp_ns, np.array(self._steps))
            points = points if moved is None else moved
        return curve_chunk(stamp_ns, self.joints, points, rows, spline, self._steps)

    def warm_up(self) -> None:
        """Answer to nothing, the ways it will be asked: a network's first answer takes many times as long.

        Raises:
            ConfigError: The engine cannot run this network.
        """
        images = {name: np.zeros((480, 640, 3), dtype=np.uint8) for name in self.cameras}
        still = np.zeros(len(self.joints))
        nothing = Observation(0, images, self.joints, still)
        self.infer(nothing)
        if self.accepts_committed_prefix:
            self.infer(nothing, CommittedPrefix(Plan.hold(self.joints, still, 0), NS // 5, NS // 2))
        self.reset()

    def reset(self) -> None:
        """Forget how sure the last chunk was; the network has no memory."""
        self.uncertainty_rad = None


@policies.register("learned")
def make_checkpoint_policy(context: PolicyContext) -> Policy:
    """Make the policy of `context.checkpoint`.

    Raises:
        ConfigError: No checkpoint is given, or see `CheckpointPolicy`.
    """
    if context.checkpoint is None:
        raise ConfigError('policy "learned" needs a checkpoint.')
    return CheckpointPolicy(
        context.checkpoint,
        context.robot,
        context.joints,
        context.threads,
        context.real_time_chunking,
        context.device,
        context.engine,
        context.precision,
    )
