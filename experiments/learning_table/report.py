"""From the records of the runs: a table per suite, claims, docs/learning.md and its plots."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from experiments.learning_table.suites import EXECUTION_MODES
from experiments.learning_table.tasks import SUITES
from experiments.learning_table.training_run import read_json

HEAD = (
    "head", "horizons", "executed", "success", "95 % interval", "steps per inference", "peak jerk of chunks / limit",
    "of commands", "processor min", "optimizer steps", "parameters", "inference ms",
)  # fmt: skip
REQUIRED_RATIO = 1.5
"""Required ratio of steps per inference, with a consensus over without."""


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of a suite in the order of its heads, single horizons before mixtures."""
    found = [read_json(path) for path in folder.glob("*.json")]
    heads = list(SUITES[folder.name]().heads) if folder.name in SUITES else []
    place = {head: k for k, head in enumerate(heads)}
    return sorted(found, key=lambda r: (place.get(r["head"], len(heads)), r["mixture"], -r["waypoints"]))


def _executed(record: dict[str, Any], mode: str) -> str:
    if mode == "fixed":
        return f"first {record['min_steps']}"
    return f"consensus, r = {EXECUTION_MODES[mode] or record['threshold_ratio']:g}"


def table(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a suite: one row per run and execution mode."""
    rows = []
    for r in read_records(folder):
        for mode, row in ((m, r["evaluations"][m]) for m in EXECUTION_MODES if m in r["evaluations"]):
            low, high = row["interval"]
            rows.append(
                [
                    r["head"],
                    " ".join(map(str, r["horizons"])) or f"one of {r['waypoints']}",
                    _executed(r, mode),
                    _count(row),
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


def claims(folder: Path) -> list[tuple[str, bool]]:
    """What the papers claim, and whether it holds here; runs without a complete record are left out.

    Args:
        folder: Folder of the records of all suites.
    """
    found = []
    for name in SUITES:
        for row in read_json(folder / f"{name}_tokenizer_error.json").get("rows", []):
            errors = f"{100 * row['beast']:.2g} < {100 * row['bins']:.2g} % of the motion"
            text = f"{name}: {row['tokens']} BEAST tokens per joint lose less than as many bins, {errors}"
            found.append((text, row["beast"] < row["bins"]))
        records = read_records(folder / name)
        for r in (r for r in records if r["mixture"]):
            head, fixed = r["head"], r["evaluations"].get("fixed")
            singles = [
                s["evaluations"]["fixed"]
                for s in records
                if s["head"] == head and not s["mixture"] and "fixed" in s["evaluations"]
            ]
            if fixed and singles:
                best = max(singles, key=_rate)
                text = f"{name}, {head}: mixture {_count(fixed)} >= the best of {len(singles)} single horizons "
                found.append((text + _count(best), _rate(fixed) >= _rate(best)))
            if fixed and len(r["evaluations"]) > 1:
                found.append(_consensus_claim(name, r))
    return found


def _consensus_claim(suite: str, record: dict[str, Any]) -> tuple[str, bool]:
    """Whether some threshold ratio makes many more steps per inference without a loss of success."""
    rows = record["evaluations"]
    fixed_steps, required = max(rows["fixed"]["steps_per_inference"], 1e-9), rows["fixed"]["interval"][0]
    details, met = [], False
    for mode in (m for m in EXECUTION_MODES if m != "fixed" and m in rows):
        ratio = rows[mode]["steps_per_inference"] / fixed_steps
        details.append(f"{_executed(record, mode)}: {ratio:.2f} times, {_count(rows[mode])}")
        met = met or (ratio >= REQUIRED_RATIO and _rate(rows[mode]) >= required)
    text = (
        f"{suite}, {record['head']}: a consensus makes >= {REQUIRED_RATIO} times the steps per inference at a success "
        f"of at least {100 * required:.0f} %, the lower end of the interval without it ({'; '.join(details)})"
    )
    return text, met


def _rate(row: dict[str, Any]) -> float:
    return float(row["successes"] / row["episodes"])


def _count(row: dict[str, Any]) -> str:
    return f"{row['successes']}/{row['episodes']}"


def markdown(folder: Path) -> str:
    """The table of a suite in Markdown."""
    head, rows = table(folder)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def plot(folder: Path, file: Path) -> None:
    """Plot loss, and success of the closed-loop checks and of the evaluation, over processor minutes."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "learning"
    records = read_records(folder)
    heads = list(dict.fromkeys(r["head"] for r in records))
    figure, axes = plt.subplots(
        2, len(heads), figsize=(2.6 * len(heads) + 0.6, 4.8), layout="constrained", squeeze=False, sharex=True
    )
    for r in records:
        k = heads.index(r["head"])
        count, longest = r["waypoints"], max(other["waypoints"] for other in records)
        label = "mixture" if r["mixture"] else "one horizon" if count == longest else f"one of {count}"
        style = {"label": label, "color": "C1" if r["mixture"] else "C0", "alpha": 1.0 if count == longest else 0.4}
        axes[0, k].semilogy([p[0] for p in r["curve"]], [p[2] for p in r["curve"]], **style)
        points = [(c["minutes"], 100.0 * c["successes"] / c["episodes"]) for c in r["checks"]]
        if "fixed" in r["evaluations"]:
            points.append((r["train"]["minutes"], 100.0 * _rate(r["evaluations"]["fixed"])))
        axes[1, k].plot(*zip(*points, strict=True), marker="o", ms=4, **style) if points else None
        axes[0, k].set(title=r["head"])
        axes[1, k].set(ylim=(-4, 104), xlabel="processor minutes")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    axes[0, 0].set(ylabel="loss (each head has its own)")
    axes[1, 0].set(ylabel="success [%]")
    axes[0, 0].legend()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def write_report(records: Path, docs: Path, plots: Path | None = None) -> None:
    """Write the tables between their marks in docs/learning.md, and the plots.

    Args:
        records: Folder of the records of all suites.
        docs: Folder of learning.md; plots are written to its subfolder img.
        plots: Another folder for the plots; None for none.
    """
    page = docs / "learning.md"
    text = page.read_text(encoding="utf-8")
    for name in SUITES:
        if not read_records(records / name):
            continue
        begin, end = f"<!-- table {name} -->", "<!-- end -->"
        if begin not in text:
            text += f"\n## {name}\n\n{begin}\n{end}\n"
        shown = f"{markdown(records / name)}\n\n![Loss and success of each head](img/learning_{name}.svg)"
        text = re.sub(f"({begin}\n).*?({end})", lambda m, s=shown: f"{m[1]}{s}\n{m[2]}", text, flags=re.DOTALL)
        for folder in (docs / "img", *((plots,) if plots else ())):
            folder.mkdir(parents=True, exist_ok=True)
            plot(records / name, folder / f"learning_{name}.svg")
    page.write_text(text, encoding="utf-8")
