"""Tests of `vla demo`: its report, its errors, and that every process ends however the demo is ended."""

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
from vla_ros.config import find_checkpoint
from vla_ros.nodes.common import topics
from vla_ros.system.graph import GraphRun
from vla_ros.testing.graph_client import GraphClient

pytestmark = pytest.mark.graph
LEARNED = find_checkpoint()
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
    """A run of the command in a process of its own."""

    def __init__(self, out: Path, *options: str) -> None:
        params = out.with_name("tolerant.yaml")  # on a busy machine the simulator may pause
        params.write_text("supervisor: {ros__parameters: {joint_state_timeout_s: 1.0}}\n")
        arguments = ["--out", str(out), "--params", str(params), *options]
        command = [sys.executable, "-u", "-m", "vla_ros.cli", "demo", *arguments]
        self.out, self.text = out, ""
        self.client: GraphClient | None = None
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def domain(self) -> int:
        """The ROS domain id, which it prints before it starts a process."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            if line.startswith("ROS_DOMAIN_ID="):
                return int(line.partition("=")[2])
        raise AssertionError(self.text)

    def end(self) -> int:
        """Wait until it ends; return its exit status."""
        self.text += self.process.communicate(timeout=90)[0]
        return self.process.returncode

    def nodes(self) -> dict[str, int]:
        """Process ids by module name of all processes whose working folder is that of the run."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                if (entry / "cwd").resolve() == self.out:
                    arguments = (entry / "cmdline").read_bytes().decode().split("\0")
                    found[arguments[arguments.index("-m") + 1]] = int(entry.name)
        return found

    def wait_until(self, condition: Callable[[], object], description: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{description} did not happen: {self.text}"
            assert self.process.poll() is None or description == "the end of every process", self.process.communicate()[
                0
            ]
            time.sleep(0.05)


@pytest.fixture
def start(ros_domain: int, tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos and ends them after the test."""
    made: list[Demo] = []

    def start_demo(*options: str) -> Demo:
        made.append(Demo(tmp_path.resolve() / "out", *options))
        return made[-1]

    yield start_demo
    for each in made:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGINT)
            each.process.communicate(timeout=60)
        if each.client is not None:
            each.client.close()


def moving(run: Demo) -> GraphClient:
    """Wait until the arm of a running demo moves."""
    client = run.client = GraphClient(run.domain())
    client.wait_until(
        lambda: (
            client.state.get("accepted", "0") != "0"
            and client.commands
            and max(map(abs, client.commands[-1].velocity)) > 0.2
        ),
        "motion",
        60.0,
    )
    return client


def passing_report(folder: Path) -> dict:
    """Read the report and check that every limit was kept."""
    report = json.loads((folder / "report.json").read_text())
    assert all(report[key] is not None for key in STABLE)
    assert not any(report["limit_violations"].values())
    assert max(report["switch_discontinuity"].values()) <= 1e-9
    assert report["topics_agree"]
    assert (folder / "report.html").stat().st_size > 10_000
    return report


def test_the_expert_succeeds_and_only_the_supervisor_publishes_to_the_robot(start):
    run = start("--policy", "expert", "--episodes", "1")
    client = moving(run)

    def publishers() -> list[str]:
        return [p.node_name for p in client.node.get_publishers_info_by_topic(topics.ROBOT_COMMAND)]

    client.wait_until(lambda: "_NODE_NAME_UNKNOWN_" not in publishers(), "the names of the nodes")
    assert publishers() == ["supervisor"]
    assert run.end() == 0, run.text
    report = passing_report(run.out)
    assert (report["policy"], report["successes"], report["seed"]) == ("expert", 1, 1_000_000)
    assert report["lost_processes"] == []
    assert not run.nodes()


@pytest.mark.skipif(not LEARNED.is_file(), reason="there is no trained checkpoint yet")
def test_the_learned_policy_moves_the_arm_within_its_limits(ros_domain: int, tmp_path: Path):
    demo.execute(GraphRun(demo.prepare_run_folder(tmp_path / "out"), episodes=1))
    report = passing_report(tmp_path / "out")
    assert report["policy"] == "learned"
    assert report["plans"]["accepted"] > 10


def test_a_policy_that_does_nothing_gets_a_complete_report_and_status_1(ros_domain: int, tmp_path: Path):
    run = GraphRun(demo.prepare_run_folder(tmp_path / "out"), episodes=2, policy="hold", episode_timeout_s=1.0)
    assert demo.execute(run) == 1
    report = passing_report(run.folder)
    assert (report["episodes"], report["successes"]) == (2, 0)
    assert [why.partition(" is below")[0] for why in report["failure_reasons"]] == ["Success rate 0 %"]


@pytest.mark.parametrize(
    ("when", "how", "status"),
    [  # SIGTERM has the handler of SIGINT, so one of both at the start suffices
        ("starting", "SIGINT", 130),
        ("starting", "SIGKILL", -9),
        ("moving", "SIGINT", 130),
        ("moving", "SIGTERM", 130),
        ("moving", "SIGKILL", -9),
    ],
)
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
        run.process.send_signal(signal.SIGINT)  # a second Ctrl-C changes nothing
    assert run.end() == status, run.text
    run.wait_until(lambda: not run.nodes(), "the end of every process", 20.0)
    if when == "moving":
        supervisor = json.loads((run.out / "supervisor.json").read_text())
        assert (supervisor["mode"], supervisor["reason"]) == ("stopped", "the supervisor is shutting down")


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
    "other joints": (["--policy", "hold", "--robot", "{robot}"], "lost: sim: the simulated arm has joints"),
    "unknown key": (["--policy", "hold", "--params", "{params}"], 'lost: planner: unknown parameter "led_s"'),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_a_node_that_cannot_start_is_reported_in_one_line_with_status_2(
    ros_domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd, options: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("name: m\njoints: {j: {position: [-1, 1], velocity: 1, acceleration: 1, jerk: 1}}\n")
    Path("site.yaml").write_text("planner:\n  ros__parameters:\n    led_s: 0.03\n")
    given = [o.format(robot="mine.yaml", params="site.yaml") for o in options]
    assert demo.main([*given, "--out", "out"]) == 2
    output = capfd.readouterr()
    assert message in output.err
    assert "Traceback" not in output.out + output.err


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_invalid_arguments_are_reported_in_one_line_and_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, options: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("a: [")
    Path("node.yaml").write_text("supervisr: {}")
    assert demo.main(options) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_only_the_files_of_a_run_are_deleted(tmp_path: Path):
    for name in ("run.json", "supervisor.log", "episodes.jsonl", "video_2.npz", "report.html"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(demo.VlaError, match=r'contains "notes\.txt", which no run writes'):
        demo.prepare_run_folder(tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    (tmp_path / "notes.txt").unlink()
    assert not list(demo.prepare_run_folder(tmp_path).iterdir())
