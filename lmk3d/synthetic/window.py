"""Boxes of voxels in which shapes are drawn, and the ramp that turns distances into shares of voxels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Field = NDArray[np.float32]

__all__ = ["Window", "ramp"]


def ramp(distance: Field, edge: float) -> Field:
    """Share of a voxel that a surface at a signed ``distance`` (negative inside) leaves inside.

    Args:
        distance: mm; overwritten.
        edge: mm over which the share rises smoothly from 0 to 1.
    """
    distance *= np.float32(-1 / edge)
    distance += np.float32(0.5)
    np.maximum(distance, 0.0, out=distance)
    np.minimum(distance, 1.0, out=distance)
    smooth = np.float32(3) - 2 * distance
    smooth *= distance
    smooth *= distance
    return smooth


@dataclass(frozen=True, eq=False)
class Window:
    """A box of voxels of an orthogonal grid.

    Args:
        origin_mm: (3,) world position of voxel (0, 0, 0) of the whole grid.
        axes: (3, 3) unit directions of i, j, k in its columns, at right angles.
        spacing_mm: (3,).
        start, stop: (3,) first voxel and one past the last.
    """

    origin_mm: FloatArray
    axes: FloatArray
    spacing_mm: FloatArray
    start: NDArray[np.int64]
    stop: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(side) for side in self.stop - self.start)

    @property
    def centre_mm(self) -> FloatArray:
        return self.origin_mm + self.axes @ (self.spacing_mm * (self.start + self.stop - 1) / 2)

    @property
    def radius_mm(self) -> float:
        """Distance from the centre to the outermost voxels' centres."""
        return float(np.sqrt(((self.spacing_mm * (self.stop - self.start - 1)) ** 2).sum())) / 2

    def linear(self, point_mm: FloatArray, direction: FloatArray) -> Field:
        """(p - point) . direction of every voxel's centre p."""
        slopes = (direction @ self.axes) * self.spacing_mm
        i, j, k = (slope * np.arange(low, high) for slope, low, high in zip(slopes, self.start, self.stop, strict=True))
        i = i + (self.origin_mm - point_mm) @ direction
        return (i[:, None, None] + j[:, None]).astype(np.float32) + k.astype(np.float32)

    def square(self, point_mm: FloatArray) -> Field:
        """|p - point|^2 of every voxel's centre p."""
        place = (point_mm - self.origin_mm) @ self.axes / self.spacing_mm
        i, j, k = (
            ((np.arange(low, high) - at) * step) ** 2
            for at, step, low, high in zip(place, self.spacing_mm, self.start, self.stop, strict=True)
        )
        return (i[:, None, None] + j[:, None]).astype(np.float32) + k.astype(np.float32)

    def part(self, start: NDArray[np.int64], stop: NDArray[np.int64]) -> Window:
        """The window between two voxels."""
        return replace(self, start=start, stop=stop)

    def boxes(self, low_mm: FloatArray, high_mm: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Voxels (start, stop) within this window between (..., 3) positions along its axes, in mm of ``p @ axes``."""
        origin = self.origin_mm @ self.axes
        start = np.ceil((low_mm - origin) / self.spacing_mm).astype(np.int64)
        stop = np.floor((high_mm - origin) / self.spacing_mm).astype(np.int64) + 1
        start, stop = np.maximum(start, self.start), np.minimum(stop, self.stop)
        return start, np.maximum(stop, start)
