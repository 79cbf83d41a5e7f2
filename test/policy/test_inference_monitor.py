"""The monitor of a policy's inferences: added delays, chunk length, uncertainty, counters."""

import numpy as np
import pytest

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, Chunk, Refusal
from vla_ros.policy.inference_monitor import InferenceConfig, InferenceMonitor

T0 = 1_700_000_000 * NS
MS = NS // 1000


def chunk() -> Chunk:
    """Eight waypoints, 0.4 s."""
    return Chunk.from_rate(T0, ("a", "b"), np.zeros((8, 2)), 0.05)


def test_a_chunk_is_due_at_once_without_a_delay_and_taken_once() -> None:
    monitor = InferenceMonitor(InferenceConfig())
    assert monitor.take_due(T0) is None
    assert monitor.add_inference(chunk(), 0.02, T0) == T0
    assert monitor.busy
    assert monitor.take_due(T0) is not None
    assert not monitor.busy
    assert monitor.take_due(T0) is None


def test_added_delays_are_uniform_and_repeatable() -> None:
    config = InferenceConfig(delay_min_ms=50.0, delay_max_ms=150.0, seed=3)
    due = [[m.add_inference(chunk(), 0.0, T0) - T0 for _ in range(500)] for m in map(InferenceMonitor, [config] * 2)]
    assert due[0] == due[1]
    assert 50 * MS <= min(due[0]) < 55 * MS
    assert 145 * MS < max(due[0]) <= 150 * MS
    monitor = InferenceMonitor(config)
    due_ns = monitor.add_inference(chunk(), 0.0, T0)
    assert monitor.take_due(due_ns - 1) is None
    assert monitor.take_due(due_ns) is not None


def test_a_chunk_must_reach_the_next_hand_over() -> None:
    """A chunk of 0.4 s, 0.05 s to its handover; the next chunk is expected to be as old as this one."""
    monitor = InferenceMonitor(InferenceConfig(rate_hz=50.0, handover_s=0.05))
    monitor.check_length(chunk(), T0 + 170 * MS)
    assert monitor.warning(instructed=True) == ""
    monitor.check_length(chunk(), T0 + 180 * MS)
    assert monitor.warning(instructed=True).startswith("chunks are too short: they end 0.40 s after their image")
    assert monitor.warning(instructed=False) == ""
    assert monitor.counts["short_chunks"] == 1
    slow = InferenceMonitor(InferenceConfig(rate_hz=3.0, handover_s=0.05))
    slow.check_length(chunk(), T0 + 10 * MS)
    assert slow.warning(instructed=True) == ""
    slow.check_length(chunk(), T0 + 20 * MS)
    assert slow.warning(instructed=True)


def test_a_refusal_is_reported_until_the_next_inference() -> None:
    monitor = InferenceMonitor(InferenceConfig())
    monitor.refuse(Refusal("stale", "the image is old."))
    assert monitor.warning(instructed=False) == "the image is old."
    assert monitor.counts["refused.stale"] == 1
    monitor.add_inference(chunk(), 0.0, T0)
    assert monitor.warning(instructed=True) == ""


def test_the_summary_has_means_and_maxima() -> None:
    monitor = InferenceMonitor(InferenceConfig())
    assert monitor.summary() == {"inferences": 0, "inference_ms": 0.0}
    for duration_s, uncertainty in ((0.01, 0.1), (0.03, 0.3)):
        monitor.add_inference(chunk(), duration_s, T0)
        monitor.take_due(T0)
        monitor.add_uncertainty(uncertainty)
    summary = monitor.summary()
    assert summary["inferences"] == 2
    assert summary["inference_ms"] == pytest.approx(20.0)
    assert summary["uncertainty_rad_mean"] == pytest.approx(0.2)
    assert summary["uncertainty_rad_max"] == 0.3


@pytest.mark.parametrize(
    "values",
    [
        {"rate_hz": 0.0},
        {"rate_hz": 201.0},
        {"handover_s": 1.0},
        {"handover_s": -0.1},
        {"delay_min_ms": -1.0},
        {"delay_min_ms": 5.0, "delay_max_ms": 1.0},
        {"delay_max_ms": 60_000.0},
        {"delay_max_ms": float("nan")},
    ],
)
def test_invalid_settings_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError, match="policy: "):
        InferenceConfig(**values)
