"""AppearanceContextNet."""

import pytest
import torch
from torch.testing import assert_close

from lmk3d.networks import AppearanceContextNet


@pytest.mark.parametrize(("dims", "shape"), [(2, (16, 24)), (3, (16, 8, 12))])
def test_it_keeps_the_contract(check_network, dims, shape):
    options = {"channels": (8, 12), "width": 4, "kernel": (5, 3, 3)[:dims], "stride": (4, 2, 2)[:dims]}
    (maps,) = check_network(lambda: AppearanceContextNet(3, spatial_dims=dims, **options), (torch.rand(2, 1, *shape),))
    assert maps.shape == (2, 3, *shape)


@pytest.mark.parametrize("logits", [False, True])
def test_the_context_begins_by_changing_nothing(logits):
    network = AppearanceContextNet(3, channels=(4, 8), width=4, stride=(4, 4), logits=logits)
    image = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        network.out.weight.zero_()
    assert_close(network(image), network.local(image))


def test_the_context_sees_every_place_of_the_papers_32_by_32():
    network = AppearanceContextNet(1, channels=(2,), width=2, stride=(1, 1), norm="none").double()
    corner = torch.zeros(1, 2, 32, 32, dtype=torch.float64, requires_grad=True)
    for layer in network.context:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.constant_(layer.weight, 0.1)
    network.context(corner)[0, 0, 16, 16].backward()
    assert (corner.grad.abs().sum((0, 1)) > 0).all()


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"kernel and stride need 3 sides, got \[3, 3\] and \[16, 16\]"):
        AppearanceContextNet(3, spatial_dims=3)


def test_logits_are_added_and_heights_multiplied():
    network, image = AppearanceContextNet(3, channels=(4, 8), width=4, stride=(4, 4)), torch.rand(2, 1, 8, 8)
    torch.nn.init.zeros_(network.out.weight)
    torch.nn.init.constant_(network.out.bias, 3.0)
    assert_close(network(image), 3 * network.local(image))
    network.logits = True
    assert_close(network(image), 3 + network.local(image))
