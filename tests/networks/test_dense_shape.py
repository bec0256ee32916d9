"""DenseShapeNet, and the heatmaps of the same U-Net."""

import pytest
import torch

from lmk3d.networks import DenseShapeNet, ResidualHeatmapNet


@pytest.mark.parametrize(("network", "maps_of_two"), [(DenseShapeNet, 6), (ResidualHeatmapNet, 2)])
@pytest.mark.parametrize(
    ("options", "shape", "maps"),
    [({}, (8, 12), (8, 12)), ({"stride": 2}, (16, 24), (8, 12)), ({"spatial_dims": 3}, (8, 4, 8), (8, 4, 8))],
)
def test_both_keep_the_contract(check_network, network, maps_of_two, options, shape, maps):
    (logits,) = check_network(lambda: network(2, channels=(4, 8), **options), (torch.rand(2, 1, *shape),))
    assert logits.shape == (2, maps_of_two, *maps)


def test_its_cost_grows_with_the_structures_and_not_with_the_landmarks():
    few, many = (sum(w.numel() for w in DenseShapeNet(n, channels=(4, 8)).parameters()) for n in (5, 17))
    assert many - few == 12 * 3 * (4 + 1)


def test_a_side_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"every side must be a multiple of 2, got \[7, 8\]; pad the image"):
        DenseShapeNet(2, channels=(4, 8))(torch.rand(1, 1, 7, 8))


def test_both_have_the_same_weights_up_to_their_heads():
    dense, heat = DenseShapeNet(2, channels=(4, 8)).state_dict(), ResidualHeatmapNet(3, channels=(4, 8)).state_dict()
    shared = [
        {name: w.shape for name, w in one.items() if name.split(".")[0] not in heads}
        for one, heads in ((dense, ("mask", "uv")), (heat, ("maps",)))
    ]
    assert shared[0] == shared[1]
