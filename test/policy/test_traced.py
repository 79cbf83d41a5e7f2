"""A pass through a network has no branches: what a CUDA graph could not record is found without a GPU."""

import pytest
import torch
from policy.small import STEPS, model, seen, traced, trunk

from vla_ros.policy.network.model import ActorModel


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("head", STEPS)
def test_a_pass_looks_at_no_value_and_stays_on_its_device(head: str, mixed: bool) -> None:
    said = traced(model(head, mixed), *seen(1))
    assert said[0] is not None
    assert said[0].shape == (1, 12, 3)
    assert [said[2] is None, said[3] is None] == [not mixed, not mixed]


def test_the_trunk_looks_at_no_value_either() -> None:
    assert traced(trunk(), *seen(1))[0].shape == (1, 12, 3)


@pytest.mark.parametrize(
    "bad",
    [
        lambda x: x * float(x.sum()),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x + x[x > 0].sum(),
        lambda x: x + torch.zeros(x.shape),
        lambda x: x + torch.from_numpy(x.cpu().numpy()),
    ],
    ids=["a number", "a branch", "a mask", "made elsewhere", "by numpy"],
)
def test_the_check_above_would_notice(bad, monkeypatch: pytest.MonkeyPatch) -> None:
    say = ActorModel.say
    monkeypatch.setattr(ActorModel, "say", lambda self, prefix, *rest: say(self, bad(prefix), *rest))
    with pytest.raises((RuntimeError, NotImplementedError)):
        traced(model(), *seen(1))
