"""Every change of a source by one operator, constant, name or call, and the changes nobody could notice."""

from __future__ import annotations

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = {
    "supervisor.Supervisor._begin_stop: path_stop(motion, now_ns, self.limits) if isinstance(motion, Plan) else motion"
    "  ->  path_stop(motion, now_ns, self.limits)": "it is called while running, and then every motion is a plan",
    "faults.Action: 2  ->  3": "only the order of actions matters",
    "speed.between: value < stop  ->  value <= stop": "the line ends at LEAST",
    "speed.Speed.__init__: 1.0  ->  1.5": "nothing else that is compared with it exceeds 1",
    "stop.PathStop.knots_ns: 40 * PIECES + 1  ->  40 * PIECES - 1": "a grid that is as fine: less than a microsecond",
    "stop.PathStop.knots_ns: 40  ->  41": "the same",
    "stop.PathStop.knots_ns: 1  ->  2": "the same",
    "stop.PathStop.knots_ns: 1  ->  2  (2)": "in the last 960th of a ramp the plan's clock moves by 4 ns at most",
    "stop._permitted: 1  ->  2": "numpy finds out a length that is given as -2 as it does for -1",
    "stop.path_stop: int(ramp_ns // SAMPLE_NS) + 1  ->  int(ramp_ns // SAMPLE_NS) - 1": "2.1 ms apart, not 2.0",
    "stop.path_stop: 1  ->  2": "1.98 ms apart, not 2.0",
    "stop.path_stop: _permitted(plan, now_ns, np.array([ramp_ns]), fine, limits).all  ->  "
    "_permitted(plan, now_ns, np.array([ramp_ns]), fine, limits).any": "of a single ramp",
    "stop.Brake.reach: a + np.copysign(root, a)  ->  a - np.copysign(root, a)": "the same two roots in the other order",
    "stop.Brake._phases: True  ->  False": "three durations and three jerks",
    "stop.brake: coasting > 0.0  ->  coasting >= 0.0": "at 0 either sign gives the motion that only lets go",
    "space._Pieces.__init__: 1  ->  2  (3)": "one polynomial and two are one piece at first, filled up or not",
    "stop.brake: 1e-12  ->  1.5e-12": "it only keeps from dividing by 0",
    "certify._on_coefficients: 1  ->  2": "numpy finds out a length that is given as -2 as it does for -1",
    "certify._on_coefficients: 1  ->  2  (2)": "the same",
    "gate.splice: True  ->  False": "both sides of the zip have three members",
}
"""Changes nobody could notice, as `Mutant.name` has them, and why."""

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
    """One change.

    Attributes:
        module: Of `vla_ros.core`.
        line: Where it is.
        function: The outermost function it is inside of, as "Class.method"; "" if in none.
        name: Module, function or class, what becomes of what, and which one of those that read the same.
        original: The text of the module.
        changed: Makes the whole changed text of it.
    """

    module: str
    line: int
    function: str
    name: str
    original: str
    changed: Callable[[], str]

    def __str__(self) -> str:
        return f"{self.line}: {self.name}"

    @property
    def where(self) -> str:
        """Module and function."""
        return f"{self.module}.{self.function}"

    @property
    def key(self) -> str:
        """The same for the same change of the same text."""
        return hashlib.sha256(f"{self.name}\n{self.original}".encode()).hexdigest()[:16]

    @property
    def equivalent(self) -> bool:
        return self.name in EQUIVALENT


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


def places(node: ast.AST, scope: str = "", function: str = "") -> Iterator[tuple[ast.AST, str, int | None, str, str]]:
    """Where a node may be replaced: parent, field, index, class or function, and function it is inside of.

    No annotations, texts or documentation. Decorators and defaults are not inside the function they belong to.
    """
    if isinstance(node, ast.JoinedStr):
        return
    named = isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not function
    scope = f"{scope}.{node.name}".lstrip(".") if named else scope
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        inside = scope if isinstance(node, ast.FunctionDef) and field == "body" and not function else function
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield node, field, index, scope, inside
                yield from places(child, scope, inside)


def mutants(module: str) -> Iterator[Mutant]:
    """Every change of a module, in the order of its lines."""
    text = (ROOT / "vla_ros" / "core" / f"{module}.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    seen: Counter[str] = Counter()
    for parent, field, index, scope, function in list(places(tree)):
        value = getattr(parent, field)
        node = value if index is None else value[index]
        for new in changed(node):
            before, after = ast.unparse(node), ast.unparse(new)
            name = f"{f'{module}.{scope}'.rstrip('.')}: {before[:90]}  ->  {after[:90]}"
            seen[name] += 1
            name += f"  ({seen[name]})" if seen[name] > 1 else ""
            make = partial(with_change, tree, parent, field, index, node, new)
            yield Mutant(module, getattr(node, "lineno", 0), function, name, text, make)


def with_change(tree: ast.AST, parent: ast.AST, field: str, index: int | None, node: ast.AST, new: ast.AST) -> str:
    """The text of a tree in which a node is replaced for as long as this takes."""
    put(parent, field, index, new)
    source = ast.unparse(ast.fix_missing_locations(tree))
    put(parent, field, index, node)
    return source


def put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node
