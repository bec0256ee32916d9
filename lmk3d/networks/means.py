"""Several trainings of one network that answer as one: each is asked, their mean is what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MeanMaps", "MeanMoves"]


class MeanMaps(nn.Module):
    """The mean of what several first stages draw, images (B, 1, I, J, K) to maps (B, C, ...).

    Of logits that is the geometric mean of what the networks hold likely: a peak that most of them see stands out, and
    one that a single network sees fades.

    Args:
        members: networks of one kind, such as ``HeatmapUNet``, with weights of their own.
    Raises:
        ValueError: for fewer than two members, or members that take other sides.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = _two_or_more(members)
        self.divisor = int(members[0].divisor)  # type: ignore[arg-type]
        self.flat = bool(getattr(members[0], "flat", False))
        if {member.divisor for member in members} != {self.divisor}:
            raise ValueError("every member must take the same sides; join networks of one kind")

    def forward(self, image: Tensor) -> Tensor:
        total = torch.zeros(1, device=image.device)
        for member in self.members:  # a running sum: never the maps of all of them at once
            total = total + member(image)
        return total / len(self.members)


class MeanMoves(nn.Module):
    """The mean of the moves that several refiners make, and of their variances.

    The variance does not shrink with their number: most of it is what they all do not know.

    Args:
        members: refiners for the same patches, such as ``HeatmapRefiner``.
    Raises:
        ValueError: for fewer than two members.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = _two_or_more(members)

    def forward(self, patches: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        moves, variance = torch.zeros(1, device=patches.device), torch.zeros(1, device=patches.device)
        for member in self.members:
            own_moves, log_variance = member(patches, landmarks)
            moves, variance = moves + own_moves, variance + torch.exp(log_variance)
        return moves / len(self.members), torch.log(variance / len(self.members))


def _two_or_more(members: Sequence[nn.Module]) -> nn.ModuleList:
    if len(members) < 2:
        raise ValueError(f"a mean needs two members or more, got {len(members)}")
    return nn.ModuleList(members)
