"""Change the safety-relevant code one operator, constant or call at a time; every change must fail a test.

    python test/mutate.py                     # every module of the table below; an hour on two cores
    python test/mutate.py supervisor modes    # these only
    python test/mutate.py --part 0/4          # every fourth change

Nothing is written to the sources: each change lives in a forked process that imports it instead of the file.
What survives is printed at the end, and is either a missing test or a change without effect, listed in
`EQUIVALENT` with its reason. The exit status is 1 if anything else survives.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "modes": ["test_modes.py"],
    "faults": ["test_rules.py", "../test_safety.py"],
    "gate": ["test_gate.py", "test_supervisor.py", "test_supervisor_story.py"],
    "watch": [
        "test_watch.py",
        "test_watch_inputs.py",
        "test_rules.py",
        "test_supervisor.py",
        "test_supervisor_stops.py",
    ],
    "speed": ["test_speed.py", "test_supervisor.py"],
    "supervisor": ["test_rules.py", "test_supervisor.py", "test_supervisor_stops.py", "test_supervisor_story.py"],
    "stop": ["test_stop.py", "test_gate.py", "test_supervisor_stops.py", "test_supervisor_story.py"],
    "certify": ["test_certify.py", "test_gate.py"],
    "space": ["test_space.py"],
}
LONGEST_S = 90
"""A change that makes the tests run longer counts as noticed."""
EQUIVALENT = {
    "faults: 2  ->  3": "only the order of actions matters",
    "gate: True  ->  False": "both sides of the zip have three members",
    "gate: limits.lower - POSITION_ROUNDING <= p  ->  limits.lower - POSITION_ROUNDING < p": "rounding",
    "gate: p <= limits.upper + POSITION_ROUNDING  ->  p < limits.upper + POSITION_ROUNDING": "rounding",
    "gate: np.abs(v) <= limits.velocity * SPEED_ROUNDING  ->  np.abs(v) < limits.velocity * SPEED_ROUNDING": "rounding",
    "supervisor: m.start_ns < plan.start_ns  ->  m.start_ns <= plan.start_ns": "the newest of two is taken",
}
"""Changes nobody could notice, as "module: before  ->  after", and why."""

COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
BINARY = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.FloorDiv: ast.Mult,
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "all": "any", "any": "all",
    "argmax": "argmin", "argmin": "argmax", "abs": "float",
}  # fmt: skip


MEMBERS = {
    "Mode": ("INACTIVE", "READY", "RUNNING", "STOPPING", "STOPPED", "ESTOPPED"),
    "Event": ("FRESH", "LOST", "ARM", "STOP", "REST", "ESTOP", "RESET"),
    "Action": ("WARN", "STOP", "ESTOP"),
}


@dataclass(frozen=True)
class Mutant:
    """One change."""

    module: str
    line: int
    text: str
    source: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.text}"

    @property
    def equivalent(self) -> bool:
        return f"{self.module}: {self.text}" in EQUIVALENT


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """Every single change of one node, not of those inside it."""
    if isinstance(node, ast.Compare):
        for k, op in enumerate(node.ops):
            new = copy.deepcopy(node)
            new.ops[k] = COMPARE[type(op)]()
            yield new
    elif isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        yield ast.BinOp(node.left, BINARY[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1 if isinstance(node.value, int) else node.value * 1.5 + (node.value == 0))
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield ast.Attribute(node.value, NAMES[node.attr], node.ctx)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in MEMBERS:
        known = MEMBERS[node.value.id]
        yield ast.Attribute(node.value, known[(known.index(node.attr) + 1) % len(known)], node.ctx)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
        yield ast.Call(ast.Name(NAMES[node.func.id], ast.Load()), node.args, node.keywords)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Where a node may be replaced: parent, field, index; no annotations, texts or documentation."""
    if isinstance(node, ast.JoinedStr):
        return
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield node, field, index
                yield from places(child)


def mutants(module: str) -> Iterator[Mutant]:
    """Every change of a module, in the order of its lines."""
    tree = ast.parse((ROOT / "vla_ros" / "core" / f"{module}.py").read_text(encoding="utf-8"))
    for parent, field, index in list(places(tree)):
        value = getattr(parent, field)
        node = value if index is None else value[index]
        for new in changed(node):
            before, after = ast.unparse(node), ast.unparse(new)
            put(parent, field, index, new)
            source = ast.unparse(ast.fix_missing_locations(tree))
            put(parent, field, index, node)
            line = getattr(node, "lineno", 0)
            yield Mutant(module, line, f"{before[:90]}  ->  {after[:90]}", source)


def put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a changed source instead of the file."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module):
        exec(compile(self.source, f"<changed {self.name}>", "exec"), module.__dict__)


def survives(mutant: Mutant) -> int:
    """Fork; the child's status is 0 if every test passed in spite of the change."""
    child = os.fork()
    if child:
        return child
    os.setpgrp()
    signal.alarm(LONGEST_S)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as this process
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)
    sys.meta_path.insert(0, Instead(f"vla_ros.core.{mutant.module}", mutant.source))
    status = 1
    with contextlib.suppress(BaseException):
        import pytest

        files = [str(ROOT / "test" / "core" / name) for name in TESTS[mutant.module]]
        status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *files]))
    os._exit(status)


def main() -> int:
    """Run; 1 if something survives that is not known to be without effect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--part", default="0/1", help="K/N: every N-th change, from the K-th on")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    part, of = map(int, options.part.split("/"))
    waiting = [m for name in options.modules or TESTS for m in mutants(name)][part::of]
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "test")]
    import hypothesis  # noqa: F401 - once here, not in every child
    import numpy  # noqa: F401
    import pytest  # noqa: F401

    total, survivors, running, begun = len(waiting), [], {}, time.monotonic()
    waiting.reverse()
    while waiting or running:
        while waiting and len(running) < options.jobs:
            mutant = waiting.pop()
            running[survives(mutant)] = mutant
        child, status = os.wait()
        mutant = running.pop(child)
        if status == 0:
            survivors.append(mutant)
            print(f"survives  {mutant}", flush=True)
    unknown = [m for m in survivors if not m.equivalent]
    print(f"{total} changes, {total - len(survivors)} noticed, {len(survivors)} survive, {len(unknown)} unexplained,")
    print(f"in {time.monotonic() - begun:.0f} s.")
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
