"""Writes a small synthetic run folder with the files that the nodes of a run write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

BEGIN = 1_700_000_000_000_000_000
PERIOD = 2_000_000
JOINTS = 6


def write(folder: Path, episodes: int = 4, failed: tuple[int, ...] = (2,), videos: tuple[int, ...] = (0,)) -> Path:
    """Write a complete run: 500 commands per second along slow sines, one episode per second."""
    folder.mkdir(parents=True, exist_ok=True)
    stamps = BEGIN + PERIOD * np.arange(500 * max(episodes, 1), dtype=np.int64)
    t = (stamps - BEGIN) / 1e9
    handovers = stamps[::50]
    np.savez(
        folder / "commands.npz",
        stamps_ns=stamps,
        positions=0.3 + 0.1 * np.sin(t[:, None] + np.arange(JOINTS)),
        handovers_ns=handovers,
        captures_ns=handovers - 60_000_000,
        capture_to_command_ns=np.arange(1, len(handovers) + 1, dtype=np.int64) * 1_000_000,
        # One chunk per 0.1 s of the episodes, the fifth of each with the largest jerk; one more during the return home.
        chunks_ns=BEGIN + 50_000_000 + 100_000_000 * np.arange(10 * episodes + 1, dtype=np.int64),
        chunk_jerk=np.append(np.where(np.arange(10 * episodes) % 10 == 4, 0.5 + t[: 500 * episodes : 50], 0.1), 9.0),
        step_s=0.05,
    )
    np.savez(folder / "loop.npz", wake_latency_ns=np.array([0, 10_000, 0, 0, 2_500_000, 0]), period_ns=PERIOD)
    np.savez(folder / "baseline.npz", wake_latency_ns=np.array([0, 4_000, 4_000, 4_000]), period_ns=PERIOD)
    quantities = ("position", "velocity", "acceleration", "jerk")
    tables = {
        "run.json": {
            "episodes": episodes,
            "seed": 7,
            "policy": "expert",
            "task": "pick_place",
            "robot": "so101",
            "delay_ms": [0.0, 500.0],
            "success_threshold": 0.7,
            "lost_processes": {},
            "versions": {"python": "3.12"},
        },
        "observer.json": {
            "samples": len(stamps),
            "violations": dict.fromkeys(quantities, 0),
            "peak_ratio": dict(zip(quantities, (0.5, 0.6, 0.7, 0.9875), strict=True)),
            "topics_agree": True,
            "lost": 0,
            "switch_discontinuity": dict(zip(quantities[:3], (0.0, 2e-16, 1e-15), strict=True)),
            "plans": len(handovers),
            "chunks": 50,
            "malformed_plans": 0,
        },
        "supervisor.json": {
            "scheduling": "ordinary scheduling",
            "accepted": 40,
            "refusals": {"late": 3, "stale": 1},
            "switch_discontinuity": [1e-16, 0.0, 3e-15],
        },
        "planner.json": {"planned": 44, "unconfirmed": 2, "refused.stale": 5},
        "policy.json": {"inferences": 49, "inference_ms": 12.5, "refused.no_image": 1},
        "sim.json": {"real_time_factor": 0.999, "camera_hz": 19.5, "frame_ms": 8.0, "bad_commands": 0},
    }
    for name, table in tables.items():
        (folder / name).write_text(json.dumps(table))
    rows = [
        {
            "episode": k,
            "seed": 7 + k,
            "success": k not in failed,
            "seconds": 1.0,
            "start_ns": BEGIN + k * 1_000_000_000,
            "end_ns": BEGIN + (k + 1) * 1_000_000_000,
        }
        for k in range(episodes)
    ]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for k in videos:
        frames = np.zeros((20, 24, 48, 3), dtype=np.uint8)
        frames[np.arange(20), :, np.arange(20)] = (200, 30, 20)
        np.savez(folder / f"video_{k}.npz", frames=frames)
    return folder


def change(folder: Path, name: str, **entries: object) -> None:
    """Overwrite entries of one of the JSON files."""
    table = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**table, **entries}))
