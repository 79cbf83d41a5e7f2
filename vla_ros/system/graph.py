"""The whole graph in simulation as a group of processes: what `vla demo`, the benches and the tests start."""

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
from vla_ros.system.processes import Processes, own_domain

NODES = ("observer", "supervisor", "planner", "sim", "policy")
"""In the order they are started: who listens, before who speaks."""
MODULE = "vla_ros.nodes.{}_node"
EPISODES = "episodes.jsonl"
LEFT = (
    *(f"{name}.{kind}" for name in (*NODES, "episodes", "run", "report") for kind in ("log", "json")),
    *(EPISODES, "baseline.log", "bench.*.log", "loop.npz", "baseline.npz", "commands.npz", "film_*.npz", "film.*"),
    "report.html",
)
"""What a run leaves in its folder."""
REFUSED = 2
"""Exit status of a node that could not start and has said why."""
REALTIME_PRIORITY = 50
"""SCHED_FIFO priority of the command loop, as ros2_control's own; tried, never required."""


@dataclass(frozen=True)
class Run:
    """What to run; what has a field here is not taken from the parameter file.

    Attributes:
        folder: Where logs go; it exists.
        episodes: How many.
        seed: Of the first scene.
        robot: Name in config/robots, or a file.
        task: Of the simulator.
        policy: Name in the registry of policies.
        checkpoint: File of a learned policy, "" for the one of config/vla.yaml.
        delay_ms: Least and greatest delay added to every inference [ms].
        rate_hz: Commands per second [Hz].
        params: Parameter file.
        view: Open the simulator's window.
        film: How many of the first episodes are filmed.
        longest_s: An episode without success is ended after this [s].
        realtime_priority: SCHED_FIFO priority of supervisor and baseline, one less for the physics; 0 for none.
        more: Further parameters of single nodes.
        remap: Further remappings of single nodes, "from:=to".
        extra: Further processes: a dotted module name, and its arguments.
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
    film: int = 1
    longest_s: float = 20.0
    realtime_priority: int = REALTIME_PRIORITY
    more: dict[str, dict[str, Any]] = field(default_factory=dict)
    remap: dict[str, list[str]] = field(default_factory=dict)
    extra: dict[str, list[str]] = field(default_factory=dict)

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Parameters per node that this run sets."""
        log = {"robot": _place(self.robot), "log_dir": str(self.folder.resolve())}
        given: dict[str, dict[str, Any]] = {
            "observer": dict(log),
            "supervisor": {**log, "rate_hz": float(self.rate_hz), "realtime_priority": self.realtime_priority},
            "planner": dict(log),
            "sim": {
                **log,
                "task": self.task,
                "seed": self.seed,
                "view": self.view,
                # A real arm's driver is not slowed by what else the machine does; nor is the simulated one.
                "realtime_priority": max(self.realtime_priority - 1, 0),
            },
            "policy": {
                **log,
                "policy": self.policy,
                "seed": self.seed,
                "delay_low_ms": float(self.delay_ms[0]),
                "delay_high_ms": float(self.delay_ms[1]),
            },
            "episodes": {
                "log_dir": log["log_dir"],
                "episodes": self.episodes,
                "seed": self.seed,
                "film": self.film,
                "longest_s": float(self.longest_s),
            },
        }
        if self.checkpoint:
            given["policy"]["checkpoint"] = _place(self.checkpoint)
        for node, extra in self.more.items():
            given[node].update(extra)
        return given


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        results: One mapping per episode that was run, as `episodes.jsonl` has them.
        lost: Processes that ended before they were asked to, each with its last words.
        started: False if a process refused to start.
    """

    results: list[dict[str, Any]]
    lost: dict[str, str]
    started: bool = True


def _place(name_or_file: str) -> str:
    """A file by its full path, for processes that work elsewhere; a name as it is."""
    return str(Path(name_or_file).resolve()) if Path(name_or_file).is_file() else name_or_file


def fresh_folder(folder: Path) -> Path:
    """An empty folder; what an earlier run left there is removed, anything else is left alone.

    Raises:
        VlaError: The folder holds something that no run leaves, or is none.
    """
    if folder.exists() and not folder.is_dir():
        raise VlaError(f"{folder} is not a folder; name another with --out.")
    found = list(folder.iterdir()) if folder.is_dir() else []
    for entry in found:
        if not (entry.is_file() and any(entry.match(pattern) for pattern in LEFT)):
            raise VlaError(f'{folder} holds "{entry.name}", which no run leaves; name another folder with --out.')
    for entry in found:
        entry.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_params(file: Path) -> None:
    """Refuse a parameter file that is none, or that names a node there is not.

    Raises:
        VlaError: One sentence that says what is wrong with it.
    """
    known = (*NODES, "cameras", "episodes")
    check_keys({key.strip("/"): 0 for key in load_yaml(file) if key != "/**"}, known, file.name)


def arguments(node: str, run: Run) -> list[str]:
    """Command line arguments of one node."""
    file = run.params or config_dir() / "vla.yaml"
    args = ["--ros-args", "--params-file", str(file.resolve())]
    for name, value in run.parameters()[node].items():
        args += ["-p", f"{name}:={value if isinstance(value, str) else json.dumps(value)}"]
    for rule in run.remap.get(node, []):
        args += ["-r", rule]
    return args


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The episodes noted so far; a line that is still being written does not count."""
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / EPISODES).read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
    return []


