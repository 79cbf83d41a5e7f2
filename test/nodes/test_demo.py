"""`vla demo` as a user starts it: what it leaves, how it refuses, how it ends however it is ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vla_ros.cli import demo
from vla_ros.config import config_dir
from vla_ros.nodes.common import topics
from vla_ros.system.graph import GraphRun
from vla_ros.testing.graph_client import GraphClient

pytestmark = pytest.mark.graph
LEARNED = config_dir() / "checkpoints" / "so101_pick_place_beast_moh.safetensors"
STABLE = (
    *("episodes", "successes", "success_rate", "command_rate_hz", "period_error_us", "baseline_period_error_us"),
    *(
        "limit_violations",
        "switch_discontinuity",
        "plans",
        "capture_to_command_ms",
        "real_time_factor",
        "policy",
        "seed",
    ),
    *("inference_ms", "steps_per_inference", "chunk_jerk"),
)


class Demo:
    """One run of the command in a process of its own."""

    def __init__(self, out: Path, *options: str) -> None:
        params = out.with_name("patient.yaml")  # a simulator on a busy machine may stand still for a while
        params.write_text("supervisor: {ros__parameters: {joint_state_timeout_s: 1.0}}\n")
        more = ["--out", str(out), "--params", str(params), *options]
        command = [sys.executable, "-u", "-m", "vla_ros.cli", "demo", *more]
        self.out, self.text = out, ""
        self.listener: GraphClient | None = None
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def domain(self) -> int:
        """The domain it prints before it starts anything."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            if line.startswith("ROS_DOMAIN_ID="):
                return int(line.partition("=")[2])
        raise AssertionError(self.text)

    def end(self) -> int:
        """Wait for its end; its exit status."""
        self.text += self.process.communicate(timeout=90)[0]
        return self.process.returncode

    def nodes(self) -> dict[str, int]:
        """Process ids by module of everything that works in its folder."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                if (entry / "cwd").resolve() == self.out:
                    words = (entry / "cmdline").read_bytes().decode().split("\0")
                    found[words[words.index("-m") + 1]] = int(entry.name)
        return found

    def until(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen: {self.text}"
            assert self.process.poll() is None or what == "silence", self.process.communicate()[0]
            time.sleep(0.05)


@pytest.fixture
def start(ros_domain: int, tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos; none outlives the test."""
    made: list[Demo] = []

    def starts(*options: str) -> Demo:
        made.append(Demo(tmp_path.resolve() / "out", *options))
        return made[-1]

    yield starts
    for each in made:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGINT)
            each.process.communicate(timeout=60)
        if each.listener is not None:
            each.listener.close()


def moving(run: Demo) -> GraphClient:
    """Wait until the arm of a running demo moves."""
    listener = run.listener = GraphClient(run.domain())
    listener.wait_until(
        lambda: (
            listener.state.get("accepted", "0") != "0"
            and listener.commands
            and max(map(abs, listener.commands[-1].velocity)) > 0.2
        ),
        "motion",
        60.0,
    )
    return listener


def whole(folder: Path) -> dict:
    """The report of a run in which every limit was kept."""
    report = json.loads((folder / "report.json").read_text())
    assert all(report[key] is not None for key in STABLE)
    assert not any(report["limit_violations"].values())
    assert max(report["switch_discontinuity"].values()) <= 1e-9
    assert report["topics_agree"]
    assert (folder / "report.html").stat().st_size > 10_000
    return report


def test_the_expert_does_it_and_only_the_supervisor_speaks_to_the_robot(start):
    run = start("--policy", "expert", "--episodes", "1")
    listener = moving(run)

    def publishers() -> list[str]:
        return [p.node_name for p in listener.node.get_publishers_info_by_topic(topics.ROBOT_COMMAND)]

    listener.wait_until(lambda: "_NODE_NAME_UNKNOWN_" not in publishers(), "the names of the nodes")
    assert publishers() == ["supervisor"]
    assert run.end() == 0, run.text
    report = whole(run.out)
    assert (report["policy"], report["successes"], report["seed"]) == ("expert", 1, 1_000_000)
    assert report["lost_processes"] == []
    assert not run.nodes()


@pytest.mark.skipif(not LEARNED.is_file(), reason="there is no trained checkpoint yet")
def test_the_learned_policy_moves_the_arm_within_its_limits(ros_domain: int, tmp_path: Path):
    demo.execute(GraphRun(demo.prepare_run_folder(tmp_path / "out"), episodes=1))
    report = whole(tmp_path / "out")
    assert report["policy"] == "learned"
    assert report["plans"]["accepted"] > 10


