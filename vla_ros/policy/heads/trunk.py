"""Action heads, by name: trunk features to normalised B-spline control points.

A head owns its loss, so that one that samples (flow matching), one that classifies (BEAST tokens) or one
that mixes horizons can be added without a change elsewhere. Decorate it with `@head("name")`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.core.errors import UnknownName


class Head(nn.Module):
    """What every head provides; built as `cls(features, control_points, joints)`."""

    def __init__(self, features: int, control_points: int, joints: int) -> None:
        """Keep the output shape."""
        super().__init__()
        self.features, self.shape = features, (control_points, joints)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) to normalised control points (B, N, J)."""
        raise NotImplementedError

    def loss(self, features: Tensor, target: Tensor, metric: Tensor) -> Tensor:
        """Loss per sample, shape (B,).

        Args:
            features: Shape (B, F).
            target: Normalised control points, shape (B, N, J).
            metric: Shape (K, N, J): error in control points to weighted error in waypoints.
        """
        raise NotImplementedError


H = TypeVar("H", bound="type[Head]")
_HEADS: dict[str, type[Head]] = {}


def head(name: str) -> Callable[[H], H]:
    """Register a head class under `name`."""

    def add(cls: H) -> H:
        _HEADS[name] = cls
        return cls

    return add


def make_head(name: str, features: int, control_points: int, joints: int) -> Head:
    """Build the head called `name`.

    Raises:
        UnknownName: There is none of that name.
    """
    if name not in _HEADS:
        raise UnknownName("head", name, _HEADS)
    return _HEADS[name](features, control_points, joints)


@head("regression")
class RegressionHead(Head):
    """One linear layer; smooth L1 on the decoded waypoints.

    The error is taken where it acts, on waypoints, because control points are not orthogonal: two
    opposite errors in neighbours nearly cancel in the curve.
    """

    def __init__(self, features: int, control_points: int, joints: int) -> None:
        """Start at zero: the untrained head gives the mean chunk."""
        super().__init__(features, control_points, joints)
        self.out = nn.Linear(features, control_points * joints)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor) -> Tensor:
        """See `Head.forward`."""
        return self.out(features).unflatten(1, self.shape)

    def loss(self, features: Tensor, target: Tensor, metric: Tensor) -> Tensor:
        """See `Head.loss`."""
        error = torch.einsum("knj,bnj->bkj", metric, self(features).float() - target)
        return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.05, reduction="none").mean(dim=(1, 2))
