"""Bone age from the outlines of hand bones: an MLP for each bone, joined by two layers, and an ensemble of those."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["BoneAgeEnsemble", "BoneAgeMLP"]


class _BoneLinear(nn.Module):
    """A linear layer for each bone in one matrix product: (B, bones * inputs) to (B, bones * outputs)."""

    def __init__(self, bones: int, inputs: int, outputs: int) -> None:
        super().__init__()
        # As nn.Linear begins.
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(bones, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(bones, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        bones, inputs, _ = self.weight.shape
        split = x.reshape(len(x), bones, inputs).transpose(0, 1)
        return torch.baddbmm(self.bias, split, self.weight).transpose(0, 1).flatten(1)


class BoneAgeMLP(nn.Module):
    """Points of bones to logits over classes of age.

    Each bone's points are centred about their mean and go through three blocks of linear layer, batch norm and ReLU of
    their own; what they give is concatenated and goes through two fully connected layers. A missing (NaN) bone is all
    zeros behind the centring.

    Args:
        bone_sizes: number of points of each bone, which stand one bone after the other.
        classes: of age.
        width: of each bone's layers.
        joint_width: of the layer that joins them.
    Source:
        Keuth et al. 2024 (DenseSeg), sec. 3.2: widths 32 and 64. That the blocks end in the concatenation, and that the
        joining layer has a ReLU, is our reading.
    """

    def __init__(self, bone_sizes: Sequence[int], classes: int, *, width: int = 32, joint_width: int = 64) -> None:
        super().__init__()
        bones, widest = len(bone_sizes), 2 * max(bone_sizes)
        # Where each point's two coordinates go among the bones' equally many inputs; the rest stays zero.
        starts = [widest * bone + 2 * row for bone, size in enumerate(bone_sizes) for row in range(size)]
        owners = [bone for bone, size in enumerate(bone_sizes) for _ in range(size)]
        self.register_buffer(
            "places", torch.tensor([[start, start + 1] for start in starts]).flatten(), persistent=False
        )
        self.register_buffer("owners", torch.tensor(owners), persistent=False)
        self.bones, self.widest = bones, widest
        layers: list[nn.Module] = []
        for inputs in (widest, width, width):
            layers += [_BoneLinear(bones, inputs, width), nn.BatchNorm1d(bones * width), nn.ReLU()]
        self.each = nn.Sequential(*layers)
        self.join = nn.Sequential(nn.Linear(bones * width, joint_width), nn.ReLU(), nn.Linear(joint_width, classes))

    def forward(self, points: Tensor) -> Tensor:
        """(B, P, 2) points in one unit, a missing bone all NaN, to (B, classes) logits.

        Raises:
            ValueError: if P is another number of points.
        """
        owners, places = torch.as_tensor(self.owners), torch.as_tensor(self.places)
        if points.shape[1:] != (len(owners), 2):
            raise ValueError(f"points must be (B, {len(owners)}, 2), got {tuple(points.shape)}")
        there = ~points.isnan().any(-1, keepdim=True)
        known = torch.where(there, points, 0.0)
        sums = torch.zeros(len(points), self.bones, 3, dtype=points.dtype, device=points.device)
        sums.index_add_(1, owners, torch.cat([known, there.to(points.dtype)], dim=-1))
        centres = sums[..., :2] / sums[..., 2:].clamp_min(1)
        centred = torch.where(there, points - centres[:, owners], 0.0)
        inputs = torch.zeros(len(points), self.bones * self.widest, dtype=points.dtype, device=points.device)
        inputs[:, places] = centred.flatten(1)
        return self.join(self.each(inputs))


class BoneAgeEnsemble(nn.Module):
    """Several ``BoneAgeMLP`` that differ in how they began: (B, P, 2) points to (B, members, classes) logits."""

    def __init__(self, bone_sizes: Sequence[int], classes: int, *, members: int = 5) -> None:
        super().__init__()
        self.members = nn.ModuleList(BoneAgeMLP(bone_sizes, classes) for _ in range(members))

    def forward(self, points: Tensor) -> Tensor:
        return torch.stack([member(points) for member in self.members], dim=1)
