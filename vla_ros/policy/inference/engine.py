"""How a network is run: as it is, compiled, or recorded as a CUDA graph; in float32, or its encoders in bfloat16.

| name | what runs | where |
|---|---|---|
| `eager` | the network as it is written | everywhere; the default on a CPU |
| `compiled` | what `torch.compile` makes of it | everywhere with a C++ compiler; takes up to minutes to begin |
| `graph` | every kernel launch recorded once, then replayed | a GPU; the default there |
| `compiled_graph` | the launches of the compiled network, recorded | a GPU |

Inputs have fixed shapes. Whatever is drawn is drawn before and handed in, and whatever looks at values (consensus,
pinning) comes after, on the CPU. A flow that is guided needs gradients inside and does not come through here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.policy.network.build import Model
from vla_ros.policy.network.config import Act, Answer

ENGINES = ("auto", "eager", "compiled", "graph", "compiled_graph")
PRECISIONS = ("float32", "bf16")
APART_RAD = 0.05
"""How far waypoints may be from those of `eager`: more is not rounding, and such an engine is refused [rad]."""
WARM_UPS = 3
"""Passes before one is recorded, as PyTorch asks for: the first ones choose kernels and allocate."""

Step = Callable[..., Answer]
"""Images, joints, words and noise, one tensor each, to what the network says."""


def find_engine(name: str, precision: str, device: torch.device) -> str:
    """The engine called `name` on `device`; "auto" is "graph" on a GPU, else "eager".

    Raises:
        UnknownName: There is no engine, or no precision, of that name.
        ConfigError: It needs a GPU.
    """
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    if name == "auto":
        return "graph" if device.type == "cuda" else "eager"
    if name.endswith("graph") and device.type != "cuda":
        raise ConfigError(f'engine "{name}" needs a GPU; on device "{device}" use "eager" or "compiled".')
    return name


class Static:
    """Inputs that stay where they are: a recorded graph reads the same memory at every replay."""

    def __init__(self, given: Sequence[Tensor]) -> None:
        """Copy `given`, with their layout in memory."""
        self.tensors = [t.clone() for t in given]

    def check(self, given: Sequence[Tensor]) -> None:
        """Let pass what has the same shapes and types; a copy would stretch others until they fit.

        Raises:
            RecordError: Another shape or type.
        """
        for have, got in zip(self.tensors, given, strict=True):
            if not (have.shape == got.shape and have.dtype == got.dtype):
                raise RecordError(
                    f"the network was made ready for inputs of shape {tuple(have.shape)} ({have.dtype}); got "
                    f'{tuple(got.shape)} ({got.dtype}). Engine "eager" takes any.'
                )

    def fill(self, given: Sequence[Tensor]) -> None:
        """Take over the values of `given`."""
        self.check(given)
        for have, got in zip(self.tensors, given, strict=True):
            have.copy_(got, non_blocking=True)


def record(step: Step, static: Static) -> Step:
    """`step` as a CUDA graph on the inputs in `static`; its answers are written over by the next replay."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            step(*static.tensors)
    current = torch.cuda.current_stream()
    current.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            said = step(*static.tensors)
    finally:
        torch.cuda.set_stream(current)  # a recording that fails leaves its own

    def replay(*given: Tensor) -> Answer:
        static.fill(given)
        graph.replay()
        return said

    return replay


class Engine:
    """A network and the way it is run; made ready at the first call, which takes long and should be a warm-up.

    Attributes:
        name: The engine in use, see the module's text; never "auto".
    """

    def __init__(self, model: Model, device: torch.device, engine: str = "auto", precision: str = "float32") -> None:
        """Take `model`, which is on `device` already.

        On a GPU, "float32" also forbids convolutions the shorter numbers (TF32) that torch allows them by default;
        the process as a whole has one such setting.

        Raises:
            UnknownName, ConfigError: See `find_engine`.
        """
        self.name = find_engine(engine, precision, device)
        self._model, self._device, self._bf16 = model, device, precision == "bf16"
        if device.type == "cuda" and not self._bf16:
            torch.backends.cudnn.allow_tf32 = False
        self._step: Step | None = self._run if self.name == "eager" else None
        self._static: Static | None = None

    def _run(self, *given: Tensor) -> Answer:
        """One pass; only what encodes images may be in half precision, as in training."""
        *images, joints, words, noise = given
        with torch.autocast(joints.device.type, torch.bfloat16, enabled=self._bf16, cache_enabled=False):
            seen = self._model.features(images, joints, words)
        return self._model.say(seen.float(), joints, noise)

    def _make(self, given: Sequence[Tensor]) -> Step:
        """What runs from now on, compared once with the network as it is.

        Raises:
            ConfigError: It cannot be made, or says something else.
        """
        static = self._static = Static(given)
        # The inputs that are compared are not the recorded ones: a graph that does not read its inputs would pass.
        *images, joints, words, noise = given
        other = (*images, joints + 2 * APART_RAD, words, noise)
        wanted = self._run(*other).waypoints
        try:
            step: Step = self._run
            if self.name.startswith("compiled"):
                step = torch.compile(step, fullgraph=True, dynamic=False)
            if self.name.endswith("graph"):
                step = record(step, static)
            got = step(*other).waypoints
        except Exception as error:  # torch, its compiler and CUDA raise all kinds
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f'engine "{self.name}" cannot run this network ({text}); engine "eager" can.') from error
        apart = float((got - wanted).abs().max())
        if not apart <= APART_RAD:
            raise ConfigError(
                f'engine "{self.name}" puts waypoints {apart:.3g} rad from where the network does; use engine "eager".'
            )
        return step

    @torch.inference_mode()
    def __call__(self, images: list[Tensor], joints: Tensor, words: Tensor, seed: int = 0) -> Act:
        """A chunk per sample, its tensors on the CPU; arguments as in `act` of the networks, tensors on the device.

        Raises:
            RecordError: Other shapes than at the first call, of an engine other than "eager".
            ConfigError: At the first call: this engine cannot run this network.
        """
        noise = self._model.noise(len(joints), seed).to(self._device)
        given = (*images, joints, words, noise)
        if self._step is None:
            self._step = self._make(given)
        elif self._static is not None:
            self._static.check(given)
        said = self._step(*given)
        return self._model.judge(Answer(*(None if t is None else t.cpu() for t in said)))  # type: ignore[arg-type]
