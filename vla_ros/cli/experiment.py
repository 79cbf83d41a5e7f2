"""List the experiments, or run one."""

from __future__ import annotations

from collections.abc import Sequence

from vla_ros.cli import _checkout

USAGE = """usage: vla experiment [NAME [options]]

Without a name, lists the experiments. `vla experiment NAME --help` lists the options of one experiment.
"""


def main(argv: Sequence[str]) -> int:
    """List the experiments, or run the one named, in place of this process.

    Returns:
        Its exit status; 2 without a checkout.
    """
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if not _checkout.check_names("experiments", "experiment", argv[:1]):
        return 2
    if not argv:
        _checkout.print_programs("experiments")
        print("\nvla experiment NAME runs one.")
        return 0
    return _checkout.replace_process(f"experiments.{argv[0]}", argv[1:])
