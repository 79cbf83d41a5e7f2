"""What fixes an action transformer: sizes, head, horizons; frozen, and stored in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vla_ros.config import from_mapping, require
from vla_ros.core.errors import UnknownName
from vla_ros.policy.network.horizon_consensus import ConsensusConfig

FUSIONS = ("gate", "mean")


@dataclass(frozen=True)
class ActorConfig:
    """Shape of the action transformer and of what it says.

    Attributes:
        head: Name in the registry of action heads (`vla_ros/policy/heads/action_heads.py`).
        width: Width of the transformer.
        layers: Its layers.
        attention: Attention heads per layer; they divide the width.
        seen_layers: Layers of self-attention over what is seen, before the action transformer.
        image_tokens: Tokens per camera.
        gripper: Joints that are a channel of their own: absolute and not relative to the measured position,
            never averaged over horizons, degree 0 in splines, left out of the consensus.
        bins: Values of a token, for heads that classify.
        euler_steps: Steps from noise to action, for heads that flow.
        horizons: Mixture of horizons: increasing, in the head's own steps (waypoints, or control points of a
            spline), the last one all of them; empty for a single horizon.
        fusion: "gate": a learned linear gate; "mean": the plain mean of the horizons that reach a step.
        balance: Weight of the loss that keeps the gate from choosing one horizon alone.
        consensus: How many waypoints are executed.
    """

    head: str = "regression"
    width: int = 128
    layers: int = 3
    attention: int = 4
    seen_layers: int = 1
    image_tokens: int = 4
    gripper: tuple[str, ...] = ("gripper",)
    bins: int = 256
    euler_steps: int = 10
    horizons: tuple[int, ...] = ()
    fusion: str = "gate"
    balance: float = 1e-3
    consensus: ConsensusConfig = field(default_factory=ConsensusConfig)

    def __post_init__(self) -> None:
        """Check; lists become tuples, mappings the parts they stand for."""
        object.__setattr__(self, "gripper", tuple(self.gripper))
        object.__setattr__(self, "horizons", tuple(self.horizons))
        if isinstance(self.consensus, Mapping):
            object.__setattr__(self, "consensus", from_mapping(ConsensusConfig, self.consensus, "consensus"))
        for name in ("width", "layers", "attention", "image_tokens", "euler_steps"):
            require(getattr(self, name) >= 1, f"actor.{name} must be at least 1; got {getattr(self, name)}.")
        require(self.seen_layers >= 0, f"actor.seen_layers must not be negative; got {self.seen_layers}.")
        require(
            self.width % (2 * self.attention) == 0,
            f"actor.width must be a multiple of twice actor.attention; got {self.width} and {self.attention}.",
        )
        require(self.balance >= 0.0, f"actor.balance must not be negative; got {self.balance}.")
        if self.fusion not in FUSIONS:
            raise UnknownName("fusion of horizons", str(self.fusion), FUSIONS)
        whole = all(type(h) is int for h in self.horizons)
        rising = whole and all(a < b for a, b in zip((0, *self.horizons), self.horizons, strict=False))
        require(rising, f"actor.horizons must be whole numbers that increase from 1 on; got {self.horizons}.")
        require(
            len(self.horizons) < 2 or self.consensus.voters <= len(self.horizons),
            f"consensus: voters must not be more than the {len(self.horizons)} horizons, or no more than the first "
            f"waypoints would ever be executed; got {self.consensus.voters}.",
        )
