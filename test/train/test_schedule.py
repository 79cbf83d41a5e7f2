"""Learning rate and averaged weights against their formulas."""

import math
from dataclasses import replace

import pytest
import torch
from train.test_learning import CONFIG, world

from vla_ros.core.errors import ConfigError
from vla_ros.train.batches import BatchMaker
from vla_ros.train.learner import Learner


def test_the_rate_warms_up_then_follows_a_cosine_down_to_two_hundredths() -> None:
    learner = Learner(BatchMaker(world(), CONFIG, 0), CONFIG, 0)
    assert learner.rate(0.0) == pytest.approx(CONFIG.lr / CONFIG.warmup)
    learner.step_count = CONFIG.warmup
    assert learner.rate(0.0) == pytest.approx(CONFIG.lr)
    assert learner.rate(0.5) == pytest.approx(CONFIG.lr * 0.51)
    assert learner.rate(1.0) == pytest.approx(CONFIG.lr * 0.02)
    third = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi / 3.0))
    assert learner.rate(1.0 / 3.0) == pytest.approx(CONFIG.lr * third)
    assert learner.rate(7.0) == learner.rate(1.0)


def test_the_average_is_the_exponential_one_with_a_short_memory_at_first() -> None:
    learner = Learner(BatchMaker(world(), CONFIG, 0), CONFIG, 0)
    wanted = [p.detach().clone() for p in learner.model.parameters()]
    for step in range(1, 5):
        learner.step(0.1)
        now = list(learner.model.parameters())
        decay = min(CONFIG.ema, (1.0 + step) / (10.0 + step))
        wanted = [decay * old + (1.0 - decay) * new.detach() for old, new in zip(wanted, now, strict=True)]
    for mean, value in zip(learner.average.parameters(), wanted, strict=True):
        torch.testing.assert_close(mean, value, rtol=1e-5, atol=1e-7)
    assert not any(p.requires_grad for p in learner.average.parameters())


def test_a_loss_or_a_gradient_that_is_no_number_ends_the_training_and_spoils_nothing() -> None:
    """Or the next state on disk, and the policy that is kept, would be NaN throughout."""
    wild = replace(CONFIG, lr=1e30)
    for config, infinite in ((wild, False), (CONFIG, True)):
        learner = Learner(BatchMaker(world(), config, 0), config, 0)
        learner.step(0.1)
        if infinite:  # the loss is a number, its gradient is none
            next(learner.model.parameters()).register_hook(lambda g: g * torch.inf)
        kept = [*learner.model.parameters(), *learner.average.parameters()]
        before = [p.detach().clone() for p in kept]
        with pytest.raises(ConfigError, match=r"step 2 has a loss of .* and a gradient of (nan|inf).*lower lr"):
            learner.step(0.2)
        assert learner.step_count == 1
        assert all(torch.equal(a, b) and torch.isfinite(a).all() for a, b in zip(kept, before, strict=True))
