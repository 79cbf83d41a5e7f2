"""Measures the inferences of a policy: latency, chunk length, uncertainty; delays chunks for experiments."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from vla_ros.config import require
from vla_ros.core.records import NS, Chunk, Refusal


@dataclass(frozen=True)
class InferenceConfig:
    """Rate of the inferences, added delays, and the time to the handover.

    Attributes:
        rate_hz: Maximum number of inferences per second [Hz].
        handover_s: From the publication of a chunk to its handover: transport and the planner's `lead_s` [s].
        delay_min_ms: Minimum delay added to every inference, for experiments [ms].
        delay_max_ms: Maximum delay added; the delay is drawn uniformly [ms].
        seed: Seed of the delays.
    """

    rate_hz: float = 10.0
    handover_s: float = 0.05
    delay_min_ms: float = 0.0
    delay_max_ms: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        require(0.1 <= self.rate_hz <= 200.0, f"policy: rate_hz must be 0.1 to 200; got {self.rate_hz}.")
        require(0.0 <= self.handover_s < 1.0, f"policy: handover_s must be 0 to 1; got {self.handover_s}.")
        require(
            0.0 <= self.delay_min_ms <= self.delay_max_ms < 60_000.0,
            "policy: delays must satisfy 0 <= delay_min_ms <= delay_max_ms < 60000; "
            f"got {self.delay_min_ms} to {self.delay_max_ms} ms.",
        )

    @property
    def period_ns(self) -> int:
        """Minimum time from the start of one inference to the start of the next [ns]."""
        return round(NS / self.rate_hz)


class InferenceMonitor:
    """Holds a chunk until its added delay is over, and counts inferences, short chunks and refusals.

    Attributes:
        counts: Inferences, short chunks and refusals by reason.
    """

    def __init__(self, config: InferenceConfig) -> None:
        """Start without a chunk."""
        self.config = config
        self.counts: Counter[str] = Counter()
        self._random = random.Random(config.seed)
        self._pending: tuple[int, Chunk] | None = None
        self._refusal: Refusal | None = None
        self._short_chunk = ""
        self._inference_s = 0.0
        self._uncertainty_count = 0
        self._uncertainty_sum = self._uncertainty_max = 0.0

    @property
    def busy(self) -> bool:
        """Whether a chunk waits for its added delay."""
        return self._pending is not None

    def add_inference(self, chunk: Chunk, duration_s: float, now_ns: int) -> int:
        """Record a finished inference and draw the delay of its chunk.

        Args:
            chunk: Its output.
            duration_s: Its computation time [s].
            now_ns: Time of its end [ns].

        Returns:
            When the chunk is due [ns].
        """
        self.counts["inferences"] += 1
        self._inference_s += duration_s
        self._refusal = None
        delay_ms = self._random.uniform(self.config.delay_min_ms, self.config.delay_max_ms)
        due_ns = now_ns + round(delay_ms * 1e6)
        self._pending = due_ns, chunk
        return due_ns

    def take_due(self, now_ns: int) -> Chunk | None:
        """The chunk whose delay is over, once; its length is checked. None before."""
        if self._pending is None or now_ns < self._pending[0]:
            return None
        chunk, self._pending = self._pending[1], None
        self.check_length(chunk, now_ns)
        return chunk

    def check_length(self, chunk: Chunk, now_ns: int) -> None:
        """Warn if a chunk ends before the handover of the next one: the arm slows down in between.

        The next handover is expected after `handover_s` and the larger of this chunk's age and the period.
        """
        end_ns = round(float(chunk.offsets_s[-1]) * NS)
        age_ns = now_ns - chunk.stamp_ns
        needed_ns = age_ns + round(self.config.handover_s * NS) + max(age_ns, self.config.period_ns)
        self._short_chunk = ""
        if not end_ns >= needed_ns:
            self._short_chunk = (
                f"chunks are too short: they end {end_ns / NS:.2f} s after their image, the next handover needs "
                f"{needed_ns / NS:.2f} s, so the arm slows down in between; use longer chunks or a faster policy."
            )
        self.counts["short_chunks"] += bool(self._short_chunk)

    def add_uncertainty(self, uncertainty_rad: float) -> None:
        """Record the published uncertainty of a chunk [rad]."""
        self._uncertainty_count += 1
        self._uncertainty_sum += uncertainty_rad
        self._uncertainty_max = max(self._uncertainty_max, uncertainty_rad)

    def refuse(self, refusal: Refusal) -> None:
        """Record why there was no inference."""
        self._refusal = refusal
        self.counts[f"refused.{refusal.reason}"] += 1

    def uncertainty(self) -> dict[str, float]:
        """Mean and maximum of the published uncertainties [rad]; empty if none was published."""
        if not self._uncertainty_count:
            return {}
        mean = self._uncertainty_sum / self._uncertainty_count
        return {"uncertainty_rad_mean": mean, "uncertainty_rad_max": self._uncertainty_max}

    def warning(self, instructed: bool) -> str:
        """Why there is no inference, or that chunks are too short while there is an instruction; "" if neither."""
        if self._refusal is not None:
            return self._refusal.detail
        return self._short_chunk if instructed else ""

    def summary(self) -> dict[str, float]:
        """Every counter, the mean computation time `inference_ms` [ms] and the uncertainty, for the log."""
        mean_ms = 1e3 * self._inference_s / max(self.counts["inferences"], 1)
        return {"inferences": 0, **self.counts, "inference_ms": mean_ms, **self.uncertainty()}
