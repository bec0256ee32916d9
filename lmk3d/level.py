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
        share: part of each move that is made, one for all landmarks or one for each. Where the stage before is about as
            good, and errs in another way, less than 1 is nearer to the truth than either.
        steps: the refiner finds each landmark from its neighbour in the tree; see ``LandmarkTree.ways``. Those that the
            first stage mistook least often in validation, and is about as sure of as of the surest of them, keep their
            places; the others follow one by one.
    """

    spacing_mm: float
    size: int
    passes: int = 1
    share: float | Sequence[float] = 1.0
    steps: bool = False

    def __post_init__(self) -> None:
        if not (self.spacing_mm > 0 and 1 <= self.size <= _LARGEST_PATCH and 1 <= self.passes <= _MOST_PASSES):
            raise ValueError(f"spacing_mm, size and passes cannot be {self.spacing_mm}, {self.size}, {self.passes}")
