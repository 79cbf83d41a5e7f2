"""Executors that do not align chunks by time, as baselines of `delay.py`."""

from __future__ import annotations

import numpy as np

from vla_ros.core.records import NS, Array, Chunk
from vla_ros.evaluation.executors import CURVE_STEP_S, LinearExecutor, executors


@executors.register("played_on_arrival")
class PlayOnArrivalExecutor(LinearExecutor):
    """Plays each chunk from its first waypoint when it arrives, without aligning it by time."""

    def accept(self, chunk: Chunk, now_ns: int) -> None:
        """Use a chunk, its times counted from now."""
        chunk = chunk.as_waypoints(CURVE_STEP_S)
        current = self.at(now_ns)
        self._times = np.concatenate([[now_ns / NS], now_ns / NS + chunk.offsets_s])
        self._rows = np.concatenate([current[None], chunk.positions])


@executors.register("held_on_arrival")
class HoldOnArrivalExecutor(PlayOnArrivalExecutor):
    """The same without interpolation: the next waypoint is commanded immediately and held."""

    def at(self, t_ns: int) -> Array:
        """The first waypoint that is not in the past, shape (J,) [rad]."""
        k = int(np.searchsorted(self._times, t_ns / NS - 1e-9))
        return self._rows[min(k, len(self._rows) - 1)]
