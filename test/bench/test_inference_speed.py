"""What the inference bench counts, not what it times: passes of the transformer for one chunk of tokens."""

import torch
from policy.small_network import model, observation

from bench.common.inference_baselines import Autoregressive
from bench.inference_speed import passes


def test_parallel_decoding_takes_one_pass_and_serial_decoding_one_per_token() -> None:
    network = model("beast_tokens")
    serial, tokens = Autoregressive(network, bins=64).eval(), len(network.head.queries)
    with torch.inference_mode():
        context = network.encode(*observation(1))
        noise = torch.zeros(1, network.encoding.steps, len(network.config.joints))
        assert passes(network, context, noise) == 1
        decoded = serial(context)
    assert tokens == 6 * 3
    assert serial.passes == tokens
    assert decoded.shape == (1, tokens)


def test_the_serial_decoder_attends_to_earlier_tokens() -> None:
    network = model("beast_tokens")
    serial = Autoregressive(network, bins=64).eval()
    with torch.inference_mode():
        context = network.encode(*observation(1))
        cache = network.transformer.cache(context)
        first = serial.next_features(network.head.queries[None, :1], cache)
        assert cache[0][0].shape[2] == context.shape[1] + 1
        second = serial.next_features(network.head.queries[None, :1], cache)
    assert (first - second).abs().max() > 1e-4
