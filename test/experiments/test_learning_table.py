"""The learning table: interrupted runs continue, a run goes from data to record, claims are read from records."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.learning_table import command_line, suites, tasks
from experiments.learning_table.report import claims, table, write_report
from experiments.learning_table.tokenizer_error import tokenizer_errors
from experiments.learning_table.training_run import (
    TrainingRun,
    append_episode,
    exclusive_lock,
    finished,
    progress,
    read_episodes,
)
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.data.episodes import DemoDataset, DemoInfo, DemoWriter, Episode, read_episode
from vla_ros.evaluation.rollout import EpisodeResult
from vla_ros.policy.network.checkpoint import load_checkpoint
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.network.model import VlaNetwork
from vla_ros.sim.so101.scene import JOINTS
from vla_ros.sim.so101.simulator import GROUND_TRUTH_NAMES
from vla_ros.train.batches import BatchMaker
from vla_ros.train.learner import Learner

BUDGET = replace(suites.QUICK, checks=(), episodes=1)


@pytest.fixture
def folders(tmp_path: Path) -> suites.Folders:
    """Folders with demonstrations of noise."""
    made = suites.Folders(tmp_path / "work", tmp_path / "records")
    info = DemoInfo("pick_place", "so101", JOINTS, ("front", "wrist"), GROUND_TRUTH_NAMES, 32, 0.05, 32)
    writer, rng = DemoWriter(tmp_path / "work" / "pick_place" / "demos", info), np.random.default_rng(0)
    images = {c: rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8) for c in info.cameras}
    joints, labels = 0.1 * rng.normal(size=(9, 6)), 0.1 * rng.normal(size=(9, 32, 6))
    ground_truth = rng.normal(size=(9, len(GROUND_TRUTH_NAMES)))
    writer.write(Episode(images, *(x.astype(np.float32) for x in (joints, labels, ground_truth)), "do it"), 0)
    return made


def small_run(head: str = "beast", mixture: bool = True, minutes: float = 0.01) -> suites.Run:
    suite = suites.quick(tasks.pick_place())
    suite = replace(suite, config=replace(suite.config, image_size=32), timeout_s=0.3, minutes=minutes)
    return suites.Run(suite, head, mixture)


def test_an_interrupted_run_continues_and_ends_with_a_record(folders, tmp_path, monkeypatch) -> None:
    step = Learner.step

    def interrupted(self: Learner, progress: float):
        if self.step_count == 3:
            raise KeyboardInterrupt
        return step(self, progress)

    monkeypatch.setattr(Learner, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TrainingRun(small_run(), BUDGET, folders).execute()
    monkeypatch.setattr(Learner, "step", step)
    assert not folders.record(small_run()).exists()
    # An incomplete line, as a full disk leaves it.
    (folders.run(small_run()) / "episodes_fixed.jsonl").write_text('{"success": true, "dur')
    TrainingRun(small_run(), BUDGET, folders).execute()
    record = json.loads(folders.record(small_run()).read_text())
    assert record["train"]["minutes"] >= 0.01
    assert record["train"]["steps"] > 3
    assert [p[1] for p in record["curve"]] == sorted(p[1] for p in record["curve"])
    assert (record["data"], record["seed"], record["config"]["network"]["head"]) == (
        {"episodes": 1, "frames": 9},
        0,
        "beast",
    )
    assert (record["horizons"], record["waypoints"], record["min_steps"]) == ([6, 8, 10], 32, 8)
    assert record["inference_ms"] > 0.0
    assert set(record["evaluations"]) == {"fixed", "consensus", "consensus_2", "consensus_4"}
    for row in record["evaluations"].values():
        assert (row["episodes"], row["successes"]) == (1, 0)
        # Requests at the first step, and before the eight or more waypoints are used up: 6 control steps in all.
        assert row["steps_per_inference"] >= 3.0
        assert row["max_command_jerk"] <= 1.0 + 1e-6
    _, info = load_checkpoint(folders.run(small_run()) / "policy_fixed.safetensors", "so101")
    assert info.model.network.consensus.fixed_steps == 32
    _, info = load_checkpoint(folders.run(small_run()) / "policy_consensus_2.safetensors", "so101")
    consensus = info.model.network.consensus
    assert (consensus.fixed_steps, consensus.threshold_ratio) == (0, 2.0)
    assert progress(small_run(), BUDGET, folders)[0] == pytest.approx(1.0)
    exported = tmp_path / "exported.safetensors"
    assert command_line.export_checkpoint("pick_place/beast-moh", exported, "consensus_4", folders) == 0
    _, info = load_checkpoint(exported)
    assert info.notes["success"] == dict.fromkeys(record["evaluations"], "0/1")
    assert info.model.network.consensus.threshold_ratio == 4.0
    assert progress(small_run(), BUDGET, folders)[1].startswith("done: fixed 0/1, consensus 0/1")
    # Nothing is left to do, and other settings are refused.
    before = folders.record(small_run()).read_bytes()
    TrainingRun(small_run(), BUDGET, folders).execute()
    assert folders.record(small_run()).read_bytes() == before
    with pytest.raises(ConfigError, match="begun with other settings"):
        TrainingRun(small_run(minutes=5.0), BUDGET, folders)


def test_episodes_on_disk_follow_from_their_seeds(tmp_path) -> None:
    file = tmp_path / "episodes.jsonl"
    with file.open("a") as out:
        append_episode(out, EpisodeResult(1, True, 7.0, inference_s=[0.1]))
    assert "inference_s" not in file.read_text()
    (read,) = read_episodes(file)
    assert (read, read.inference_s) == (EpisodeResult(1, True, 7.0), ())


def test_two_processes_cannot_use_the_same_run(tmp_path) -> None:
    with exclusive_lock(tmp_path), pytest.raises(ConfigError, match="another process"), exclusive_lock(tmp_path):
        pass


def test_mixtures_of_all_heads_determine_the_same_waypoints() -> None:
    for run in suites.quick(tasks.pick_place()).runs():
        if run.mixture:
            c = run.config
            network = VlaNetwork(ModelConfig(JOINTS, c.cameras, 32, spline=c.spline, network=c.network))
            assert network._determined().sum(dim=1).tolist() == [10, 21, 32]


def test_a_shorter_horizon_is_trained_on_the_first_waypoints_only(folders) -> None:
    (run,) = tasks.select([], ["pick_place/regression-10"], small=True)
    config = replace(run.config, image_size=32)
    data = DemoDataset(folders.demonstrations(run.suite))
    assert BatchMaker(data, config, 0).make(4).labels.shape == (4, 10, 6)
    learner = Learner(BatchMaker(data, config, 0), config, 0)
    learner.step(0.0)
    batch = learner.maker.without_augmentation(np.arange(2))
    output = learner.average.predict(batch.images, batch.joints, batch.instructions, seed=0)
    assert output.waypoints.shape == (2, 10, 6)
    with pytest.raises(ConfigError, match=r"32 waypoints.*spline\.waypoints.*40"):
        BatchMaker(data, replace(config, spline=replace(config.spline, waypoints=40)), 0)


def test_errors_suggest_similar_names() -> None:
    with pytest.raises(UnknownName, match='did you mean "pick_place"'):
        tasks.select(["pickplace"], [])
    with pytest.raises(UnknownName, match='did you mean "beast-moh"'):
        tasks.select([], ["beast-mo"])
    assert [run.name for run in tasks.select([], ["pick_place/flow"])] == ["flow"]


def test_an_unavailable_suite_is_left_out_unless_it_is_named(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(tasks.aloha, "is_installed", lambda: False)
    monkeypatch.setattr(command_line, "finished", lambda run, folders: run.suite.name != "transfer_cube")
    monkeypatch.setattr(command_line, "report", lambda args, folders: 0)
    options = ["--work", str(tmp_path), "--records", str(tmp_path)]
    assert command_line.main(options) == 0
    assert "transfer_cube is left out: gym-aloha is not installed" in capsys.readouterr().out
    assert command_line.main([*options, "--suites", "transfer_cube"]) == 1
    assert "gym-aloha is not installed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_kept_record_is_complete_and_of_a_run_of_its_suite() -> None:
    folders = suites.Folders(Path("unused"))
    runs = {run.path: run for run in tasks.select([], [])}
    files = sorted(folders.records.glob("*/*.json"))
    assert len(files) == 22
    for file in files:
        run = runs[f"{file.parent.name}/{file.stem}"]
        record = json.loads(file.read_text())
        assert finished(run, folders)
        assert (record["suite"], record["run"], record["head"]) == (run.suite.name, run.name, run.head)
        network = run.config.network
        assert (tuple(record["horizons"]), record["min_steps"]) == (
            network.mixture.horizons,
            network.consensus.min_steps,
        )
        assert record["config"]["network"]["transformer"] == vars(network.transformer)


def test_tokenizer_error(folders) -> None:
    suite = small_run().suite
    # Half of the motion is that of the joints, which every code keeps; the rest is noise, of which 10 of 32 numbers
    # keep a third.
    rows = tokenizer_errors(folders.demonstrations(suite), suite)
    assert all(0.25 < row[name] <= 1.05 for row in rows for name in ("beast", "bins"))
    path = next(folders.demonstrations(suite).glob("*.npz"))
    info, episode = read_episode(path)
    ramp = np.linspace(0.0, 1.0, 32)[:, None] * np.random.default_rng(0).normal(size=(9, 1, 6))
    smooth = replace(episode, labels=(episode.joints[:, None] + ramp).astype(np.float32))
    DemoWriter(path.parent, info).write(smooth, 0)
    rows = tokenizer_errors(folders.demonstrations(suite), suite)
    assert all(row["beast"] < 1e-4 < row["bins"] for row in rows)
    assert [row["tokens"] for row in rows] == [5, 6, 8, 10]


def evaluation(successes: int, steps: float) -> dict:
    low = {90: 0.826, 70: 0.604}[successes]
    peaks = {"chunk_jerk": 2.0, "command_jerk": 0.9, "jerk_over_limit": True}
    return {"successes": successes, "episodes": 100, "interval": [low, 0.95], "steps_per_inference": steps, **peaks}


def record_of(waypoints: int = 32, **evaluations: dict) -> dict:
    return {
        "head": "beast",
        "mixture": False,
        "horizons": [],
        "waypoints": waypoints,
        "min_steps": 8,
        "threshold_ratio": 1.2,
        "parameters": 1e6,
        "inference_ms": 3.0,
        "train": {"minutes": 20.0, "steps": 100},
        "evaluations": evaluations,
    }


@pytest.mark.parametrize(
    ("fixed", "consensus", "met"),
    [
        (evaluation(90, 5.0), evaluation(90, 8.0), [True, True]),
        (evaluation(90, 5.0), evaluation(90, 7.0), [True, False]),
        (evaluation(90, 5.0), evaluation(70, 8.0), [True, False]),
        (evaluation(70, 5.0), evaluation(70, 8.0), [False, True]),
    ],
)
def test_claims_are_met_or_not(tmp_path, fixed, consensus, met) -> None:
    single = record_of(fixed=evaluation(90, 5.0))
    mixture = {**record_of(fixed=fixed, consensus=consensus), "mixture": True}
    folder = tmp_path / "pick_place"
    folder.mkdir()
    for name, record in (("beast", single), ("beast-moh", mixture)):
        (folder / f"{name}.json").write_text(json.dumps(record))
    assert [ok for _, ok in claims(tmp_path)] == met
    assert [r[2] for r in table(folder)[1]] == ["first 8", "first 8", "consensus, r = 1.2"]
    # A mixture is compared with the best of several single horizons.
    for successes in (70, 90):
        shorter = record_of(10, fixed=evaluation(successes, 5.0))
        (folder / "beast-10.json").write_text(json.dumps(shorter))
        assert claims(tmp_path)[0][1] == met[0]
    single = record_of(fixed=evaluation(70, 5.0))
    (folder / "beast.json").write_text(json.dumps(single))
    assert claims(tmp_path)[0][1] == met[0]
    assert [r[1] for r in table(folder)[1]][:2] == ["one of 32", "one of 10"]


def test_the_report_replaces_only_the_text_between_its_marks(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "records" / "pick_place"
    folder.mkdir(parents=True)
    record = record_of(fixed=evaluation(90, 5.0))
    record |= {
        "curve": [[1.0, 10, 2.0], [2.0, 20, 1.0]],
        "checks": [{"minutes": 1.0, "successes": 1, "episodes": 10}],
    }
    (folder / "beast.json").write_text(json.dumps(record))
    page = tmp_path / "learning.md"
    page.write_text("before\n<!-- table pick_place -->\nold\n<!-- end -->\nafter\n")
    for _ in range(2):
        write_report(tmp_path / "records", tmp_path)
    text = page.read_text()
    assert text.startswith("before\n<!-- table pick_place -->\n| head |")
    assert (
        "| beast | one of 32 | first 8 | 90/100 | 83 to 95 % | 5.0 | 2.00 | 0.90 | 20.0 | 100 | 1.00 M | 3.0 |" in text
    )
    assert "old" not in text
    assert text.endswith("<!-- end -->\nafter\n")
    first = (tmp_path / "img" / "learning_pick_place.svg").read_bytes()
    write_report(tmp_path / "records", tmp_path)
    assert (tmp_path / "img" / "learning_pick_place.svg").read_bytes() == first
