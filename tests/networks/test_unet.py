"""The heatmap U-Net."""

import pytest
import torch
from torch.testing import assert_close

from lmk3d.networks import HeatmapUNet


@pytest.mark.parametrize(
    ("options", "shape", "maps"),
    [
        ({}, (2, 1, 8, 12, 4), (8, 12, 4)),
        ({"stride": 2}, (2, 1, 8, 12, 4), (4, 6, 2)),
        ({"norm": "none"}, (2, 1, 8, 12, 4), (8, 12, 4)),
        ({"spatial_dims": 2}, (2, 1, 8, 12), (8, 12)),
        ({"spatial_dims": 2, "stride": 4}, (2, 1, 16, 24), (4, 6)),
        ({"spatial_dims": 2, "attention": True}, (2, 1, 8, 12), (8, 12)),
    ],
)
def test_it_keeps_the_contract(check_network, options, shape, maps):
    image = torch.rand(shape)
    (logits,) = check_network(lambda: HeatmapUNet(3, channels=(4, 8), **options), (image,))
    assert logits.shape == (2, 3, *maps)


def test_side_outputs_grow_from_deep_to_shallow():
    network = HeatmapUNet(3, channels=(4, 8, 8, 8), num_sides=3, norm="none")
    image = torch.rand(2, 1, 16, 8, 24)
    outputs = network.with_sides(image)
    assert [tuple(output.shape[2:]) for output in outputs] == [(2, 1, 3), (4, 2, 6), (8, 4, 12), (16, 8, 24)]
    assert all(output.shape[:2] == (2, 3) for output in outputs)
    assert_close(network(image), outputs[-1])
    assert len(HeatmapUNet(3, channels=(4, 8)).with_sides(image)) == 1


def test_sides_of_one_voxel_at_the_deepest_level_work():
    network = HeatmapUNet(2, channels=(4, 8, 8))
    assert network(torch.rand(1, 1, 4, 4, 4)).isfinite().all()


@pytest.mark.parametrize("stride", [2, 4])
def test_a_coarse_map_lies_over_the_middle_of_its_blocks(stride):
    """Turning the image round turns the logits round: nothing is shifted by half a voxel."""
    torch.manual_seed(0)
    network = HeatmapUNet(2, channels=(4,), stride=stride)
    with torch.no_grad():  # mirror-symmetric kernels
        for module in network.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.weight.copy_((module.weight + module.weight.flip((2, 3, 4))) / 2)
    image = torch.rand(1, 1, 16, 8, 24)
    assert_close(network(image.flip((2, 3, 4))), network(image).flip((2, 3, 4)), rtol=1e-4, atol=1e-5)


def test_the_head_alone_grows_with_the_landmarks():
    few, many = (sum(w.numel() for w in HeatmapUNet(n, channels=(4, 8)).parameters()) for n in (5, 32))
    assert many - few == 27 * (4 + 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_sides": 2}, "num_sides must be 0 to 1 with 2 levels, got 2"),
        ({"stride": 3}, "stride must be even, got 3"),
        ({"norm": "layer"}, "norm must be 'instance', 'batch' or 'none', got 'layer'"),
    ],
)
def test_what_cannot_be_built_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        HeatmapUNet(3, channels=(4, 8), **options)


def test_a_side_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"every side must be a multiple of 4, got \[8, 10, 8\]; pad the image"):
        HeatmapUNet(3, channels=(4, 8), stride=2)(torch.rand(1, 1, 8, 10, 8))
