"""Hugging Face backbones: their real classes with tiny random shapes. Nothing here may reach for a network."""

import json
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch
from policy.small import JOINTS, config, data, traced

from vla_ros.core.errors import ConfigError
from vla_ros.policy.encoders.backbone_config import BackboneConfig
from vla_ros.policy.encoders.keypoint import find_encoder
from vla_ros.policy.inference.engine import Engine
from vla_ros.policy.network.build import make_model
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.text.encoders import Sentences

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
"""Per image of 32 px: patches of 8 px; with a class token; 4 x 4 cells and their mean; a quarter of the patches."""
EVERY = pytest.mark.parametrize("name", SHAPES)
READING = pytest.mark.parametrize("name", ["florence2", "smolvlm"])


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to connect or to look up a name fails the test."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"reached for the network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def shape(name: str, **backbone) -> ModelConfig:
    language = "backbone" if name in ("florence2", "smolvlm") else "hash"
    settings = BackboneConfig(shape=SHAPES[name], **backbone)
    return replace(config(), cameras=("front", "wrist"), encoder=name, language=language, words=24, backbone=settings)


def seen(name: str, said: tuple[str, ...] = ("open the drawer", "go")) -> tuple:
    g = torch.Generator().manual_seed(1)
    images = [torch.rand(len(said), 3, 32, 32, generator=g) - 0.5 for _ in range(2)]
    c = shape(name)
    words = torch.from_numpy(np.stack([Sentences(c.language, c.words)(s) for s in said]))
    return images, 0.3 * torch.randn(len(said), 3, generator=g), words


def model(name: str, **backbone):
    torch.manual_seed(0)
    made = make_model(shape(name, **backbone)).eval()
    made.set_statistics(*data())
    return made


@EVERY
def test_its_tokens_become_the_prefix(name: str) -> None:
    net = model(name)
    with torch.no_grad():
        prefix = net.features(*seen(name))
        words = 24 if net.word_token is None else 1
        assert prefix.shape == (2, 2 * TOKENS[name] + words + 1, 32)
        chunk = net(*seen(name))
    assert chunk.shape == (2, 12, 3)
    assert torch.isfinite(chunk).all()


@EVERY
def test_a_pass_looks_at_no_value_and_bf16_moves_it_little(name: str) -> None:
    net, given = model(name), seen(name, ("go",))
    assert traced(net, *given).waypoints.shape == (1, 12, 3)
    plain, half = (Engine(net, torch.device("cpu"), precision=p)(*given) for p in ("float32", "bf16"))
    assert 0.0 < float((plain.waypoints - half.waypoints).abs().max()) <= 5e-3


@EVERY
def test_every_camera_counts_and_has_its_own_place(name: str) -> None:
    net = model(name)
    images, joints, words = seen(name)
    with torch.no_grad():
        before = net.features(images, joints, words)
        swapped = net.features(images[::-1], joints, words)
        dark = net.features([images[0], torch.zeros_like(images[1])], joints, words)
    assert (before.mean(dim=1) - swapped.mean(dim=1)).abs().max() > 1e-4
    assert (before.mean(dim=1) - dark.mean(dim=1)).abs().max() > 1e-4


@EVERY
def test_frozen_stays_as_it_is_and_free_learns(name: str) -> None:
    for frozen in (True, False):
        net = model(name, frozen=frozen).train()
        net.features(*seen(name)).square().mean().backward()
        bone = list(net.encoders[0].parameters())
        assert net.encoders[0].training is not frozen
        if frozen:
            assert all(p.grad is None and not p.requires_grad for p in bone)
        else:
            learns = [p for p in bone if p.requires_grad]
            assert all(p.grad is not None for p in learns), "data-parallel training waits for every gradient"
            assert sum(bool(p.grad.any()) for p in learns) > 0.8 * len(bone)
        assert net.image_tokens[0].weight.grad.any()


