"""Encodes the simulator's ground truth as JSON, for the scripted policy and the success check; simulation only."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np

from vla_ros.core.errors import RecordError
from vla_ros.core.records import NS, Observation, Refusal
from vla_ros.sim.so101.world import GroundTruth

MAX_AGE_S = 0.2
"""`GroundTruthObserver` refuses an older ground truth [s]."""


def ground_truth_to_json(ground_truth: GroundTruth, stamp_ns: int, seed: int, extra: dict[str, Any]) -> str:
    """A JSON object with every field of `ground_truth`, its time, the seed of the scene and the fields of `extra`."""
    data: dict[str, Any] = {"stamp_ns": stamp_ns, "seed": seed, **extra}
    for field in fields(GroundTruth):
        value = getattr(ground_truth, field.name)
        data[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
    return json.dumps(data)


def ground_truth_from_json(text: str) -> tuple[GroundTruth, dict[str, Any]]:
    """The decoded record, and the complete JSON object.

    Raises:
        RecordError: `text` does not have the format of `ground_truth_to_json`.
    """
    try:
        data = json.loads(text)
        values: dict[str, Any] = {f.name: data[f.name] for f in fields(GroundTruth)}
        arrays = {k: np.array(v, dtype=np.float64) for k, v in values.items() if isinstance(v, list)}
        if not all(arrays[k].shape == (len(data["home"]),) for k in ("joint_positions", "commanded")):
            raise ValueError("a vector has the wrong length")
        data["stamp_ns"], data["seed"] = int(data["stamp_ns"]), int(data["seed"])
        return GroundTruth(**(values | arrays)), data
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise RecordError(f"the ground truth is malformed ({type(error).__name__}: {error}).") from None


class GroundTruthObserver:
    """Replaces the camera synchroniser for a policy that acts on the ground truth.

    Attributes:
        ground_truth: The newest record; None before the first.
    """

    def __init__(self, joints: tuple[str, ...]) -> None:
        """Start without a record; `joints` in the order of the arm."""
        self._joints = joints
        self._stamp_ns = 0
        self.ground_truth: GroundTruth | None = None

    def update(self, text: str) -> None:
        """Decode and keep the newest message; raises `RecordError` if it is malformed."""
        self.ground_truth, data = ground_truth_from_json(text)
        self._stamp_ns = data["stamp_ns"]

    def observe(self, now_ns: int, instruction: str = "") -> Observation | Refusal:
        """The arm's joints of the newest ground truth; refused if there is none or it is older than `MAX_AGE_S`."""
        if self.ground_truth is None:
            return Refusal("missing", "no ground truth from the simulator yet.")
        age = (now_ns - self._stamp_ns) / NS
        if not abs(age) <= MAX_AGE_S:
            return Refusal("stale", f"the newest ground truth is {age:.3f} s old; at most {MAX_AGE_S} s.")
        return Observation(self._stamp_ns, {}, self._joints, self.ground_truth.joint_positions, instruction)
