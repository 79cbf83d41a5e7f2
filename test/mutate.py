"""Change the safety-relevant code one operator, constant or call at a time; every change must fail a test.

    python test/mutate.py                     # every module of the table below; hours on a busy machine
    python test/mutate.py supervisor modes    # these only
    python test/mutate.py --part 0/4          # every fourth change
    python test/mutate.py --resume --write    # what is not yet known to be noticed; then docs/mutation.md

Nothing is written to the sources: each change lives in a forked process that imports it instead of the file.
What survives is either a missing test or a change without effect, listed in `EQUIVALENT` with its reason. The
exit status is 1 if anything else survives. Each result is noted in runs/mutation.jsonl as it comes. A change is
known by the whole text it makes of its module: after a change of the module nothing of it is known any more;
after a change of the tests run without `--resume`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

from mutations import EQUIVALENT, Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
NOTES = ROOT / "runs" / "mutation.jsonl"
TABLE = ROOT / "docs" / "mutation.md"
TESTS = {
    "modes": ["test_modes*.py"],
    "faults": ["test_rules.py", "../test_safety.py"],
    "gate": ["test_gate_edges.py", "test_gate*.py", "test_supervisor*.py"],
    "supervisor": ["test_supervisor_edges.py", "test_rules.py", "test_watch*.py", "test_supervisor*.py"],
    "arming": ["test_supervisor_edges.py", "test_rules.py", "test_supervisor*.py"],
    "watch": ["test_watch_edges.py", "test_watch*.py", "test_rules.py", "test_supervisor*.py"],
    "speed": ["test_speed_edges.py", "test_speed*.py", "test_supervisor*.py"],
    "stop": ["test_stop_edges.py", "test_stop*.py", "test_gate*.py", "test_supervisor*.py"],
    "certify": ["test_certify_edges.py", "test_certify*.py", "test_gate*.py"],
    "space": ["test_space.py"],
}
"""The tests that must notice, as patterns in test/core, the quickest first."""
PATIENCE, LEAST_S = 6, 120
"""A change that makes the tests run so many times as long as without it, and this long [s], is noticed by that."""


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a changed source instead of the file."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module):
        exec(compile(self.source, f"<changed {self.name}>", "exec"), module.__dict__)


class Brief:
    """For pytest: a property that fails has done its work; the smallest example is not looked for."""

    def pytest_collection_modifyitems(self, items):
        from hypothesis import Phase, settings

        for item in items:
            chosen = getattr(getattr(item, "obj", None), "_hypothesis_internal_use_settings", None)
            if chosen is not None:
                item.obj._hypothesis_internal_use_settings = settings(chosen, phases=(Phase.explicit, Phase.generate))


def files(module: str) -> list[str]:
    """The test files that must notice a change of a module, each once."""
    found = [path for pattern in TESTS[module] for path in sorted((ROOT / "test" / "core").glob(pattern))]
    return [str(path) for path in dict.fromkeys(found)]


def begin(module: str, source: str | None, longest_s: float) -> int:
    """Fork; the child's status is 0 if every test passed in spite of the change (None: of no change)."""
    child = os.fork()
    if child:
        return child
    os.setpgrp()
    signal.alarm(int(longest_s))
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as this process
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)
    if source is not None:
        sys.meta_path.insert(0, Instead(f"vla_ros.core.{module}", source))
    status = 1
    with contextlib.suppress(BaseException):
        import pytest

        status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *files(module)], plugins=[Brief()]))
    os._exit(status)


def patience(modules: list[str]) -> dict[str, float]:
    """How long the tests of each module may take [s]; they must pass as they are."""
    found = {}
    for module in modules:
        begun = time.monotonic()
        _, status = os.waitpid(begin(module, None, 3600), 0)
        if status:
            raise SystemExit(f"mutate: the tests of {module} fail as they are, so they cannot notice anything.")
        found[module] = max(LEAST_S, PATIENCE * (time.monotonic() - begun))
        print(f"{module}: {time.monotonic() - begun:.1f} s without a change", flush=True)
    return found


