"""What `bench/speed.py` counts, not what it times: passes of the transformer for one chunk of tokens."""

import torch
from policy.small import model, seen

from bench.common.speed_parts import Autoregressive
from bench.speed import passes


def test_tokens_are_said_in_one_pass_and_one_by_one_in_as_many_as_there_are() -> None:
    net = model("beast_tokens")
    after, slots = Autoregressive(net, bins=64).eval(), len(net.head.queries)
    with torch.inference_mode():
        prefix = net.features(*seen(1))
        noise = torch.zeros(1, net.code.steps, len(net.config.joints))
        assert passes(net, prefix, noise) == 1
        said = after(prefix)
    assert slots == 6 * 3
    assert after.passes == slots
    assert said.shape == (1, slots)


def test_the_one_by_one_decoder_attends_to_what_it_has_said() -> None:
    """What was said first decides what follows, and the prefix decides both."""
    net = model("beast_tokens")
    after = Autoregressive(net, bins=64).eval()
    with torch.inference_mode():
        prefix = net.features(*seen(1))
        memory = net.body.remember(prefix)
        first = after._one(net.head.queries[None, :1], memory)
        assert memory[0][0].shape[2] == prefix.shape[1] + 1
        again = after._one(net.head.queries[None, :1], memory)
    assert (first - again).abs().max() > 1e-4
