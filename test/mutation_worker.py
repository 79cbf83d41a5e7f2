"""Runs tests in forked processes, each with one mutant; the sources are never modified.

There are two modes. In quick mode `ForkedTestRunner` imports and collects the tests once, and each child only replaces
the code object of the changed function; it draws fewer random examples. In full mode `run_with_fresh_imports` imports
everything again with the changed source in place of the file. Full mode decides about mutants that survive quick mode
and about those outside of functions.
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
from mutation_operators import PACKAGE, Mutant

OPTIONS = ["-q", "-s", "-p", "no:cacheprovider", "-o", "timeout=0", "-W", "ignore"]
QUICK_REDUCTION = 10
"""Quick mode draws the number of random examples divided by this."""
MAX_MEMORY = 8 * 2**30
"""Memory limit of a child [bytes]."""
OnResult = Callable[[Mutant, str, str, float], None]
"""Called with a mutant, its outcome, the test that killed it, and the processor time used [s]."""


class MutatedSourceImporter(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a changed source in place of the file of one module."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module):
        exec(compile(self.source, f"<changed {self.name}>", "exec"), module.__dict__)


class FirstFailureReporter:
    """Pytest plugin: the first failure writes the name of its test to a pipe and ends the process.

    Failures are neither explained nor minimised.
    """

    def __init__(self, seconds: dict[str, float], reduction: int = 1, write_fd: int = -1) -> None:
        self.seconds, self.reduction, self.write_fd = seconds, reduction, write_fd

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 99.0))
        for item in items:
            original = getattr(getattr(item, "obj", None), "_hypothesis_internal_use_settings", None)
            if original is not None:
                count = max(1, original.max_examples // self.reduction)
                reduced = settings(original, max_examples=count, phases=(Phase.explicit, Phase.generate))
                item.obj._hypothesis_internal_use_settings = reduced

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            os.write(self.write_fd, item.nodeid.encode())
            os._exit(1)


def silence_output() -> None:
    """Discard the standard output and error of this process."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as this process
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)


def fork_child(work: Callable[[int], int], max_cpu_s: int) -> tuple[int, int]:
    """Fork a child that runs `work` with the write end of a pipe, within a limit of processor time [s].

    Returns:
        The child's process id and the read end of the pipe.
    """
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child:
        os.close(write_fd)
        return child, read_fd
    status = 70
    try:
        limit_cpu_time(max_cpu_s)
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        status = work(write_fd)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(status)


