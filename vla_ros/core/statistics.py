"""Confidence intervals of measured proportions."""

from __future__ import annotations


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Wilson's score interval of a proportion (Wilson, JASA 22, 1927).

    Args:
        successes: Number of successful trials, 0 to `trials`.
        trials: Number of trials.
        confidence: Confidence level, between 0 and 1.

    Returns:
        Lower and upper bound of the success probability; None without trials.

    Raises:
        ValueError: `successes` is negative or greater than `trials`.
    """
    if trials == 0:
        return None
    from scipy.stats import binomtest  # here, because importing scipy.stats takes half a second

    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
