"""LandmarkNet."""

import pytest
import torch
from torch.testing import assert_close

from lmk3d.networks import LandmarkNet

SMALL = {"widths": (8, 8, 8), "depths": (2, 1, 1), "lateral": 4, "level": 4}


@pytest.mark.parametrize(
    ("options", "shape", "maps"),
    [({}, (16, 32), (16, 32)), ({"stride": 2}, (16, 32), (8, 16)), ({"spatial_dims": 3}, (16, 16, 32), (16, 16, 32))],
)
def test_it_keeps_the_contract(check_network, options, shape, maps):
    idle = tuple(f"sides.{level}.{kind}" for level in range(3) for kind in ("weight", "bias"))  # seen in training alone
    (heights,) = check_network(lambda: LandmarkNet(3, **SMALL, **options), (torch.rand(2, 1, *shape),), idle=idle)
    assert heights.shape == (2, 3, *maps)


def test_every_level_of_the_pyramid_draws_maps_of_its_own():
    network, image = LandmarkNet(3, **SMALL), torch.rand(2, 1, 32, 16)
    outputs = network.with_sides(image)
    assert [tuple(output.shape) for output in outputs] == [(2, 3, 2, 1), (2, 3, 4, 2), (2, 3, 8, 4), (2, 3, 32, 16)]
    assert_close(outputs[-1], network(image))


def test_the_papers_pyramid_is_a_resnet_of_fifty_layers():
    network = LandmarkNet(3, norm="batch")
    assert network.divisor == 32
    weights = sum(weight.numel() for part in (network.stem, network.stages) for weight in part.parameters())
    assert 22e6 < weights < 26e6  # ResNet-50 has 23.5 million without its classifier


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="widths and depths must be of one length, got 2 and 3"):
        LandmarkNet(3, widths=(8, 8), depths=(1, 1, 1))


def test_a_side_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"every side must be a multiple of 16, got \[20, 16\]; pad the image"):
        LandmarkNet(3, **SMALL)(torch.rand(1, 1, 20, 16))