def limit_cpu_time(seconds: int) -> None:
    """Terminate this process after a processor time [s]."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def wait_for_child(running: dict[int, tuple[int, Mutant | None]]) -> tuple[Mutant | None, str, str, float]:
    """Wait for one of the children, remove it from `running`, and return the arguments of `OnResult`."""
    child, status, used = os.wait3(0)
    read_fd, mutant = running.pop(child)
    with os.fdopen(read_fd, encoding="utf-8") as pipe:
        test = pipe.read()
    if os.WIFSIGNALED(status):
        outcome = "timeout" if os.WTERMSIG(status) == signal.SIGXCPU else "killed"
    else:
        outcome = {0: "survived", 70: "unclear"}.get(os.WEXITSTATUS(status), "killed")
    return mutant, outcome, test, round(used.ru_utime + used.ru_stime, 3)


def run_parallel(
    mutants: Iterable[Mutant], jobs: int, work: Callable[[Mutant, int], int], max_cpu_s: int, on_result: OnResult
) -> None:
    """Run `work` for every mutant in a child of its own, at most `jobs` children in parallel."""
    pending, running = list(mutants)[::-1], {}
    while pending or running:
        while pending and len(running) < jobs:
            mutant = pending.pop()
            child, read_fd = fork_child(lambda write_fd, m=mutant: work(m, write_fd), max_cpu_s)
            running[child] = (read_fd, mutant)
        on_result(*wait_for_child(running))


def run_with_fresh_imports(files: list[str], seconds: dict[str, float], mutant: Mutant | None, write_fd: int) -> int:
    """In a child: run every test with all modules imported again; 0 if all of them pass."""
    silence_output()
    if mutant is not None:
        sys.meta_path.insert(0, MutatedSourceImporter(f"{PACKAGE}.{mutant.module}", mutant.changed()))
    return int(pytest.main([*OPTIONS, "-x", *files], plugins=[FirstFailureReporter(seconds, 1, write_fd)]))


def code_object(code: CodeType, function: str) -> CodeType:
    """The code object of "Class.method" in that of its module."""
    for part in function.split("."):
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == part)
    return code


def imported_function(module: str, function: str) -> Callable:
    """The function "Class.method" of an imported module, without its decorators."""
    found = sys.modules[f"{PACKAGE}.{module}"]
    for part in function.split("."):
        found = vars(found)[part]
    for inside in ("fget", "func", "__func__"):
        found = getattr(found, inside, None) or found
    return inspect.unwrap(found)


class ForkedTestRunner(FirstFailureReporter):
    """Pytest plugin: collects the tests once and runs, for every mutant in its own child, the tests that call it."""

    def __init__(self, mutants: list[Mutant], jobs: int, on_result: OnResult, times: Path) -> None:
        super().__init__({}, QUICK_REDUCTION)
        self.mutants, self.jobs, self.on_result, self.times = mutants, jobs, on_result, times
        self.kills: Counter[tuple[str, str]] = Counter()

    def pytest_runtestloop(self, session):
        """Run all mutants."""
        gc.freeze()
        durations, calls = self._run_unchanged(session)

        def ordered_tests(mutant: Mutant) -> list[pytest.Item]:
            """Tests that call the function: fast ones and those that killed other mutants of it come first."""
            callers = [item for item in session.items if mutant.where in calls[item.nodeid]]
            return sorted(callers, key=lambda i: durations[i.nodeid] / (1 + self.kills[mutant.where, i.nodeid]) ** 2)

        def work(mutant: Mutant, write_fd: int) -> int:
            self.write_fd, tests = write_fd, ordered_tests(mutant)
            limit_cpu_time(timeout_s(sum(durations[item.nodeid] for item in tests)))
            function = imported_function(mutant.module, mutant.function)
            function.__code__ = code_object(compile(mutant.changed(), "<changed>", "exec"), mutant.function)
            self._run(tests)
            return 0

        def count_and_report(mutant: Mutant, outcome: str, test: str, seconds: float) -> None:
            self.kills[mutant.where, test] += 1
            self.on_result(mutant, outcome, test, seconds)

        run_parallel(self.mutants, self.jobs, work, timeout_s(sum(durations.values())), count_and_report)
        return True

    def _run(self, items: list[pytest.Item]) -> None:
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)

    def _run_unchanged(self, session: pytest.Session) -> tuple[dict[str, float], dict[str, list[str]]]:
        """Processor time of each test on the unchanged code [s], and the functions it calls; all tests must pass."""
        codes = {imported_function(m.module, m.function).__code__: m.where for m in self.mutants}

        def work(write_fd: int) -> int:
            self.write_fd = write_fd
            durations, calls = {}, {}
            for item in session.items:
                start, profile = time.process_time(), cProfile.Profile(subcalls=False, builtins=False)
                profile.runcall(self._run, [item])
                calls[item.nodeid] = sorted({codes[row.code] for row in profile.getstats() if row.code in codes})
                durations[item.nodeid] = time.process_time() - start
            self.times.write_text(json.dumps([durations, calls]))
            return 0

        child, read_fd = fork_child(work, 3600)
        _, outcome, test, seconds = wait_for_child({child: (read_fd, None)})
        self.on_result(None, outcome, test, seconds)
        if outcome != "survived":
            os._exit(1)
        return tuple(json.loads(self.times.read_text()))


def timeout_s(seconds: float) -> int:
    """Processor time after which a mutant counts as killed by time-out, if the tests take `seconds` without it [s]."""
    return int(10.0 + 3.0 * seconds)
