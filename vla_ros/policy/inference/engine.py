"""Execution of the network: eager, compiled or as a CUDA graph; in float32, or with image encoders in bfloat16.

| name | executes | where |
|---|---|---|
| `eager` | the network as it is written | everywhere; the default on a CPU |
| `compiled` | the result of `torch.compile` | everywhere with a C++ compiler; the first call takes up to minutes |
| `graph` | all kernel launches, captured once and replayed | a GPU; the default there |
| `compiled_graph` | the launches of the compiled network, captured | a GPU |

Inputs have fixed shapes. Random numbers are drawn before and passed in; everything that branches on values (consensus,
pinning) comes after, on the CPU. A guided flow needs gradients and is not executed by an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.policy.network.model import PolicyOutput, RawOutput, VlaNetwork
from vla_ros.registry import Registry

AUTO = "auto"
PRECISIONS = ("float32", "bf16")
MAX_DEVIATION_RAD = 0.05
"""Maximum deviation of waypoints from those of `eager`; an engine with a greater one is refused [rad]."""
WARM_UP_PASSES = 3
"""Passes before a capture, as PyTorch recommends: the first ones choose kernels and allocate memory."""

Step = Callable[..., RawOutput]
"""Images, joints, instruction and noise, one tensor each, to the output of the network."""


def find_engine(name: str, precision: str, device: torch.device) -> str:
    """The engine called `name` on `device`; "auto" is "graph" on a GPU, else "eager".

    Raises:
        UnknownName: There is no engine, or no precision, of that name.
        ConfigError: It needs a GPU.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    if name == AUTO:
        return "graph" if device.type == "cuda" else "eager"
    try:
        mode = engines.get(name)
    except UnknownName:
        raise UnknownName("engine", name, (AUTO, *engines)) from None
    if mode.needs_gpu and device.type != "cuda":
        raise ConfigError(f'engine "{name}" needs a GPU; on device "{device}" use "eager" or "compiled".')
    return name