@contextlib.contextmanager
def domain() -> Iterator[dict[str, str]]:
    """Environment of a graph nobody else hears: simulated arms never share a domain with a real one."""
    with own_domain() as number:
        yield {
            "ROS_DOMAIN_ID": str(number),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"),
            "RMW_IMPLEMENTATION": os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"),
        }


def last_words(processes: Processes, name: str) -> str:
    """The last line a process wrote, and how it ended unless that says it all."""
    lines = [line for line in processes.log(name).splitlines() if line.strip()]
    status = processes.running[name].poll()
    how = f"ended by {signal.Signals(-status).name}" if status and status < 0 else f"exit status {status}"
    words = lines[-1].removeprefix(f"{name}: ") if lines else "said nothing"
    return words if status == REFUSED else f"{words} ({how})"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not break off what the first began."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_all(processes: Processes, run: Run, env: dict[str, str]) -> None:
    """Start every process of the graph, the one that runs the episodes last."""
    for node in NODES:
        processes.start(MODULE.format(node), *arguments(node, run), name=node, **env)
    baseline = [str(run.rate_hz), str((run.folder / "baseline.npz").resolve()), str(run.realtime_priority)]
    processes.start("vla_ros.system.baseline_loop", *baseline, name="baseline", OPENBLAS_NUM_THREADS="1", **env)
    for module, args in run.extra.items():
        processes.start(module, *args, **env)
    processes.start(MODULE.format("episodes"), *arguments("episodes", run), name="episodes", **env)


def end_all(processes: Processes) -> None:
    """End every process: who speaks before who listens; the supervisor brings the arm to rest while it is heard."""
    with _undisturbed():
        processes.stop_all("episodes", "policy", "planner")
        processes.stop_all("supervisor")
        processes.stop_all()


def run_graph(
    run: Run,
    tell: Callable[[list[dict[str, Any]]], None] = lambda _results: None,
    env: dict[str, str] | None = None,
) -> Outcome:
    """Start every node, run the episodes, end every node.

    Args:
        run: What to run.
        tell: Called with the results so far, about five times a second.
        env: Environment of the processes, as `domain` gives it; one of their own if None.

    Returns:
        The results; `lost` names whatever ended by itself.

    Raises:
        KeyboardInterrupt: Passed on after every process has ended.
    """
    processes = Processes(run.folder)
    lost: dict[str, str] = {}
    started = True
    (run.folder / EPISODES).unlink(missing_ok=True)
    with contextlib.nullcontext(env) if env else domain() as env:
        try:
            start_all(processes, run, env)
            ended: dict[str, int | None] = {}
            while not ended:
                time.sleep(0.2)
                tell(read_results(run.folder))
                ended = {n: p.poll() for n, p in processes.running.items() if p.poll() is not None}
            lost = {name: last_words(processes, name) for name in ended if (name, ended[name]) != ("episodes", 0)}
            started = REFUSED not in ended.values()
        finally:
            end_all(processes)
    return Outcome(read_results(run.folder), lost, started)
