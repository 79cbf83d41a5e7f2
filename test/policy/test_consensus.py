"""Number of executed waypoints, by the rule of the paper (arXiv:2511.19433) and by that of its released code."""

import itertools

import numpy as np
import pytest

from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.policy.network.horizon_consensus import ConsensusConfig, horizon_deviation, steps_to_execute

HORIZONS = np.arange(3, 31, 3)
HORIZON_COUNT = (np.arange(30)[None] < HORIZONS[:, None]).sum(axis=0)
"""10, 10, 10, 9, 9, 9, ... 1, 1, 1."""
PAPER = ConsensusConfig(threshold_ratio=1.1, min_steps=5, min_horizons=5, max_deviation_rad=1e9)
CODE = ConsensusConfig(threshold_ratio=1.1, min_steps=5, min_horizons=5, max_deviation_rad=1e9, strict=True)


def rule(config: ConsensusConfig, **changes) -> ConsensusConfig:
    return ConsensusConfig(**{**vars(config), **changes})


def test_the_default_is_the_rule_of_the_paper() -> None:
    assert not ConsensusConfig().strict


@pytest.mark.parametrize(("min_horizons", "maximum"), [(5, 18), (3, 24)])
def test_equal_horizons_execute_the_maximum_by_the_rule_of_the_paper(min_horizons: int, maximum: int) -> None:
    assert steps_to_execute(np.zeros(30), HORIZON_COUNT, rule(PAPER, min_horizons=min_horizons)) == maximum


@pytest.mark.parametrize(("min_horizons", "maximum"), [(5, 15), (3, 21)])
def test_the_rule_of_the_code_executes_the_minimum_and_needs_one_horizon_more(min_horizons: int, maximum: int) -> None:
    config = rule(CODE, min_horizons=min_horizons)
    assert steps_to_execute(np.linspace(1.0, 0.1, 30), HORIZON_COUNT, config) == maximum
    assert steps_to_execute(np.zeros(30), HORIZON_COUNT, config) == 5


def noisy_horizons(rng: np.random.Generator, scale: float = 1.0) -> tuple[np.ndarray, ...]:
    """Ten independent horizons whose noise grows by 3 % per step, and their mean within their ends."""
    horizons = scale * 0.02 * rng.normal(size=(10, 30, 6)) * (1.03 ** np.arange(30))[None, :, None]
    weights = (np.arange(30)[None] < HORIZONS[:, None]) / HORIZON_COUNT
    return horizons, (weights[..., None] * horizons).sum(axis=0), weights


def counts(config: ConsensusConfig, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array(
        [steps_to_execute(horizon_deviation(*noisy_horizons(rng, scale)), HORIZON_COUNT, config) for _ in range(400)]
    )


@pytest.mark.parametrize(("config", "maximum"), [(PAPER, 18), (CODE, 15)], ids=["paper", "code"])
def test_a_greater_ratio_executes_more_within_the_limits(config: ConsensusConfig, maximum: int) -> None:
    steps = [counts(rule(config, threshold_ratio=r)) for r in (1.0, 1.1, 1.2, 1.3, 1.4)]
    for shorter, longer in itertools.pairwise(steps):
        assert (longer >= shorter).all()
    assert min(s.min() for s in steps) >= 5
    assert max(s.max() for s in steps) <= maximum
    # Expected: 5.4, 6.2, 7.9, 10.0, 12.7 with other noise; margins of about a third.
    np.testing.assert_allclose([s.mean() for s in steps], [5.4, 6.2, 7.9, 10.0, 12.7], rtol=0.35)


def test_equal_deviations_execute_more_than_growing_ones() -> None:
    growing = np.concatenate([np.full(5, 0.01), np.full(25, 0.05)])
    assert (
        steps_to_execute(np.full(30, 0.01), HORIZON_COUNT, PAPER) > steps_to_execute(growing, HORIZON_COUNT, PAPER) == 5
    )


def test_the_ratio_does_not_depend_on_scale_and_the_absolute_limit_does() -> None:
    np.testing.assert_array_equal(counts(PAPER), counts(PAPER, 100.0))
    capped = rule(PAPER, max_deviation_rad=0.1)
    np.testing.assert_array_equal(counts(capped), counts(PAPER))
    assert (counts(capped, 100.0) == 5).all()


def test_the_deviation_of_few_horizons_is_biased_low() -> None:
    """For n independent horizons h, E|h - mean| is sqrt(1 - 1/n) E|h|: .949, .913, .894, .707 for 10, 6, 5, 2."""
    rng = np.random.default_rng(0)
    for n, expected in ((10, 0.949), (6, 0.913), (5, 0.894), (2, 0.707)):
        horizons = rng.normal(size=(n, 20_000, 1))
        deviation = horizon_deviation(horizons, horizons.mean(axis=0), np.full((n, 20_000), 1 / n)).mean()
        assert deviation / np.abs(rng.normal(size=200_000)).mean() == pytest.approx(expected, rel=0.02)


def test_a_fixed_number_and_a_short_chunk() -> None:
    assert steps_to_execute(np.ones(30), HORIZON_COUNT, rule(PAPER, fixed_steps=7)) == 7
    assert steps_to_execute(np.ones(4), np.ones(4, dtype=np.int64), rule(PAPER, fixed_steps=7)) == 4
    assert steps_to_execute(np.ones(3), np.ones(3, dtype=np.int64), PAPER) == 3


def test_horizons_without_weight_do_not_count() -> None:
    horizons = np.array([[[0.0]], [[1e6]]])
    assert horizon_deviation(horizons, np.zeros((1, 1)), np.array([[1.0], [0.0]])) == pytest.approx(0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_deviation_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(RecordError, match="finite and not negative"):
        steps_to_execute(np.array([0.1, bad]), np.array([2, 2]), PAPER)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold_ratio": 0.0},
        {"threshold_ratio": float("nan")},
        {"min_steps": 0},
        {"min_horizons": 0},
        {"max_deviation_rad": float("nan")},
        {"fixed_steps": -1},
    ],
)
def test_bad_parameters_are_refused(change: dict) -> None:
    with pytest.raises(ConfigError, match=f"consensus.{next(iter(change))}"):
        rule(PAPER, **change)
