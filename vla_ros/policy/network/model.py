"""The policy network: an action transformer over context tokens, with an action head and a mixture of horizons.

    observation -> ContextEncoder -> context -> keys and values, computed once ─┐
    action tokens of the head, once per horizon ── full attention over both ────┴─> head, gate -> chunk

Arm joints are predicted relative to the *measured* positions, grippers as absolute positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vla_ros.core.records import Array
from vla_ros.policy.heads.action_encoding import MIN_STD_RAD, ActionEncoding
from vla_ros.policy.heads.base import ForwardPass, Guidance, action_heads
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.network.context_encoder import ContextEncoder
from vla_ros.policy.network.horizon_consensus import horizon_deviation, steps_to_execute
from vla_ros.policy.network.mixture_of_horizons import Mixture, balance_loss, horizon_loss
from vla_ros.policy.network.resolve import resolve
from vla_ros.policy.network.transformer import Transformer

GuidanceTarget = tuple[Tensor, Tensor]
"""Absolute waypoints (B, K, J) [rad] and the weights (B, K), in [0, 1], of their errors in the guidance of a flow."""


@dataclass(frozen=True, eq=False)
class PolicyOutput:
    """Chunks for B samples.

    Attributes:
        waypoints: Absolute targets, shape (B, K, J) [rad].
        execute: How many of them to execute, for each sample.
        deviation_rad: Deviation of the horizons from their mixture at each waypoint, shape (B, K) [rad]; None for a
            single horizon.
        control_points: Control points of the spline through the waypoints, shape (B, N, J) [rad]; None for heads that
            predict waypoints.
    """

    waypoints: Tensor
    execute: list[int]
    deviation_rad: Array | None = None
    control_points: Tensor | None = None


class RawOutput(NamedTuple):
    """The tensors of one pass for B samples; a pass up to here does not branch on values.

    Attributes:
        waypoints: Absolute targets, shape (B, K, J) [rad].
        control_points: As in `PolicyOutput`.
        horizons: Waypoints of each horizon, shape (B, N, K, J) [rad]; None for a single horizon.
        weights: Of the horizons at each waypoint, shape (B, N, K); None for a single horizon.
    """

    waypoints: Tensor
    control_points: Tensor | None = None
    horizons: Tensor | None = None
    weights: Tensor | None = None


class VlaNetwork(nn.Module):
    """See the module's text for the structure. Its statistics are buffers, saved with the weights.

    Attributes:
        config: The configuration without open values, see `resolve`.
    """

    arm: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Build with unit statistics; a backbone with a folder of weights reads them.

        Raises:
            UnknownName: There is no encoder or head of a name.
            ConfigError: The horizons do not fit the head, or another part does not fit.
        """
        super().__init__()
        self.config = config = resolve(config)
        network, transformer = config.network, config.network.transformer
        cls = action_heads.get(network.head)
        arm = torch.tensor([name not in network.grippers for name in config.joints])
        self.register_buffer("arm", arm, persistent=False)
        self.context_encoder = ContextEncoder(config)
        self.transformer = Transformer(transformer.width, transformer.layers, transformer.attention_heads)
        encoding = ActionEncoding(
            config.joints, config.spline, cls.predicts_control_points, network.grippers, network.bins
        )
        # The head owns the encoding: a module in two places would be saved twice.
        self.head = cls(encoding, transformer.width, network)
        horizons, fusion = network.mixture.horizons, network.mixture.fusion
        assert isinstance(horizons, tuple)  # `resolve` has replaced "auto"
        self.mixture = Mixture(transformer.width, encoding.steps, horizons, fusion)
        self.auxiliary = nn.Linear(transformer.width, config.auxiliary) if config.auxiliary else None

    @property
    def encoding(self) -> ActionEncoding:
        """The meaning of the head's numbers."""
        return self.head.encoding

    def encode(self, images: list[Tensor], joints: Tensor, instruction: Tensor) -> Tensor:
        """Context tokens of an observation, shape (B, P, width); see `ContextEncoder.forward`."""
        return self.context_encoder(images, joints, instruction)

    def pooled(self, context: Tensor) -> Tensor:
        """One vector per sample for the auxiliary outputs, shape (B, width)."""
        return context.mean(dim=1)

    def forward_pass(self, context: Tensor) -> ForwardPass:
        """The pass of action tokens through the transformer, with the keys and values of this context cached."""
        b, n = len(context), self.mixture.count
        cache = self.transformer.cache(context, n)
        mask = self.mixture.attention_mask(b, context.shape[1], self.head.tokens_per_step)

        def forward(tokens: Tensor) -> tuple[Tensor, Tensor]:
            hidden = self.transformer(tokens.repeat_interleave(n, 0), cache, mask).unflatten(0, (b, n))
            return self.head.read(hidden), self.mixture.weights(hidden)

        return forward

    def reference(self, joints: Tensor) -> Tensor:
        """What targets are relative to, shape (B, 1, J) [rad]: the measured joints, and 0 for grippers."""
        return (joints * self.arm)[:, None, :]

    # ---- training --------------------------------------------------------------------------------------------

    def fit_statistics(self, joints: np.ndarray, labels: np.ndarray, instructions: np.ndarray) -> None:
        """Take all statistics from data.

        Args:
            joints: Measured positions, shape (S, J) [rad].
            labels: Absolute targets, shape (S, K, J) [rad].
            instructions: Embeddings or token numbers, shape (E, W).
        """
        context = self.context_encoder
        context.joint_mean.copy_(torch.from_numpy(joints.mean(axis=0)))
        context.joint_std.copy_(torch.from_numpy(np.maximum(joints.std(axis=0), MIN_STD_RAD)))
        context.instruction_normaliser.fit(instructions)
        self.encoding.fit(self._relative(joints, labels))

    def _relative(self, joints: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return labels - (joints * self.arm.cpu().numpy())[:, None, :]

    def loss_weights(self, joints: np.ndarray, labels: np.ndarray, joint_weights: Array, late: float) -> Tensor:
        """Weights for `loss` from the data; see `ActionEncoding.waypoint_weights`."""
        return self.head.loss_weights(self._relative(joints, labels), joint_weights, late)

    def loss(self, context: Tensor, joints: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Loss per sample, shape (B,): L_mix + sum of L_h + balance L_bal (MoH, eq. 14); one horizon: L alone.

        Args:
            context: Of `encode`.
            joints: Measured, shape (B, J) [rad].
            labels: Absolute targets, shape (B, K, J) [rad].
            weights: Of `loss_weights`.
        """
        steps = self.encoding.to_steps(labels - self.reference(joints))
        outputs, shares, target = self.head.train_pass(self.forward_pass(context), steps)
        rows = self.head.horizon_rows(self.mixture.active)
        total = horizon_loss(self.head.errors(outputs, target[:, None], weights), rows)
        if self.mixture.count == 1:
            return total
        mixed = self.head.errors(self.head.fuse(outputs, shares), target, weights).mean(dim=1)
        return total + mixed + self.config.network.mixture.balance * balance_loss(shares, self.mixture.horizons)

    # ---- inference -------------------------------------------------------------------------------------------

    def predict(
        self,
        images: list[Tensor],
        joints: Tensor,
        instruction: Tensor,
        seed: int = 0,
        target: GuidanceTarget | None = None,
    ) -> PolicyOutput:
        """A chunk per sample; the same seed gives the same noise. Observation as in `encode`.

        With `target`, a head with `needs_noise` is guided to it, grippers excepted; this needs gradients, so inference
        mode must be off.
        """
        noise = self.noise(len(joints), seed).to(joints.device)
        return self.apply_consensus(self.decode(self.encode(images, joints, instruction), joints, noise, target))

    def noise(self, batch: int, seed: int) -> Tensor:
        """Noise for `decode`, shape (B, S, J), on the CPU; the same seed gives the same noise."""
        # A generator per sample, or a sample's noise would depend on the size of its batch.
        generators = [torch.Generator().manual_seed(seed + b) for b in range(batch)]
        shape = self.encoding.steps, len(self.config.joints)
        return torch.stack([torch.randn(*shape, generator=g) for g in generators])

    def decode(self, context: Tensor, joints: Tensor, noise: Tensor, target: GuidanceTarget | None = None) -> RawOutput:
        """The chunks of a context; nothing is random, and without `target` nothing branches on values."""
        reference = self.reference(joints)
        guidance = None if target is None else self._guidance(target[0] - reference, target[1])
        actions = self.head.decode(self.forward_pass(context), noise, guidance)
        waypoints = self.encoding.waypoints(actions.mixture) + reference
        control_points = actions.mixture + reference if self.head.predicts_control_points else None
        if self.mixture.count == 1:
            return RawOutput(waypoints, control_points)
        horizons = self.encoding.waypoints(actions.horizons) + reference[:, None]
        return RawOutput(waypoints, control_points, horizons, self._waypoint_weights(actions.weights))

    def apply_consensus(self, raw: RawOutput) -> PolicyOutput:
        """Decide how many waypoints to execute: those that the horizons agree on. Computed by numpy on the CPU.

        Raises:
            RecordError: The deviation of the horizons is not finite.
        """
        rule = self.config.network.consensus
        if raw.horizons is None or raw.weights is None:
            count = self.config.spline.waypoints
            execute = min(rule.fixed_steps or count, count)
            return PolicyOutput(raw.waypoints, [execute] * len(raw.waypoints), control_points=raw.control_points)
        arm, horizon_count = self.arm.cpu(), self._determined().sum(dim=0).cpu().numpy()
        mixture, horizons, weights = (t.detach().cpu() for t in (raw.waypoints, raw.horizons, raw.weights))
        arrays = [t.double().numpy() for t in (horizons[..., arm], mixture[..., arm], weights)]
        deviation = [horizon_deviation(h, m, w) for h, m, w in zip(*arrays, strict=True)]
        execute_counts = [steps_to_execute(d, horizon_count, rule) for d in deviation]
        return PolicyOutput(raw.waypoints, execute_counts, np.stack(deviation), raw.control_points)

    def _guidance(self, targets: Tensor, weights: Tensor) -> Guidance:
        joint_weights = weights[:, :, None] * self.arm

        def guidance(steps: Tensor) -> Tensor:
            error = (targets - self.encoding.waypoints(self.encoding.denormalise(steps))) * joint_weights
            return (self.encoding.to_steps(error) / self.encoding.std).float()

        return guidance

    def _waypoint_weights(self, weights: Tensor) -> Tensor:
        """Weights per step (B, N, S) as weights per waypoint (B, N, K), of the horizons that determine it."""
        first = next(k for k, name in enumerate(self.config.joints) if name not in self.config.network.grippers)
        shares = torch.einsum("ks,bns->bnk", self.encoding.basis[:, :, first], weights)
        shares = shares * self._determined()
        return shares / shares.sum(dim=1, keepdim=True)

    def _determined(self) -> Tensor:
        """Waypoints that each horizon alone determines, shape (N, K)."""
        return self.encoding.determined[self.mixture.active.sum(dim=1) - 1]

    def forward(self, images: list[Tensor], joints: Tensor, instruction: Tensor) -> Tensor:
        """Waypoints, shape (B, K, J) [rad], absolute; arguments as in `encode`."""
        return self.predict(images, joints, instruction).waypoints


def check_network(config: ModelConfig) -> None:
    """Build the network with random weights, so that a wrong configuration is refused before data are recorded.

    Raises:
        ConfigError: As `VlaNetwork`.
    """
    config = resolve(config)
    network = config.network
    VlaNetwork(replace(config, network=replace(network, backbone=replace(network.backbone, weights=""))))
