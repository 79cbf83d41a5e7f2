"""Runs the complete simulated ROS graph as a group of processes; `vla demo`, the benchmarks and the tests use it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_ros.config import check_keys, config_dir, load_yaml
from vla_ros.core.errors import VlaError
from vla_ros.system.processes import ProcessGroup, reserve_domain_id

NODES = ("observer", "supervisor", "planner", "sim", "policy")
"""Start order: subscribers before the publishers they depend on."""
MODULE = "vla_ros.nodes.{}_node"
EPISODES = "episodes.jsonl"
RUN_FILES = (
    *(f"{name}.{kind}" for name in (*NODES, "episodes", "run", "report") for kind in ("log", "json")),
    *(EPISODES, "baseline.log", "vla_ros.testing.*.log", "loop.npz", "baseline.npz", "commands.npz"),
    *("video_*.npz", "animation.*", "report.html"),
)
"""Patterns of the files that a run writes to its folder."""
EXIT_START_REFUSED = 2
"""Exit status of a node that could not start because of its configuration; its last log line gives the reason."""
REALTIME_PRIORITY = 50
"""SCHED_FIFO priority of the command loop, as in ros2_control; used if the system permits it, else ignored."""


@dataclass(frozen=True)
class GraphRun:
    """One run of the graph. Its fields take precedence over the parameter file.

    Attributes:
        folder: Existing folder for the log files.
        episodes: Number of episodes.
        seed: Seed of the first scene; episode k uses seed + k.
        robot: Name in config/robots, or a file.
        task: Task of the simulator.
        policy: Name in the policy registry, or "module:name".
        checkpoint: Checkpoint file of a learned policy; "" for the one in the parameter file.
        delay_ms: Minimum and maximum delay added to every inference [ms].
        rate_hz: Command rate [Hz].
        params: Parameter file; None for config/vla.yaml.
        view: Open the simulator's window.
        video_episodes: Number of episodes, from the first, whose camera images are saved.
        episode_timeout_s: An episode without success ends after this time [s].
        realtime_priority: SCHED_FIFO priority of the supervisor and the baseline loop, one less for the simulator;
            0 for none.
        node_parameters: Additional parameters by node name.
        remap: Additional remappings by node name, each "from:=to".
        extra_processes: Additional processes: dotted module name to its arguments.
    """

    folder: Path
    episodes: int = 10
    seed: int = 1_000_000
    robot: str = "so101"
    task: str = "pick_place"
    policy: str = "learned"
    checkpoint: str = ""
    delay_ms: tuple[float, float] = (0.0, 0.0)
    rate_hz: float = 500.0
    params: Path | None = None
    view: bool = False
    video_episodes: int = 1
    episode_timeout_s: float = 20.0
    realtime_priority: int = REALTIME_PRIORITY
    node_parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    remap: dict[str, list[str]] = field(default_factory=dict)
    extra_processes: dict[str, list[str]] = field(default_factory=dict)

    def parameters(self) -> dict[str, dict[str, Any]]:
        """The parameters that this run sets, by node name."""
        log = {"robot": _absolute_if_file(self.robot), "log_dir": str(self.folder.resolve())}
        values: dict[str, dict[str, Any]] = {
            "observer": dict(log),
            "supervisor": {**log, "rate_hz": float(self.rate_hz), "realtime_priority": self.realtime_priority},
            "planner": dict(log),
            "sim": {
                **log,
                "task": self.task,
                "seed": self.seed,
                "view": self.view,
                # The driver of a real arm runs on its own hardware and does not compete with the other processes.
                "realtime_priority": max(self.realtime_priority - 1, 0),
            },
            "policy": {
                **log,
                "policy": self.policy,
                "seed": self.seed,
                "delay_min_ms": float(self.delay_ms[0]),
                "delay_max_ms": float(self.delay_ms[1]),
            },
            "episodes": {
                "log_dir": log["log_dir"],
                "episodes": self.episodes,
                "seed": self.seed,
                "video_episodes": self.video_episodes,
                "episode_timeout_s": float(self.episode_timeout_s),
            },
        }
        if self.checkpoint:
            values["policy"]["checkpoint"] = _absolute_if_file(self.checkpoint)
        for node, additional in self.node_parameters.items():
            values[node].update(additional)
        return values


@dataclass(frozen=True)
class GraphOutcome:
    """Result of a run.

    Attributes:
        results: One mapping per finished episode, as in `episodes.jsonl`.
        lost: Processes that ended before they were stopped: name to the reason.
        started: False if a process refused to start.
    """

    results: list[dict[str, Any]]
    lost: dict[str, str]
    started: bool = True


def _absolute_if_file(name_or_file: str) -> str:
    """The absolute path of a file, because the nodes run in another folder; a name is returned unchanged."""
    return str(Path(name_or_file).resolve()) if Path(name_or_file).is_file() else name_or_file


def prepare_run_folder(folder: Path) -> Path:
    """Create the folder, or delete the files of an earlier run from it. No other file is ever deleted.

    Raises:
        VlaError: The path is not a folder, or the folder contains a file that no run writes.
    """
    if folder.exists() and not folder.is_dir():
        raise VlaError(f"{folder} is not a folder; choose another with --out.")
    entries = list(folder.iterdir()) if folder.is_dir() else []
    for entry in entries:
        if not (entry.is_file() and any(entry.match(pattern) for pattern in RUN_FILES)):
            raise VlaError(f'{folder} contains "{entry.name}", which no run writes; choose another folder with --out.')
    for entry in entries:
        entry.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_parameter_file(file: Path) -> None:
    """Check that a ROS parameter file can be read and names only nodes of this package.

    Raises:
        VlaError: The file cannot be read, is not valid YAML, or names an unknown node.
    """
    known = (*NODES, "camera_monitor", "episodes")
    check_keys({key.strip("/"): 0 for key in load_yaml(file) if key != "/**"}, known, file.name)


def node_arguments(node: str, run: GraphRun) -> list[str]:
    """Command-line arguments of one node."""
    file = run.params or config_dir() / "vla.yaml"
    args = ["--ros-args", "--params-file", str(file.resolve())]
    for name, value in run.parameters()[node].items():
        args += ["-p", f"{name}:={value if isinstance(value, str) else json.dumps(value)}"]
    for rule in run.remap.get(node, []):
        args += ["-r", rule]
    return args


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results written so far, one per finished episode; an incomplete last line is ignored."""
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / EPISODES).read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
    return []


