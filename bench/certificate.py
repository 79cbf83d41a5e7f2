"""Decisions of the limit certificate on 100,000 random plans, against dense sampling by independent code.

Three kinds in equal parts: plans of our planner for random chunks, checked against limits close to their maxima;
random knots, scaled so that their maxima are close to the limits; and corrupted plans: a valid plan with one number
changed or one segment shortened. A plan whose samples (200 per segment, by Horner's rule on coefficients solved here
from the end conditions) violate a limit must never be permitted. At least 99 % of the plans whose maxima stay 2 %
inside every limit, and which end at rest, must be permitted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from bench.common import table
from bench.common.chunk_stream import make_stream
from vla_ros.api import Limits, Plan
from vla_ros.core.records import NS, Array
from vla_ros.safety.limit_certificate import certify

SAMPLES = 200
JOINTS = 4
MARGIN = 0.98
MAX_SAMPLE = 1.0 + 2e-9
"""A greater sample is a violation: twice what the certificate allows for rounding."""

_ENDS = np.array(
    [[np.prod(np.arange(k, k - n, -1.0)) * u ** max(k - n, 0) for k in range(6)] for u in (0.0, 1.0) for n in range(3)]
)
_FROM_ENDS = np.linalg.inv(_ENDS)


def peaks(plan: Plan, limits: Limits) -> Array:
    """Maximum sampled ratio to each limit: position, velocity, acceleration, jerk, shape (4,)."""
    h = (np.diff(plan.offsets_ns) / NS)[:, None]
    p, v, a = plan.positions, plan.velocities, plan.accelerations
    centre = (limits.lower + limits.upper) / 2
    p = p - centre
    rows = np.stack([p[:-1], h * v[:-1], h * h * a[:-1], p[1:], h * v[1:], h * h * a[1:]])
    c = np.tensordot(_FROM_ENDS, rows, axes=1)
    u = np.linspace(0.0, 1.0, SAMPLES)[:, None, None]
    bounds = ((limits.upper - limits.lower) / 2, limits.velocity, limits.acceleration, limits.jerk)
    out = np.empty(4)
    for n, bound in enumerate(bounds):
        value = np.zeros((SAMPLES, *c.shape[1:]))
        for k in range(5, n - 1, -1):
            value = value * u + np.prod(np.arange(k, k - n, -1.0)) * c[k]
        out[n] = (np.abs(value).max(axis=0) / h**n / bound).max()
    return out


def planned(rng: np.random.Generator, min_scale: float = 0.85) -> Iterator[tuple[Plan, Limits]]:
    """Plans of our planner, checked against its limits times `min_scale` to 1.1, so that many just fail."""
    while True:
        stream = make_stream(JOINTS, 6.0, demanding=bool(rng.integers(2)), seed=int(rng.integers(2**31)))
        for _, _, _, plan in stream.plans():
            if isinstance(plan, Plan):
                for _ in range(8):
                    yield (
                        plan,
                        replace(
                            stream.limits,
                            velocity=stream.limits.velocity * rng.uniform(min_scale, 1.1),
                            acceleration=stream.limits.acceleration * rng.uniform(min_scale, 1.1),
                            jerk=stream.limits.jerk * rng.uniform(min_scale, 1.1),
                        ),
                    )


def hermite(rng: np.random.Generator) -> Iterator[tuple[Plan, Limits]]:
    """Random knots that end at rest, checked against their own maxima divided by 0.9 to 1.03."""
    names = tuple(f"joint_{k}" for k in range(JOINTS))
    one = np.ones(JOINTS)
    while True:
        m = int(rng.integers(1, 25))
        spans = rng.integers(5_000_000, 400_000_000, m)
        offsets = np.concatenate([[0], np.cumsum(spans)])
        p, v, a = (rng.normal(size=(m + 1, JOINTS)) * scale for scale in rng.uniform(0.0, (0.5, 2.0, 8.0)))
        v[-1] = a[-1] = 0.0
        plan = Plan(names, 0, offsets, p, v, a)
        top = np.maximum(peaks(plan, Limits(names, -one, one, one, one, one)), 1e-6) / rng.uniform(0.9, 1.03, 4)
        yield plan, Limits(names, -top[0] * one, top[0] * one, top[1] * one, top[2] * one, top[3] * one)


def corrupted(rng: np.random.Generator) -> Iterator[tuple[Plan, Limits]]:
    """Plans of our planner with one number changed by a little or a lot, or one segment shortened."""
    for plan, limits in planned(rng, min_scale=0.995):
        p, v, a, t = (x.copy() for x in (plan.positions, plan.velocities, plan.accelerations, plan.offsets_ns))
        knot, joint = int(rng.integers(len(p))), int(rng.integers(JOINTS))
        change = rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(-9, 3)
        kind = rng.integers(4)
        if kind < 3:
            (p, v, a)[kind][knot, joint] += change
        else:
            later = max(knot, 1)
            t[later:] -= int((t[later] - t[later - 1]) * rng.uniform(0.0, 0.9))
        yield Plan(plan.joints, plan.start_ns, t, p, v, a), limits


@dataclass
class Count:
    """Decisions of the certificate on one kind of plan."""

    plans: int = 0
    permitted: int = 0
    violating: int = 0
    wrongly_permitted: int = 0
    inside: int = 0
    inside_permitted: int = 0
    worst: float = 0.0

    def add(self, plan: Plan, limits: Limits) -> None:
        """Check one plan with the certificate and by sampling."""
        permitted = certify(plan, limits).permitted
        top = float(peaks(plan, limits).max())
        rests = bool((np.abs(plan.velocities[-1]) <= 1e-9).all() and (np.abs(plan.accelerations[-1]) <= 1e-9).all())
        violating = not (top <= MAX_SAMPLE and rests)
        inside = top <= MARGIN and rests and bool((np.diff(plan.offsets_ns) >= 1_000_000).all())
        self.plans += 1
        self.permitted += permitted
        self.violating += violating
        self.wrongly_permitted += violating and permitted
        self.inside += inside
        self.inside_permitted += inside and permitted
        if permitted:
            self.worst = max(self.worst, top)

    def row(self, name: str) -> list[str]:
        """The cells of the table."""
        share = f"{100 * self.inside_permitted / max(self.inside, 1):.2f} %"
        counts = (self.plans, self.permitted, self.violating, self.wrongly_permitted, self.inside)
        return [name, *(f"{n:,}" for n in counts), share, f"{self.worst:.9f}"]


HEAD = (
    "",
    "plans",
    "permitted",
    "violating",
    "of these permitted",
    "2 % inside",
    "of these permitted",
    "worst permitted",
)
KINDS: dict[str, Callable[[np.random.Generator], Iterator[tuple[Plan, Limits]]]] = {
    "planned, close to the limits": planned,
    "random knots, close to the limits": hermite,
    "corrupted": corrupted,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Check every plan; returns 0 if no violating plan and at least 99 % of those 2 % inside are permitted."""
    options = table.options(__doc__ or "", argv)
    each = (9_000 if options.quick else 102_000) // len(KINDS)
    counts = {name: Count() for name in KINDS}
    with tqdm(total=each * len(KINDS), unit="plan", disable=None) as bar:
        for seed, (name, kind) in enumerate(KINDS.items()):
            source = kind(np.random.default_rng(seed))
            for _ in range(each):
                counts[name].add(*next(source))
                bar.update()
    total = Count()
    for count in counts.values():
        for key in vars(total):
            value = getattr(count, key)
            setattr(total, key, max(total.worst, value) if key == "worst" else getattr(total, key) + value)
    table.show(
        "certificate against 200 samples per segment",
        HEAD,
        [*(c.row(n) for n, c in counts.items()), total.row("all")],
    )
    return table.verdict(
        [
            (
                f"{total.wrongly_permitted} of {total.violating:,} violating plans permitted (none)",
                not total.wrongly_permitted,
            ),
            (
                "at least 99 % of the plans 2 % inside every limit permitted",
                total.inside_permitted >= 0.99 * total.inside,
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
