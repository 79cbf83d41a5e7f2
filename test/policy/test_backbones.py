"""Hugging Face backbones: the original classes with tiny random weights. No test may open a network connection."""

import json
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch
from policy.small_network import JOINTS, config, data, fake_pass

from vla_ros.core.errors import ConfigError
from vla_ros.policy.encoders.base import image_encoders
from vla_ros.policy.inference.engine import Engine
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.network.config import BackboneConfig, ModelConfig
from vla_ros.policy.network.model import VlaNetwork
from vla_ros.policy.text.encoders import InstructionEncoder

pytest.importorskip("transformers", reason='backbones: pip install "vla_ros[backbones]"')

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32}
SHAPES = {
    "siglip": {**VIT, "patch_size": 8},
    "dinov2": {**VIT, "patch_size": 8, "mlp_ratio": 2},
    "florence2": {
        "vision_config": {
            "depths": [1, 1],
            "patch_size": [7, 3],
            "patch_stride": [4, 2],
            "patch_padding": [3, 1],
            "patch_prenorm": [False, True],
            "embed_dim": [16, 32],
            "num_heads": [2, 2],
            "num_groups": [2, 2],
            "window_size": 4,
            "projection_dim": 32,
        },
        "text_config": {
            "model_type": "bart",
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "vocab_size": 300,
        },
        "image_token_id": 299,
    },
    "smolvlm": {
        "vision_config": {**VIT, "patch_size": 8},
        "text_config": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "vocab_size": 300,
            "pad_token_id": 0,
        },
        "image_token_id": 299,
    },
}
TOKENS = {"siglip": 16, "dinov2": 17, "florence2": 17, "smolvlm": 4}
"""Per image of 32 px: patches of 8 px; with a class token; 4 x 4 positions and their mean; a quarter of the patches."""
EVERY = pytest.mark.parametrize("name", SHAPES)
READING = pytest.mark.parametrize("name", ["florence2", "smolvlm"])


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to connect or to look up a name fails the test."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"tried to connect: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def shape(name: str, **backbone) -> ModelConfig:
    language = "backbone" if name in ("florence2", "smolvlm") else "hash"
    settings = BackboneConfig(shape=SHAPES[name], **backbone)
    small = config(encoder=name, language=language, instruction_size=24, backbone=settings)
    return replace(small, cameras=("front", "wrist"))


def observation(name: str, texts: tuple[str, ...] = ("open the drawer", "go")) -> tuple:
    """Images, joints and instructions, one sample per text."""
    g = torch.Generator().manual_seed(1)
    images = [torch.rand(len(texts), 3, 32, 32, generator=g) - 0.5 for _ in range(2)]
    c = shape(name).network
    encoder = InstructionEncoder(c.language, c.instruction_size)
    instruction = torch.from_numpy(np.stack([encoder(text) for text in texts]))
    return images, 0.3 * torch.randn(len(texts), 3, generator=g), instruction


def model(name: str, **backbone):
    torch.manual_seed(0)
    made = VlaNetwork(shape(name, **backbone)).eval()
    made.fit_statistics(*data(), np.zeros((1, 24), np.int64))
    return made


def with_network(config: ModelConfig, **changes: object) -> ModelConfig:
    return replace(config, network=replace(config.network, **changes))


@EVERY
def test_its_tokens_become_context_tokens(name: str) -> None:
    net = model(name)
    with torch.no_grad():
        context = net.encode(*observation(name))
        words = 24 if net.context_encoder.instruction_token is None else 1
        assert context.shape == (2, 2 * TOKENS[name] + words + 1, 32)
        chunk = net(*observation(name))
    assert chunk.shape == (2, 12, 3)
    assert torch.isfinite(chunk).all()


@EVERY
def test_a_pass_reads_no_value_and_bf16_changes_it_little(name: str) -> None:
    net, given = model(name), observation(name, ("go",))
    assert fake_pass(net, *given).waypoints.shape == (1, 12, 3)
    plain, half = (Engine(net, torch.device("cpu"), precision=p)(*given) for p in ("float32", "bf16"))
    assert 0.0 < float((plain.waypoints - half.waypoints).abs().max()) <= 5e-3


@EVERY
def test_every_camera_has_an_effect_and_its_own_position_embedding(name: str) -> None:
    net = model(name)
    images, joints, instruction = observation(name)
    with torch.no_grad():
        before = net.encode(images, joints, instruction)
        swapped = net.encode(images[::-1], joints, instruction)
        dark = net.encode([images[0], torch.zeros_like(images[1])], joints, instruction)
    assert (before.mean(dim=1) - swapped.mean(dim=1)).abs().max() > 1e-4
    assert (before.mean(dim=1) - dark.mean(dim=1)).abs().max() > 1e-4


