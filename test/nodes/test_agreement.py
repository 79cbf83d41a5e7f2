"""Both command topics say the same: when the observer says so, and when not."""

import numpy as np
import pytest

from vla_ros.nodes.common.stream_comparison import UNDER_WAY, Agreement

COPIES = np.cumsum(np.random.default_rng(1).normal(size=(400, 3)), axis=0)
COPIES[:50] = COPIES[50]

CASES = {
    "the same": (COPIES, COPIES, True),
    "nothing on either": (COPIES[:0], COPIES[:0], True),
    "the robot's topic heard later": (COPIES, COPIES[120:], True),
    "the copies heard later": (COPIES[120:], COPIES, True),
    "some lost on the robot's topic": (COPIES, np.delete(COPIES, [200, 201, 300], axis=0), True),
    "one more at the end": (COPIES[:-1], COPIES, True),
    "one value changed": (COPIES, np.where(np.arange(400)[:, None] == 200, COPIES + 1e-12, COPIES), False),
    "two swapped": (COPIES, COPIES[[*range(200), 201, 200, *range(202, 400)]], False),
    "one inserted": (COPIES, np.insert(COPIES, 200, 0.0, axis=0), False),
    "something else": (COPIES, COPIES + 1.0, False),
    "only the robot's topic": (COPIES[:0], COPIES, False),
    "only the copies": (COPIES, COPIES[:0], False),
}


@pytest.mark.parametrize(("copies", "told", "agree"), CASES.values(), ids=CASES.keys())
def test_agreement(copies: np.ndarray, told: np.ndarray, agree: bool):
    whole = Agreement(3)
    whole.add(copies, told)
    assert whole.holds() is agree


@pytest.mark.parametrize("changed", [None, 100, UNDER_WAY + 100])
def test_agreement_in_parts_of_which_one_topic_runs_behind(changed: int | None):
    copies = np.random.default_rng(2).normal(size=(UNDER_WAY + 2000, 3))
    told = copies.copy()
    if changed is not None:
        told[changed] += 1e-12
    parts = Agreement(3)
    parts.add(copies[:50], told[: UNDER_WAY + 40])
    parts.add(copies[50:1000], told[UNDER_WAY + 40 : UNDER_WAY + 900])
    parts.add(copies[1000:], told[UNDER_WAY + 900 :])
    assert parts.holds() is (changed is None)
    assert (parts.copies, parts.told) == (len(copies), len(told))
