"""Minutes of the complete graph: every process, real topics, physics, a slow policy and a lossy network."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.common.memory import memory_mb
from bench.common.table import show, verdict
from vla_ros.system.graph import (
    GraphRun,
    exit_description,
    isolated_domain,
    prepare_run_folder,
    read_results,
    start_graph,
    stop_graph,
)
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.relay import RAW_CHUNK

RELAY = ["0.2", "0.3", "300", "7"]
"""Arguments of the relay: probability of a dropped and of a delayed chunk, maximum delay [ms], seed."""
WARM_UP_S = 60.0
"""Time after which libraries are loaded and buffers are filled [s]."""
MAX_GROWTH, MAX_GROWTH_MB = 0.10, 15.0
"""Permitted growth of the memory of a process after the warm-up: this ratio, or this amount [MB]."""


def measure_memory(
    processes: ProcessGroup, folder: Path, minutes: float
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Run for some minutes.

    Returns:
        Memory of every process after the warm-up, once a minute and at the end [MB]; the processes that were lost,
        each with its reason, which end the run.
    """
    begun, memory = time.monotonic(), {name: [] for name in processes.running}
    next_s = WARM_UP_S
    while (elapsed := time.monotonic() - begun) < 60 * minutes:
        time.sleep(0.5)
        lost = {n: exit_description(processes, n) for n, p in processes.running.items() if p.poll() is not None}
        if lost:
            return memory, lost
        if elapsed >= next_s:
            next_s += WARM_UP_S
            for name, process in processes.running.items():
                memory[name].append(memory_mb(process.pid))
            done = len(read_results(folder))
            print(f"{elapsed / 60:.0f} of {minutes:g} minutes, {done} episodes, all processes running", flush=True)
    for name, process in processes.running.items():
        memory[name].append(memory_mb(process.pid))
    return memory, {}


def soak_graph(minutes: float, out: Path | None) -> int:
    """Run the graph, then print memory and violations; returns 0 if the claims hold."""
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prepare_run_folder(folder)
        env = stack.enter_context(isolated_domain())
        run = GraphRun(
            folder,
            episodes=1_000_000,
            delay_ms=(0.0, 500.0),
            video_episodes=0,
            remap={"policy": [f"vla/chunk:={RAW_CHUNK}"]},
            extra_processes={"vla_ros.testing.relay": RELAY},
        )
        processes = ProcessGroup(folder)
        try:
            start_graph(processes, run, env)
            memory, lost = measure_memory(processes, folder, minutes)
        finally:
            stop_graph(processes)
        observer = json.loads((folder / "observer.json").read_text())
        supervisor = json.loads((folder / "supervisor.json").read_text())
        results = read_results(folder)
    show(
        "memory [MB]",
        ["process", "after a minute", "at the end"],
        [[name, f"{mb[0]:.1f}", f"{mb[-1]:.1f}"] for name, mb in memory.items() if mb],
    )
    refusals, faults, mode = (supervisor[key] for key in ("refusals", "faults", "mode"))
    print(f"\nrefusals of the supervisor: {refusals}; faults: {faults}; state: {mode}")
    successes = sum(r["success"] for r in results)
    print(f"peaks: {observer['peak_ratio']}; {successes} of {len(results)} episodes successful")
    constant = all(mb[-1] - mb[0] <= max(MAX_GROWTH * mb[0], MAX_GROWTH_MB) for mb in memory.values() if mb)
    samples, violations = observer["samples"], observer["violations"]
    return verdict(
        [
            (f"violations in {samples:,} commands: {violations}", not any(violations.values())),
            (f"processes lost: {lost or 'none'}", not lost),
            ("memory of every process constant", constant),
            (f"commands were checked: {samples:,}", samples > 100 * minutes),
        ]
    )
