"""Images resized on the device equal those resized by OpenCV, within one grey level."""

import numpy as np
import pytest
import torch

from vla_ros.data.images import crop_and_resize
from vla_ros.policy.inference.image_input import DeviceImages, area_weights, to_input

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(224, 224), (480, 640), (640, 480), (97, 131), (96, 96), (64, 80)])
def test_the_result_equals_that_of_the_cpu_within_a_grey_level(shape: tuple[int, int], device: str) -> None:
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    smooth = np.broadcast_to(np.linspace(0, 255, shape[1]).astype(np.uint8)[None, :, None], (*shape, 3)).copy()
    inputs = DeviceImages(96, device)([rough, smooth])
    for image, made in zip((rough, smooth), inputs, strict=True):
        expected = to_input(torch.from_numpy(crop_and_resize(image, 96))[None])
        assert made.shape == expected.shape == (1, 3, 96, 96)
        assert made.is_contiguous(memory_format=torch.channels_last)
        assert float((made.cpu() - expected).abs().max()) <= 1.0 / 255 + 1e-6
        assert float((made.cpu() - expected).abs().mean()) <= 0.3 / 255


def test_every_output_pixel_is_a_weighted_mean_of_input_pixels() -> None:
    weights = area_weights(224, 96, torch.device("cpu"))
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(96), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(weights.sum(dim=0), torch.full((224,), 96 / 224), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("device", DEVICES)
def test_an_input_does_not_change_with_the_next_image(device: str) -> None:
    make = DeviceImages(32, device)
    first = make([np.full((64, 64, 3), 255, np.uint8)])
    make([np.zeros((64, 64, 3), np.uint8)])
    assert float(first[0].min()) == pytest.approx(0.5)
    make([np.zeros((32, 48, 3), np.uint8)])
    assert float(first[0].min()) == pytest.approx(0.5), "nor with an image of another size"


def test_an_image_of_the_right_size_is_copied() -> None:
    image = np.full((32, 32, 3), 255, np.uint8)
    made = DeviceImages(32)([image])[0]
    image[:] = 0
    assert float(made.min()) == pytest.approx(0.5)
