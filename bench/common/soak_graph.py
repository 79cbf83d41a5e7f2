"""Minutes of the real graph: every process, real topics, physics, a slow policy and a bad network between them."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.common.table import show, verdict
from vla_ros.system.graph import Run, domain, end_all, fresh_folder, last_words, read_results, start_all
from vla_ros.system.processes import Processes
from vla_ros.testing.relay import RAW

CHAOS = ["0.2", "0.3", "300", "7"]
"""Chunks dropped and held back, the longest delay [ms], the seed."""
WARM_S = 60.0
"""Libraries are loaded and buffers are filled by then [s]."""
GROWTH = 0.10
"""Memory of a process may grow by this share from then on, or by `LEAST_MB`."""
LEAST_MB = 15.0


def memory_mb(process: int) -> float:
    """Resident memory of one process [MB]."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / 1e6


def watch(processes: Processes, folder: Path, minutes: float) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Wait; memory of every process once a minute [MB], and which were lost."""
    begun, grown = time.monotonic(), {name: [] for name in processes.running}
    following = WARM_S
    while (lived := time.monotonic() - begun) < 60 * minutes:
        time.sleep(0.5)
        lost = {n: last_words(processes, n) for n, p in processes.running.items() if p.poll() is not None}
        if lost:
            return grown, lost
        if lived >= following:
            following += WARM_S
            for name, process in processes.running.items():
                grown[name].append(memory_mb(process.pid))
            done = len(read_results(folder))
            print(f"{lived / 60:.0f} of {minutes:g} minutes, {done} episodes, all processes alive", flush=True)
    for name, process in processes.running.items():
        grown[name].append(memory_mb(process.pid))
    return grown, {}


def graph(minutes: float, out: Path | None) -> int:
    """Run everything for so long, then say what the observer on the robot's own topic saw."""
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fresh_folder(folder)
        env = stack.enter_context(domain())
        run = Run(
            folder,
            episodes=1_000_000,
            delay_ms=(0.0, 500.0),
            film=0,
            remap={"policy": [f"vla/chunk:={RAW}"]},
            extra={"vla_ros.testing.relay": CHAOS},
        )
        processes = Processes(folder)
        try:
            start_all(processes, run, env)
            grown, lost = watch(processes, folder, minutes)
        finally:
            end_all(processes)
        seen = json.loads((folder / "observer.json").read_text())
        told = json.loads((folder / "supervisor.json").read_text())
        results = read_results(folder)
    show(
        "memory [MB]",
        ["process", "after a minute", "at the end"],
        [[name, f"{mb[0]:.1f}", f"{mb[-1]:.1f}"] for name, mb in grown.items() if mb],
    )
    print(f"\nrefused by the supervisor: {told['refused']}; faults: {told['faulted']}; state: {told['mode']}")
    print(f"peaks: {seen['peak_ratio']}; {sum(r['success'] for r in results)} of {len(results)} episodes done")
    flat = all(mb[-1] - mb[0] <= max(GROWTH * mb[0], LEAST_MB) for mb in grown.values() if mb)
    return verdict(
        [
            (f"violations in {seen['samples']:,} commands: {seen['violations']}", not any(seen["violations"].values())),
            (f"processes lost: {lost or 'none'}", not lost),
            ("memory of every process flat", flat),
            (f"commands were judged: {seen['samples']:,}", seen["samples"] > 100 * minutes),
        ]
    )
