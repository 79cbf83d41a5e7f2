"""Train a policy for the simulated arm, or on a LeRobot dataset."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Run the training; see `vla_ros.train.__main__`."""
    from vla_ros.train.__main__ import main as train

    return train(argv)
