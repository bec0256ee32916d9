"""Networks that move a point from a patch's middle to the landmark."""

import pytest
import torch
from torch.testing import assert_close

from lmk3d.networks import HeatmapRefiner, RegressionRefiner
from lmk3d.networks.blocks import FlatPatches

NUMBERS = torch.tensor([2, 0, 1, 2])


def regression(**options):
    return RegressionRefiner(3, **{"patch_size": 16, "channels": (2, 4, 4, 4), "hidden": 8, **options})


def heatmap(**options):
    return HeatmapRefiner(3, **{"patch_size": 16, "channels": (4, 6, 8), "max_move_vox": 6.0, **options})


@pytest.mark.parametrize("make", [regression, heatmap])
def test_they_keep_the_contract(check_network, make):
    # A constant on top of a heatmap cancels in its softmax.
    moves, log_variance = check_network(make, (torch.rand(4, 1, 16, 16, 16), NUMBERS), idle=("head.bias",))
    assert moves.shape == (4, 3)
    assert log_variance.shape == (4,)


@pytest.mark.parametrize("make", [regression, heatmap])
def test_moves_are_bounded(make):
    torch.manual_seed(0)
    network = make(max_move_vox=3.0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(30)
    moves, _ = network(20 * torch.rand(4, 1, 16, 16, 16), NUMBERS)
    assert moves.abs().max() <= 3.0
    assert moves.abs().max() > 0.5  # a bound that bites, and no network of zeros


@pytest.mark.parametrize("make", [regression, heatmap])
def test_the_same_patch_of_another_landmark_gets_another_answer(make):
    torch.manual_seed(0)
    patch = torch.rand(1, 1, 16, 16, 16).expand(3, -1, -1, -1, -1)
    moves, _ = make()(patch, torch.arange(3))
    assert (moves[0] - moves[1]).abs().max() > 1e-5
    assert (moves[1] - moves[2]).abs().max() > 1e-5


def test_landmarks_of_the_paper_share_no_weight():
    network = regression()
    moves, _ = network(torch.rand(2, 1, 16, 16, 16), torch.tensor([0, 2]))
    moves[0].sum().backward()
    used = {
        name.split(".")[1]
        for name, weight in network.named_parameters()
        if weight.grad is not None and weight.grad.any()
    }
    assert used == {"0"}


@pytest.mark.parametrize("size", [8, 16, 24])
def test_a_flat_heatmap_says_the_middle_of_the_patch(size):
    network = heatmap(patch_size=size, max_move_vox=size / 2)
    with torch.no_grad():
        network.head.weight.zero_()
    moves, _ = network(torch.rand(2, 1, size, size, size), NUMBERS[:2])
    assert_close(moves, torch.zeros(2, 3), rtol=0, atol=1e-5)


def test_a_peak_of_the_heatmap_says_its_place_in_patch_voxels():
    network = heatmap(max_move_vox=8.0)

    class Peak(torch.nn.Module):
        def forward(self, features):
            heat = torch.zeros(len(features), 1, *features.shape[2:])
            heat[:, :, 1, 4, 7] = 100.0
            return heat

    network.head = Peak()
    moves, _ = network(torch.rand(2, 1, 16, 16, 16), NUMBERS[:2])
    # Voxel v of the heatmap lies between patch voxels 2v and 2v + 1; the patch's middle is 7.5.
    assert_close(moves, torch.tensor([2.5 - 7.5, 8.5 - 7.5, 14.5 - 7.5]).expand(2, 3))


@pytest.mark.parametrize(
    ("make", "options", "text"),
    [
        (regression, {"patch_size": 24}, "patch_size must be a multiple of 16, got 24"),
        (heatmap, {"patch_size": 20}, "patch_size must be a multiple of 8 from 8 to 512, got 20"),
        (heatmap, {"max_move_vox": 9.0}, r"max_move_vox must lie in \[1, 8\], got 9.0"),
        (heatmap, {"max_move_vox": 0.5}, r"max_move_vox must lie in \[1, 8\], got 0.5"),
    ],
)
def test_what_cannot_be_built_is_refused(make, options, text):
    with pytest.raises(ValueError, match=text):
        make(**options)


@pytest.mark.parametrize("make", [regression, heatmap])
def test_films_have_refiners_of_their_own_whose_moves_stay_in_the_film(check_network, make):
    patches = torch.rand(4, 1, 16, 16, 1)
    moves, log_variance = check_network(
        lambda: FlatPatches(make(spatial_dims=2)), (patches, NUMBERS), idle=("network.head.bias",)
    )
    assert moves.shape == (4, 3)
    assert log_variance.shape == (4,)
    assert not moves[:, 2].any()
    flat, _ = make(spatial_dims=2)(patches[..., 0], NUMBERS)
    assert flat.shape == (4, 2)


def test_a_peak_on_a_film_says_its_row_and_its_column():
    network = heatmap(max_move_vox=8.0, spatial_dims=2)

    class Peak(torch.nn.Module):
        def forward(self, features):
            heat = torch.zeros(len(features), 1, *features.shape[2:])
            heat[:, :, 1, 6] = 100.0
            return heat

    network.head = Peak()
    moves, _ = network(torch.rand(2, 1, 16, 16), NUMBERS[:2])
    assert_close(moves, torch.tensor([2.5 - 7.5, 12.5 - 7.5]).expand(2, 2))
