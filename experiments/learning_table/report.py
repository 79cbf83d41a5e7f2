"""From the cells' records: a table per block, the claims that can be met or not, docs/learning.md and its curves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from experiments.learning_table.suites import WAYS
from experiments.learning_table.tasks import BLOCKS
from experiments.learning_table.training_run import read_json

HEAD = (
    "head", "horizons", "executed", "success", "95 % interval", "steps per inference", "peak jerk of chunks / of limit",
    "of commands", "processor min", "optimizer steps", "parameters", "inference ms",
)  # fmt: skip
RATIO = 1.5
"""How many times more steps per inference consensus is to execute."""


def records(folder: Path) -> list[dict[str, Any]]:
    """The records of a block, in the order of its heads, single before mixed."""
    made = [read_json(path) for path in folder.glob("*.json")]
    heads = list(BLOCKS[folder.name]().heads) if folder.name in BLOCKS else []
    place = {head: k for k, head in enumerate(heads)}
    return sorted(made, key=lambda r: (place.get(r["head"], len(heads)), r["mixed"], -_waypoints(r)))


def _waypoints(record: dict[str, Any]) -> int:
    return int(record["config"]["spline"]["waypoints"])


def _way(record: dict[str, Any], way: str) -> str:
    rule = record["config"]["actor"]["consensus"]
    return f"first {rule['least']}" if way == "fixed" else f"agreed, r = {WAYS[way] or rule['ratio']:g}"


def table(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Head and rows: one row per cell and way to execute."""
    rows = []
    for r in records(folder):
        for way, row in ((w, r["rows"][w]) for w in WAYS if w in r["rows"]):
            low, high = row["interval"]
            rows.append(
                [
                    r["head"],
                    " ".join(map(str, r["config"]["actor"]["horizons"])) or f"one of {_waypoints(r)}",
                    _way(r, way),
                    f"{row['successes']}/{row['episodes']}",
                    f"{100 * low:.0f} to {100 * high:.0f} %",
                    f"{row['steps_per_inference']:.1f}",
                    *(_jerk(row[k], row["jerk_over_limit"]) for k in ("chunk_jerk", "command_jerk")),
                    f"{r['train']['minutes']:.1f}",
                    f"{r['train']['steps']}",
                    f"{r['parameters'] / 1e6:.2f} M",
                    f"{r['inference_ms']:.1f}",
                ]
            )
    return list(HEAD), rows


def _jerk(value: float, over_limit: bool) -> str:
    return f"{value:.2f}" if over_limit else f"{value:.0f} rad/s³"


def verdicts(kept: Path) -> list[tuple[str, bool]]:
    """What the papers' orderings come to here; pairs whose two records are not whole are left out."""
    claims = []
    for name in BLOCKS:
        for row in read_json(kept / f"{name}_codes.json").get("rows", []):
            lost = f"{100 * row['beast']:.2g} < {100 * row['bins']:.2g} % of the motion"
            text = f"{name}: {row['tokens']} BEAST tokens a joint lose less than as many bins, {lost}"
            claims.append((text, row["beast"] < row["bins"]))
        made = records(kept / name)
        for r in (r for r in made if r["mixed"]):
            head, fixed = r["head"], r["rows"].get("fixed")
            singles = [
                s["rows"]["fixed"] for s in made if s["head"] == head and not s["mixed"] and "fixed" in s["rows"]
            ]
            if fixed and singles:
                best = max(singles, key=_rate)
                text = f"{name}, {head}: mixture {_count(fixed)} >= the best of {len(singles)} single horizons "
                claims.append((text + _count(best), _rate(fixed) >= _rate(best)))
            if fixed and len(r["rows"]) > 1:
                claims.append(_consensus(name, r))
    return claims


def _consensus(block: str, record: dict[str, Any]) -> tuple[str, bool]:
    """Whether some ratio makes many more steps per inference without a loss."""
    rows = record["rows"]
    usual, least = max(rows["fixed"]["steps_per_inference"], 1e-9), rows["fixed"]["interval"][0]
    told, met = [], False
    for way in (w for w in WAYS if w != "fixed" and w in rows):
        more = rows[way]["steps_per_inference"] / usual
        told.append(f"{_way(record, way)}: {more:.2f} times, {_count(rows[way])}")
        met = met or (more >= RATIO and _rate(rows[way]) >= least)
    text = f"{block}, {record['head']}: a consensus makes >= {RATIO} times the steps per inference at a success of at "
    return text + f"least {100 * least:.0f} %, where the interval of the first ones begins ({'; '.join(told)})", met


def _rate(row: dict[str, Any]) -> float:
    return float(row["successes"] / row["episodes"])


def _count(row: dict[str, Any]) -> str:
    return f"{row['successes']}/{row['episodes']}"


def markdown(folder: Path) -> str:
    """The table of a block, ready to paste."""
    head, rows = table(folder)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def plot(folder: Path, file: Path) -> None:
    """Loss, and success of the closed-loop checks and at the end, over processor minutes."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "learning"
    made = records(folder)
    heads = list(dict.fromkeys(r["head"] for r in made))
    figure, axes = plt.subplots(
        2, len(heads), figsize=(2.6 * len(heads) + 0.6, 4.8), layout="constrained", squeeze=False, sharex=True
    )
    for r in made:
        k = heads.index(r["head"])
        count, longest = _waypoints(r), max(_waypoints(other) for other in made)
        label = "mixture" if r["mixed"] else "one horizon" if count == longest else f"one of {count}"
        style = {"label": label, "color": "C1" if r["mixed"] else "C0", "alpha": 1.0 if count == longest else 0.4}
        axes[0, k].semilogy([p[0] for p in r["curve"]], [p[2] for p in r["curve"]], **style)
        points = [(c["minutes"], 100.0 * c["successes"] / c["of"]) for c in r["checks"]]
        if "fixed" in r["rows"]:
            row = r["rows"]["fixed"]
            points.append((r["train"]["minutes"], 100.0 * row["successes"] / row["episodes"]))
        axes[1, k].plot(*zip(*points, strict=True), marker="o", ms=4, **style) if points else None
        axes[0, k].set(title=r["head"])
        axes[1, k].set(ylim=(-4, 104), xlabel="processor minutes")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    axes[0, 0].set(ylabel="loss (of each its own)")
    axes[1, 0].set(ylabel="success [%]")
    axes[0, 0].legend()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def write_report(kept: Path, docs: Path, more: Path | None = None) -> None:
    """Put tables between their marks in docs/learning.md, and draw the curves."""
    page = docs / "learning.md"
    text = page.read_text(encoding="utf-8")
    for name in BLOCKS:
        if not records(kept / name):
            continue
        begin, end = f"<!-- table {name} -->", "<!-- end -->"
        if begin not in text:
            text += f"\n## {name}\n\n{begin}\n{end}\n"
        shown = f"{markdown(kept / name)}\n\n![Loss and success of each head](img/learning_{name}.svg)"
        text = re.sub(f"({begin}\n).*?({end})", lambda m, s=shown: f"{m[1]}{s}\n{m[2]}", text, flags=re.DOTALL)
        for folder in (docs / "img", *((more,) if more else ())):
            folder.mkdir(parents=True, exist_ok=True)
            plot(kept / name, folder / f"learning_{name}.svg")
    page.write_text(text, encoding="utf-8")