class StaticInputs:
    """Inputs at fixed addresses: a captured graph reads the same memory at every replay."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        """Copy `inputs`, with their memory layout."""
        self.tensors = [t.clone() for t in inputs]

    def check(self, inputs: Sequence[Tensor]) -> None:
        """Accept only the same shapes and types; a copy would broadcast others.

        Raises:
            RecordError: Another shape or type.
        """
        for own, new in zip(self.tensors, inputs, strict=True):
            if not (own.shape == new.shape and own.dtype == new.dtype):
                raise RecordError(
                    f"the engine was prepared for inputs of shape {tuple(own.shape)} ({own.dtype}); got "
                    f'{tuple(new.shape)} ({new.dtype}). Engine "eager" accepts any.'
                )

    def fill(self, inputs: Sequence[Tensor]) -> None:
        """Copy the values of `inputs`."""
        self.check(inputs)
        for own, new in zip(self.tensors, inputs, strict=True):
            own.copy_(new, non_blocking=True)


def capture(step: Step, static: StaticInputs) -> Step:
    """`step` as a CUDA graph on the inputs in `static`; each replay overwrites its outputs."""
    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(WARM_UP_PASSES):
            step(*static.tensors)
    current = torch.cuda.current_stream()
    current.wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            output = step(*static.tensors)
    finally:
        torch.cuda.set_stream(current)  # a failed capture leaves its own stream selected

    def replay(*inputs: Tensor) -> RawOutput:
        static.fill(inputs)
        graph.replay()
        return output

    return replay


def compile_step(step: Step, static: StaticInputs) -> Step:
    """`step` compiled by torch."""
    return torch.compile(step, fullgraph=True, dynamic=False)


def capture_compiled(step: Step, static: StaticInputs) -> Step:
    """`step` compiled, then captured."""
    return capture(compile_step(step, static), static)


@dataclass(frozen=True)
class ExecutionMode:
    """How an engine executes a network.

    Attributes:
        prepare: Makes the step that is executed from the network's own and the inputs of the first call, whose shapes
            are fixed; None: the network's own, for any shapes.
        needs_gpu: Whether it needs a GPU.
    """

    prepare: Callable[[Step, StaticInputs], Step] | None = None
    needs_gpu: bool = False


engines: Registry[ExecutionMode] = Registry("engine")
"""Execution modes, by name."""
engines.register("eager")(ExecutionMode())
engines.register("compiled")(ExecutionMode(compile_step))
engines.register("graph")(ExecutionMode(capture, needs_gpu=True))
engines.register("compiled_graph")(ExecutionMode(capture_compiled, needs_gpu=True))


class Engine:
    """Executes a network. The first call prepares the engine, which takes long, and should be a warm-up.

    Attributes:
        name: The engine in use, see the module's text; never "auto".
    """

    def __init__(
        self, model: VlaNetwork, device: torch.device, engine: str = "auto", precision: str = "float32"
    ) -> None:
        """Take `model`, which is on `device` already.

        On a GPU, "float32" also disables TF32 in convolutions, which torch allows by default; this setting is global to
        the process.

        Raises:
            UnknownName, ConfigError: See `find_engine`.
        """
        self.name = find_engine(engine, precision, device)
        self._model, self._device, self._bf16 = model, device, precision == "bf16"
        if device.type == "cuda" and not self._bf16:
            torch.backends.cudnn.allow_tf32 = False
        self._make_step = engines.get(self.name).prepare
        self._step: Step | None = None
        self._static: StaticInputs | None = None

    def _eager(self, *inputs: Tensor) -> RawOutput:
        """One pass; only the image encoders may be in half precision, as in training."""
        *images, joints, instruction, noise = inputs
        with torch.autocast(joints.device.type, torch.bfloat16, enabled=self._bf16, cache_enabled=False):
            context = self._model.encode(images, joints, instruction)
        return self._model.decode(context.float(), joints, noise)

    def _prepare(self, inputs: Sequence[Tensor]) -> Step:
        """The step of this engine, compared once with eager execution.

        Raises:
            ConfigError: It cannot be made, or its output differs.
        """
        if self._make_step is None:
            return self._eager
        static = self._static = StaticInputs(inputs)
        # Compare on other inputs than the captured ones: a graph that does not read its inputs would pass.
        *images, joints, instruction, noise = inputs
        other = (*images, joints + 2 * MAX_DEVIATION_RAD, instruction, noise)
        expected = self._eager(*other).waypoints
        try:
            step = self._make_step(self._eager, static)
            actual = step(*other).waypoints
        except Exception as error:  # torch, its compiler and CUDA raise all kinds
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f'engine "{self.name}" cannot execute this network ({text}); use engine "eager".'
            ) from error
        deviation = float((actual - expected).abs().max())
        if not deviation <= MAX_DEVIATION_RAD:
            raise ConfigError(
                f'waypoints of engine "{self.name}" deviate by {deviation:.3g} rad from those of the network; use '
                f'engine "eager".'
            )
        return step

    @torch.inference_mode()
    def __call__(self, images: list[Tensor], joints: Tensor, instruction: Tensor, seed: int = 0) -> PolicyOutput:
        """A chunk per sample, as tensors on the CPU; arguments as in `VlaNetwork.predict`, tensors on the device.

        Raises:
            RecordError: Other shapes than in the first call, for engines other than "eager".
            ConfigError: In the first call: the engine cannot execute this network.
        """
        noise = self._model.noise(len(joints), seed).to(self._device)
        inputs = (*images, joints, instruction, noise)
        if self._step is None:
            self._step = self._prepare(inputs)
        elif self._static is not None:
            self._static.check(inputs)
        output = self._step(*inputs)
        return self._model.apply_consensus(RawOutput(*(None if t is None else t.cpu() for t in output)))  # type: ignore[arg-type]
