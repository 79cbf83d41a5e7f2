"""The simulator's truth as JSON on a topic, for the scripted expert and the judge; a real robot has none."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np

from vla_ros.core.errors import RecordError
from vla_ros.core.records import NS, Observation, Refusal
from vla_ros.sim.so101.world import Truth

OLDEST_S = 0.2


def truth_to_json(truth: Truth, stamp_ns: int, seed: int, extra: dict[str, Any]) -> str:
    """Every field of `truth`, the time it holds for, and the seed of the scene."""
    data: dict[str, Any] = {"stamp_ns": stamp_ns, "seed": seed, **extra}
    for field in fields(Truth):
        value = getattr(truth, field.name)
        data[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
    return json.dumps(data)


def truth_from_json(text: str) -> tuple[Truth, dict[str, Any]]:
    """The record again, and everything that came with it.

    Raises:
        RecordError: The text is not what `truth_to_json` writes.
    """
    try:
        data = json.loads(text)
        values: dict[str, Any] = {f.name: data[f.name] for f in fields(Truth)}
        arrays = {k: np.array(v, dtype=np.float64) for k, v in values.items() if isinstance(v, list)}
        if not all(arrays[k].shape == (len(data["home"]),) for k in ("joint_positions", "commanded")):
            raise ValueError("a vector of another length")
        data["stamp_ns"], data["seed"] = int(data["stamp_ns"]), int(data["seed"])
        return Truth(**(values | arrays)), data
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise RecordError(f"the truth is malformed ({type(error).__name__}: {error}).") from None


class TruthObserver:
    """Stands where the camera observer stands, for a policy that is told instead of looking."""

    def __init__(self, joints: tuple[str, ...]) -> None:
        """Wait for the first truth."""
        self._joints = joints
        self._stamp_ns = 0
        self.truth: Truth | None = None
        """The newest."""

    def take(self, text: str) -> None:
        """Keep the newest message; raises `RecordError` if it is malformed."""
        self.truth, data = truth_from_json(text)
        self._stamp_ns = data["stamp_ns"]

    def observe(self, now_ns: int, instruction: str = "") -> Observation | Refusal:
        """The arm's joints at the newest truth, or a refusal if that is missing or old."""
        if self.truth is None:
            return Refusal("missing", "no truth from the simulator yet.")
        age = (now_ns - self._stamp_ns) / NS
        if not abs(age) <= OLDEST_S:
            return Refusal("stale", f"the newest truth is {age:.3f} s old; at most {OLDEST_S} s.")
        return Observation(self._stamp_ns, {}, self._joints, self.truth.joint_positions, instruction)
