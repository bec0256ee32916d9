"""Overlap of masks, worked out by hand and against MONAI."""

import numpy as np
import pytest
import torch

from lmk3d.overlap import dice, surface_distance


def squares(shift):
    one, other = np.zeros((20, 20, 1), bool), np.zeros((20, 20, 1), bool)
    one[5:10, 5:10], other[5:10, 5 + shift : 10 + shift] = True, True
    return one, other


def test_dice_worked_out_by_hand():
    one, other = squares(2)
    assert dice(one, other) == 2 * 15 / 50
    assert dice(one, one) == 1.0
    assert dice(one, ~one) == 0.0
    assert np.isnan(dice(one & ~one, one & ~one))


def test_two_lines_of_a_film_lie_two_pixels_apart():
    one, other = np.zeros((9, 9, 1), bool), np.zeros((9, 9, 1), bool)
    one[:, 2], other[:, 4] = True, True
    assert surface_distance(one, other, (1.0, 0.5, 3.0)) == 1.0  # two columns of half a millimetre
    assert surface_distance(one, one, 1.0) == 0.0
    assert np.isnan(surface_distance(one, one & ~one, 1.0))


@pytest.mark.parametrize("seed", range(3))
def test_both_agree_with_monai(seed):
    from monai.metrics import compute_average_surface_distance, compute_dice

    generator = np.random.default_rng(seed)
    low = generator.integers(2, 8, size=(2, 3))
    masks = np.zeros((2, 20, 22, 18), bool)
    for mask, first in zip(masks, low, strict=True):
        mask[tuple(slice(at, at + size) for at, size in zip(first, (8, 7, 9), strict=True))] = True
    both = [torch.as_tensor(mask)[None, None].float() for mask in masks]
    spacing = [1.5, 0.7, 1.1]
    assert dice(*masks) == pytest.approx(compute_dice(*both).item())
    ours = surface_distance(*masks, spacing)
    theirs = compute_average_surface_distance(*both, symmetric=True, include_background=True, spacing=spacing).item()
    assert ours == pytest.approx(theirs, rel=1e-5)
