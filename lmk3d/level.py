"""The settings of one refinement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Level"]

_LARGEST_PATCH, _MOST_PASSES = 512, 100  # more is a typing mistake that would take memory or hours


@dataclass(frozen=True)
class Level:
    """One refinement: which patches its refiner sees.

    Args:
        spacing_mm: of the patch.
        size: voxels along each side.
        passes: how many times the refiner moves the points.
        share: step size, the part of each displacement that is applied; one for all landmarks or one for each. Less
            than 1 helps where the stage before is about as good and its errors are others.
        steps: the refiner finds each landmark from its neighbour in the tree, one by one; see ``LandmarkTree.ways``. It
            begins with landmarks that keep their places: those that the first stage mistook least often in validation,
            and is now about as sure of as of the surest of them.
    """

    spacing_mm: float
    size: int
    passes: int = 1
    share: float | Sequence[float] = 1.0
    steps: bool = False

    def __post_init__(self) -> None:
        if not (self.spacing_mm > 0 and 1 <= self.size <= _LARGEST_PATCH and 1 <= self.passes <= _MOST_PASSES):
            raise ValueError(f"spacing_mm, size and passes cannot be {self.spacing_mm}, {self.size}, {self.passes}")
