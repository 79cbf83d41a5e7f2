"""One training run from recording to a checkpoint: demonstrations, training, DAgger rounds, validation, saved states.

Progress is counted in optimizer steps, so the same command with the same seed repeats the same run. If the time limit
would be reached before all steps are done, progress is measured by the clock; the learning-rate schedule is the same.

An interrupted run is resumed from `training.safetensors`, which is deleted when the run is complete. If steps and not
the clock determine the end, the resumed run ends with the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vla_ros.config import load_robot
from vla_ros.core.errors import ConfigError
from vla_ros.evaluation.evaluate import evaluate
from vla_ros.policy.network.checkpoint import CheckpointInfo, save_checkpoint
from vla_ros.sim.base import EVALUATION_SEED
from vla_ros.train.batches import BatchMaker
from vla_ros.train.collection import Collection
from vla_ros.train.config import TrainConfig
from vla_ros.train.distributed import SingleProcess, connect_processes
from vla_ros.train.learner import Learner
from vla_ros.train.learning_curve import LearningCurve
from vla_ros.train.loop import Milestone, StepPace, TrainingLoop
from vla_ros.train.run_state import check_settings, defer_interrupts, read_state, resume_settings, write_state
from vla_ros.train.validation import open_loop_error

_VALIDATION_SEED = 10 * EVALUATION_SEED
"""First seed of the closed-loop validation scenes, which are used for neither training nor evaluation."""


@dataclass(frozen=True)
class TrainingRequest:
    """Arguments of a training run.

    Attributes:
        config: The settings.
        seed: Seed of weights, batches and scenes.
        minutes: Time limit for everything except the final evaluation [min].
        out: Folder of demonstrations and checkpoint.
        command: The command line; stored in the checkpoint.
        resume: Resume an unfinished run in `out`, if there is one.
        threads: CPU threads; sums with another number of threads differ in their last bits. 0: the number of the
            unfinished run, or torch's default without one.
    """

    config: TrainConfig
    seed: int
    minutes: float
    out: Path
    command: str
    resume: bool = True
    threads: int = 0

    @property
    def state(self) -> Path:
        """File of the state of an unfinished run."""
        return self.out / "training.safetensors"

    @property
    def curve(self) -> Path:
        """File of the learning curve."""
        return self.out / "curve.jsonl"

    @property
    def demos(self) -> Path:
        """Folder of the demonstrations."""
        return self.out / "demos"

    @property
    def checkpoint(self) -> Path:
        """File of the resulting checkpoint."""
        return self.out / "policy.safetensors"


class Trainer:
    """Executes a training run."""

    def __init__(self, request: TrainingRequest, distributed: SingleProcess | None = None) -> None:
        """Start the clock; `distributed` are the processes that share the run, found automatically if not given."""
        self.request, self.config = request, request.config
        self.distributed = distributed or connect_processes()
        self._pace = StepPace(request.config.steps, request.minutes)
        self._learner: Learner | None = None
        self._curve: LearningCurve | None = None
        self._data = Collection(self.config, request.seed, request.demos, self.distributed)
        self._rounds = 0
        self._settings = resume_settings(request.config, request.seed, self.distributed.world_size)

    def run(self) -> Path:
        """Execute the run and return the checkpoint; an interrupt saves what has been learned.

        Raises:
            ConfigError: The time limit was reached before the first step, or the data or an unfinished run do not fit.
            KeyboardInterrupt: Raised again after saving.
        """
        complete, d = False, self.distributed
        try:
            unfinished = self._read_unfinished()
            self._set_threads(unfinished[1] if unfinished else {})
            self._data.load(unfinished[1]["files"] if unfinished else None)
            if not len(self._data.training):
                raise ConfigError("there are no episodes to train on.")
            batches = BatchMaker(self._data.training, self.config, self.request.seed, d.rank, d.world_size)
            self._learner = Learner(batches, self.config, self.request.seed, d)
            if unfinished is not None:
                with defer_interrupts():
                    self._resume(*unfinished)
            self._train()
            if not self._learner.step_count:
                raise ConfigError(f"{self.request.minutes} minutes left no time for training; use a larger --minutes.")
            complete = True
        except KeyboardInterrupt:
            # An optimizer step is never interrupted. With several processes, the others may not reach this point.
            if self._learner is not None and self._learner.step_count and d.world_size == 1:
                self._save_state()
            raise
        finally:
            self._close(complete)
        return self.request.checkpoint

    def _close(self, complete: bool) -> None:
        learner, d = self._learner, self.distributed
        if self._curve is not None:
            self._curve.close()
        if learner is not None and learner.step_count and (complete or d.world_size == 1):
            learner.collect()
            if d.rank == 0:
                self.save(self.request.checkpoint)
                if complete:
                    self.request.state.unlink(missing_ok=True)
            d.barrier()

    # ---- saved states ------------------------------------------------------------------------------------------

    def _read_unfinished(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        path = self.request.state
        if not self.request.resume:
            path.unlink(missing_ok=True)
        if not path.exists():
            return None
        tensors, header = read_state(path)
        check_settings(path, header["settings"], self._settings)
        return tensors, header

    def _set_threads(self, header: Mapping[str, Any]) -> None:
        count = self.request.threads or int(header.get("threads", 0))
        if count:
            torch.set_num_threads(count)

    def _resume(self, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
        if header["frames"] != len(self._data.training):
            raise ConfigError(
                f"the unfinished run had {header['frames']} training frames, now there are "
                f"{len(self._data.training)}; --no-resume starts again."
            )
        self._current_learner().restore(tensors, header["learner"])
        self._rounds = int(header["rounds"])
        self._pace.resume(float(header["total_s"]), float(header["training_s"]))
        if self.distributed.rank == 0:
            print(f"resumes at step {self._current_learner().step_count} of {self.config.steps} ({self.request.state})")

    def _save_state(self) -> None:
        tensors, values = self._current_learner().state()
        header = {
            "settings": self._settings,
            "learner": values,
            "files": self._data.files,
            "frames": len(self._data.training),
            "rounds": self._rounds,
            "total_s": self._pace.total_s,
            "training_s": self._pace.training_s,
            "threads": torch.get_num_threads(),
        }
        if self.distributed.rank == 0:
            write_state(self.request.state, tensors, header)

    # ---- training ----------------------------------------------------------------------------------------------

    def _train(self) -> None:
        learner, track, rank_0 = self._current_learner(), self.config.track, self.distributed.rank == 0
        if rank_0:
            wandb_settings = self._settings if track.wandb else None
            self._curve = LearningCurve(self.request.curve, learner.step_count, track.tensorboard, wandb_settings)
        validation = BatchMaker(self._data.validation, self.config, 0) if len(self._data.validation) else None
        self._pace.start_training()
        with tqdm(
            total=self.config.steps, initial=learner.step_count, desc="train", unit="step", disable=not rank_0
        ) as progress_bar:

            def after_step(losses: Mapping[str, float]) -> None:
                progress_bar.update()
                if track.validate and learner.step_count % track.validate == 0:
                    self._validate(validation)
                if learner.step_count % 20 == 0:
                    values = {k: f"{v:.4f}" for k, v in losses.items()}
                    progress_bar.set_postfix(values, frames=len(self._data.training))

            def dagger_round(number: int) -> None:
                self._dagger_round(number)
                progress_bar.unpause()

            rounds = 0 if self.config.data is not None else self.config.demos.rounds
            # The first round needs a policy that reaches the cube; after the last, time to train on it is left.
            milestones = [
                Milestone(0.30 + 0.45 * k / max(1, rounds - 1), functools.partial(dagger_round, k + 1))
                for k in range(self._rounds, rounds)
            ]
            TrainingLoop(
                learner, self._pace, self._save_state, track.save_s, self._add_to_curve, after_step, milestones
            ).run()

    def _dagger_round(self, number: int) -> None:
        learner = self._current_learner()
        self._data.record_round(number, self._save_draft())
        with defer_interrupts():
            self._data.load_round(number)
            learner.maker.update()
            self._rounds = number

    def _save_draft(self) -> Path:
        """Save the current policy for the simulator processes; all processes must call it."""
        path = self.request.out / "draft.safetensors"
        self._current_learner().collect()
        if self.distributed.rank == 0:
            self.save(path)
        return path

    def _add_to_curve(self, losses: Mapping[str, float], rate: float) -> None:
        step = self._current_learner().step_count
        if self._curve is not None and step % self.config.track.every == 0:
            self._curve.add(step, {"rate": rate, **losses})

    def _validate(self, validation: BatchMaker | None) -> None:
        """Open loop on the validation episodes and closed loop in simulation; all processes must call it."""
        learner = self._current_learner()
        learner.collect()
        if self._curve is not None:
            row = open_loop_error(learner.average, validation) if validation is not None else {}
            if self.config.track.episodes:
                draft = self.request.out / "draft.safetensors"
                self.save(draft)
                row |= self._success_rate(draft)
            if row:
                self._curve.add(learner.step_count, row)
        self.distributed.barrier()

    def _success_rate(self, checkpoint: Path) -> dict[str, float]:
        c = self.config
        results = evaluate(
            checkpoint, c.track.episodes, _VALIDATION_SEED, task=c.task, robot=c.robot, cameras=c.cameras,
            processes=c.demos.processes, quiet=True,
        )  # fmt: skip
        return {"success": sum(r.success for r in results) / len(results), "episodes": len(results)}

    def _current_learner(self) -> Learner:
        if self._learner is None:
            raise RuntimeError("training has not started.")
        return self._learner

    def save(self, path: Path, **notes: Any) -> None:
        """Write a checkpoint with the averaged weights; `notes` are added to its notes."""
        learner, data = self._current_learner(), self._data.training
        info = CheckpointInfo(
            robot=load_robot(self.config.robot).name,
            instruction=data.episodes[0].instruction,
            model=replace(learner.average.config, auxiliary=0),
            command=self.request.command,
            seed=self.request.seed,
            instructions=learner.maker.instruction_encoder.embeddings(),
            notes={
                "task": self.config.task,
                "steps": learner.step_count,
                "frames": len(data),
                "episodes": len(data.episodes),
                **notes,
            },
        )
        save_checkpoint(path, learner.average, info)
