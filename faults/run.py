"""Inject faults into real processes while a simulated arm moves, and check state, reaction time, rest and limits.

Simulator, planner and supervisor run as processes of their own. Each fault is injected in a new scene; its row says
which state followed, how soon, and whether every command kept the limits.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from faults import results_table
from faults.fault import RECOVERY_S, Fault
from faults.rows import FAULTS
from faults.scene import Scene, moving_scene

NAMES = tuple(fault.name for fault in FAULTS)
MAX_WAKE_LATENCY_S, ATTEMPTS = 0.05, 4
"""A machine that delays a sleeping thread by more than this disturbs the row [s]; maximum number of runs of a row."""
RUNAWAY_US = 2_000_000
"""Processor time without sleeping after which a real-time thread is ended [us]."""
REST_S = 4.0
"""Maximum duration of any stop: every plan ends at rest within it [s]."""


class WakeLatencyProbe:
    """A thread that only sleeps, and the maximum delay of its waking [s]."""

    def __init__(self) -> None:
        self.max_s = 0.0
        threading.Thread(target=self._sleep, daemon=True).start()

    def _sleep(self) -> None:
        while True:
            begun = time.monotonic()
            time.sleep(0.01)
            self.max_s = max(self.max_s, time.monotonic() - begun - 0.01)


def prepare(scene: Scene, fault: Fault) -> None:
    """Bring the moving arm into the state in which the fault is injected."""
    client = scene.client
    if client.mode != "running":
        raise AssertionError(f"{client.mode} before the fault: {client.state['reason']}")
    fault.prepare(scene)
    client.wait_until(lambda: client.mode == fault.initial_state, f"{fault.initial_state} before the fault")
    if fault.initial_state == "running":
        client.wait_until(scene.moving, "motion before the fault")
    client.process_pending()


def inject(scene: Scene, fault: Fault) -> float:
    """Inject the fault and wait for its final state; returns the reaction time [s], NaN where no change is expected."""
    client = scene.client
    begun, first = client.now_ns(), len(client.modes)
    fault.inject(scene)
    if fault.final_state == fault.initial_state:
        client.wait(fault.observe_s)
        return math.nan
    if fault.final_state == "silent":
        client.wait(0.5)
        return (client.received_ns[-1] - begun) / 1e9
    client.wait_until(lambda: fault.final_state in client.modes[first:], fault.final_state, 8.0)
    return (client.mode_ns[first] - begun) / 1e9


def time_to_rest(scene: Scene, fault: Fault, begun_ns: int, failures: list[str]) -> float:
    """Time from the fault to the last command that moves the arm [s]; NaN where it need not rest."""
    if not fault.must_rest:
        return math.nan
    scene.client.process_pending()  # on a busy machine, received commands may still be queued
    observed = fault.final_state != "silent" or scene.servo_targets is not None
    deadline = time.monotonic() + (REST_S if scene.servo_targets else 2.0)
    while observed and not scene.resting() and time.monotonic() < deadline:
        scene.client.wait(0.05)
    if observed and not scene.resting():
        failures.append("not at rest")
    rest = (scene.last_motion_ns() - begun_ns) / 1e9
    if not rest <= REST_S:
        failures.append(f"at rest later than {REST_S} s")
    return rest


def remove(scene: Scene, fault: Fault, failures: list[str]) -> bool:
    """Remove the fault; returns whether the arm then moves again, which it may only where it was never stopped."""
    fault.remove(scene)
    scene.client.process_pending()
    moved = scene.last_motion_ns()
    scene.client.wait(RECOVERY_S)
    scene.client.process_pending()
    check_measured = fault.final_state == "silent" or (
        scene.servo_targets and fault.final_state != "running" and scene.simulator_running()
    )
    if check_measured and not scene.measured_speed() <= 0.1:
        failures.append("the arm still moves")
    recovered = scene.last_motion_ns() > moved + 500_000_000
    if recovered and fault.final_state != "running":
        failures.append("moves again by itself")
    return recovered


def run(fault: Fault, folder: Path, probe: WakeLatencyProbe) -> tuple[str, bool]:
    """Run one fault in a new scene; returns its row and whether it passed."""
    with moving_scene(folder, fault.setup) as scene:
        client = scene.client
        client.process_pending()
        prepare(scene, fault)
        probe.max_s = 0.0
        begun_ns = client.now_ns()
        failures: list[str] = []
        try:
            reaction = inject(scene, fault)
        except AssertionError as error:
            reaction = math.inf
            failures.append(str(error).partition(";")[0])
        rest = time_to_rest(scene, fault, begun_ns, failures)
        state, texts = client.mode, " ".join(client.state.values())
        if fault.final_state != "silent" and state != fault.final_state:
            failures.append(f"{state} instead of {fault.final_state}: {client.state.get('reason')}")
        if fault.reason not in texts:
            failures.append(f"reason: {client.state.get('reason')}")
        if not reaction <= fault.within_s and fault.final_state != fault.initial_state:
            failures.append(f"later than {fault.within_s} s")
        recovered = remove(scene, fault, failures)
        report = scene.limit_report()
        if any(report.violations.values()):
            failures.append(f"limits exceeded: {report.violations}")
    cells = [
        fault.name,
        state if fault.final_state != "silent" else "commands end",
        "–" if math.isnan(reaction) else f"{max(reaction, 0.0):.2f}",
        "–" if math.isnan(rest) else f"{max(rest, 0.0):.2f}",
        *(f"{report.peak_ratio[q]:.3f}" for q in ("velocity", "acceleration", "jerk")),
        "yes" if recovered else "no",
    ]
    return results_table.format_row(cells, failures), not failures


def run_with_retries(fault: Fault, probe: WakeLatencyProbe) -> tuple[str, bool]:
    """Run a fault, again where it failed while the machine itself delayed threads."""
    row, passed = "", False
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory() as folder:
            try:
                row, passed = run(fault, Path(folder), probe)
            except AssertionError as error:
                print(f"{fault.name}: {error}", file=sys.stderr, flush=True)
                row = results_table.failed_row(fault.name, str(error).partition(";")[0])
        if passed or (row.count("| |") == 0 and probe.max_s < MAX_WAKE_LATENCY_S):
            break
        print(f"again ({probe.max_s:.2f} s): {row}", flush=True)
    return row, passed


def run_in_process(fault: Fault) -> tuple[str, bool]:
    """`run_with_retries` in a process of its own, because middleware and network namespaces keep per-process state."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_send_result, args=(fault, writer))
    # Python discards an interrupt that arrives inside a fork, so it waits until the child is known.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child.start()
    writer.close()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        result: tuple[str, bool] = reader.recv()
    except EOFError:
        child.join()
        result = results_table.failed_row(fault.name, f"its process ended with {child.exitcode}"), False
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the clean-up
        os.kill(child.pid or 0, signal.SIGINT)
        child.join(30.0)
        child.kill()
        raise
    child.join()
    return result


