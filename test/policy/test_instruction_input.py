"""Instructions as network input: normalisation, and FiLM, which learns to select the object of the instruction."""

from pathlib import Path

import numpy as np
import pytest
import torch
from policy.small_network import model

from vla_ros.policy.encoders.base import image_encoders
from vla_ros.policy.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vla_ros.policy.network.config import ModelConfig, NetworkConfig
from vla_ros.policy.text.encoders import hash_embedding
from vla_ros.policy.text.normaliser import InstructionNormaliser

NETWORK = NetworkConfig(norm="none", channels=8, keypoints=16, language="hash")
CONFIG = ModelConfig(("a", "gripper"), ("front",), image_size=32, network=NETWORK)
EMBEDDINGS = np.stack([hash_embedding(f"put the {c} cube in the bowl", 32) for c in ("red", "blue")])


def normalised(embeddings: np.ndarray) -> torch.Tensor:
    """By the statistics of these embeddings."""
    normaliser = InstructionNormaliser(embeddings.shape[1])
    normaliser.fit(embeddings)
    return normaliser(torch.from_numpy(embeddings))


INSTRUCTIONS = normalised(EMBEDDINGS)


def scenes(count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images of a red and a blue patch, which one the instruction names, and its position (x, y in [-1, 1])."""
    images = np.full((count, 3, 32, 32), -0.3, dtype=np.float32)
    places = rng.integers(2, 27, (count, 2, 2))
    for image, pair in zip(images, places, strict=True):
        for (x, y), channel in zip(pair, (0, 2), strict=True):
            image[:, y : y + 4, x : x + 4] = -0.5
            image[channel, y : y + 4, x : x + 4] = 0.5
    named = rng.integers(0, 2, count)
    target = (places[np.arange(count), named] + 1.5) / 15.5 - 1.0
    return torch.from_numpy(images), torch.from_numpy(named), torch.from_numpy(target.astype(np.float32))


def test_film_starts_equal_to_the_encoder_without_it() -> None:
    plain, film = (image_encoders.get(name)(CONFIG) for name in ("keypoint", "keypoint_film"))
    film.load_state_dict({**film.state_dict(), **plain.state_dict()})
    images, named, _ = scenes(3, np.random.default_rng(0))
    torch.testing.assert_close(film(images, INSTRUCTIONS[named]), plain(images, INSTRUCTIONS[named]))


def position_error(name: str, seed: int) -> float:
    """Position error after training with a linear readout, which cannot select an object itself."""
    torch.manual_seed(seed)
    rng, net = np.random.default_rng(seed), image_encoders.get(name)(CONFIG)
    readout = torch.nn.Linear(net.features, 2)
    optimizer = torch.optim.Adam([*net.parameters(), *readout.parameters()], 3e-3)

    def error(images: torch.Tensor, named: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (readout(net(images, INSTRUCTIONS[named])) - target).abs().mean()

    for _ in range(250):
        optimizer.zero_grad()
        error(*scenes(32, rng)).backward()
        optimizer.step()
    with torch.no_grad():
        return float(error(*scenes(256, rng)))


def test_film_selects_the_object_of_the_instruction() -> None:
    """Not from every seed in so few steps: one of seeds 0 to 2 stays at the error of a network that cannot choose."""
    assert any(position_error("keypoint_film", seed) < 0.1 for seed in range(5))


def test_the_encoder_without_film_does_not() -> None:
    assert position_error("keypoint", 0) > 0.2


def test_normalisation_keeps_only_the_difference_of_instructions() -> None:
    assert EMBEDDINGS[0] @ EMBEDDINGS[1] > 0.8
    np.testing.assert_allclose(INSTRUCTIONS.sum(dim=0), 0.0, atol=1e-5)
    assert float(INSTRUCTIONS.square().mean()) == pytest.approx(1.0, rel=1e-5)
    # Independent of how often each occurs.
    torch.testing.assert_close(
        normalised(np.repeat(EMBEDDINGS, [1, 9], axis=0))[:2], INSTRUCTIONS, rtol=1e-5, atol=1e-5
    )


def test_rounding_errors_are_not_amplified() -> None:
    assert float(normalised(np.stack([EMBEDDINGS[0], EMBEDDINGS[0] * (1 + 1e-6)])).abs().max()) < 1e-3


def test_a_single_instruction_and_token_numbers_are_not_changed() -> None:
    for rows in (np.repeat(EMBEDDINGS[:1], 3, axis=0), np.array([[3, 5, -1], [3, 7, -1]])):
        torch.testing.assert_close(normalised(rows), torch.from_numpy(rows), rtol=0.0, atol=0.0)


def test_the_normalisation_is_part_of_the_checkpoint(tmp_path: Path) -> None:
    net = model("regression")
    net.context_encoder.instruction_normaliser.fit(np.stack([hash_embedding(text, 32) for text in ("red", "blue")]))
    save_checkpoint(tmp_path / "made.safetensors", net, CheckpointInfo("so101", "red", net.config))
    read, _ = load_checkpoint(tmp_path / "made.safetensors")
    assert float(read.context_encoder.instruction_normaliser.gain) > 1.0
    torch.testing.assert_close(
        read.context_encoder.instruction_normaliser.mean, net.context_encoder.instruction_normaliser.mean
    )
