"""List the benches, or measure: run those named, or all."""

from __future__ import annotations

from collections.abc import Sequence

from vla_ros.cli import _checkout

USAGE = """usage: vla bench [NAME ... | all] [options]

Without a name, lists the benches.

  --quick      a tenth of the work, to check that the bench runs
  --out DIR    folder for plots

`vla bench NAME --help` lists the options of one bench. bench/README.md has the required and the measured figures.
The exit status is 1 if a required figure that does not depend on the machine's speed is missed.
"""


def main(argv: Sequence[str]) -> int:
    """List the benches, or run those named, each in a process of its own.

    Returns:
        0 if every bench succeeds, 1 if one fails, 2 without a checkout.
    """
    args = list(argv)
    count = next((k for k, a in enumerate(args) if a.startswith("-")), len(args))
    names, options = args[:count], args[count:]
    if not names and any(a in ("-h", "--help") for a in options):
        print(USAGE)
        return 0
    names = list(_checkout.programs("bench")) if names == ["all"] else names
    if not _checkout.check_names("bench", "bench", names):
        return 2
    if not names:
        _checkout.print_programs("bench")
        print("\nvla bench NAME runs one.")
        return 0
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        if _checkout.run_module(f"bench.{name}", options):
            failed.append(name)
    return int(bool(failed))
