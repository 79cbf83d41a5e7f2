"""Mutation testing of the safety-relevant code: change one operator, constant or call at a time and run the tests.

    python test/mutate.py                            # every module of `TESTS`
    python test/mutate.py supervisor state_machine   # these modules only
    python test/mutate.py --resume --write           # mutants not yet killed; then write docs/mutation.md
    python test/mutate.py --report                   # run nothing, print the recorded results

The sources are never modified: each mutant lives in a forked process (`mutation_worker.py`). A mutant that survives
means either a missing test or an equivalent mutant, listed in `EQUIVALENT` with its reason. The exit status is 1 if any
other mutant survives. Results are appended to runs/mutation.jsonl as they arrive. A change of a module invalidates its
recorded results; after a change of the tests run without `--resume`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

os.environ.update(OPENBLAS_NUM_THREADS="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")  # before numpy and pytest are imported

from mutation_operators import EQUIVALENT, Mutant, mutants
from mutation_worker import (
    OPTIONS,
    ForkedTestRunner,
    fork_child,
    run_parallel,
    run_with_fresh_imports,
    silence_output,
    timeout_s,
    wait_for_child,
)

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "runs" / "mutation.jsonl"
TIMES = ROOT / "runs" / "mutation-times.json"
TABLE = ROOT / "docs" / "mutation.md"
CONSOLE = os.fdopen(os.dup(1), "w", buffering=1)
"""The original standard output, since the output of the tests is silenced."""
SLOW = ["test_supervisor.py", "test_supervisor_stops.py", "test_supervisor_fuzz.py"]
TESTS = {
    "state_machine": (["test_state_machine.py"], []),
    "fault_rules": (["test_fault_rules.py", "../test_safety_document.py"], []),
    "gate": (["test_gate.py", "test_supervisor_thresholds.py"], SLOW),
    "supervisor": (["test_fault_rules.py", "test_supervisor*.py", "test_clearance.py"], []),
    "arming": (["test_arming.py", "test_fault_rules.py", "test_supervisor_thresholds.py"], SLOW),
    "monitors": (["test_monitors*.py", "test_fault_rules.py", "test_supervisor_thresholds.py"], SLOW),
    "speed_scaling": (["test_speed_scaling.py", "test_supervisor_thresholds.py"], SLOW),
    "stopping": (
        ["test_stopping.py", "test_remaining_trajectory.py", "test_gate.py", "test_supervisor_thresholds.py"],
        SLOW,
    ),
    "limit_certificate": (["test_limit_certificate.py", "test_gate.py"], []),
    "clearance": (["test_clearance.py"], []),
}
"""The tests that must kill the mutants of each module of `vla_ros/safety`, as patterns in test/safety: the tests of
the quick mode, and those that only the full mode adds."""


def files(modules: Iterable[str], *, quick: bool) -> list[str]:
    """The test files that must kill the mutants of the modules, each once."""
    patterns = [p for m in modules for p in TESTS[m][0] + ([] if quick else TESTS[m][1])]
    found = [path for pattern in patterns for path in sorted((ROOT / "test" / "safety").glob(pattern))]
    return [str(path.resolve()) for path in dict.fromkeys(found)]


def recorded_results() -> dict[str, dict[str, str]]:
    """The results of earlier runs by key of the mutant; the last result of each counts."""
    if not RESULTS.is_file():
        return {}
    return {row["key"]: row for row in map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())}


def record(mutant: Mutant | None, outcome: str, test: str, seconds: float) -> None:
    """Record and print the outcome of a mutant, or print the outcome without a mutant (None)."""
    if mutant is not None:
        row = {"key": mutant.key, "module": mutant.module, "change": mutant.name}
        row |= {"outcome": outcome, "test": test, "s": seconds}
        with RESULTS.open("a", encoding="utf-8") as results:
            results.write(json.dumps(row) + "\n")
    print(f"{outcome:<9} {seconds:5.1f} s  {mutant or ''}  {test.rpartition('/')[2]}", file=CONSOLE)


def run(pending: list[Mutant], jobs: int, *, full: bool = True) -> None:
    """Run all mutants: those inside functions in quick mode, then the undecided and all others in full mode."""
    modules = list(dict.fromkeys(m.module for m in pending))
    inside = [m for m in pending if m.function]

    def run_quick_mode(_write_fd: int) -> int:
        import pytest

        silence_output()
        runner = ForkedTestRunner(inside, jobs, record_quick, TIMES)
        return int(pytest.main([*OPTIONS, *files(modules, quick=True)], plugins=[runner]))

    def record_quick(mutant: Mutant | None, outcome: str, test: str, used_s: float) -> None:
        decided = mutant is None or mutant.equivalent or outcome in ("killed", "timeout")
        record(mutant, outcome if decided else "undecided", test, used_s)

    def run_full_mode(mutant: Mutant, write_fd: int) -> int:
        return run_with_fresh_imports(files([mutant.module], quick=False), seconds, mutant, write_fd)

    child, read_fd = fork_child(run_quick_mode, 10**6)
    result = wait_for_child({child: (read_fd, None)})
    seconds = json.loads(TIMES.read_text(encoding="utf-8"))[0] if result[1] == "survived" else {}
    known = recorded_results() if full else {}
    rest = [m for m in pending if full and (not m.function or known.get(m.key, {}).get("outcome") == "undecided")]
    if rest and result[1] == "survived":
        all_files = files(modules, quick=False)
        child, read_fd = fork_child(lambda write_fd: run_with_fresh_imports(all_files, seconds, None, write_fd), 3600)
        result = wait_for_child({child: (read_fd, None)})
        record(*result)
    if result[1] != "survived":
        raise SystemExit("mutate: the tests fail on the unchanged code.")
    run_parallel(rest, jobs, run_full_mode, timeout_s(5 * result[3]), record)


def summary(all_mutants: list[Mutant], known: dict[str, dict[str, str]]) -> tuple[str, list[Mutant]]:
    """The table by module and the list of survivors as Markdown; and the survivors that are not equivalent."""
    head = "| module | mutants | run | killed | of these by time-out | survived | of these equivalent |"
    lines, missing, equivalent = [head, "|---|---|---|---|---|---|---|"], [], []
    for module in dict.fromkeys(m.module for m in all_mutants):
        own = [m for m in all_mutants if m.module == module]
        outcomes = [known[m.key]["outcome"] if m.key in known else "" for m in own]
        survivors = [m for m, o in zip(own, outcomes, strict=True) if o not in ("", "killed", "timeout")]
        same = [m for m in survivors if m.equivalent]
        missing += [m for m in survivors if not m.equivalent]
        equivalent += same
        ran, timeouts = len(outcomes) - outcomes.count(""), outcomes.count("timeout")
        killed = ran - len(survivors)
        lines.append(f"| `{module}.py` | {len(own)} | {ran} | {killed} | {timeouts} | {len(survivors)} | {len(same)} |")
    lines += ["", "| equivalent mutant | reason |", "|---|---|"]
    lines += [f"| `{m.name.replace('|', '&#124;')}` | {EQUIVALENT[m.name]} |" for m in equivalent]
    lines += ["", f"Survivors for which a test is missing: {'none.' if not missing else ''}", ""]
    lines += [f"- line `{m}`" for m in missing]
    return "\n".join(lines).rstrip(), missing


TITLE = """# Mutation testing of the safety-relevant code

