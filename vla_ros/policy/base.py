"""The policy contract: observation in, action chunk out; policies are found by name.

A policy of your own needs `joints`, `cameras`, `infer` and `reset` (`SimplePolicy`), and the decorator
`@policy("name")`. Derive it from `Policy` to declare more: a committed prefix, an uncertainty, a warm-up, units.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array, Chunk, Observation
from vla_ros.policy.real_time_chunking import CommittedPrefix
from vla_ros.registry import Registry


class SimplePolicy(Protocol):
    """The minimum that a policy has; `@policy("name")` accepts a class or function that makes one.

    Attributes:
        joints: Names of the joints it commands, in the order of the chunk's columns.
        cameras: Names of the cameras it needs; empty for none.
    """

    joints: tuple[str, ...]
    cameras: tuple[str, ...]

    def infer(self, observation: Observation) -> Chunk:
        """See `Policy.infer`."""
        ...

    def reset(self) -> None:
        """See `Policy.reset`."""
        ...


class Policy(ABC):
    """A policy and what it declares about itself. It may be slow; it neither sleeps nor reads a clock.

    Attributes:
        joints: Names of the joints it commands, in the order of the chunk's columns.
        cameras: Names of the cameras it needs; empty for none.
        units: Unit of a chunk's positions. Only "rad" is supported.
        accepts_committed_prefix: Whether `infer` uses its second argument.
        needs_ground_truth: Whether it reads the simulator's ground truth in place of camera images.
        uncertainty_rad: Uncertainty of the last chunk [rad]; None before the first chunk, and for policies that report
            none.
    """

    joints: tuple[str, ...]
    cameras: tuple[str, ...] = ()
    units: ClassVar[str] = "rad"
    accepts_committed_prefix: bool = False
    needs_ground_truth: ClassVar[bool] = False
    uncertainty_rad: float | None = None

    @abstractmethod
    def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
        """Compute the chunk for `observation`, with the stamp of `observation` and absolute positions.

        Args:
            observation: Newest synchronised observation.
            committed: Part of the active plan that is executed before this chunk takes over; None if unknown. Only
                policies with `accepts_committed_prefix` are called with this argument, see `infer_chunk`.

        Raises:
            RecordError: The observation lacks a camera or a joint, or has an unknown joint.
        """

    def reset(self) -> None:  # noqa: B027
        """Start a new episode. The default does nothing."""

    def warm_up(self) -> None:  # noqa: B027
        """Do work that would delay the first chunk; called once before the first observation. Default: nothing."""


class _Adapter(Policy):
    """Makes a `SimplePolicy` a `Policy` without optional capabilities."""

    def __init__(self, policy: SimplePolicy) -> None:
        self._policy = policy
        self.joints, self.cameras = policy.joints, policy.cameras

    def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
        return self._policy.infer(observation)

    def reset(self) -> None:
        self._policy.reset()


TargetPath = Callable[[Observation, int, float], Array]
"""(observation, waypoints K, period [s]) -> absolute targets from the ground truth, shape (K, J) [rad]."""


@dataclass(frozen=True)
class PolicyContext:
    """What a policy can be made from; each policy uses the fields that it needs.

    Attributes:
        joints: Joints of the robot, in the order of its file; None: those of the checkpoint.
        robot: Name of the robot; a checkpoint of another robot is refused. None: any robot.
        checkpoint: File of the network's weights.
        real_time_chunking: Adapt chunks to the committed prefix given to `infer`.
        device: "cpu", "cuda", "cuda:0" and so on.
        engine: How the network is executed, see `vla_ros/policy/inference/engine.py`.
        precision: Of the image encoders, "float32" or "bf16".
        threads: CPU threads of the complete process.
        ground_truth: Source of targets from the simulator's ground truth, for policies that declare
            `needs_ground_truth`. None outside the simulator.
    """

    joints: tuple[str, ...] | None = None
    robot: str | None = None
    checkpoint: Path | None = None
    real_time_chunking: bool = False
    device: str = "cpu"
    engine: str = "auto"
    precision: str = "float32"
    threads: int = 1
    ground_truth: TargetPath | None = None

    def need_joints(self, policy: str) -> tuple[str, ...]:
        """The joints.

        Raises:
            ConfigError: They are not given; the text names `policy`.
        """
        if self.joints is None:
            raise ConfigError(f'policy "{policy}" needs the joints of the robot.')
        return self.joints


policies: Registry[Callable[[PolicyContext], Policy]] = Registry(
    "policy",
    builtin={
        "learned": "vla_ros.policy.checkpoint_policy",
        "expert": "vla_ros.policy.scripted",
        "hold": "vla_ros.policy.hold",
    },
)
"""Functions that make a policy from a `PolicyContext`, by name."""

Make = TypeVar("Make", bound=Callable[..., object])


def policy(name: str) -> Callable[[Make], Make]:
    """Register a class or function under `name`. It is called as `make(joints=...)` and returns a policy."""

    def add(make: Make) -> Make:
        @functools.wraps(make, updated=())
        def from_context(context: PolicyContext) -> Policy:
            joints = context.need_joints(name)
            try:
                inspect.signature(make).bind(joints=joints)
            except TypeError as error:
                raise ConfigError(f'policy "{name}" cannot be made with joints=...: {error}.') from None
            made = make(joints=joints)  # an error inside is the user's, and keeps its traceback
            missing = [part for part in ("joints", "cameras", "infer", "reset") if not hasattr(made, part)]
            if missing:
                raise ConfigError(f'policy "{name}" lacks {", ".join(missing)}.')
            return made if isinstance(made, Policy) else _Adapter(made)  # type: ignore[arg-type]

        policies.register(name)(from_context)
        return make

    return add


def make_policy(name: str, context: PolicyContext) -> Policy:
    """Make the policy called `name`.

    Args:
        name: Name in the registry: "learned", "expert", "hold" or your own; "module:name" imports `module` first.
        context: What it can be made from.

    Raises:
        UnknownName: There is no policy of that name; the text names the nearest.
        ConfigError: The module cannot be imported, the context lacks something, or the policy's units are not "rad".
    """
    made = policies.get(name)(context)
    if made.units != "rad":
        raise ConfigError(f'policy "{name}" has units "{made.units}"; only "rad" is supported.')
    return made


def require_committed_prefix(name: str, policy: Policy) -> None:
    """Accept only a policy that uses a committed prefix.

    Raises:
        ConfigError: It does not.
    """
    if not policy.accepts_committed_prefix:
        raise ConfigError(
            f'policy "{name}" does not accept a committed prefix; derive its class from '
            "vla_ros.policy.base.Policy and set accepts_committed_prefix."
        )


def infer_chunk(name: str, policy: Policy, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
    """The chunk of a policy, checked. Only policies that accept a committed prefix are given it.

    Args:
        name: Name of the policy, for errors.
        policy: The policy.
        observation: See `Policy.infer`.
        committed: See `Policy.infer`.

    Raises:
        RecordError: See `Policy.infer`.
        ConfigError: The result is not a chunk.
    """
    result: object
    result = policy.infer(observation, committed) if policy.accepts_committed_prefix else policy.infer(observation)
    if not isinstance(result, Chunk):
        raise ConfigError(
            f'policy "{name}" must return a Chunk, for example Chunk.from_rate(observation.stamp_ns, self.joints, '
            f"positions, dt_s); it returned {type(result).__name__}."
        )
    return result
