"""The policy network as a policy: loads a checkpoint, checks observations, predicts chunks."""

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
from vla_ros.policy.inference.engine import Engine, find_engine
from vla_ros.policy.inference.image_input import image_input
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint
from vla_ros.policy.network.model import GuidanceTarget, PolicyOutput, VlaNetwork
from vla_ros.policy.real_time_chunking import CommittedPrefix, pin_spline
from vla_ros.policy.text.encoders import InstructionEncoder


def find_device(name: str) -> torch.device:
    """The device called "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigError: There is no device of that name on this machine.
    """
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or (kind == "cpu" and number):
        raise ConfigError(f'device must be "cpu", "cuda" or "cuda:0", "cuda:1" and so on; got "{name}".')
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and not int(number or 0) < count:
        raise ConfigError(
            f'device "{name}": torch {torch.__version__} finds {count} GPUs on this machine; use device "cpu", or '
            f"install a torch that supports the GPU."
        )
    return torch.device(name)


class CheckpointPolicy(Policy):
    """A policy network from a checkpoint.

    Attributes:
        joints: Names it commands, in the order of its training.
        cameras: Names of the cameras it needs.
        info: The header of the checkpoint.
        accepts_committed_prefix: Whether real-time chunking is on.
        uncertainty_rad: Deviation of the horizons of a mixture, the mean over the executed waypoints of the last chunk
            and the arm's joints [rad]; None before the first chunk, and for networks without a mixture.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        robot: str | None = None,
        joints: Sequence[str] | None = None,
        threads: int = 1,
        real_time_chunking: bool = False,
        device: str = "cpu",
        engine: str = "auto",
        precision: str = "float32",
    ) -> None:
        """Load `checkpoint`.

        Args:
            checkpoint: The safetensors file.
            robot: Name of the robot; a checkpoint of another robot is refused. None accepts any.
            joints: Joints of the robot; None accepts any.
            threads: CPU threads of the complete process. One is enough, and leaves the others to control.
            real_time_chunking: Make chunks agree with the committed prefix that `infer` is given.
            device: "cpu", or "cuda" with or without a number.
            engine: How the network is executed, see `inference/engine.py`; "auto" depends on the device.
            precision: "float32", or "bf16" for the image encoders.

        Raises:
            ConfigError: The checkpoint does not fit, see `load_checkpoint`; it does not support real-time chunking; or
                there is no such device, engine or precision.
        """
        found = find_device(device)
        find_engine(engine, precision, found)  # refused before the checkpoint is read
        torch.set_num_threads(threads)
        self._setup(*load_checkpoint(checkpoint, robot, joints), real_time_chunking, found, engine, precision)

    @classmethod
    def from_model(
        cls,
        model: VlaNetwork,
        info: CheckpointInfo,
        real_time_chunking: bool = False,
        device: str = "cpu",
        engine: str = "auto",
        precision: str = "float32",
    ) -> CheckpointPolicy:
        """Wrap a network in memory, which moves to `device`. The number of threads is not changed."""
        self = cls.__new__(cls)
        self._setup(model, info, real_time_chunking, find_device(device), engine, precision)
        return self

    def _setup(
        self,
        model: VlaNetwork,
        info: CheckpointInfo,
        real_time_chunking: bool,
        device: torch.device,
        engine: str,
        precision: str,
    ) -> None:
        if device.index is not None:
            torch.cuda.set_device(device)  # streams and graphs belong to the current device
        self._model, self.info, self._device = model.to(device).eval(), info, device
        self._engine = Engine(self._model, device, engine, precision)
        self._image_input = image_input(info.model.image_size, device)
        self._guided = model.head.needs_noise
        if real_time_chunking and not (
            self._guided or (model.head.predicts_control_points and is_curve(info.model.spline))
        ):
            raise ConfigError(
                "the head of this checkpoint does not support real-time chunking, which needs a flow, or a spline of "
                "degree 3 to 5; leave it off."
            )
        self.accepts_committed_prefix = real_time_chunking
        network = info.model.network
        self.joints, self.cameras = info.model.joints, info.model.cameras
        self._grippers = tuple(name in network.grippers for name in self.joints)
        self._embed = InstructionEncoder(
            network.language, network.instruction_size, network.backbone.weights, info.instructions
        )
        self._embed(info.instruction)  # a missing text encoder is reported now, not during operation
        self.uncertainty_rad = None

    def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
        """See `Policy.infer`. An empty instruction is replaced by the instruction of the training.

        A mixture of horizons sends the waypoints that its horizons agree on: the greater the uncertainty, the shorter
        the plan, and the sooner the arm slows down. Equal observations give equal chunks, also for heads that start
        from noise. Control points are sent as a curve, see `curve_chunk`. With real-time chunking, the committed prefix
        guides a flow, or pins a spline.
        """
        missing = [name for name in self.cameras if name not in observation.images]
        if missing:
            raise RecordError(
                f"the observation lacks camera {', '.join(missing)}; it has {', '.join(observation.images) or 'none'}."
            )
        order = reorder(observation.joints, self.joints, "the observation")
        joints = torch.from_numpy(observation.positions[order].astype(np.float32))[None].to(self._device)
        images = self._image_input([observation.images[name] for name in self.cameras])
        instruction = self._instruction(observation.instruction or self.info.instruction)
        committed = committed if self.accepts_committed_prefix else None
        stamp = observation.stamp_ns
        target = self._guidance_target(committed, stamp) if committed is not None and self._guided else None
        if target is not None:
            with torch.no_grad():  # guidance needs gradients inside: eager, in float32, whatever the engine
                output = self._model.predict(images, joints, instruction, stamp, target)
        else:
            output = self._engine(images, joints, instruction, seed=stamp)
        count, deviation = output.execute[0], output.deviation_rad
        self.uncertainty_rad = None if deviation is None else float(deviation[0, :count].mean())
        return self._chunk(stamp, output, None if self._guided else committed)

    def _instruction(self, text: str) -> torch.Tensor:
        """The embedding of an instruction, shape (1, W).

        Raises:
            RecordError: It is new and its text encoder is not installed: the observation is refused, the policy goes
                on.
        """
        try:
            return torch.from_numpy(self._embed(text))[None].to(self._device)
        except ConfigError as error:
            raise RecordError(f'"{text}" is new to this checkpoint: {error}') from None

    def _guidance_target(self, committed: CommittedPrefix, stamp_ns: int) -> GuidanceTarget | None:
        """Positions of the active plan at the waypoints, and their weights; None where all weights are zero."""
        spline = self.info.model.spline
        times = spline.dt_s * np.arange(1.0, spline.waypoints + 1)
        mask = committed.mask(stamp_ns, times)
        if not mask.any():
            return None
        rows = (committed.targets(stamp_ns, times), mask)
        return tuple(torch.from_numpy(x).float()[None].to(self._device) for x in rows)  # type: ignore[return-value]

    def _chunk(self, stamp_ns: int, output: PolicyOutput, committed: CommittedPrefix | None) -> Chunk:
        """The curve of the spline as far as its waypoints are to be executed, or the waypoints."""
        spline = self.info.model.spline
        rows = output.waypoints[0, : output.execute[0]].double().cpu().numpy()
        if output.control_points is None or not is_curve(spline):
            return Chunk.from_rate(stamp_ns, self.joints, rows, spline.dt_s)
        points = output.control_points[0].double().cpu().numpy()
        if committed is not None:
            pinned = pin_spline(points, spline, committed, stamp_ns, np.array(self._grippers))
            points = points if pinned is None else pinned
        return curve_chunk(stamp_ns, self.joints, points, rows, spline, self._grippers)

    def warm_up(self) -> None:
        """Infer once in each mode of operation; the first inference takes many times as long as later ones.

        Raises:
            ConfigError: The engine cannot execute this network.
        """
        images = {name: np.zeros((480, 640, 3), dtype=np.uint8) for name in self.cameras}
        zeros = np.zeros(len(self.joints))
        observation = Observation(0, images, self.joints, zeros)
        self.infer(observation)
        if self.accepts_committed_prefix:
            self.infer(observation, CommittedPrefix(Plan.hold(self.joints, zeros, 0), NS // 5, NS // 2))
        self.reset()

    def reset(self) -> None:
        """Clear the uncertainty of the last chunk; the network has no memory."""
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
