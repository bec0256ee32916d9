"""HeatmapCoordinateNet."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from lmk3d.codecs import HeatmapCodec
from lmk3d.networks import HeatmapCoordinateNet
from lmk3d.networks.blocks import FlatDepth

SMALL = {"channels": (4, 8), "trunk": (8, 8), "middle": 1, "trunk_size": (16, 16), "hidden": 8}
WIDE = {"sigma": 0.5}  # a narrow Gaussian multiplies rounding


@pytest.mark.parametrize(("options", "maps"), [({}, (24, 16)), ({"stride": 2}, (12, 8))])
def test_it_keeps_the_contract(check_network, options, maps):
    (logs,) = check_network(lambda: HeatmapCoordinateNet(3, **SMALL, **WIDE, **options), (torch.rand(2, 1, 24, 16),))
    assert logs.shape == (2, 3, *maps)
    assert (logs <= 0).all()


def test_the_product_is_the_sigmoid_map_times_a_gaussian_worked_out_by_hand():
    network, image = HeatmapCoordinateNet(1, sigma=0.25, learnt=False, **SMALL), torch.rand(1, 1, 8, 4)
    network.regress[-1].weight.data.zero_()
    network.regress[-1].bias.data.copy_(torch.tensor([0.5, 0.625]))  # the point (3.5, 2.0) in pixels
    maps, points = network.with_points(image)
    assert_close(points, torch.tensor([[[0.5, 0.625]]]))
    # Pixel (5, 1) is 1.5 and 1 pixels away, of a longer side of 8: a quarter of it is a sigma of 2 pixels.
    expected = torch.sigmoid(maps[0, 0, 5, 1]) * torch.exp(torch.tensor(-(1.5**2 + 1**2) / (2 * 2**2)))
    assert_close(network(image)[0, 0, 5, 1].exp(), expected)


def test_without_the_product_the_maps_stay_as_they_are():
    network, image = HeatmapCoordinateNet(3, product=False, **SMALL), torch.rand(2, 1, 8, 8)
    assert_close(network(image), functional.logsigmoid(network.unet(image)))


def test_a_fixed_sigma_learns_nothing():
    fixed = HeatmapCoordinateNet(3, learnt=False, sigma=0.2, **SMALL)
    assert not fixed.widths.requires_grad
    assert_close(fixed.log_sigma().exp(), torch.full((3,), 0.2))
    assert HeatmapCoordinateNet(3, **SMALL).widths.requires_grad


def test_points_of_a_film_lie_in_the_middle_of_its_depth():
    maps, points = FlatDepth(HeatmapCoordinateNet(3, **SMALL)).with_points(torch.rand(2, 1, 8, 8, 1))
    assert maps.shape == (2, 3, 8, 8, 1)
    assert points.shape == (2, 3, 3)
    assert_close(points[..., 2], torch.full((2, 3), 0.5))


def test_a_softmax_is_weighed_by_the_gaussians_as_it_is():
    network, image = HeatmapCoordinateNet(3, softmax=True, **SMALL, **WIDE), torch.rand(2, 1, 8, 8)
    maps, points = network.with_points(image)
    assert_close(network(image), maps + network.log_gaussians(points, maps))


def test_the_product_removes_the_wrong_one_of_two_peaks():
    """Maps that show a landmark and its neighbour alike, and coordinates that are roughly right: 200 draws."""
    generator, codec = torch.Generator().manual_seed(0), HeatmapCodec(sigma_vox=1.5, reading="log", num_peaks=1)
    truth, rates = torch.tensor([[30.0, 20.0, 0.0]]), {}
    places = torch.tensor([[30.0, 20, 0], [44, 20, 0], [16, 20, 0]])  # 14 pixels apart, of 64
    for product in (False, True):
        network = HeatmapCoordinateNet(1, sigma=0.06, learnt=False, product=product, **SMALL)
        wrong = 0
        for _ in range(200):
            heights = 0.7 + 0.2 * torch.rand(3, generator=generator)
            maps = (heights[:, None, None, None] * codec.draw(places, (64, 48, 1))).amax(0)[None, :, :, 0]
            points = (truth[:, :2] + 0.5) / torch.tensor([64, 48]) + 0.03 * torch.randn(1, 2, generator=generator)
            logits = torch.logit(maps.clamp(1e-6, 1 - 1e-6))[None]
            network.with_points = lambda _, logits=logits, points=points: (logits, points[None])
            found = codec.decode(network(None)[0][..., None]).points_vox[0]
            wrong += int((found - truth).norm() > 7)
        rates[product] = wrong / 200
    assert rates[False] > 0.5  # two of three peaks are wrong
    assert rates[True] < 0.06


def test_units_that_a_step_has_thrown_below_zero_still_tell_films_apart_and_learn():
    """A step moves a unit of 2,048 inputs far: with plain ReLUs all of them died early, for good."""
    torch.manual_seed(0)
    network = HeatmapCoordinateNet(3, **SMALL)
    network.regress[0].bias.data.fill_(-100.0)
    points = network.with_points(torch.rand(4, 1, 32, 32))[1]
    points.sum().backward()
    assert network.regress[0].weight.grad.abs().sum() > 0
    assert points.std(0).min() > 0


def test_learnt_sigmas_are_widened_and_fixed_ones_are_not():
    points, maps = torch.full((1, 1, 2), 0.5), torch.zeros(1, 1, 8, 8)
    make = lambda **options: HeatmapCoordinateNet(1, sigma=0.2, **SMALL, **options).log_gaussians(points, maps)  # noqa: E731
    assert_close(make(widen=3.0), make(widen=1.0) / 9)
    assert_close(make(widen=3.0, learnt=False), make(widen=1.0))
