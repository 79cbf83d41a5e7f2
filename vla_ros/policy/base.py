"""What a policy is, and how one is made by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.core.records import Chunk, Observation


class Policy(Protocol):
    """Observation in, chunk out. It may be slow; it never sleeps, and never sees a clock.

    The node makes one of your own as `make(joints=...)`, with the robot's joints in the order of its file. What else it
    needs (weights, a device) it knows itself, or reads from the environment. A chunk's positions are absolute, in rad.

    Attributes:
        joints: Names of the joints it commands, in the order of the chunk's columns.
        cameras: Names of the cameras it needs; empty for none.
    """

    joints: tuple[str, ...]
    cameras: tuple[str, ...]

    def infer(self, observation: Observation) -> Chunk:
        """The chunk that answers `observation`, with the same stamp.

        One that has a second argument called `committed` is told what is being executed, see `committed.Committed`.
        One that has an attribute `doubt_rad` is asked it after every chunk, and one with `warm_up()` before the first.

        Raises:
            RecordError: The observation lacks a camera or a joint, or names one it does not know.
        """
        ...

    def reset(self) -> None:
        """Forget everything about the episode so far."""
        ...


def check_told(name: str, policy: Policy) -> None:
    """Pass a policy that can be told what is being executed.

    Raises:
        ConfigError: It cannot.
    """
    if "committed" not in inspect.signature(policy.infer).parameters:
        raise ConfigError(f'policy: "{name}" cannot be told of the plan in force.')


def check_answer(name: str, answer: object) -> Chunk:
    """What the policy called `name` answered, if it is a chunk.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(answer, Chunk):
        raise ConfigError(
            f'policy "{name}" must answer with a Chunk, as Chunk.from_rate(observation.stamp_ns, self.joints, '
            f"positions, dt_s) makes one; it gave {type(answer).__name__}."
        )
    return answer


F = TypeVar("F", bound=Callable[..., Any])
_POLICIES: dict[str, Callable[..., Policy]] = {}


def policy(name: str) -> Callable[[F], F]:
    """Register a class or function that makes a policy under `name`."""

    def add(make: F) -> F:
        _POLICIES[name] = make
        return make

    return add


def make_policy(name: str, **options: Any) -> Policy:
    """Make the policy called `name`: "learned", "expert" or "hold", or one of one's own.

    Args:
        name: Its name in the registry; or "module:name", which imports `module` first, where `@policy("name")` is.
        options: Keyword arguments of its constructor.

    Raises:
        UnknownName: There is none of that name.
        ConfigError: An option does not fit.
    """
    import vla_ros.policy.checkpoint_policy  # noqa: F401  (each registers itself)

    module, _, name = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f'policy module "{module}" cannot be imported: {error}.') from None
    if name not in _POLICIES:
        raise UnknownName("policy", name, _POLICIES)
    make = _POLICIES[name]
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        raise ConfigError(f'policy "{name}" is made with {", ".join(options) or "no argument"}: {error}.') from None
    return make(**options)
