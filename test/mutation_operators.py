"""Mutation operators: all changes of a source by one operator, constant, name or call; and the equivalent mutants."""

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
PACKAGE = "vla_ros.safety"
EQUIVALENT = {
    "supervisor.Supervisor._begin_stop: path_stop(motion, now_ns, self.limits) if isinstance(motion, Plan) else motion"
    "  ->  path_stop(motion, now_ns, self.limits)": "called only while running, where every motion is a plan",
    "fault_rules.Action: 2  ->  3": "only the order of the actions matters",
    "speed_scaling.interpolate_scale: value < stop  ->  value <= stop": "the line ends at MIN_SCALE",
    "speed_scaling.SpeedScaling.__init__: 1.0  ->  1.5": "nothing else that is compared with it exceeds 1",
    "stopping.PathStop.knots_ns: 40 * SEGMENTS + 1  ->  40 * SEGMENTS - 1": "an equally fine grid: below a microsecond",
    "stopping.PathStop.knots_ns: 40  ->  41": "the same",
    "stopping.PathStop.knots_ns: 1  ->  2": "the same",
    "stopping.PathStop.knots_ns: 1  ->  2  (2)": "in the last 960th of a ramp the clock advances by at most 4 ns",
    "stopping._permitted: 1  ->  2": "numpy infers a length given as -2 like one given as -1",
    "stopping.path_stop: int(ramp_ns // FINE_SAMPLE_NS) + 1  ->  int(ramp_ns // FINE_SAMPLE_NS) - 1": "a sample period "
    "of 2.1 ms in place of 2.0 ms",
    "stopping.path_stop: 1  ->  2": "a sample period of 1.98 ms in place of 2.0 ms",
    "stopping.path_stop: _permitted(plan, now_ns, np.array([ramp_ns]), fine, limits).all  ->  "
    "_permitted(plan, now_ns, np.array([ramp_ns]), fine, limits).any": "there is a single ramp",
    "stopping.Brake.position_range: a + np.copysign(root, a)  ->  a - np.copysign(root, a)": "the same two roots in "
    "the other order",
    "stopping.Brake._phases: True  ->  False": "there are three durations and three jerks",
    "stopping.brake: final_velocity > 0.0  ->  final_velocity >= 0.0": "at 0 either sign only returns the acceleration "
    "to zero",
    "clearance._Intervals.__init__: 1  ->  2  (3)": "one and two segments are one interval at first, padded or not",
    "stopping.brake: 1e-12  ->  1.5e-12": "it only prevents a division by 0",
    "limit_certificate._on_coefficients: 1  ->  2": "numpy infers a length given as -2 like one given as -1",
    "limit_certificate._on_coefficients: 1  ->  2  (2)": "the same",
    "gate.switch_discontinuity: True  ->  False": "both sides of the zip have three members",
}
"""Equivalent mutants by `Mutant.name`, with the reason."""

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
    "Event": ("INPUTS_OK", "INPUT_FAULT", "ARM", "STOP", "AT_REST", "ESTOP", "RESET"),
    "Action": ("WARN", "STOP", "ESTOP"),
}


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        module: Name of the module in `PACKAGE`.
        line: Line of the change.
        function: The outermost function that contains it, as "Class.method"; "" if none does.
        name: Module, class or function, the old and the new text, and a number if several have the same name.
        original: Source of the module.
        changed: Generates the changed source of the module.
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
        """Module and function, separated by a dot."""
        return f"{self.module}.{self.function}"

    @property
    def key(self) -> str:
        """Hash of the change and the source, equal in every run."""
        return hashlib.sha256(f"{self.name}\n{self.original}".encode()).hexdigest()[:16]

    @property
    def equivalent(self) -> bool:
        """Whether it is listed in `EQUIVALENT`."""
        return self.name in EQUIVALENT


def changed_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All changes of one node, without those of its children."""
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
        members = MEMBERS[node.value.id]
        yield ast.Attribute(node.value, members[(members.index(node.attr) + 1) % len(members)], node.ctx)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
        yield ast.Call(ast.Name(NAMES[node.func.id], ast.Load()), node.args, node.keywords)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse


def replaceable_nodes(
    node: ast.AST, scope: str = "", function: str = ""
) -> Iterator[tuple[ast.AST, str, int | None, str, str]]:
    """All nodes that may be replaced: parent, field, index, enclosing scope, and outermost enclosing function.

    Annotations, strings and docstrings are excluded. Decorators and default values are outside of their function.
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
                yield from replaceable_nodes(child, scope, inside)


def mutants(module: str) -> Iterator[Mutant]:
    """All mutants of a module of `PACKAGE`, in the order of the source."""
    text = ROOT.joinpath(*PACKAGE.split("."), f"{module}.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    counts: Counter[str] = Counter()
    for parent, field, index, scope, function in list(replaceable_nodes(tree)):
        value = getattr(parent, field)
        node = value if index is None else value[index]
        for new in changed_nodes(node):
            before, after = ast.unparse(node), ast.unparse(new)
            name = f"{f'{module}.{scope}'.rstrip('.')}: {before[:90]}  ->  {after[:90]}"
            counts[name] += 1
            name += f"  ({counts[name]})" if counts[name] > 1 else ""
            make = partial(changed_source, tree, parent, field, index, node, new)
            yield Mutant(module, getattr(node, "lineno", 0), function, name, text, make)


def changed_source(tree: ast.AST, parent: ast.AST, field: str, index: int | None, node: ast.AST, new: ast.AST) -> str:
    """The source of a tree with one node replaced; the tree itself is restored."""
    set_node(parent, field, index, new)
    source = ast.unparse(ast.fix_missing_locations(tree))
    set_node(parent, field, index, node)
    return source


def set_node(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    """Replace a child of a node."""
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node
