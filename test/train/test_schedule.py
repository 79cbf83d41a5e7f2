"""Learning rate and averaged weights against their formulas."""

import math
from dataclasses import replace

import pytest
import torch
from train.test_learning import CONFIG, demonstrations

from vla_ros.core.errors import ConfigError
from vla_ros.train.batches import BatchMaker
from vla_ros.train.learner import Learner


def test_the_rate_warms_up_and_then_follows_a_cosine_to_two_percent() -> None:
    learner = Learner(BatchMaker(demonstrations(), CONFIG, 0), CONFIG, 0)
    assert learner.rate(0.0) == pytest.approx(CONFIG.lr / CONFIG.warmup)
    learner.step_count = CONFIG.warmup
    assert learner.rate(0.0) == pytest.approx(CONFIG.lr)
    assert learner.rate(0.5) == pytest.approx(CONFIG.lr * 0.51)
    assert learner.rate(1.0) == pytest.approx(CONFIG.lr * 0.02)
    third = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi / 3.0))
    assert learner.rate(1.0 / 3.0) == pytest.approx(CONFIG.lr * third)
    assert learner.rate(7.0) == learner.rate(1.0)


def test_the_average_is_exponential_with_a_short_window_at_the_beginning() -> None:
    learner = Learner(BatchMaker(demonstrations(), CONFIG, 0), CONFIG, 0)
    expected = [p.detach().clone() for p in learner.model.parameters()]
    for step in range(1, 5):
        learner.step(0.1)
        now = list(learner.model.parameters())
        decay = min(CONFIG.ema, (1.0 + step) / (10.0 + step))
        expected = [decay * old + (1.0 - decay) * new.detach() for old, new in zip(expected, now, strict=True)]
    for mean, value in zip(learner.average.parameters(), expected, strict=True):
        torch.testing.assert_close(mean, value, rtol=1e-5, atol=1e-7)
    assert not any(p.requires_grad for p in learner.average.parameters())


def test_a_loss_or_gradient_that_is_not_finite_ends_the_training_without_a_change() -> None:
    """Otherwise the next saved state and the checkpoint would contain NaN."""
    diverging = replace(CONFIG, lr=1e30)
    for config, infinite in ((diverging, False), (CONFIG, True)):
        learner = Learner(BatchMaker(demonstrations(), config, 0), config, 0)
        learner.step(0.1)
        if infinite:  # the loss is finite, its gradient is not
            next(learner.model.parameters()).register_hook(lambda g: g * torch.inf)
        weights = [*learner.model.parameters(), *learner.average.parameters()]
        before = [p.detach().clone() for p in weights]
        with pytest.raises(ConfigError, match=r"step 2 has a loss of .* and a gradient norm of (nan|inf).*lower lr"):
            learner.step(0.2)
        assert learner.step_count == 1
        assert all(torch.equal(a, b) and torch.isfinite(a).all() for a, b in zip(weights, before, strict=True))
