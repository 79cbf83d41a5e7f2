"""Reads the folder that a run leaves; whatever is not there, or was cut short, is named and left out."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LOGS = (
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
"""What a whole run leaves. Films and `baseline.npz` are extras."""
BASELINE = "baseline.npz"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class Logs:
    """Everything a run wrote that could be read.

    Attributes:
        folder: Where.
        tables: Contents of the JSON files, by file name; an empty one where the file is missing.
        arrays: Contents of the NumPy files, likewise.
        episodes: One mapping per episode that ended, in order.
        missing: Names of the logs that are not there.
        unreadable: Names of the logs that are there and could not be read.
    """

    folder: Path
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrays: dict[str, Arrays] = field(default_factory=dict)
    episodes: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def table(self, name: str) -> dict[str, Any]:
        """A JSON file's contents, empty where there are none."""
        return self.tables.get(name, {})

    def array(self, name: str, key: str) -> npt.NDArray[Any] | None:
        """An array of a NumPy file, None where there is none."""
        return self.arrays.get(name, {}).get(key)

    def films(self) -> list[int]:
        """Numbers of the episodes that were filmed."""
        names = [p.stem.removeprefix("film_") for p in self.folder.glob("film_*.npz")]
        return sorted(int(n) for n in names if n.isdecimal())


def _read_episodes(file: Path) -> list[dict[str, Any]]:
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if isinstance(row["success"], bool) and isinstance(row["episode"], int):
            rows.append(row)
    return rows


def read_arrays(file: Path) -> Arrays:
    """Every array of an .npz file; nothing in it is ever executed."""
    with np.load(file, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def read_logs(folder: Path) -> Logs:
    """Read a run's folder; never fails over what a run left there."""
    logs = Logs(folder)
    for name in (*LOGS, BASELINE):
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
