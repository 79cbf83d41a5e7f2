"""The action transformer as a policy network: cameras + joints + sentence -> slots -> a chunk.

    image per camera -> encoder -> tokens ─┐
    joints (normalised) -> MLP -> token ───┼─ self-attention -> prefix -> keys and values, once
    sentence (encoded) -> linear -> token ─┘                                   │
    slots of the head, once per horizon ── full attention over both ───────────┴─> head, gate -> chunk

Arm joints are predicted relative to the *measured* joints; grippers as they are.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

import vla_ros.policy.heads.action_heads  # noqa: F401  (each registers itself)
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.core.records import Array
from vla_ros.policy.heads.action_encoding import LEAST_STD_RAD, ActionCode
from vla_ros.policy.heads.base import Pull, Run, find_action_head
from vla_ros.policy.network.config import Act, Answer, ModelConfig
from vla_ros.policy.network.horizon_consensus import agreed, disagreement
from vla_ros.policy.network.mixture_of_horizons import Mixture, balance_loss, horizon_loss
from vla_ros.policy.network.transformer import ActionTransformer
from vla_ros.policy.network.transformer_config import ActorConfig
from vla_ros.policy.network.visual_tokens import look, make_sight
from vla_ros.policy.text.normaliser import Hear

Wanted = tuple[Tensor, Tensor]


class ActorModel(nn.Module):
    """See the module's text for the picture; `joint_mean`, `joint_std` (J,) [rad] are saved with the weights."""

    joint_mean: Tensor
    joint_std: Tensor
    arm: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Build with unit statistics.

        Raises:
            ConfigError: A gripper is not a joint, every joint is a gripper, or the horizons do not fit the head.
        """
        super().__init__()
        if config.actor is None:
            raise ConfigError("an action transformer needs its settings under actor.")
        self.config = config
        self.settings = a = config.actor
        j = len(config.joints)
        for name in a.gripper:
            if name not in config.joints:
                raise UnknownName("gripper", name, config.joints, "actor.gripper")
        if len(a.gripper) >= j:
            raise ConfigError("an action transformer needs a joint that is no gripper.")
        cls, as_spline = find_action_head(a.head)
        self.register_buffer("joint_mean", torch.zeros(j))
        self.register_buffer("joint_std", torch.ones(j))
        self.register_buffer("arm", torch.tensor([n not in a.gripper for n in config.joints]), persistent=False)
        self._see(config, a)
        self.body = ActionTransformer(a.width, a.layers, a.attention)
        # The head owns the code: a module in two places would be saved twice.
        self.head = cls(ActionCode(config.joints, config.spline, as_spline, a.gripper, a.bins), a.width, a)
        self.mixture = Mixture(a.width, self.code.steps, a.horizons, a.fusion)
        self.auxiliary = nn.Linear(a.width, config.auxiliary) if config.auxiliary else None

    def _see(self, c: ModelConfig, a: ActorConfig) -> None:
        self.encoders, self.image_tokens, places = make_sight(c, a)
        self.joint_token = nn.Sequential(nn.Linear(len(c.joints), a.width), nn.GELU(), nn.Linear(a.width, a.width))
        self.hear = Hear(c.sentence)
        self.word_token = None if c.language == "backbone" else nn.Linear(c.sentence, a.width)
        self.places = nn.Parameter(0.02 * torch.randn(places, a.width))
        self.seen = ActionTransformer(a.width, a.seen_layers, a.attention, remembers=False)

    @property
    def code(self) -> ActionCode:
        """What the head's numbers mean."""
        return self.head.code

    # ---- what is seen ----------------------------------------------------------------------------------------

    def features(self, images: list[Tensor], joints: Tensor, words: Tensor) -> Tensor:
        """The prefix, shape (B, P, width); arguments as in `VlaModel.features`."""
        words = self.hear(words)
        tokens, places = look(self.encoders, self.image_tokens, images, words, self.places.shape[1])
        # Only the encoders gain from half precision; coordinates and joints would lose by it.
        with torch.autocast(joints.device.type, enabled=False):
            rows = [tokens, self.joint_token((joints - self.joint_mean) / self.joint_std)[:, None]]
            if self.word_token is not None:
                rows.append(self.word_token(words)[:, None])
            count = len(self.places)
            own = torch.arange(count - 2, count, device=places.device)[: len(rows) - 1]
            where = torch.cat([places, own])
            return self.seen(torch.cat(rows, dim=1) + self.places[where])

    def summary(self, prefix: Tensor) -> Tensor:
        """One vector per sample for the auxiliary outputs, shape (B, width)."""
        return prefix.mean(dim=1)

    def pass_from(self, prefix: Tensor) -> Run:
        """A function that sends slots through the transformer, with this prefix already in its keys and values."""
        b, n = len(prefix), self.mixture.count
        memory = self.body.remember(prefix, n)
        mask = self.mixture.mask(b, prefix.shape[1], self.head.slots_per_step)

        def run(slots: Tensor) -> tuple[Tensor, Tensor]:
            hidden = self.body(slots.repeat_interleave(n, 0), memory, mask).unflatten(0, (b, n))
            return self.head.read(hidden), self.mixture.weights(hidden)

        return run

    def origin(self, joints: Tensor) -> Tensor:
        """What targets are relative to, shape (B, 1, J) [rad]: the measured joints, and 0 for grippers."""
        return (joints * self.arm)[:, None, :]

    # ---- training --------------------------------------------------------------------------------------------

    def set_statistics(self, joints: np.ndarray, labels: np.ndarray) -> None:
        """Take means, deviations and ranges from data; shapes (S, J) and (S, K, J) [rad], both absolute."""
        self.joint_mean.copy_(torch.from_numpy(joints.mean(axis=0)))
        self.joint_std.copy_(torch.from_numpy(np.maximum(joints.std(axis=0), LEAST_STD_RAD)))
        self.code.fit(self._relative(joints, labels))

    def _relative(self, joints: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return labels - (joints * self.arm.cpu().numpy())[:, None, :]

    def loss_weights(self, joints: np.ndarray, labels: np.ndarray, joint_weights: Array, late: float) -> Tensor:
        """What `loss` needs of the data; see `ActionCode.metric`."""
        return self.head.loss_weights(self._relative(joints, labels), joint_weights, late)

    def loss(self, prefix: Tensor, joints: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Loss per sample, shape (B,): L_mix + sum of L_h + balance L_bal (MoH, eq. 14); one horizon: L alone.

        Args:
            prefix: Of `features`.
            joints: Measured, shape (B, J) [rad].
            labels: Absolute targets, shape (B, K, J) [rad].
            weights: Of `loss_weights`.
        """
        points = self.code.points(labels - self.origin(joints))
        outputs, shares, target = self.head.train_pass(self.pass_from(prefix), points)
        reach = self.head.reach(self.mixture.active)
        total = horizon_loss(self.head.errors(outputs, target[:, None], weights), reach)
        if self.mixture.count == 1:
            return total
        mixed = self.head.errors(self.head.fuse(outputs, shares), target, weights).mean(dim=1)
        return total + mixed + self.settings.balance * balance_loss(shares, self.mixture.horizons)

    # ---- at work ---------------------------------------------------------------------------------------------

    def act(
        self, images: list[Tensor], joints: Tensor, words: Tensor, seed: int = 0, wanted: Wanted | None = None
    ) -> Act:
        """A chunk per sample; the same seed gives the same noise. Arguments as in `VlaModel.features`.

        With `wanted`, (absolute waypoints (B, K, J) [rad], how firmly (B, K)), a head that starts from noise is guided
        to what is wanted of it, grippers excepted; gradients must not be forbidden by inference mode.
        """
        noise = self.noise(len(joints), seed).to(joints.device)
        return self.judge(self.say(self.features(images, joints, words), joints, noise, wanted))

    def noise(self, batch: int, seed: int) -> Tensor:
        """What `say` starts from, shape (B, S, J), on the CPU; the same seed, the same noise."""
        # A generator per sample, or a sample's noise would depend on the size of its batch.
        draws = [torch.Generator().manual_seed(seed + b) for b in range(batch)]
        return torch.stack([torch.randn(self.code.steps, len(self.config.joints), generator=g) for g in draws])

    def say(self, prefix: Tensor, joints: Tensor, noise: Tensor, wanted: Wanted | None = None) -> Answer:
        """The chunks of a prefix of `features`; nothing is drawn, and without `wanted` nothing branches on values."""
        origin = self.origin(joints)
        pull = None if wanted is None else self._pull(wanted[0] - origin, wanted[1])
        said = self.head.say(self.pass_from(prefix), noise, pull)
        waypoints = self.code.waypoints(said.fused) + origin
        points = said.fused + origin if self.code.as_spline else None
        if self.mixture.count == 1:
            return Answer(waypoints, points)
        heads = self.code.waypoints(said.heads) + origin[:, None]
        return Answer(waypoints, points, heads, self._waypoint_shares(said.weights))

    def judge(self, answer: Answer) -> Act:
        """How much of it is worth executing: what the horizons agree on, by numpy."""
        if answer.heads is None or answer.shares is None:
            most = self.config.spline.waypoints
            fixed = min(self.settings.consensus.fixed or most, most)
            return Act(answer.waypoints, [fixed] * len(answer.waypoints), points=answer.points)
        arm, voters = self.arm.cpu(), self._reach().sum(dim=0).cpu().numpy()
        chunk, heads, shares = (t.detach().cpu() for t in (answer.waypoints, answer.heads, answer.shares))
        arrays = [t.double().numpy() for t in (heads[..., arm], chunk[..., arm], shares)]
        apart = [disagreement(h, f, w) for h, f, w in zip(*arrays, strict=True)]
        execute = [agreed(d, voters, self.settings.consensus) for d in apart]
        return Act(answer.waypoints, execute, np.stack(apart), answer.points)

    def _pull(self, targets: Tensor, mask: Tensor) -> Pull:
        firmly = mask[:, :, None] * self.arm

        def pull(steps: Tensor) -> Tensor:
            apart = (targets - self.code.waypoints(self.code.restore(steps))) * firmly
            return (self.code.points(apart) / self.code.std).float()

        return pull

    def _waypoint_shares(self, weights: Tensor) -> Tensor:
        """Weights per step (B, N, S) as weights per waypoint (B, N, K), of the horizons that reach it."""
        first = next(k for k, name in enumerate(self.config.joints) if name not in self.settings.gripper)
        shares = torch.einsum("ks,bns->bnk", self.code.basis[:, :, first], weights)
        shares = shares * self._reach()
        return shares / shares.sum(dim=1, keepdim=True)

    def _reach(self) -> Tensor:
        """Which waypoints each horizon decides alone, shape (N, K)."""
        return self.code.reach[self.mixture.active.sum(dim=1) - 1]

    def forward(self, images: list[Tensor], joints: Tensor, words: Tensor) -> Tensor:
        """Waypoints, shape (B, K, J) [rad], absolute; arguments as in `VlaModel.features`."""
        return self.act(images, joints, words).waypoints