def _send_result(fault: Fault, writer: Connection) -> None:
    os.setpgid(0, 0)  # a terminal sends Ctrl-C to the parent only, which passes it on
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        writer.send(run_with_retries(fault, WakeLatencyProbe()))
    except KeyboardInterrupt:
        os._exit(130)


def select(only: str, missing: bool) -> list[Fault]:
    """The fault named `only`, or those whose name contains it; with `missing`, those without a passed row."""
    chosen = [fault for fault in FAULTS if only == fault.name] or [fault for fault in FAULTS if only in fault.name]
    passed = results_table.passed_names() if missing else ()
    return [fault for fault in chosen if fault.name not in passed]


def format_duration(seconds: float) -> str:
    """A duration in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def run_all(chosen: list[Fault], write: bool) -> list[tuple[str, bool]]:
    """Run faults one after another; prints, and with `write` keeps, each row at once. Ctrl-C ends the run."""
    begun = time.monotonic()
    left = sum(fault.expected_s for fault in chosen)
    expected = left
    results: list[tuple[str, bool]] = []
    try:
        print(f"{len(chosen)} faults, about {format_duration(left)} without other load", file=sys.stderr, flush=True)
        for fault in chosen:
            results.append(run_in_process(fault))
            row = results[-1][0]
            print(row, flush=True)
            if write:
                results_table.write({fault.name: row}, NAMES, complete=len(results) == len(NAMES))
            left -= fault.expected_s
            elapsed = time.monotonic() - begun
            pace = elapsed / max(expected - left, 1.0)
            remaining = f", about {format_duration(left * pace)} left" if left > 0.5 else ""
            text = f"{len(results)} of {len(chosen)} in {format_duration(elapsed)}{remaining}"
            print(text, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        hint = "; continue with ./vla faults --missing --write" if write else ""
        print(f"interrupted after {len(results)} of {len(chosen)}{hint}", file=sys.stderr, flush=True)
    return results


def main(argv: list[str] | None = None) -> int:
    """Run the suite; returns 0 if every fault passed, 1 if one failed, 130 if interrupted."""
    parser = argparse.ArgumentParser(
        "vla faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="run the fault of this name, or those whose name contains it"
    )
    parser.add_argument("--missing", action="store_true", help="run the faults without a passed row in docs/faults.md")
    parser.add_argument("--list", action="store_true", help="print the names of the faults and exit")
    parser.add_argument("--write", action="store_true", help="write each row into docs/faults.md as soon as it is run")
    options = parser.parse_args(argv)
    chosen = select(options.only, options.missing)
    if not chosen:
        why = "no row is missing" if options.missing else "--list prints every name"
        print(f'vla faults: no fault to run whose name contains "{options.only}"; {why}.', file=sys.stderr)
        return 0 if options.missing else 2
    if options.list:
        print("\n".join(fault.name for fault in chosen))
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    # A real-time thread that never sleeps is ended before it blocks the machine.
    resource.setrlimit(resource.RLIMIT_RTTIME, (RUNAWAY_US, 2 * RUNAWAY_US))
    results = run_all(chosen, options.write)
    print(results_table.summary([row for row, _ in results]))
    if len(results) < len(chosen):
        return 130
    return int(not all(passed for _, passed in results))


if __name__ == "__main__":
    sys.exit(main())