def test_a_policy_that_does_nothing_gets_a_whole_report_and_status_1(ros_domain: int, tmp_path: Path):
    run = GraphRun(demo.prepare_run_folder(tmp_path / "out"), episodes=2, policy="hold", episode_timeout_s=1.0)
    assert demo.execute(run) == 1
    report = whole(run.folder)
    assert (report["episodes"], report["successes"]) == (2, 0)
    assert [why.partition(" is below")[0] for why in report["failure_reasons"]] == ["Success rate 0 %"]


@pytest.mark.parametrize("when", ["starting", "moving"])
@pytest.mark.parametrize(("how", "status"), [("SIGINT", 130), ("SIGTERM", 130), ("SIGKILL", -9)])
def test_however_it_is_ended_nothing_is_left_running(start, when: str, how: str, status: int):
    run = start("--policy", "expert")
    if when == "moving":
        moving(run)
    else:
        run.domain()
        run.wait_until(run.nodes, "a process")
    run.process.send_signal(getattr(signal, how))
    if how == "SIGINT" and when == "moving":
        time.sleep(0.2)
        run.process.send_signal(signal.SIGINT)  # impatience changes nothing
    assert run.end() == status, run.text
    run.wait_until(lambda: not run.nodes(), "silence", 20.0)
    if when == "moving":
        supervisor = json.loads((run.out / "supervisor.json").read_text())
        assert (supervisor["mode"], supervisor["reason"]) == ("stopped", "the supervisor was asked to end")


@pytest.mark.parametrize("name", ["policy", "supervisor"])
def test_a_process_that_dies_is_named_and_the_report_is_written(start, name: str):
    run = start("--policy", "expert", "--episodes", "3")
    moving(run)
    os.kill(run.nodes()[f"vla_ros.nodes.{name}_node"], signal.SIGKILL)
    assert run.end() == 1, run.text
    assert f"lost: {name}: " in run.text
    assert "ended by SIGKILL" in run.text
    report = json.loads((run.out / "report.json").read_text())
    assert report["lost_processes"] == [name]
    assert f"Process lost: {name}." in report["failure_reasons"]
    assert not run.nodes()


BAD = {
    "unknown policy": (["--policy", "lerned"], 'lost: policy: unknown policy "lerned"; did you mean "learned"?'),
    "no checkpoint": (["--checkpoint", "nowhere"], "lost: policy: there is no checkpoint at"),
    "unknown task": (["--policy", "hold", "--task", "pick_plaice"], 'did you mean "pick_place"?'),
    "other joints": (["--policy", "hold", "--robot", "{robot}"], "lost: sim: the simulated arm has joints"),
    "unknown key": (["--policy", "hold", "--params", "{params}"], 'lost: planner: unknown parameter "led_s"'),
}


@pytest.mark.parametrize(("options", "sentence"), BAD.values(), ids=BAD.keys())
def test_a_node_that_cannot_start_is_one_sentence_and_status_2(
    ros_domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd, options: list[str], sentence: str
):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("name: m\njoints: {j: {position: [-1, 1], velocity: 1, acceleration: 1, jerk: 1}}\n")
    Path("site.yaml").write_text("planner:\n  ros__parameters:\n    led_s: 0.03\n")
    given = [o.format(robot="mine.yaml", params="site.yaml") for o in options]
    assert demo.main([*given, "--out", "out"]) == 2
    said = capfd.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--episodes", "0"], "--episodes must be at least 1; got 0."),
        (["--seed", "-1"], "--seed must be at least 0 and below 2**62; got -1."),
        (["--rate", "nan"], "--rate must be 50 to 2000 Hz; got nan."),
        (["--delay-ms", "5:1"], '--delay-ms takes A or A:B in milliseconds with 0 <= A <= B; got "5:1".'),
        (["--robot", "so110"], 'unknown robot "so110"; did you mean "so101"?'),
        (["--params", "none.yaml"], "cannot read none.yaml: No such file or directory."),
        (["--params", "bad.yaml"], "bad.yaml is not valid YAML"),
        (["--params", "node.yaml"], 'unknown key "supervisr" in node.yaml; did you mean "supervisor"?'),
        (["--out", "bad.yaml"], "bad.yaml is not a folder"),
        (["--out", "bad.yaml/out"], "Not a directory"),
        (["--out", "."], 'contains "bad.yaml", which no run writes'),
    ],
)
def test_bad_arguments_are_one_sentence_and_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, options: list[str], sentence: str
):
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("a: [")
    Path("node.yaml").write_text("supervisr: {}")
    assert demo.main(options) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_only_what_a_run_left_is_ever_deleted(tmp_path: Path):
    for name in ("run.json", "supervisor.log", "episodes.jsonl", "video_2.npz", "report.html"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(demo.VlaError, match=r'contains "notes\.txt", which no run writes'):
        demo.prepare_run_folder(tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    (tmp_path / "notes.txt").unlink()
    assert not list(demo.prepare_run_folder(tmp_path).iterdir())
