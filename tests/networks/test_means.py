"""Several networks that answer as one."""

import pytest
import torch

from lmk3d.networks import HeatmapRefiner, HeatmapUNet, MeanMaps, MeanMoves
from lmk3d.networks.blocks import FlatDepth


def test_the_mean_of_maps_keeps_the_contract_of_a_first_stage(check_network):
    (maps,) = check_network(
        lambda: MeanMaps([HeatmapUNet(3, channels=(4, 8)) for _ in range(2)]), (torch.rand(2, 1, 8, 6, 4),)
    )
    assert maps.shape == (2, 3, 8, 6, 4)


def test_the_mean_of_flat_networks_is_flat():
    flat = MeanMaps([FlatDepth(HeatmapUNet(3, channels=(4, 8), spatial_dims=2)) for _ in range(2)])
    assert (flat.flat, flat.divisor) == (True, 2)
    assert not MeanMaps([HeatmapUNet(3, channels=(4, 8)) for _ in range(2)]).flat


def test_the_mean_of_moves_keeps_the_contract_of_a_refiner(check_network):
    refiners = {"patch_size": 16, "channels": (4, 4, 4), "max_move_vox": 8.0}
    patches, numbers = torch.rand(3, 1, 16, 16, 16), torch.tensor([0, 2, 1])
    idle = ("members.0.head.bias", "members.1.head.bias")
    moves, log_variance = check_network(
        lambda: MeanMoves([HeatmapRefiner(3, **refiners) for _ in range(2)]), (patches, numbers), idle=idle
    )
    assert (moves.shape, log_variance.shape) == ((3, 3), (3,))


def test_a_peak_that_most_members_see_beats_one_that_a_single_member_is_sure_of():
    def says(*heights):
        network = torch.nn.Conv3d(1, 1, 1)
        network.divisor = 1
        maps = torch.tensor(heights).reshape(1, 1, -1, 1, 1)
        network.forward = lambda image: maps
        return network

    joined = MeanMaps([says(6.0, 0.0), says(6.0, 0.0), says(0.0, 8.0)])
    assert joined(torch.zeros(1, 1, 2, 1, 1)).argmax() == 0


@pytest.mark.parametrize("mean", [MeanMaps, MeanMoves])
def test_a_mean_has_members(mean):
    with pytest.raises(ValueError, match="two members or more, got 0"):
        mean([])


def test_members_take_the_same_sides():
    with pytest.raises(ValueError, match="every member must take the same sides"):
        MeanMaps([HeatmapUNet(1, channels=(4, 8)), HeatmapUNet(1, channels=(4, 8, 8))])