@READING
def test_the_sentence_goes_through_the_backbone(name: str) -> None:
    net = model(name)
    images, joints, words = seen(name, ("open the drawer", "open the drawer"))
    with torch.no_grad():
        one = net.features(images, joints, words)
        two = net.features(images, joints, seen(name, ("shut the drawer", "open the drawer"))[2])
    assert (one[0] - two[0]).abs().max() > 1e-4
    torch.testing.assert_close(one[1], two[1])


@READING
def test_what_is_no_word_says_nothing(name: str) -> None:
    net = model(name)
    images, _, words = seen(name)
    with torch.no_grad():
        sight, said = net.encoders[0](images, words)
        short = net.encoders[0]([i[1:] for i in images], words[1:, :2])
    assert not said[1, 2:].any()
    torch.testing.assert_close(sight[1:], short[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(said[1:, :2], short[1], atol=1e-5, rtol=1e-4)


@EVERY
def test_a_checkpoint_holds_all_of_it(name: str, tmp_path) -> None:
    net = model(name)
    file = tmp_path / "policy.safetensors"
    save_checkpoint(file, net, CheckpointInfo("r", "go", net.config))
    back, info = load_checkpoint(file)
    assert info.model == net.config
    with torch.no_grad():
        torch.testing.assert_close(back(*seen(name)), net(*seen(name)), atol=2e-3, rtol=0.0)


@EVERY
def test_weights_come_from_a_folder(name: str, tmp_path) -> None:
    import transformers

    cls = find_encoder(name)
    made = getattr(transformers, cls.classes[0]).from_dict(SHAPES[name])
    torch.manual_seed(5)
    published = getattr(transformers, cls.classes[1])(made)
    published.save_pretrained(tmp_path, safe_serialization=True)
    empty = replace(shape(name), backbone=BackboneConfig(weights=str(tmp_path)))
    torch.manual_seed(0)
    net = make_model(empty)
    assert net.config.backbone.shape, "the checkpoint must not need the folder"
    theirs = published.state_dict()
    mine = [p for p in net.encoders[0].parameters() if p.ndim > 1]
    assert all(any(p.shape == q.shape and torch.equal(p, q) for q in theirs.values()) for p in mine)


def test_the_sentence_is_split_by_the_folder_s_own_tokenizer(tmp_path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({"[UNK]": 0, "open": 1, "the": 2, "drawer": 3}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(words)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    sentences = Sentences("backbone", 5, str(tmp_path))
    assert sentences("open the door").tolist() == [1, 2, 0, -1, -1]
    assert sentences("open the drawer the drawer open").tolist() == [1, 2, 3, 2, 3]
    with pytest.raises(ConfigError, match="needs its tokenizer; there is no"):
        Sentences("backbone", 5, str(tmp_path / "elsewhere"))("open")


def test_bad_folders_are_one_sentence(tmp_path) -> None:
    wanted = replace(shape("siglip"), backbone=BackboneConfig(weights=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"there is no config\.json in the folder"):
        make_model(wanted)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip_vision_model", **SHAPES["siglip"]}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match="there are no safetensors in"):
        make_model(wanted)
    from safetensors.torch import save_file

    save_file({"vision_model.post_layernorm.weight": torch.ones(32)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="lack "):
        make_model(wanted)


@pytest.mark.parametrize("name", ["siglip", "dinov2", "florence2", "smolvlm"])
def test_images_of_another_size_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="image_size is 30"):
        make_model(replace(shape(name), image_size=30))


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match='"siglip" reads no sentences'):
        make_model(replace(shape("siglip"), language="backbone"))
    with pytest.raises(ConfigError, match="needs an action transformer"):
        make_model(replace(shape("siglip"), actor=None))


def test_without_the_library_one_sentence_says_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ConfigError, match=r'"siglip" needs .* transformers: pip install "vla_ros\[backbones\]"'):
        make_model(shape("siglip"))


def test_a_model_s_joints_stand_beside_its_tokens() -> None:
    net = model("siglip")
    images, joints, words = seen("siglip")
    with torch.no_grad():
        moved = net.features(images, joints + 0.2, words)
        before = net.features(images, joints, words)
    assert len(JOINTS) == joints.shape[1]
    assert (moved[:, -2] - before[:, -2]).abs().max() > 1e-3