Generated by `python test/mutate.py --write`. Each mutant changes one operator, constant, name or
call of a module of `vla_ros/safety/`; the tests of that module must fail. "Run" is less than
"mutants" if a run was interrupted.

"""


def main() -> int:
    """Run the mutants; 1 if any survives that is not known to be equivalent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)}; default: all")
    parser.add_argument("--only", default="", help="run only mutants whose name contains this text")
    parser.add_argument("--jobs", type=int, default=2, help="processes in parallel; default: 2")
    parser.add_argument("--resume", action="store_true", help="skip mutants that are recorded as killed")
    parser.add_argument("--quick", action="store_true", help="quick mode only; survivors remain undecided")
    parser.add_argument("--write", action="store_true", help="write the recorded results to docs/mutation.md")
    parser.add_argument("--report", action="store_true", help="run nothing")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "test")]
    RESULTS.parent.mkdir(exist_ok=True)
    killed = {k for k, row in recorded_results().items() if row.get("outcome") in ("killed", "timeout")}
    skipped = killed if options.resume else set()
    pending = [m for name in options.modules or TESTS for m in mutants(name)]
    pending = [m for m in pending if m.key not in skipped and options.only in m.name]
    if pending and not options.report:
        run(pending, options.jobs, full=not options.quick)
    text, missing = summary([m for name in TESTS for m in mutants(name)], recorded_results())
    print(text, file=CONSOLE)
    if options.write:
        TABLE.write_text(TITLE + text + "\n", encoding="utf-8")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
