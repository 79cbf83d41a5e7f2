"""One cell of the learning table, from data to record; whatever was done before a cut is not done again.

    load -> [train .. check .. train ..] -> checkpoint -> inference time -> evaluation, one row per way to execute

In the cell's folder: `state.safetensors` (every two processor minutes), `policy.safetensors`, `record.json` (the
record so far), `tries_*.jsonl` (a line per finished try).
"""

from __future__ import annotations

import fcntl
import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from experiments.learning_table.suites import CHECK_SEED, WAYS, Budget, Cell, Order, Places
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Observation
from vla_ros.data.episodes import DemoDataset, read_episode
from vla_ros.evaluation.evaluate import summarise
from vla_ros.evaluation.rollout import Result
from vla_ros.policy.checkpoint_policy import LearnedPolicy
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.train.batches import BatchMaker
from vla_ros.train.config import EVALUATION_SEED
from vla_ros.train.learner import Learner
from vla_ros.train.run_state import read_state, unbroken, write_state

TIMED = 60
"""Inferences timed, after a tenth of that to warm up."""


def version() -> str:
    """The checkout's commit, with "-dirty" where files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the cell.

    Raises:
        ConfigError: Another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder} is being worked on by another process; --status shows how far it is."
            ) from None
        yield


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write whole or not at all; short lists on one line."""
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
    """What is there, or nothing."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


class CellRun:
    """A cell at work."""

    def __init__(self, cell: Cell, budget: Budget, places: Places) -> None:
        """Read what has been done."""
        self.cell, self.budget, self.places = cell, budget, places
        self.config, self.folder = cell.config, places.cell(cell)
        self.folder.mkdir(parents=True, exist_ok=True)
        asked = {
            "config": json.loads(json.dumps(asdict(self.config))),
            "minutes": cell.block.minutes,
            "seed": budget.seed,
        }
        self.record: dict[str, Any] = read_json(self.folder / "record.json")
        if self.record and any(self.record[k] != v for k, v in asked.items()):
            raise ConfigError(f"{self.folder} was begun with other settings; move it away to begin anew.")
        if not self.record:
            head = {"block": cell.block.name, "cell": cell.name, "head": cell.head, "mixed": cell.mixed}
            self.record = {**head, "version": version(), **asked, "curve": [], "checks": [], "rows": {}}

    @property
    def checkpoint(self) -> Path:
        """The averaged weights so far."""
        return self.folder / "policy.safetensors"

    def run(self) -> None:
        """Do what is not done yet."""
        if "train" not in self.record:
            self._train()
        if "inference_ms" not in self.record:
            self._time()
        for way in self.cell.ways:
            if way not in self.record["rows"]:
                self._evaluate(way)

    def _keep(self) -> None:
        write_json(self.folder / "record.json", self.record)
        if "train" in self.record:
            write_json(self.places.record(self.cell), self.record)

    # ---- training ---------------------------------------------------------------------------------------------

    def _train(self) -> None:
        data = DemoDataset(self.places.demos(self.cell.block))
        if data.info is None:
            raise ConfigError(f"there are no demonstrations in {self.places.demos(self.cell.block)}.")
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
        self._save(learner, data, spent)
        self.record["parameters"] = sum(
            p.numel() for n, p in learner.average.named_parameters() if "auxiliary" not in n
        )
        self.record["train"] = {"minutes": round(spent / 60.0, 2), "steps": learner.step_count}
        self._keep()

    def _learn(self, learner: Learner, data: DemoDataset, state: Path, spent: float) -> float:
        """Until the budget is used; returns the processor seconds spent in all."""
        b, total = self.budget, 60.0 * self.cell.block.minutes
        saved, losses = spent, []
        due = [share for share in b.checks if share > max((c["share"] for c in self.record["checks"]), default=-1.0)]
        try:
            while spent < total:
                begin = time.process_time()
                with unbroken():
                    losses.append(learner.step(spent / total)["action"])
                    spent += time.process_time() - begin
                curve = self.record["curve"]
                if spent - (60.0 * curve[-1][0] if curve else 0.0) >= b.point_s:
                    curve.append([round(spent / 60.0, 3), learner.step_count, round(statistics.fmean(losses), 5)])
                    losses = []
                if spent - saved >= b.save_s:
                    self._pause(learner, state, spent)
                    saved = spent
                if due and spent / total >= due[0]:
                    self._pause(learner, state, spent)
                    saved = spent
                    self._check(learner, data, due.pop(0), spent)
        finally:
            # Also when interrupted: then nothing at all is lost.
            self._pause(learner, state, spent)
        return spent

    def _pause(self, learner: Learner, state: Path, spent: float) -> None:
        tensors, plain = learner.state()
        write_state(state, tensors, {"learner": plain, "spent_s": spent})
        self._keep()

    def _save(self, learner: Learner, data: DemoDataset, spent: float) -> None:
        info = CheckpointInfo(
            robot=self.config.robot,
            instruction=data.episodes[0].instruction,
            model=replace(learner.average.config, auxiliary=0),
            command=f"./vla bench learning --cells {self.cell.path}",
            seed=self.budget.seed,
            notes={"task": self.config.task, "steps": learner.step_count, "minutes": round(spent / 60.0, 2)},
        )
        save_checkpoint(self.checkpoint, learner.average, info)

    def _check(self, learner: Learner, data: DemoDataset, share: float, spent: float) -> None:
        self._save(learner, data, spent)
        seeds = range(CHECK_SEED, CHECK_SEED + self.budget.check_episodes)
        order = Order(seeds, self.cell.block.driven(False), 1, self.executing("fixed"), through=self.cell.block.through)
        good = sum(r.success for r in self.cell.block.play(self.config, order))
        row = {"share": share, "minutes": round(spent / 60.0, 2), "step": learner.step_count, "of": len(seeds)}
        self.record["checks"].append({**row, "successes": good})
        self._keep()

    # ---- what it can do ---------------------------------------------------------------------------------------

    def executing(self, way: str) -> Path:
        """The checkpoint that sends all waypoints ("fixed"), or those agreed on by the rule of `WAYS`."""
        model, info = load_checkpoint(self.checkpoint)
        if info.model.actor is None:
            raise ConfigError(f"{self.checkpoint} has no action transformer.")
        rule, fixed = info.model.actor.consensus, info.model.spline.waypoints if way == "fixed" else 0
        actor = replace(info.model.actor, consensus=replace(rule, fixed=fixed, ratio=WAYS[way] or rule.ratio))
        path = self.folder / f"policy_{way}.safetensors"
        save_checkpoint(path, model, replace(info, model=replace(info.model, actor=actor)))
        return path

    def _time(self) -> None:
        """Processor time of one inference on one thread, from images of the network's size, median [ms]."""
        info, e = read_episode(min(self.places.demos(self.cell.block).glob("*.npz")))
        policy = LearnedPolicy(self.executing("fixed"), threads=1)
        pictures = {name: np.ascontiguousarray(images[0]) for name, images in e.images.items()}
        seen = Observation(0, pictures, info.joints, e.joints[0].astype(float), e.instruction)
        times = []
        for _ in range(TIMED + TIMED // 10):
            begin = time.process_time()
            policy.infer(seen)
            times.append(time.process_time() - begin)
        self.record["inference_ms"] = round(1e3 * statistics.median(times[TIMED // 10 :]), 2)
        self._keep()

    def _evaluate(self, way: str) -> None:
        block, tries = self.cell.block, self.folder / f"tries_{way}.jsonl"
        done = _tried(tries)
        had = {r.notes["seed"] for r in done}
        seeds = [s for s in range(EVALUATION_SEED, EVALUATION_SEED + self.budget.episodes) if s not in had]
        order = Order(seeds, block.driven(way != "fixed"), 1, self.executing(way), through=block.through)
        with tries.open("a", encoding="utf-8") as file:
            for result in block.play(self.config, order):
                _append(file, result)
                done.append(result)
        hands = self.config.actor.gripper if self.config.actor else ()
        row = {k: _short(v) for k, v in asdict(summarise(done, block.limits, hands)).items()}
        failed = sorted(r.notes["seed"] for r in done if not r.success)
        self.record["rows"][way] = {**row, "jerk_over_limit": block.limits is not None, "failed": failed}
        self._keep()


def _tried(path: Path) -> list[Result]:
    """The tries there are; a last line that was cut off is taken away, for the next one would be glued to it."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole), encoding="utf-8")
    return [Result(**json.loads(line)) for line in whole]


def _append(file: TextIO, result: Result) -> None:
    kept = {k: v for k, v in vars(result).items() if k not in ("episode", "inference_s")}  # the same for the same seed
    file.write(json.dumps(kept) + "\n")
    file.flush()


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return [round(v, 4) for v in value] if isinstance(value, tuple) else value


def finished(cell: Cell, places: Places) -> bool:
    """Whether the cell's record is whole."""
    rows = read_json(places.record(cell)).get("rows", {})
    return all(way in rows for way in cell.ways)


def progress(cell: Cell, budget: Budget, places: Places) -> tuple[float, str]:
    """How far a cell is: 0 to 1 (training counts two thirds), and in words."""
    if finished(cell, places):
        rows = read_json(places.record(cell))["rows"]
        return 1.0, "done: " + ", ".join(f"{way} {rows[way]['successes']}/{rows[way]['episodes']}" for way in cell.ways)
    folder = places.cell(cell)
    record = read_json(folder / "record.json")
    if not record:
        return 0.0, "not begun"
    total = cell.block.minutes
    minutes = record["train"]["minutes"] if "train" in record else (record["curve"] or [[0.0]])[-1][0]
    tried = sum(len(p.read_text().splitlines()) for w in cell.ways if (p := folder / f"tries_{w}.jsonl").exists())
    share = tried / (len(cell.ways) * budget.episodes)
    checks = ", ".join(f"{c['successes']}/{c['of']} after {c['minutes']:.1f} min" for c in record["checks"])
    words = f"{minutes:.1f} of {total:g} processor minutes, {tried} of {len(cell.ways) * budget.episodes} tries"
    words += f", loss {record['curve'][-1][2]:.4g} at step {record['curve'][-1][1]}" if record["curve"] else ""
    return min(1.0, minutes / total) * 2 / 3 + share / 3, words + (f"; checks {checks}" if checks else "")
