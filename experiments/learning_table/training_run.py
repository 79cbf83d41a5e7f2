"""One run of the learning table, from data to record; an interrupted run continues where it was.

    load -> [train .. check .. train ..] -> checkpoint -> inference time -> evaluation, one row per execution mode

In the run's folder: `state.safetensors` (every two processor minutes), `policy.safetensors`, `record.json` (the
record so far), `episodes_*.jsonl` (a line per finished episode).
"""

from __future__ import annotations

import fcntl
import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from experiments.learning_table.suites import CHECK_SEED, EXECUTION_MODES, Budget, Folders, Run
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Observation
from vla_ros.data.episodes import DemoDataset, read_episode
from vla_ros.evaluation.evaluate import summarise
from vla_ros.evaluation.rollout import EpisodeResult
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.sim.base import EVALUATION_SEED
from vla_ros.train.batches import BatchMaker
from vla_ros.train.learner import Learner
from vla_ros.train.loop import Milestone, ProcessorTimePace, TrainingLoop
from vla_ros.train.run_state import read_state, write_state

TIMED_INFERENCES = 60
"""Number of timed inferences, after a tenth of it to warm up."""


def version() -> str:
    """The commit of the checkout, with "-dirty" where files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Lock a folder for this process.

    Raises:
        ConfigError: Another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder} is in use by another process; --status prints its progress.") from None
        yield


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file atomically; short lists on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    rows = []
    for key, value in data.items():
        text = json.dumps(value, sort_keys=True)
        if isinstance(value, list) and len(text) > 100:
            text = "[\n" + ",\n".join(f"  {json.dumps(v)}" for v in value) + "\n ]"
        rows.append(f" {json.dumps(key)}: {text}")
    part.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    os.replace(part, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file; empty where it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


class TrainingRun:
    """Trains, times and evaluates one run."""

    def __init__(self, run: Run, budget: Budget, folders: Folders) -> None:
        """Read the record so far.

        Raises:
            ConfigError: The run was begun with other settings.
        """
        self.run, self.budget, self.folders = run, budget, folders
        self.config, self.folder = run.config, folders.run(run)
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "config": json.loads(json.dumps(asdict(self.config))),
            "minutes": run.suite.minutes,
            "seed": budget.seed,
        }
        self.record: dict[str, Any] = read_json(self.folder / "record.json")
        if self.record and any(self.record[k] != v for k, v in settings.items()):
            raise ConfigError(f"{self.folder} was begun with other settings; move it away to start again.")
        if not self.record:
            self.record = {
                **description(run),
                "version": version(),
                **settings,
                "curve": [],
                "checks": [],
                "evaluations": {},
            }

    @property
    def checkpoint(self) -> Path:
        """The file of the averaged weights."""
        return self.folder / "policy.safetensors"

    def execute(self) -> None:
        """Do what the record lacks."""
        if "train" not in self.record:
            self._train()
        if "inference_ms" not in self.record:
            self._time()
        for mode in self.run.execution_modes:
            if mode not in self.record["evaluations"]:
                self._evaluate(mode)

    def _write_record(self) -> None:
        write_json(self.folder / "record.json", self.record)
        if "train" in self.record:
            write_json(self.folders.record(self.run), self.record)

    # ---- training ---------------------------------------------------------------------------------------------

    def _train(self) -> None:
        data = DemoDataset(self.folders.demonstrations(self.run.suite))
        if data.info is None:
            raise ConfigError(f"there are no demonstrations in {self.folders.demonstrations(self.run.suite)}.")
        self.record["data"] = {"episodes": len(data.episodes), "frames": len(data)}
        batches = BatchMaker(data, self.config, self.budget.seed)
        learner = Learner(batches, self.config, self.budget.seed)
        state, spent = self.folder / "state.safetensors", 0.0
        if state.exists():
            tensors, header = read_state(state)
            learner.restore(tensors, header["learner"])
            spent = float(header["spent_s"])
            self.record["curve"] = [p for p in self.record["curve"] if p[1] <= learner.step_count]
        spent = self._learn(learner, data, state, spent)
        self._save_checkpoint(learner, data, spent)
        self.record["parameters"] = sum(
            p.numel() for n, p in learner.average.named_parameters() if "auxiliary" not in n
        )
        self.record["train"] = {"minutes": round(spent / 60.0, 2), "steps": learner.step_count}
        self._write_record()

    def _learn(self, learner: Learner, data: DemoDataset, state: Path, spent: float) -> float:
        """Train until the time is used; returns the total processor time spent [s]."""
        budget, total = self.budget, 60.0 * self.run.suite.minutes
        pace, losses = ProcessorTimePace(total, spent), list[float]()

        def save_state() -> None:
            self._save_state(learner, state, pace.spent_s)

        def add_to_curve(parts: Mapping[str, float], _rate: float) -> None:
            losses.append(parts["action"])
            curve = self.record["curve"]
            if pace.spent_s - (60.0 * curve[-1][0] if curve else 0.0) >= budget.point_s:
                curve.append([round(pace.spent_s / 60.0, 3), learner.step_count, round(statistics.fmean(losses), 5)])
                losses.clear()

        def check(share: float) -> None:
            save_state()
            self._check(learner, data, share, pace.spent_s)

        done = max((c["share"] for c in self.record["checks"]), default=-1.0)
        milestones = [Milestone(share, partial(check, share)) for share in budget.checks if share > done]
        try:
            TrainingLoop(learner, pace, save_state, budget.save_s, add_to_curve, milestones=milestones).run()
            for milestone in milestones:  # due since the last step
                milestone.action()
        finally:
            # Also when interrupted, so that no step is lost.
            save_state()
        return pace.spent_s

    def _save_state(self, learner: Learner, state: Path, spent: float) -> None:
        tensors, plain = learner.state()
        write_state(state, tensors, {"learner": plain, "spent_s": spent})
        self._write_record()

    def _save_checkpoint(self, learner: Learner, data: DemoDataset, spent: float) -> None:
        info = CheckpointInfo(
            robot=self.config.robot,
            instruction=data.episodes[0].instruction,
            model=replace(learner.average.config, auxiliary=0),
            command=f"./vla experiment learning_table --runs {self.run.path}",
            seed=self.budget.seed,
            notes={"task": self.config.task, "steps": learner.step_count, "minutes": round(spent / 60.0, 2)},
        )
        save_checkpoint(self.checkpoint, learner.average, info)

    def _check(self, learner: Learner, data: DemoDataset, share: float, spent: float) -> None:
        self._save_checkpoint(learner, data, spent)
        seeds = range(CHECK_SEED, CHECK_SEED + self.budget.check_episodes)
        successes = sum(r.success for r in self.run.suite.evaluate(self.policy_file("fixed"), seeds, False))
        row = {"share": share, "minutes": round(spent / 60.0, 2), "step": learner.step_count, "episodes": len(seeds)}
        self.record["checks"].append({**row, "successes": successes})
        self._write_record()

    # ---- evaluation --------------------------------------------------------------------------------------------

    def policy_file(self, mode: str) -> Path:
        """Write the checkpoint for an execution mode; returns its path.

        "fixed" sends every waypoint; the other modes send those of a consensus with the ratio of `EXECUTION_MODES`.
        """
        model, info = load_checkpoint(self.checkpoint)
        rule, fixed_steps = info.model.network.consensus, info.model.spline.waypoints if mode == "fixed" else 0
        ratio = EXECUTION_MODES[mode] or rule.threshold_ratio
        consensus = replace(rule, fixed_steps=fixed_steps, threshold_ratio=ratio)
        network = replace(info.model.network, consensus=consensus)
        path = self.folder / f"policy_{mode}.safetensors"
        save_checkpoint(path, model, replace(info, model=replace(info.model, network=network)))
        return path

    def _time(self) -> None:
        """Measure the median processor time of an inference on one thread, from images of the network's size [ms]."""
        info, e = read_episode(min(self.folders.demonstrations(self.run.suite).glob("*.npz")))
        policy = CheckpointPolicy(self.policy_file("fixed"), threads=1)
        images = {name: np.ascontiguousarray(frames[0]) for name, frames in e.images.items()}
        observation = Observation(0, images, info.joints, e.joints[0].astype(float), e.instruction)
        times = []
        for _ in range(TIMED_INFERENCES + TIMED_INFERENCES // 10):
            begin = time.process_time()
            policy.infer(observation)
            times.append(time.process_time() - begin)
        self.record["inference_ms"] = round(1e3 * statistics.median(times[TIMED_INFERENCES // 10 :]), 2)
        self._write_record()

    def _evaluate(self, mode: str) -> None:
        suite, file_name = self.run.suite, self.folder / f"episodes_{mode}.jsonl"
        done = read_episodes(file_name)
        played = {r.seed for r in done}
        seeds = [s for s in range(EVALUATION_SEED, EVALUATION_SEED + self.budget.episodes) if s not in played]
        with file_name.open("a", encoding="utf-8") as file:
            for result in suite.evaluate(self.policy_file(mode), seeds, mode != "fixed"):
                append_episode(file, result)
                done.append(result)
        grippers = self.config.network.grippers
        row = {k: _rounded(v) for k, v in asdict(summarise(done, suite.limits, grippers)).items()}
        failed = sorted(r.seed for r in done if not r.success)
        self.record["evaluations"][mode] = {**row, "jerk_over_limit": suite.limits is not None, "failed": failed}
        self._write_record()


def description(run: Run) -> dict[str, Any]:
    """What distinguishes a run from the others of its table."""
    network, spline = run.config.network, run.config.spline
    return {
        "suite": run.suite.name,
        "run": run.name,
        "head": run.head,
        "mixture": run.mixture,
        "horizons": list(network.mixture.horizons),
        "waypoints": spline.waypoints,
        "min_steps": network.consensus.min_steps,
        "threshold_ratio": network.consensus.threshold_ratio,
    }


def read_episodes(path: Path) -> list[EpisodeResult]:
    """Read the finished episodes; an incomplete last line, left by a full disk, is removed from the file."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    complete = [line for line in lines if line.endswith("\n")]
    if len(complete) < len(lines):
        path.write_text("".join(complete), encoding="utf-8")
    return [EpisodeResult(**json.loads(line)) for line in complete]


def append_episode(file: TextIO, result: EpisodeResult) -> None:
    """Append a finished episode, without its frames and wall times, so that the line follows from the seed."""
    kept = {k: v for k, v in vars(result).items() if k not in ("episode", "inference_s")}
    file.write(json.dumps(kept) + "\n")
    file.flush()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return [round(v, 4) for v in value] if isinstance(value, tuple) else value


def finished(run: Run, folders: Folders) -> bool:
    """Whether the record of a run is complete."""
    evaluations = read_json(folders.record(run)).get("evaluations", {})
    return all(mode in evaluations for mode in run.execution_modes)


def progress(run: Run, budget: Budget, folders: Folders) -> tuple[float, str]:
    """Progress of a run: from 0 to 1 (training counts two thirds), and as text."""
    modes = run.execution_modes
    if finished(run, folders):
        rows = read_json(folders.record(run))["evaluations"]
        return 1.0, "done: " + ", ".join(f"{mode} {rows[mode]['successes']}/{rows[mode]['episodes']}" for mode in modes)
    folder = folders.run(run)
    record = read_json(folder / "record.json")
    if not record:
        return 0.0, "not started"
    total = run.suite.minutes
    minutes = record["train"]["minutes"] if "train" in record else (record["curve"] or [[0.0]])[-1][0]
    files = [path for mode in modes if (path := folder / f"episodes_{mode}.jsonl").exists()]
    played, required = sum(len(path.read_text().splitlines()) for path in files), len(modes) * budget.episodes
    text = f"{minutes:.1f} of {total:g} processor minutes, {played} of {required} episodes"
    if record["curve"]:
        text += f", loss {record['curve'][-1][2]:.4g} at step {record['curve'][-1][1]}"
    checks = [f"{c['successes']}/{c['episodes']} after {c['minutes']:.1f} min" for c in record["checks"]]
    text += f"; checks {', '.join(checks)}" if checks else ""
    return min(1.0, minutes / total) * 2 / 3 + played / required / 3, text
