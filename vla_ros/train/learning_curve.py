"""Learning curve of a run: one JSON object per line, and optionally TensorBoard and wandb."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_ros.core.errors import ConfigError


class LearningCurve:
    """Values by optimizer step. Each row is flushed when it is added."""

    def __init__(self, path: Path, step: int, tensorboard: bool, wandb: Mapping[str, Any] | None = None) -> None:
        """Continue after `step`; later rows of an interrupted run are removed.

        Args:
            path: The file.
            step: Number of completed optimizer steps.
            tensorboard: Write for TensorBoard too.
            wandb: Settings of a run that is logged to wandb too; None: no logging to wandb.

        Raises:
            ConfigError: TensorBoard or wandb is requested and not installed, or wandb cannot start.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._board: Any = None
        self._wandb = None if wandb is None else _start_wandb(path.parent.resolve(), wandb)
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
        """Add a row."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=step)

    def close(self) -> None:
        """Close all files."""
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _start_wandb(folder: Path, settings: Mapping[str, Any]) -> Any:
    try:
        import wandb
    except ModuleNotFoundError:
        raise ConfigError('track.wandb needs wandb: pip install "vla_ros[wandb]".') from None
    quiet = wandb.Settings(console="off", silent=True)
    try:
        # A resumed run is a new wandb run in the same group, because wandb accepts each step only once.
        return wandb.init(project="vla_ros", group=folder.name, dir=str(folder), config=dict(settings), settings=quiet)
    except wandb.errors.Error as error:
        raise ConfigError(f"wandb cannot start ({error}); WANDB_MODE=offline stores the run locally.") from None


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Rows of a curve; an incomplete last line is ignored, and a missing file has no rows."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            rows.append(row)
    return rows
