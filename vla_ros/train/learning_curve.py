"""The curve of a run: one JSON object per line, in its folder; for TensorBoard and wandb too where asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_ros.core.errors import ConfigError


class Curve:
    """Rows of numbers by step. A row is on disk when it is written: nothing is lost with the process."""

    def __init__(self, path: Path, step: int, tensorboard: bool, wandb: Mapping[str, Any] | None = None) -> None:
        """Go on after `step`: rows that lie beyond it, of a run that was cut, are taken away.

        Args:
            path: The file.
            step: What has been done already.
            tensorboard: Write for TensorBoard too.
            wandb: The settings of a run that is to be shown by wandb too; None for one that is not.

        Raises:
            ConfigError: What is asked for is not installed, or wandb does not begin.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._board: Any = None
        self._wandb = None if wandb is None else _wandb(path.parent.resolve(), wandb)
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ModuleNotFoundError:
                raise ConfigError('track.tensorboard needs TensorBoard: pip install "vla_ros[tensorboard]".') from None
            self._board = SummaryWriter(str(path.parent / "tensorboard"), purge_step=step + 1 if step else None)
        part = path.with_name(path.name + ".part")
        part.write_text("".join(json.dumps(row) + "\n" for row in read_curve(path) if row["step"] <= step), "utf-8")
        part.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """One row."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=step)

    def close(self) -> None:
        """Let go of the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _wandb(folder: Path, settings: Mapping[str, Any]) -> Any:
    try:
        import wandb
    except ModuleNotFoundError:
        raise ConfigError('track.wandb needs wandb: pip install "vla_ros[wandb]".') from None
    quiet = wandb.Settings(console="off", silent=True)
    try:
        # A run that goes on is another one in the same group: wandb takes no step twice.
        return wandb.init(project="vla_ros", group=folder.name, dir=str(folder), config=dict(settings), settings=quiet)
    except wandb.errors.Error as error:
        raise ConfigError(f"wandb does not begin ({error}); WANDB_MODE=offline keeps the run here.") from None


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The rows of a curve; a last line that was cut off is left out, no file is no rows."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            rows.append(row)
    return rows
