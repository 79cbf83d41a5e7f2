"""The comparison of published commands with their stamped copies."""

import numpy as np
import pytest

from vla_ros.evaluation.stream_comparison import IN_TRANSIT_ROWS, StreamComparison

COPIES = np.cumsum(np.random.default_rng(1).normal(size=(400, 3)), axis=0)
COPIES[:50] = COPIES[50]

CASES = {
    "equal": (COPIES, COPIES, True),
    "both empty": (COPIES[:0], COPIES[:0], True),
    "commands start later": (COPIES, COPIES[120:], True),
    "copies start later": (COPIES[120:], COPIES, True),
    "some commands lost": (COPIES, np.delete(COPIES, [200, 201, 300], axis=0), True),
    "one more command at the end": (COPIES[:-1], COPIES, True),
    "one value changed": (COPIES, np.where(np.arange(400)[:, None] == 200, COPIES + 1e-12, COPIES), False),
    "two swapped": (COPIES, COPIES[[*range(200), 201, 200, *range(202, 400)]], False),
    "one inserted": (COPIES, np.insert(COPIES, 200, 0.0, axis=0), False),
    "all different": (COPIES, COPIES + 1.0, False),
    "no copies": (COPIES[:0], COPIES, False),
    "no commands": (COPIES, COPIES[:0], False),
}


@pytest.mark.parametrize(("copies", "commands", "match"), CASES.values(), ids=CASES.keys())
def test_streams_match(copies: np.ndarray, commands: np.ndarray, match: bool):
    comparison = StreamComparison(3)
    comparison.add(copies, commands)
    assert comparison.match() is match


@pytest.mark.parametrize("changed", [None, 100, IN_TRANSIT_ROWS + 100])
def test_streams_match_in_parts_with_the_copies_behind(changed: int | None):
    copies = np.random.default_rng(2).normal(size=(IN_TRANSIT_ROWS + 2000, 3))
    commands = copies.copy()
    if changed is not None:
        commands[changed] += 1e-12
    comparison = StreamComparison(3)
    comparison.add(copies[:50], commands[: IN_TRANSIT_ROWS + 40])
    comparison.add(copies[50:1000], commands[IN_TRANSIT_ROWS + 40 : IN_TRANSIT_ROWS + 900])
    comparison.add(copies[1000:], commands[IN_TRANSIT_ROWS + 900 :])
    assert comparison.match() is (changed is None)
    assert (comparison.copies, comparison.commands) == (len(copies), len(commands))
