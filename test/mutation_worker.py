"""Runs tests in forked processes, each with one change of a source. Nothing is written to the sources.

Two ways: `Nursery` imports and collects the tests once, and a child only exchanges the code of the changed function;
`fresh` imports everything anew with the changed source instead of the file. The first is quick, and with fewer
random examples; what it lets live, and what lies outside functions, is for the second to decide.
"""

from __future__ import annotations

import cProfile
import gc
import importlib.abc
import importlib.util
import inspect
import json
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType

import pytest
from hypothesis import Phase, settings
from mutation_operators import Mutant

OPTIONS = ["-q", "-s", "-p", "no:cacheprovider", "-o", "timeout=0", "-W", "ignore"]
FEWER = 10
"""The quick way draws so many times fewer random examples."""
MEMORY = 8 * 2**30
"""More than that a change does not get [bytes]."""
Done = Callable[[Mutant, str, str, float], None]
"""Hears of a change what came of it, which test noticed, and after how much processor time [s]."""


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a changed source instead of the file."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module):
        exec(compile(self.source, f"<changed {self.name}>", "exec"), module.__dict__)


class Judge:
    """For pytest: the first failure says its name and ends the process; nothing is explained or made smaller."""

    def __init__(self, seconds: dict[str, float], fewer: int = 1, tell: int = -1) -> None:
        self.seconds, self.fewer, self.tell = seconds, fewer, tell

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0 if "_edges" in item.nodeid else 99.0))
        for item in items:
            chosen = getattr(getattr(item, "obj", None), "_hypothesis_internal_use_settings", None)
            if chosen is not None:
                count = max(1, chosen.max_examples // self.fewer)
                few = settings(chosen, max_examples=count, phases=(Phase.explicit, Phase.generate))
                item.obj._hypothesis_internal_use_settings = few

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            os.write(self.tell, item.nodeid.encode())
            os._exit(1)


def silence() -> None:
    """Nothing this process says is shown."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as this process
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)


def begin(work: Callable[[int], int], most_s: int) -> tuple[int, int]:
    """Fork; the child does `work`, which may write to a pipe, in at most so much processor time [s].

    Returns:
        The child's id, and the pipe's end to read from.
    """
    listen, tell = os.pipe()
    child = os.fork()
    if child:
        os.close(tell)
        return child, listen
    status = 70
    try:
        at_most(most_s)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        status = work(tell)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(status)


def at_most(seconds: int) -> None:
    """End this process after so much processor time [s]."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def ended(waiting: dict[int, tuple[int, Mutant | None]]) -> tuple[Mutant | None, str, str, float]:
    """Wait for one of the children: what it has to say for `Done`."""
    child, status, used = os.wait3(0)
    listen, mutant = waiting.pop(child)
    with os.fdopen(listen, encoding="utf-8") as pipe:
        by = pipe.read()
    if os.WIFSIGNALED(status):
        how = "too slow" if os.WTERMSIG(status) == signal.SIGXCPU else "noticed"
    else:
        how = {0: "survives", 70: "unclear"}.get(os.WEXITSTATUS(status), "noticed")
    return mutant, how, by, round(used.ru_utime + used.ru_stime, 3)


def each(mutants: Iterable[Mutant], jobs: int, work: Callable[[Mutant, int], int], most_s: int, done: Done) -> None:
    """Do `work` for every mutant in a child of its own, so many at once."""
    left, running = list(mutants)[::-1], {}
    while left or running:
        while left and len(running) < jobs:
            mutant = left.pop()
            child, listen = begin(lambda tell, m=mutant: work(m, tell), most_s)
            running[child] = (listen, mutant)
        done(*ended(running))


def fresh(files: list[str], seconds: dict[str, float], mutant: Mutant | None, tell: int) -> int:
    """In a child: run every test with everything imported anew; 0 if they all pass."""
    silence()
    if mutant is not None:
        sys.meta_path.insert(0, Instead(f"vla_ros.core.{mutant.module}", mutant.changed()))
    return int(pytest.main([*OPTIONS, "-x", *files], plugins=[Judge(seconds, 1, tell)]))


def code_of(code: CodeType, function: str) -> CodeType:
    """The code of "Class.method" in that of its module."""
    for part in function.split("."):
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == part)
    return code


def function_of(module: str, function: str) -> Callable:
    """The function "Class.method" of a module that is imported, without what decorates it."""
    found = sys.modules[f"vla_ros.core.{module}"]
    for part in function.split("."):
        found = vars(found)[part]
    for inside in ("fget", "func", "__func__"):
        found = getattr(found, inside, None) or found
    return inspect.unwrap(found)


class Nursery(Judge):
    """For pytest: collects the tests once and runs for every mutant those that call its function, in a child each."""

    def __init__(self, mutants: list[Mutant], jobs: int, done: Done, times: Path) -> None:
        super().__init__({}, FEWER)
        self.mutants, self.jobs, self.done, self.times = mutants, jobs, done, times
        self.noticed: Counter[tuple[str, str]] = Counter()

    def pytest_runtestloop(self, session):
        """Serve."""
        gc.freeze()
        took, calls = self._unchanged(session)

        def first(mutant: Mutant) -> list[pytest.Item]:
            """Quick ones and those that noticed another change of the function."""
            inside = [item for item in session.items if mutant.where in calls[item.nodeid]]
            return sorted(inside, key=lambda i: took[i.nodeid] / (1 + self.noticed[mutant.where, i.nodeid]) ** 2)

        def work(mutant: Mutant, tell: int) -> int:
            self.tell, tests = tell, first(mutant)
            at_most(most(sum(took[item.nodeid] for item in tests)))
            function = function_of(mutant.module, mutant.function)
            function.__code__ = code_of(compile(mutant.changed(), "<changed>", "exec"), mutant.function)
            self._run(tests)
            return 0

        def heard(mutant: Mutant, how: str, by: str, seconds: float) -> None:
            self.noticed[mutant.where, by] += 1
            self.done(mutant, how, by, seconds)

        each(self.mutants, self.jobs, work, most(sum(took.values())), heard)
        return True

    def _run(self, items: list[pytest.Item]) -> None:
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)

    def _unchanged(self, session: pytest.Session) -> tuple[dict[str, float], dict[str, list[str]]]:
        """How much processor time each test takes [s] and what it calls; they must pass as they are."""
        codes = {function_of(m.module, m.function).__code__: m.where for m in self.mutants}

        def work(tell: int) -> int:
            self.tell = tell
            took, calls = {}, {}
            for item in session.items:
                begun, profile = time.process_time(), cProfile.Profile(subcalls=False, builtins=False)
                profile.runcall(self._run, [item])
                calls[item.nodeid] = sorted({codes[row.code] for row in profile.getstats() if row.code in codes})
                took[item.nodeid] = time.process_time() - begun
            self.times.write_text(json.dumps([took, calls]))
            return 0

        child, listen = begin(work, 3600)
        _, how, by, seconds = ended({child: (listen, None)})
        self.done(None, how, by, seconds)
        if how != "survives":
            os._exit(1)
        return tuple(json.loads(self.times.read_text()))


def most(seconds: float) -> int:
    """Processor time after which a change is noticed by its slowness, where the tests take `seconds` without it [s]."""
    return int(10.0 + 3.0 * seconds)
