"""Evaluate a policy, or the expert, on unseen simulated scenes without ROS."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Run the evaluation; see `vla_ros.evaluation.evaluate`."""
    from vla_ros.evaluation.evaluate import main as evaluate

    return evaluate(argv)
