"""Stored numbers to network input."""

import pytest
import torch
from torch.testing import assert_close

from lmk3d.transforms.intensity import EqualizedWindow, Window


def test_a_window_in_stored_numbers_by_hand():
    window = Window(-100, 300)
    image = torch.tensor([-1000.0, -100, 0, 100, 300, 2000])
    limits = window.limits(image)
    assert limits == (-100, 300)
    assert_close(window.scale(image, limits), torch.tensor([0, 0, 0.25, 0.5, 1, 1]))
    assert image[0] == -1000  # the stored numbers are left alone


def test_integers_are_scaled_as_numbers():
    assert_close(Window(0, 10).scale(torch.tensor([0, 5], dtype=torch.int16), (0, 10)), torch.tensor([0.0, 0.5]))


def test_percentiles_are_those_of_the_image():
    image = torch.arange(101.0).reshape(101, 1, 1)
    window = Window(10, 90, percentiles=True)
    assert window.limits(image) == pytest.approx((10, 90))
    assert_close(window.scale(image, window.limits(image))[[0, 10, 50, 90, 100], 0, 0], torch.tensor([0, 0, 0.5, 1, 1]))


def test_percentiles_of_a_large_image_are_drawn_evenly():
    image = torch.linspace(0, 1, 3 * 2**20 + 7).reshape(-1, 1, 1)
    assert Window(1, 99, percentiles=True).limits(image) == pytest.approx((0.01, 0.99), abs=1e-4)


def test_an_image_of_one_value_has_a_window_all_the_same():
    window = Window(1, 99, percentiles=True)
    limits = window.limits(torch.full((4, 4, 4), 7.0))
    assert limits == (7.0, 8.0)


def test_a_window_upside_down_is_refused():
    with pytest.raises(ValueError, match="a window needs low < high, got 5 and 5"):
        Window(5, 5)


def test_equalised_numbers_are_evenly_spread():
    image = torch.randn(64, 64).exp()  # far from even
    window = EqualizedWindow()
    scaled = window.scale(image, window.limits(image))
    shares = torch.histc(scaled, 8, 0, 1) / image.numel()
    assert_close(shares, torch.full((8,), 1 / 8), atol=0.01, rtol=0)
    assert_close(scaled.flatten()[image.flatten().argsort()].diff() >= 0, torch.ones(4095, dtype=torch.bool))


def test_what_many_voxels_share_lies_in_the_middle_of_their_shares():
    image = torch.tensor([0.0] * 50 + [1.0] * 25 + [9.0] * 25)
    window = EqualizedWindow(knots=101)
    scaled = window.scale(image, window.limits(image))
    assert_close(scaled[[0, 60, 99]], torch.tensor([0.25, 0.625, 0.875]), atol=0.02, rtol=0)
    assert_close(window.scale(torch.tensor([-5.0, 100.0]), window.limits(image)), torch.tensor([0.0, 1.0]))


def test_equalising_needs_two_knots():
    with pytest.raises(ValueError, match="knots must be at least 2, got 1"):
        EqualizedWindow(knots=1)
