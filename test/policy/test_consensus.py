"""How many waypoints horizons agree on, by the rule of the paper and by that of its code (facts C.2, 10 to 13)."""

import itertools

import numpy as np
import pytest

from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.policy.network.horizon_consensus import ConsensusConfig, agreed, disagreement

HORIZONS = np.arange(3, 31, 3)
VOTERS = (np.arange(30)[None] < HORIZONS[:, None]).sum(axis=0)
"""10, 10, 10, 9, 9, 9, ... 1, 1, 1."""
PAPER = ConsensusConfig(ratio=1.1, least=5, voters=5, cap_rad=1e9)
CODE = ConsensusConfig(ratio=1.1, least=5, voters=5, cap_rad=1e9, strict=True)


def rule(config: ConsensusConfig, **changes) -> ConsensusConfig:
    return ConsensusConfig(**{**vars(config), **changes})


def test_ours_is_the_papers_rule() -> None:
    assert not ConsensusConfig().strict


@pytest.mark.parametrize(("voters", "longest"), [(5, 18), (3, 24)])
def test_exact_agreement_executes_the_most_by_the_papers_rule(voters: int, longest: int) -> None:
    assert agreed(np.zeros(30), VOTERS, rule(PAPER, voters=voters)) == longest


@pytest.mark.parametrize(("voters", "longest"), [(5, 15), (3, 21)])
def test_the_codes_rule_executes_the_least_of_exact_agreement_and_wants_one_voter_more(voters, longest) -> None:
    config = rule(CODE, voters=voters)
    assert agreed(np.linspace(1.0, 0.1, 30), VOTERS, config) == longest
    assert agreed(np.zeros(30), VOTERS, config) == 5


def noisy_heads(rng: np.random.Generator, scale: float = 1.0) -> tuple[np.ndarray, ...]:
    """Ten independent heads whose noise grows by 3 % per step, and their mean where they reach."""
    heads = scale * 0.02 * rng.normal(size=(10, 30, 6)) * (1.03 ** np.arange(30))[None, :, None]
    weights = (np.arange(30)[None] < HORIZONS[:, None]) / VOTERS
    return heads, (weights[..., None] * heads).sum(axis=0), weights


def counts(config: ConsensusConfig, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([agreed(disagreement(*noisy_heads(rng, scale)), VOTERS, config) for _ in range(400)])


@pytest.mark.parametrize(("config", "longest"), [(PAPER, 18), (CODE, 15)], ids=["paper", "code"])
def test_a_greater_ratio_executes_more_and_never_less_than_the_least(config: ConsensusConfig, longest: int) -> None:
    steps = [counts(rule(config, ratio=r)) for r in (1.0, 1.1, 1.2, 1.3, 1.4)]
    for shorter, longer in itertools.pairwise(steps):
        assert (longer >= shorter).all()
    assert min(s.min() for s in steps) >= 5
    assert max(s.max() for s in steps) <= longest
    # Published for this digest: 5.4, 6.2, 7.9, 10.0, 12.7 with its own noise; margins of about a third.
    np.testing.assert_allclose([s.mean() for s in steps], [5.4, 6.2, 7.9, 10.0, 12.7], rtol=0.35)


def test_horizons_that_agree_execute_more_than_horizons_that_part() -> None:
    apart = np.concatenate([np.full(5, 0.01), np.full(25, 0.05)])
    assert agreed(np.full(30, 0.01), VOTERS, PAPER) > agreed(apart, VOTERS, PAPER) == 5


def test_the_relative_rule_is_blind_to_scale_and_the_cap_is_not() -> None:
    np.testing.assert_array_equal(counts(PAPER), counts(PAPER, 100.0))
    capped = rule(PAPER, cap_rad=0.1)
    np.testing.assert_array_equal(counts(capped), counts(PAPER))
    assert (counts(capped, 100.0) == 5).all()


def test_few_voters_look_more_in_agreement_than_many() -> None:
    """Independent heads: E|head - mean| is sqrt(1 - 1/n) of E|head|: .949, .913, .894, .707 for 10, 6, 5, 2."""
    rng = np.random.default_rng(0)
    for n, expected in ((10, 0.949), (6, 0.913), (5, 0.894), (2, 0.707)):
        heads = rng.normal(size=(n, 20_000, 1))
        near = disagreement(heads, heads.mean(axis=0), np.full((n, 20_000), 1 / n)).mean()
        assert near / np.abs(rng.normal(size=200_000)).mean() == pytest.approx(expected, rel=0.02)


def test_a_fixed_number_and_a_short_chunk() -> None:
    assert agreed(np.ones(30), VOTERS, rule(PAPER, fixed=7)) == 7
    assert agreed(np.ones(4), np.ones(4, dtype=np.int64), rule(PAPER, fixed=7)) == 4
    assert agreed(np.ones(3), np.ones(3, dtype=np.int64), PAPER) == 3


def test_weights_of_nothing_count_nothing() -> None:
    heads = np.array([[[0.0]], [[1e6]]])
    assert disagreement(heads, np.zeros((1, 1)), np.array([[1.0], [0.0]])) == pytest.approx(0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_distance_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(RecordError, match="finite and not negative"):
        agreed(np.array([0.1, bad]), np.array([2, 2]), PAPER)


@pytest.mark.parametrize(
    "change",
    [{"ratio": 0.0}, {"ratio": float("nan")}, {"least": 0}, {"voters": 0}, {"cap_rad": float("nan")}, {"fixed": -1}],
)
def test_bad_rules_are_refused(change: dict) -> None:
    with pytest.raises(ConfigError, match=f"consensus: {next(iter(change))}"):
        rule(PAPER, **change)
