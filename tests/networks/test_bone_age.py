from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lmk3d.networks import BoneAgeEnsemble, BoneAgeMLP

SIZES = (3, 5, 4)


@pytest.fixture
def points():
    return torch.randn(2, sum(SIZES), 2, generator=torch.Generator().manual_seed(0))


def test_logits_have_the_classes_of_every_member(points):
    assert BoneAgeMLP(SIZES, 7)(points).shape == (2, 7)
    assert BoneAgeEnsemble(SIZES, 7, members=3)(points).shape == (2, 3, 7)


def test_each_bone_has_layers_of_its_own_and_is_centred(points):
    """The oracle: bone by bone with torch's own linear layers."""
    torch.manual_seed(0)
    network = BoneAgeMLP(SIZES, 7, width=6, joint_width=4).eval()
    features, start = [], 0
    for bone, size in enumerate(SIZES):
        own = points[:, start : start + size]
        x = nn.functional.pad((own - own.mean(1, keepdim=True)).flatten(1), (0, 10 - 2 * size))
        for layer in network.each[::3]:
            x = nn.functional.linear(x, layer.weight[bone].T, layer.bias[bone, 0])
            x = (x / (1 + 1e-5) ** 0.5).relu()  # a fresh batch norm divides by the square root of 1 + its epsilon
        features.append(x)
        start += size
    assert_close(network(points), network.join(torch.cat(features, 1)))


def test_shifting_a_bone_changes_nothing(points):
    network = BoneAgeMLP(SIZES, 7).eval()
    moved = points.clone()
    moved[:, 3:8] += torch.tensor([30.0, -7.0])
    assert_close(network(moved), network(points), atol=1e-5, rtol=1e-4)


def test_missing_bone_counts_as_zeros_and_takes_part_in_no_gradient(points):
    network = BoneAgeMLP(SIZES, 7)
    points[1, 3:8] = torch.nan
    logits = network(points)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())
    assert_close(network.eval()(points[1:]), network(torch.where(points[1:].isnan(), 5.0, points[1:])))


def test_members_begin_differently(points):
    first, second, *_ = BoneAgeEnsemble(SIZES, 7).eval()(points)[0]
    assert not torch.allclose(first, second)


def test_other_numbers_of_points_are_refused(points):
    with pytest.raises(ValueError, match=r"points must be \(B, 12, 2\), got \(2, 11, 2\)"):
        BoneAgeMLP(SIZES, 7)(points[:, 1:])
