"""Building blocks of the networks."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from lmk3d.networks import HeatmapUNet
from lmk3d.networks.blocks import (
    Attention,
    ChannelGate,
    ConvBlock,
    FlatDepth,
    Upsample,
    conv,
    head,
    max_pool,
    norm_layer,
    patchify,
    resized,
    shrunk,
)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_block_changes_the_sides_as_it_says(dims):
    image = torch.rand(2, 3, *(8, 6, 4)[:dims])
    sides = torch.tensor(image.shape[2:])
    assert conv(dims, 3, 5, 3)(image).shape == (2, 5, *sides)
    assert conv(dims, 3, 5, 1)(image).shape == (2, 5, *sides)
    assert conv(dims, 3, 6, (5, 3, 1)[:dims], dilation=2, groups=3)(image).shape == (2, 6, *sides)
    assert Attention(dims, 3)(image).shape == image.shape
    assert ChannelGate(3, 5)(image).shape == (2, 5)
    assert resized(image, [5, 4, 3][:dims]).shape == shrunk(image, [5, 4, 3][:dims]).shape == (2, 3, *(5, 4, 3)[:dims])
    assert max_pool(dims)(image).shape == (2, 3, *(sides // 2))
    assert Upsample(dims, 3, 5)(image).shape == (2, 5, *(sides * 2))
    assert patchify(dims, 3, 5, 2)(image).shape == (2, 5, *(sides // 2))
    assert ConvBlock(dims, 3, 5)(image).shape == (2, 5, *sides)
    assert ConvBlock(dims, 3, 5, stride=2)(image).shape == (2, 5, *(sides // 2))


def test_a_blocks_norm_is_instance_norm():
    image = torch.rand(2, 3, 5, 4, 6)
    block = ConvBlock(3, 3, 4)
    expected = functional.instance_norm(block.layers[0](image))
    assert_close(block.layers[1](block.layers[0](image)), expected)
    assert block.layers[0].bias is None  # the norm would take it away again


def test_one_voxel_becomes_the_norms_bias():
    block = ConvBlock(3, 1, 4)
    with torch.no_grad():
        block.layers[1].bias.copy_(torch.arange(4.0))
    assert_close(block.layers[1](torch.rand(1, 4, 1, 1, 1)).flatten(), torch.arange(4.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("depth", "kind"), [(2, torch.float32), (3, torch.bfloat16)])
def test_a_block_two_voxels_deep_leaves_half_precision(depth, kind):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ConvBlock(3, 3, 4, norm="none")(torch.rand(2, 3, depth, 4, 4)).dtype == kind


def test_the_paper_has_no_norm_and_plain_relus():
    kinds = [type(layer).__name__ for layer in ConvBlock(3, 1, 4, norm="none").layers]
    assert kinds == ["Conv3d", "ReLU", "Conv3d", "ReLU"]


def test_a_flat_network_drops_the_depth_and_puts_it_back(check_network):
    (logits,) = check_network(
        lambda: FlatDepth(HeatmapUNet(3, channels=(4, 8), spatial_dims=2)), (torch.rand(2, 1, 8, 6, 1),)
    )
    assert logits.shape == (2, 3, 8, 6, 1)


def test_a_flat_network_has_what_the_cascade_asks_of_a_first_stage():
    network = FlatDepth(HeatmapUNet(3, channels=(4, 8, 8), spatial_dims=2, num_sides=2, stride=2))
    assert network.divisor == 8
    image = torch.rand(2, 1, 16, 8, 1)
    outputs = network.with_sides(image)
    assert [tuple(output.shape[2:]) for output in outputs] == [(2, 1, 1), (4, 2, 1), (8, 4, 1)]
    assert_close(outputs[-1], network(image))


def test_a_flat_network_refuses_a_volume():
    with pytest.raises(
        ValueError, match=r"a 2D network takes images of depth one, got \[8, 6, 2\]; use spatial_dims=3"
    ):
        FlatDepth(HeatmapUNet(3, channels=(4, 8), spatial_dims=2))(torch.rand(2, 1, 8, 6, 2))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_head_is_a_convolution_of_one_voxel_whose_maps_lie_together(dims):
    layer, image = head(dims, 3, 5), torch.rand(2, 3, *(8, 6, 4)[:dims])
    convolve = {2: functional.conv2d, 3: functional.conv3d}[dims]
    order = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    for turned in (image, image.contiguous(memory_format=order)):
        maps = layer(turned)
        assert_close(maps, convolve(image, layer.weight, layer.bias))
        assert maps.is_contiguous()
    layer.bias = None
    assert_close(layer(image), convolve(image, layer.weight))


def test_a_shrunk_map_keeps_a_peak_that_one_between_its_voxels_would_lose():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 1, 2] = 16.0
    assert_close(shrunk(image, [2, 2]), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))  # the mean of 4 x 4
    assert resized(image, [2, 2]).amax() == 4.0  # linearly between pixels 1 and 2 of both axes
    image[0, 0, 1, 2], image[0, 0, 0, 3] = 0.0, 16.0
    assert resized(image, [2, 2]).amax() == 0.0


def test_attention_weighs_channels_and_then_voxels():
    block, image = Attention(2, 2), torch.rand(2, 2, 4, 4)
    for weight in block.parameters():
        weight.data.zero_()
    assert_close(block(image), image / 4)  # both gates are one half
    block.weigh[-1].bias.data[:] = torch.tensor([100.0, -100.0])  # one way in, once from the mean and once from the top
    assert_close(block(image)[:, 0], image[:, 0] / 2)
    assert_close(block(image)[:, 1], torch.zeros(2, 4, 4))


def test_the_papers_norm_is_there_where_it_is_asked_for():
    assert isinstance(norm_layer(2, 4, "batch"), torch.nn.BatchNorm2d)
    kinds = [type(layer).__name__ for layer in ConvBlock(3, 1, 4, norm="batch").layers]
    assert kinds == ["Conv3d", "BatchNorm3d", "ReLU"] * 2