def known() -> dict[str, dict[str, str]]:
    """What earlier runs noted, by change; the last word counts."""
    if not NOTES.is_file():
        return {}
    return {row["key"]: row for row in map(json.loads, NOTES.read_text(encoding="utf-8").splitlines())}


def run(waiting: list[Mutant], longest_s: dict[str, float], jobs: int) -> None:
    """Try every change, and note what came of each."""
    NOTES.parent.mkdir(exist_ok=True)
    total, running = len(waiting), {}
    waiting = waiting[::-1]
    with NOTES.open("a", encoding="utf-8") as notes:
        while waiting or running:
            while waiting and len(running) < jobs:
                mutant = waiting.pop()
                running[begin(mutant.module, mutant.source, longest_s[mutant.module])] = mutant
            child, status = os.wait()
            mutant = running.pop(child)
            how = "survives" if status == 0 else "too slow" if status == signal.SIGALRM else "noticed"
            print(f"{total - len(waiting) - len(running)}/{total}  {how:<9} {mutant}", flush=True)
            row = {"key": mutant.key, "module": mutant.module, "change": mutant.text, "how": how}
            notes.write(json.dumps(row) + "\n")
            notes.flush()


def summary(mutants_: list[Mutant], notes: dict[str, dict[str, str]]) -> tuple[str, list[Mutant]]:
    """The table by module and the list of what survives, as Markdown; and what survives without a reason."""
    head = "| module | changes | tried | noticed | by taking too long | survive | of these without effect |"
    lines, unknown, equal = [head, "|---|---|---|---|---|---|---|"], [], []
    for module in dict.fromkeys(m.module for m in mutants_):
        mine = [m for m in mutants_ if m.module == module]
        how = [notes[m.key]["how"] if m.key in notes else "" for m in mine]
        alive = [m for m, h in zip(mine, how, strict=True) if h == "survives"]
        same = [m for m in alive if m.equivalent]
        unknown += [m for m in alive if not m.equivalent]
        equal += same
        tried, slow = len(how) - how.count(""), how.count("too slow")
        noticed = tried - len(alive)
        lines.append(f"| `{module}.py` | {len(mine)} | {tried} | {noticed} | {slow} | {len(alive)} | {len(same)} |")
    lines += ["", "Without effect, each with its reason:", ""]
    lines += [f"- `{m}`: {EQUIVALENT[m.name]}." for m in equal] or ["- none"]
    lines += ["", "Not noticed, a test is missing:", ""]
    lines += [f"- `{m}`" for m in unknown] or ["- none"]
    return "\n".join(lines), unknown


TITLE = """# Mutation of the safety-relevant code

Written by `python test/mutate.py --write`, which changes one operator, constant, name or call of `vla_ros/core/`
at a time and runs the tests that must notice. "Tried" is less than "changes" where a run was broken off;
under `--shuffle` what was tried by then is a random sample.

"""


def main() -> int:
    """Run; 1 if something survives that is not known to be without effect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--part", default="0/1", help="K/N: every N-th change, from the K-th on")
    parser.add_argument("--shuffle", action="store_true", help="in any order, so that what is broken off is a sample")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="leave out what is noted as noticed")
    parser.add_argument("--write", action="store_true", help="write what is noted to docs/mutation.md")
    parser.add_argument("--report", action="store_true", help="run nothing")
    options = parser.parse_args()
    part, of = map(int, options.part.split("/"))
    modules = options.modules or list(TESTS)
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "test")]
    import hypothesis  # noqa: F401 - once here, not in every child
    import numpy  # noqa: F401
    import pytest  # noqa: F401

    waiting = [m for name in modules for m in mutants(name)][part::of]
    done = {k for k, row in known().items() if row["how"] != "survives"} if options.resume else set()
    waiting = [m for m in waiting if m.key not in done]
    waiting.sort(key=lambda m: m.key if options.shuffle else "")
    if waiting and not options.report:
        run(waiting, patience(list(dict.fromkeys(m.module for m in waiting))), options.jobs)
    text, unknown = summary([m for name in TESTS for m in mutants(name)], known())
    print(text)
    if options.write:
        TABLE.write_text(TITLE + text + "\n", encoding="utf-8")
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
