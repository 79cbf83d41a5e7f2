"""Reads the log files of a run; missing and unreadable files are recorded, never an error."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

REQUIRED_LOGS = (
    "run.json",
    "episodes.jsonl",
    "sim.json",
    "policy.json",
    "planner.json",
    "supervisor.json",
    "loop.npz",
    "observer.json",
    "commands.npz",
)
"""Files that every complete run writes. Videos and the baseline loop are optional."""
BASELINE_LOG = "baseline.npz"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class Logs:
    """The readable contents of a run folder.

    Attributes:
        folder: The folder.
        tables: Contents of the JSON files by file name.
        arrays: Contents of the NumPy files by file name.
        episodes: One mapping per finished episode, in order.
        missing: Names of the files that do not exist.
        unreadable: Names of the files that exist and could not be read.
    """

    folder: Path
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrays: dict[str, Arrays] = field(default_factory=dict)
    episodes: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def table(self, name: str) -> dict[str, Any]:
        """Contents of a JSON file; empty if it was not read."""
        return self.tables.get(name, {})

    def array(self, name: str, key: str) -> npt.NDArray[Any] | None:
        """An array of a NumPy file; None if it was not read."""
        return self.arrays.get(name, {}).get(key)

    def videos(self) -> list[int]:
        """Numbers of the episodes that have a video, ascending."""
        names = [p.stem.removeprefix("video_") for p in self.folder.glob("video_*.npz")]
        return sorted(int(n) for n in names if n.isdecimal())


def _read_episodes(file: Path) -> list[dict[str, Any]]:
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if isinstance(row["success"], bool) and isinstance(row["episode"], int):
            rows.append(row)
    return rows


def read_arrays(file: Path) -> Arrays:
    """Every array of an .npz file. Pickled objects are refused, so that a file cannot execute code."""
    with np.load(file, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def read_logs(folder: Path) -> Logs:
    """Read the log files of a run folder; raises no error for their contents."""
    logs = Logs(folder)
    for name in (*REQUIRED_LOGS, BASELINE_LOG):
        file = folder / name
        if not file.is_file():
            logs.missing.append(name)
            continue
        try:
            if name.endswith(".npz"):
                logs.arrays[name] = read_arrays(file)
            elif name.endswith(".jsonl"):
                logs.episodes = _read_episodes(file)
            else:
                data = json.loads(file.read_text(encoding="utf-8"))
                if not isinstance(data, dict):
                    raise ValueError("not a mapping")
                logs.tables[name] = data
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            logs.unreadable.append(name)
    return logs