@contextlib.contextmanager
def isolated_domain() -> Iterator[dict[str, str]]:
    """Environment variables of a ROS domain that no other graph on this machine uses.

    A simulated arm must never share a domain with a real one.
    """
    with reserve_domain_id() as number:
        yield {
            "ROS_DOMAIN_ID": str(number),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"),
            "RMW_IMPLEMENTATION": os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"),
        }


def exit_description(processes: ProcessGroup, name: str) -> str:
    """The last line that an ended process logged, with its exit status unless that line is the reason."""
    lines = [line for line in processes.log(name).splitlines() if line.strip()]
    status = processes.running[name].poll()
    how = f"ended by {signal.Signals(-status).name}" if status and status < 0 else f"exit status {status}"
    text = lines[-1].removeprefix(f"{name}: ") if lines else "no output"
    return text if status == EXIT_START_REFUSED else f"{text} ({how})"


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM, so that a second Ctrl-C does not interrupt the shutdown."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_graph(processes: ProcessGroup, run: GraphRun, env: dict[str, str]) -> None:
    """Start every process of the graph; the node that runs the episodes comes last."""
    for node in NODES:
        processes.start(MODULE.format(node), *node_arguments(node, run), name=node, **env)
    baseline = [str(run.rate_hz), str((run.folder / "baseline.npz").resolve()), str(run.realtime_priority)]
    processes.start("vla_ros.system.baseline_loop", *baseline, name="baseline", OPENBLAS_NUM_THREADS="1", **env)
    for module, args in run.extra_processes.items():
        processes.start(module, *args, **env)
    processes.start(MODULE.format("episodes"), *node_arguments("episodes", run), name="episodes", **env)


def stop_graph(processes: ProcessGroup) -> None:
    """Stop every process: publishers before subscribers.

    The supervisor stops while the simulator still runs, so that it can bring the arm to rest.
    """
    with _signals_ignored():
        processes.stop_all("episodes", "policy", "planner")
        processes.stop_all("supervisor")
        processes.stop_all()


def run_graph(
    run: GraphRun,
    on_progress: Callable[[list[dict[str, Any]]], None] = lambda _results: None,
    env: dict[str, str] | None = None,
) -> GraphOutcome:
    """Start the graph, wait until the episodes are finished or a process ends, stop the graph.

    Args:
        run: The run.
        on_progress: Called about five times a second with the results so far.
        env: Environment variables of the processes, as from `isolated_domain`; None reserves a domain for this run.

    Returns:
        The results, and the processes that ended unexpectedly.

    Raises:
        KeyboardInterrupt: Re-raised after every process has been stopped.
    """
    processes = ProcessGroup(run.folder)
    lost: dict[str, str] = {}
    started = True
    (run.folder / EPISODES).unlink(missing_ok=True)
    with contextlib.nullcontext(env) if env else isolated_domain() as env:
        try:
            start_graph(processes, run, env)
            ended: dict[str, int | None] = {}
            while not ended:
                time.sleep(0.2)
                on_progress(read_results(run.folder))
                ended = {n: p.poll() for n, p in processes.running.items() if p.poll() is not None}
            lost = {n: exit_description(processes, n) for n in ended if (n, ended[n]) != ("episodes", 0)}
            started = EXIT_START_REFUSED not in ended.values()
        finally:
            stop_graph(processes)
    return GraphOutcome(read_results(run.folder), lost, started)
