"""A pass through the network has no branches on values, as a CUDA graph needs it; checked without a GPU."""

import pytest
import torch
from policy.small_network import STEPS, fake_pass, model, observation

from vla_ros.policy.network.model import VlaNetwork


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("head", STEPS)
def test_a_pass_reads_no_value_and_stays_on_its_device(head: str, mixed: bool) -> None:
    raw = fake_pass(model(head, mixed), *observation(1))
    assert raw.waypoints.shape == (1, 12, 3)
    assert [raw.horizons is None, raw.weights is None] == [not mixed, not mixed]


@pytest.mark.parametrize(
    "bad",
    [
        lambda x: x * float(x.sum()),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x + x[x > 0].sum(),
        lambda x: x + torch.zeros(x.shape),
        lambda x: x + torch.from_numpy(x.cpu().numpy()),
    ],
    ids=["a number", "a branch", "a mask", "on another device", "by numpy"],
)
def test_the_check_detects(bad, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = VlaNetwork.decode
    monkeypatch.setattr(VlaNetwork, "decode", lambda self, context, *rest: decode(self, bad(context), *rest))
    with pytest.raises((RuntimeError, NotImplementedError)):
        fake_pass(model(), *observation(1))
