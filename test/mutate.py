"""Change the safety-relevant code one operator, constant or call at a time; every change must fail a test.

    python test/mutate.py                     # every module of the table below
    python test/mutate.py supervisor modes    # these only
    python test/mutate.py --resume --write    # what is not yet known to be noticed; then docs/mutation.md
    python test/mutate.py --report            # run nothing; what is known

Nothing is written to the sources: each change lives in a forked process (`nursery.py`). What survives is either a
missing test or a change without effect, listed in `EQUIVALENT` with its reason. The exit status is 1 if anything
else survives. Each result is noted in runs/mutation.jsonl as it comes. After a change of a module
nothing of it is known any more; after a change of the tests run without `--resume`.
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
from mutation_worker import OPTIONS, Nursery, begin, each, ended, fresh, most, silence

ROOT = Path(__file__).resolve().parents[1]
NOTES = ROOT / "runs" / "mutation.jsonl"
TIMES = ROOT / "runs" / "mutation-times.json"
TABLE = ROOT / "docs" / "mutation.md"
SHOWN = os.fdopen(os.dup(1), "w", buffering=1)
"""What is shown though the tests are silenced."""
SLOW = ["test_supervisor.py", "test_supervisor_stops.py", "test_supervisor_fuzz.py"]
TESTS = {
    "modes": (["test_modes*.py"], []),
    "faults": (["test_fault_rules.py", "../test_safety.py"], []),
    "gate": (["test_gate*.py", "test_supervisor_edges.py"], SLOW),
    "supervisor": (["test_fault_rules.py", "test_supervisor*.py", "test_clearance.py"], []),
    "arming": (["test_arming*.py", "test_fault_rules.py", "test_supervisor_edges.py"], SLOW),
    "watch": (["test_watch*.py", "test_fault_rules.py", "test_supervisor_edges.py"], SLOW),
    "speed": (["test_speed*.py", "test_supervisor_edges.py"], SLOW),
    "stop": (["test_stop*.py", "test_ahead*.py", "test_gate*.py", "test_supervisor_edges.py"], SLOW),
    "certify": (["test_certify*.py", "test_gate*.py"], []),
    "space": (["test_space*.py"], []),
}
"""The tests that must notice, as patterns in test/core: those for the quick way, and those that come last."""


def files(modules: Iterable[str], *, quick: bool) -> list[str]:
    """The test files that must notice a change of the modules, each once."""
    patterns = [p for m in modules for p in TESTS[m][0] + ([] if quick else TESTS[m][1])]
    found = [path for pattern in patterns for path in sorted((ROOT / "test" / "core").glob(pattern))]
    return [str(path.resolve()) for path in dict.fromkeys(found)]


def known() -> dict[str, dict[str, str]]:
    """What earlier runs noted, by change; the last word counts."""
    if not NOTES.is_file():
        return {}
    return {row["key"]: row for row in map(json.loads, NOTES.read_text(encoding="utf-8").splitlines())}


def note(mutant: Mutant | None, how: str, by: str, seconds: float) -> None:
    """Write down and say what came of a change; None: of none."""
    if mutant is not None:
        row = {"key": mutant.key, "module": mutant.module, "change": mutant.name, "how": how, "by": by, "s": seconds}
        with NOTES.open("a", encoding="utf-8") as notes:
            notes.write(json.dumps(row) + "\n")
    print(f"{how:<9} {seconds:5.1f} s  {mutant or ''}  {by.rpartition('/')[2]}", file=SHOWN)


def run(waiting: list[Mutant], jobs: int, *, full: bool = True) -> None:
    """Try every change: those of functions the quick way, then what that lets live, and all others, in full."""
    modules = list(dict.fromkeys(m.module for m in waiting))
    inside = [m for m in waiting if m.function]

    def quickly(_tell: int) -> int:
        import pytest

        silence()
        return int(pytest.main([*OPTIONS, *files(modules, quick=True)], plugins=[Nursery(inside, jobs, quick, TIMES)]))

    def quick(mutant: Mutant | None, how: str, by: str, used_s: float) -> None:
        sure = mutant is None or mutant.equivalent or how in ("noticed", "too slow")
        note(mutant, how if sure else "maybe", by, used_s)

    def whole(mutant: Mutant, tell: int) -> int:
        return fresh(files([mutant.module], quick=False), seconds, mutant, tell)

    child, listen = begin(quickly, 10**6)
    how = ended({child: (listen, None)})
    seconds = json.loads(TIMES.read_text(encoding="utf-8"))[0] if how[1] == "survives" else {}
    notes = known() if full else {}
    rest = [m for m in waiting if full and (not m.function or notes.get(m.key, {}).get("how") == "maybe")]
    if rest and how[1] == "survives":
        child, listen = begin(lambda tell: fresh(files(modules, quick=False), seconds, None, tell), 3600)
        how = ended({child: (listen, None)})
        note(*how)
    if how[1] != "survives":
        raise SystemExit("mutate: the tests fail as they are, so they cannot notice anything.")
    each(rest, jobs, whole, most(5 * how[3]), note)


def summary(mutants_: list[Mutant], notes: dict[str, dict[str, str]]) -> tuple[str, list[Mutant]]:
    """The table by module and the list of what survives, as Markdown; and what survives without a reason."""
    head = "| module | changes | tried | noticed | by taking too long | survive | of these without effect |"
    lines, unknown, equal = [head, "|---|---|---|---|---|---|---|"], [], []
    for module in dict.fromkeys(m.module for m in mutants_):
        mine = [m for m in mutants_ if m.module == module]
        how = [notes[m.key]["how"] if m.key in notes else "" for m in mine]
        alive = [m for m, h in zip(mine, how, strict=True) if h not in ("", "noticed", "too slow")]
        same = [m for m in alive if m.equivalent]
        unknown += [m for m in alive if not m.equivalent]
        equal += same
        tried, slow = len(how) - how.count(""), how.count("too slow")
        noticed = tried - len(alive)
        lines.append(f"| `{module}.py` | {len(mine)} | {tried} | {noticed} | {slow} | {len(alive)} | {len(same)} |")
    lines += ["", "Without effect, each with its reason:", ""]
    lines += [f"- `{m.name}`: {EQUIVALENT[m.name]}." for m in equal] or ["- none"]
    lines += ["", "Not noticed, a test is missing:", ""]
    lines += [f"- line `{m}`" for m in unknown] or ["- none"]
    return "\n".join(lines), unknown


TITLE = """# Mutation of the safety-relevant code

Written by `python test/mutate.py --write`, which changes one operator, constant, name or call of `vla_ros/core/`
at a time and runs the tests that must notice. "Tried" is less than "changes" where a run was broken off.

"""


def main() -> int:
    """Run; 1 if something survives that is not known to be without effect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--only", default="", help="those whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="leave out what is noted as noticed")
    parser.add_argument("--quick", action="store_true", help="what that way lets live is not tried in full")
    parser.add_argument("--write", action="store_true", help="write what is noted to docs/mutation.md")
    parser.add_argument("--report", action="store_true", help="run nothing")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "test")]
    NOTES.parent.mkdir(exist_ok=True)
    done = {k for k, row in known().items() if row["how"] in ("noticed", "too slow")} if options.resume else set()
    waiting = [m for name in options.modules or TESTS for m in mutants(name)]
    waiting = [m for m in waiting if m.key not in done and options.only in m.name]
    if waiting and not options.report:
        run(waiting, options.jobs, full=not options.quick)
    text, unknown = summary([m for name in TESTS for m in mutants(name)], known())
    print(text, file=SHOWN)
    if options.write:
        TABLE.write_text(TITLE + text + "\n", encoding="utf-8")
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
