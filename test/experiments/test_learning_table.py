"""The learning table: a cut leaves no trace, a cell goes from data to record, and claims are read off records."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.learning_table import command as learning
from experiments.learning_table import suites as blocks
from experiments.learning_table import tasks
from experiments.learning_table.report import table, verdicts, write_report
from experiments.learning_table.tokenizer_error import codes
from experiments.learning_table.training_run import CellRun, _append, _tried, only_one, progress
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.data.episodes import DemoDataset, DemoInfo, DemoWriter, Episode, read_episode
from vla_ros.evaluation.rollout import AUXILIARY, Result
from vla_ros.policy.network.checkpoint import load_checkpoint
from vla_ros.sim.so101.scene import JOINTS
from vla_ros.train.batches import BatchMaker
from vla_ros.train.learner import Learner

BUDGET = replace(blocks.QUICK, checks=(), episodes=1)


@pytest.fixture
def places(tmp_path: Path) -> blocks.Places:
    """Demonstrations that are there already, of noise."""
    made = blocks.Places(tmp_path / "work", tmp_path / "kept")
    info = DemoInfo("pick_place", "so101", JOINTS, ("front", "wrist"), AUXILIARY, 32, 0.05, 32)
    writer, rng = DemoWriter(tmp_path / "work" / "pick_place" / "demos", info), np.random.default_rng(0)
    images = {c: rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8) for c in info.cameras}
    joints, labels = 0.1 * rng.normal(size=(9, 6)), 0.1 * rng.normal(size=(9, 32, 6))
    truth = rng.normal(size=(9, len(AUXILIARY)))
    writer.write(Episode(images, *(x.astype(np.float32) for x in (joints, labels, truth)), "do it"), 0)
    return made


def cell(head: str = "beast", mixed: bool = True, minutes: float = 0.01) -> blocks.Cell:
    block = blocks.quick(tasks.pick_place())
    block = replace(block, config=replace(block.config, image_size=32), limit_s=0.3, minutes=minutes)
    return blocks.Cell(block, head, mixed)


def test_a_cell_is_cut_goes_on_and_ends_with_a_record(places, tmp_path, monkeypatch) -> None:
    step = Learner.step

    def interrupted(self: Learner, progress: float):
        if self.step_count == 3:
            raise KeyboardInterrupt
        return step(self, progress)

    monkeypatch.setattr(Learner, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CellRun(cell(), BUDGET, places).run()
    monkeypatch.setattr(Learner, "step", step)
    assert not places.record(cell()).exists()
    (places.cell(cell()) / "tries_fixed.jsonl").write_text('{"success": true, "dur')  # as a full disk leaves it
    CellRun(cell(), BUDGET, places).run()
    record = json.loads(places.record(cell()).read_text())
    assert record["train"]["minutes"] >= 0.01
    assert record["train"]["steps"] > 3
    assert [p[1] for p in record["curve"]] == sorted(p[1] for p in record["curve"])
    assert (record["data"], record["seed"], record["config"]["actor"]["head"]) == (
        {"episodes": 1, "frames": 9},
        0,
        "beast",
    )
    assert record["inference_ms"] > 0.0
    assert set(record["rows"]) == {"fixed", "consensus", "consensus_2", "consensus_4"}
    for way in record["rows"]:
        row = record["rows"][way]
        assert (row["episodes"], row["successes"]) == (1, 0)
        # Asked at the first step, and again before the eight or more waypoints are used up: 6 control steps in all.
        assert row["steps_per_inference"] >= 3.0
        assert row["greatest_command_jerk"] <= 1.0 + 1e-6
    _, info = load_checkpoint(places.cell(cell()) / "policy_fixed.safetensors", "so101")
    assert info.model.actor.consensus.fixed == 32
    _, info = load_checkpoint(places.cell(cell()) / "policy_consensus_2.safetensors", "so101")
    assert (info.model.actor.consensus.fixed, info.model.actor.consensus.ratio) == (0, 2.0)
    assert progress(cell(), BUDGET, places)[0] == pytest.approx(1.0)
    assert learning.keep("pick_place/beast-moh", tmp_path / "shipped.safetensors", "consensus_4", places) == 0
    _, info = load_checkpoint(tmp_path / "shipped.safetensors")
    assert info.notes["success"] == dict.fromkeys(record["rows"], "0/1")
    assert info.model.actor.consensus.ratio == 4.0
    assert progress(cell(), BUDGET, places)[1].startswith("done: fixed 0/1, consensus 0/1")
    # Nothing is left to do, and other settings do not mix with these.
    before = places.record(cell()).read_bytes()
    CellRun(cell(), BUDGET, places).run()
    assert places.record(cell()).read_bytes() == before
    with pytest.raises(ConfigError, match="begun with other settings"):
        CellRun(cell(minutes=5.0), BUDGET, places)


def test_tries_on_disk_are_what_their_seeds_decide_without_wall_time(tmp_path) -> None:
    with (tmp_path / "tries.jsonl").open("a") as file:
        _append(file, Result(True, 7.0, notes={"seed": 1}, inference_s=[0.1]))
    assert "inference_s" not in (tmp_path / "tries.jsonl").read_text()
    (read,) = _tried(tmp_path / "tries.jsonl")
    assert (read, read.inference_s) == (Result(True, 7.0, notes={"seed": 1}), ())


def test_two_processes_do_not_share_a_cell(tmp_path) -> None:
    with only_one(tmp_path), pytest.raises(ConfigError, match="another process"), only_one(tmp_path):
        pass


def test_mixtures_of_all_heads_decide_the_same_waypoints() -> None:
    from vla_ros.policy.network.build import make_model
    from vla_ros.policy.network.config import ModelConfig

    for one in blocks.quick(tasks.pick_place()).cells():
        if one.mixed:
            c = one.config
            model = make_model(ModelConfig(JOINTS, c.cameras, 32, **vars(c.network), spline=c.spline, actor=c.actor))
            assert model._reach().sum(dim=1).tolist() == [10, 21, 32]


def test_a_shorter_horizon_learns_and_answers_the_first_waypoints_only(places) -> None:
    (one,) = tasks.select([], ["pick_place/regression-10"], small=True)
    config = replace(one.config, image_size=32)
    data = DemoDataset(places.demos(one.block))
    assert BatchMaker(data, config, 0).make(4).labels.shape == (4, 10, 6)
    learner = Learner(BatchMaker(data, config, 0), config, 0)
    learner.step(0.0)
    batch = learner.maker.plain(np.arange(2))
    assert learner.average.act(batch.images, batch.joints, batch.words, seed=0).waypoints.shape == (2, 10, 6)
    with pytest.raises(ConfigError, match=r"have 32 waypoints a frame, spline\.waypoints asks for 40"):
        BatchMaker(data, replace(config, spline=replace(config.spline, waypoints=40)), 0)


def test_unknown_names_are_answered() -> None:
    with pytest.raises(UnknownName, match='did you mean "pick_place"'):
        tasks.select(["pickplace"], [])
    with pytest.raises(UnknownName, match='did you mean "beast-moh"'):
        tasks.select([], ["beast-mo"])
    assert [c.name for c in tasks.select([], ["pick_place/flow"])] == ["flow"]


def test_a_block_that_cannot_be_played_here_is_left_out_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(tasks.aloha, "installed", lambda: False)
    monkeypatch.setattr(learning, "finished", lambda cell, places: cell.block.name != "transfer_cube")
    monkeypatch.setattr(learning, "report", lambda args, places: 0)
    where = ["--work", str(tmp_path), "--kept", str(tmp_path)]
    assert learning.main(where) == 0
    assert "transfer_cube is left out: gym-aloha is not installed" in capsys.readouterr().out
    assert learning.main([*where, "--blocks", "transfer_cube"]) == 1
    assert "gym-aloha is not installed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_codes_say_what_is_lost(places) -> None:
    block = cell().block
    # Half is where the joints are, which every code keeps; the rest is noise, of which 10 of 32 numbers keep a third.
    assert all(0.25 < row[name] <= 1.05 for row in codes(places.demos(block), block) for name in ("beast", "bins"))
    path = next(places.demos(block).glob("*.npz"))
    info, episode = read_episode(path)
    ramp = np.linspace(0.0, 1.0, 32)[:, None] * np.random.default_rng(0).normal(size=(9, 1, 6))
    smooth = replace(episode, labels=(episode.joints[:, None] + ramp).astype(np.float32))
    DemoWriter(path.parent, info).write(smooth, 0)
    rows = codes(places.demos(block), block)
    assert all(row["beast"] < 1e-4 < row["bins"] for row in rows)
    assert [row["tokens"] for row in rows] == [5, 6, 8, 10]


def row(successes: int, steps: float) -> dict:
    low = {90: 0.826, 70: 0.604}[successes]
    peaks = {"chunk_jerk": 2.0, "command_jerk": 0.9, "jerk_over_limit": True}
    return {"successes": successes, "episodes": 100, "interval": [low, 0.95], "steps_per_inference": steps, **peaks}


@pytest.mark.parametrize(
    ("fixed", "agreed", "met"),
    [
        (row(90, 5.0), row(90, 8.0), [True, True]),
        (row(90, 5.0), row(90, 7.0), [True, False]),
        (row(90, 5.0), row(70, 8.0), [True, False]),
        (row(70, 5.0), row(70, 8.0), [False, True]),
    ],
)
def test_claims_are_met_or_not(tmp_path, fixed, agreed, met) -> None:
    single = {"head": "beast", "mixed": False, "parameters": 1e6, "inference_ms": 3.0, "rows": {"fixed": row(90, 5.0)}}
    single |= {
        "config": {"actor": {"horizons": [], "consensus": {"least": 8, "ratio": 1.2}}, "spline": {"waypoints": 32}},
        "train": {"minutes": 20.0, "steps": 100},
    }
    mixed = {**single, "mixed": True, "rows": {"fixed": fixed, "consensus": agreed}}
    folder = tmp_path / "pick_place"
    folder.mkdir()
    for name, record in (("beast", single), ("beast-moh", mixed)):
        (folder / f"{name}.json").write_text(json.dumps(record))
    assert [ok for _, ok in verdicts(tmp_path)] == met
    assert [r[2] for r in table(folder)[1]] == ["first 8", "first 8", "agreed, r = 1.2"]
    # Of several single horizons the best counts.
    shorter = {
        **single,
        "config": {"actor": {"horizons": [], "consensus": {"least": 8, "ratio": 1.2}}, "spline": {"waypoints": 10}},
    }
    for successes in (70, 90):
        shorter["rows"] = {"fixed": row(successes, 5.0)}
        (folder / "beast-10.json").write_text(json.dumps(shorter))
        assert verdicts(tmp_path)[0][1] == met[0]
    single["rows"] = {"fixed": row(70, 5.0)}
    (folder / "beast.json").write_text(json.dumps(single))
    assert verdicts(tmp_path)[0][1] == met[0]
    assert [r[1] for r in table(folder)[1]][:2] == ["one of 32", "one of 10"]


def test_the_report_is_written_between_its_marks_and_only_there(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "kept" / "pick_place"
    folder.mkdir(parents=True)
    record = {"head": "beast", "mixed": False, "parameters": 1e6, "inference_ms": 3.0, "rows": {"fixed": row(90, 5.0)}}
    record |= {
        "config": {"actor": {"horizons": [], "consensus": {"least": 8, "ratio": 1.2}}, "spline": {"waypoints": 32}},
        "train": {"minutes": 20.0, "steps": 100},
    }
    record |= {"curve": [[1.0, 10, 2.0], [2.0, 20, 1.0]], "checks": [{"minutes": 1.0, "successes": 1, "of": 10}]}
    (folder / "beast.json").write_text(json.dumps(record))
    page = tmp_path / "learning.md"
    page.write_text("before\n<!-- table pick_place -->\nold\n<!-- end -->\nafter\n")
    for _ in range(2):
        write_report(tmp_path / "kept", tmp_path)
    text = page.read_text()
    assert text.startswith("before\n<!-- table pick_place -->\n| head |")
    assert (
        "| beast | one of 32 | first 8 | 90/100 | 83 to 95 % | 5.0 | 2.00 | 0.90 | 20.0 | 100 | 1.00 M | 3.0 |" in text
    )
    assert "old" not in text
    assert text.endswith("<!-- end -->\nafter\n")
    first = (tmp_path / "img" / "learning_pick_place.svg").read_bytes()
    write_report(tmp_path / "kept", tmp_path)
    assert (tmp_path / "img" / "learning_pick_place.svg").read_bytes() == first