@EVERY
def test_a_frozen_backbone_gets_no_gradient_and_a_free_one_does(name: str) -> None:
    for frozen in (True, False):
        net = model(name, frozen=frozen).train()
        net.encode(*observation(name)).square().mean().backward()
        parameters = list(net.context_encoder.encoders[0].parameters())
        assert net.context_encoder.encoders[0].training is not frozen
        if frozen:
            assert all(p.grad is None and not p.requires_grad for p in parameters)
        else:
            trained = [p for p in parameters if p.requires_grad]
            assert all(p.grad is not None for p in trained), "data-parallel training waits for every gradient"
            assert sum(bool(p.grad.any()) for p in trained) > 0.8 * len(parameters)
        assert net.context_encoder.image_tokens[0].weight.grad.any()


@READING
def test_the_instruction_goes_through_the_backbone(name: str) -> None:
    net = model(name)
    images, joints, instruction = observation(name, ("open the drawer", "open the drawer"))
    with torch.no_grad():
        one = net.encode(images, joints, instruction)
        two = net.encode(images, joints, observation(name, ("shut the drawer", "open the drawer"))[2])
    assert (one[0] - two[0]).abs().max() > 1e-4
    torch.testing.assert_close(one[1], two[1])


@READING
def test_padding_has_no_effect(name: str) -> None:
    net = model(name)
    images, _, instruction = observation(name)
    with torch.no_grad():
        tokens, text = net.context_encoder.encoders[0](images, instruction)
        short = net.context_encoder.encoders[0]([i[1:] for i in images], instruction[1:, :2])
    assert not text[1, 2:].any()
    torch.testing.assert_close(tokens[1:], short[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(text[1:, :2], short[1], atol=1e-5, rtol=1e-4)


@EVERY
def test_a_checkpoint_holds_all_weights(name: str, tmp_path) -> None:
    net = model(name)
    file = tmp_path / "policy.safetensors"
    save_checkpoint(file, net, CheckpointInfo("r", "go", net.config))
    back, info = load_checkpoint(file)
    assert info.model == net.config
    with torch.no_grad():
        torch.testing.assert_close(back(*observation(name)), net(*observation(name)), atol=2e-3, rtol=0.0)


@EVERY
def test_weights_come_from_a_folder(name: str, tmp_path) -> None:
    import transformers

    cls = image_encoders.get(name)
    made = getattr(transformers, cls.classes[0]).from_dict(SHAPES[name])
    torch.manual_seed(5)
    published = getattr(transformers, cls.classes[1])(made)
    published.save_pretrained(tmp_path, safe_serialization=True)
    empty = with_network(shape(name), backbone=BackboneConfig(weights=str(tmp_path)))
    torch.manual_seed(0)
    net = VlaNetwork(empty)
    assert net.config.network.backbone.shape, "the checkpoint must not need the folder"
    expected = published.state_dict()
    weights = [p for p in net.context_encoder.encoders[0].parameters() if p.ndim > 1]
    assert all(any(p.shape == q.shape and torch.equal(p, q) for q in expected.values()) for p in weights)


def test_the_instruction_is_tokenized_by_the_tokenizer_of_the_folder(tmp_path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({"[UNK]": 0, "open": 1, "the": 2, "drawer": 3}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(words)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    encoder = InstructionEncoder("backbone", 5, str(tmp_path))
    assert encoder("open the door").tolist() == [1, 2, 0, -1, -1]
    assert encoder("open the drawer the drawer open").tolist() == [1, 2, 3, 2, 3]
    with pytest.raises(ConfigError, match="needs its tokenizer for a new instruction; there is no"):
        InstructionEncoder("backbone", 5, str(tmp_path / "elsewhere"))("open")


def test_a_bad_folder_is_refused_with_one_sentence(tmp_path) -> None:
    bad = with_network(shape("siglip"), backbone=BackboneConfig(weights=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        VlaNetwork(bad)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip_vision_model", **SHAPES["siglip"]}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match="there are no safetensors in"):
        VlaNetwork(bad)
    from safetensors.torch import save_file

    save_file({"vision_model.post_layernorm.weight": torch.ones(32)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="lack "):
        VlaNetwork(bad)


@pytest.mark.parametrize("name", ["siglip", "dinov2", "florence2", "smolvlm"])
def test_images_of_another_size_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="image_size is 30"):
        VlaNetwork(replace(shape(name), image_size=30))


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match='"siglip" does not encode text'):
        VlaNetwork(with_network(shape("siglip"), language="backbone"))


def test_a_missing_library_is_reported_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ConfigError, match=r'"siglip" needs .* transformers: pip install "vla_ros\[backbones\]"'):
        VlaNetwork(shape("siglip"))


def test_joints_are_a_token_beside_those_of_the_backbone() -> None:
    net = model("siglip")
    images, joints, instruction = observation("siglip")
    with torch.no_grad():
        moved = net.encode(images, joints + 0.2, instruction)
        before = net.encode(images, joints, instruction)
    assert len(JOINTS) == joints.shape[1]
    assert (moved[:, -2] - before[:, -2]).abs().max() > 1e-3
