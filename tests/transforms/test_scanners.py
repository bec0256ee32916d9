"""Random appearances: nothing moves, everything stays in 0 to 1, tissues change their order of brightness."""

import numpy as np
import pytest
import torch

from lmk3d.transforms import RandConvolutionsd, RandLowResolutiond


def blob(shape=(24, 28, 20), at=(10, 15, 8), width=2.0):
    axes = np.ogrid[tuple(slice(side) for side in shape)]
    square = sum((axis - place) ** 2 for axis, place in zip(axes, at, strict=True))
    return torch.as_tensor(np.exp(-square / (2 * width**2)), dtype=torch.float32)[None]


def centre(image):
    """The middle of the most unusual place of an image."""
    off = (image[0] - image[0].median()).abs() ** 3
    axes = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in off.shape), indexing="ij")
    return np.array([float((off * axis).sum() / off.sum()) for axis in axes])


@pytest.mark.parametrize("seed", range(8))
def test_convolutions_change_brightness_and_move_nothing(seed):
    image = blob()
    transform = RandConvolutionsd("image", prob=1.0).set_random_state(seed)
    found = transform({"image": image})["image"]
    assert found.shape == image.shape
    assert 0 <= found.min() <= found.max() <= 1
    assert not torch.allclose(found, image)
    inner = found[:, 3:-3, 3:-3, 3:-3]  # the kernels see zeros beyond the rim
    assert np.linalg.norm(centre(inner) + 3 - [10, 15, 8]) < 0.7


def test_convolutions_turn_the_order_of_tissues_round_in_some_draws():
    image = torch.linspace(0, 1, 16).repeat(16, 16, 1)[None]
    transform = RandConvolutionsd("image", prob=1.0).set_random_state(0)
    slopes = [np.corrcoef(image.flatten(), transform({"image": image})["image"].flatten())[0, 1] for _ in range(40)]
    assert min(slopes) < 0 < max(slopes)


def test_patches_are_changed_alike_and_films_within_their_plane():
    patches = blob((12, 12, 12), (6, 6, 6))[0].repeat(3, 1, 1, 1)
    found = RandConvolutionsd("image", prob=1.0).set_random_state(3)({"image": patches})["image"]
    assert torch.equal(found[0], found[1])
    film = blob((24, 28, 1), (10, 15, 0))
    assert RandConvolutionsd("image", prob=1.0).set_random_state(1)({"image": film})["image"].shape == film.shape


@pytest.mark.parametrize("shape", [(24, 28, 20), (24, 28, 1)])
def test_low_resolution_blurs_along_one_axis_and_moves_nothing(shape):
    image = blob(shape, (10, 15, 0 if shape[2] == 1 else 8))
    for seed in range(12):
        transform = RandLowResolutiond("image", factor=4.0, prob=1.0).set_random_state(seed)
        found = transform({"image": image})["image"]
        assert found.shape == image.shape
        assert np.abs(centre(found) - centre(image)).max() < 0.35
        assert found.max() <= image.max() + 1e-6


def test_nothing_changes_where_the_draw_says_so():
    image = blob()
    for transform in (RandConvolutionsd("image", prob=0.0), RandLowResolutiond("image", prob=0.0)):
        assert transform({"image": image})["image"] is image
