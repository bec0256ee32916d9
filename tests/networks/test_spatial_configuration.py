"""SpatialConfiguration-Net."""

import pytest
import torch
from torch.testing import assert_close

from lmk3d.networks import SpatialConfigurationNet

SMALL = {"channels": (4, 8), "width": 4, "kernel": 3, "stride": 4}


@pytest.mark.parametrize(("dims", "shape"), [(2, (8, 12)), (3, (8, 4, 12))])
def test_it_keeps_the_contract(check_network, dims, shape):
    (maps,) = check_network(lambda: SpatialConfigurationNet(3, spatial_dims=dims, **SMALL), (torch.rand(2, 1, *shape),))
    assert maps.shape == (2, 3, *shape)


def test_the_maps_are_the_product_of_both_parts():
    network, image = SpatialConfigurationNet(3, **SMALL).eval(), torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        network.out.weight.zero_()
    assert_close(network(image), network.local(image) * torch.tanh(torch.tensor(1.0)))  # its bias begins at 1


def test_maps_may_be_coarser_than_the_image(check_network):
    make = lambda: SpatialConfigurationNet(3, local_stride=2, **SMALL)  # noqa: E731
    (maps,) = check_network(make, (torch.rand(2, 1, 16, 24),))
    assert maps.shape == (2, 3, 8, 12)
