"""Both stages as one module with one checkpoint."""

import pytest
import torch
from torch.testing import assert_close

from lmk3d.networks import Cascade, HeatmapRefiner, HeatmapUNet


def make():
    refiners = [HeatmapRefiner(3, patch_size=8, channels=(4, 4, 4), max_move_vox=4.0) for _ in range(2)]
    return Cascade(HeatmapUNet(3, channels=(4, 8)), refiners, num_landmarks=3)


def test_its_forward_is_the_first_stage(check_network):
    image = torch.rand(2, 1, 8, 4, 6)
    (logits,) = check_network(lambda: Cascade(HeatmapUNet(3, channels=(4, 8)), [], num_landmarks=3), (image,))
    assert logits.shape == (2, 3, 8, 4, 6)
    network = make()
    assert_close(network(image), network.heatmap(image))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_it_can_be_scripted_with_its_refiners():
    image = torch.rand(1, 1, 4, 4, 4)
    network = make().eval()
    assert_close(torch.jit.script(network)(image), network(image))


def test_one_checkpoint_holds_both_stages_and_what_was_learnt_beside():
    network = make()
    network.mean_shape.fill_(1.5)
    network.error_ratio.fill_(2.0)
    other = make()
    other.load_state_dict(network.state_dict())
    assert_close(other.mean_shape, torch.full((3, 3), 1.5, dtype=torch.float64))
    assert_close(other.error_ratio, torch.tensor(2.0, dtype=torch.float64))
    assert other.shape_covariance.shape == (9, 9)
    patches, numbers = torch.rand(2, 1, 8, 8, 8), torch.tensor([0, 2])
    for one, two in zip(network.refiners, other.refiners, strict=True):
        assert_close(one(patches, numbers), two(patches, numbers))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_landmarks": 0}, r"num_landmarks must lie in \[1, 1000\], got 0"),
        ({"num_landmarks": 10**6}, r"num_landmarks must lie in \[1, 1000\], got 1000000"),
        ({"num_landmarks": 2, "template_shape": [2**20, 2**20, 1]}, "template_shape must have 1 to 67108864 voxels"),
    ],
)
def test_sizes_that_no_memory_is_good_for_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        Cascade(HeatmapUNet(2, channels=(4, 8)), [], **options)
