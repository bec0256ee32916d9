"""Where landmarks usually lie in the image: a hint where its field of view is the training's, and none elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lmk3d.geometry import Grid

    FloatArray = NDArray[np.float64]

__all__ = ["UsualPlaces"]

_DOUBT, _DOUBTERS = 0.05, 3  # of the field of view: how far patients lie apart before any was seen, and its worth
_ALIKE = 1.15  # times as large, or as small, as the fields of view of training: beyond it there is no usual place
_NOWHERE_MM = 1e6  # offset of a landmark that nobody has marked: every place in an image is as unlikely for it
_FARTHEST = 6.0  # nats: a patient may be laid down in another way than all of training


@dataclass(frozen=True, eq=False)
class UsualPlaces:
    """Offsets of N landmarks from the middle of the image, as patients of one protocol are laid down.

    The tree weighs each landmark's place as it weighs each landmark's peak, as if they were independent. They are not,
    neither the peaks' weights nor the places: where one vertebra is taken for the next, all are.

    Args:
        offsets_mm: (N, 3) mean offset along the upright axes (R, A, S).
        covariance: (3, 3) mm^2 of what all landmarks of one patient are off it together.
        fields_mm: (2, 3) smallest and largest field of view of the images that this was learnt from.

    >>> from lmk3d.geometry import Grid
    >>> grid = Grid.around([0, 0, 0], (50, 50, 40), 4.0)
    >>> places = UsualPlaces.learn([np.array([[10.0, 0, 30]]), np.array([[14.0, 0, 30]])], [grid, grid])
    >>> places.offsets_mm
    array([[12.,  0., 30.]])
    >>> places.known(grid), places.known(grid.cropped([0, 0, 0], (50, 50, 20)))
    (True, False)
    """

    offsets_mm: FloatArray
    covariance: FloatArray
    fields_mm: FloatArray

    @classmethod
    def learn(cls, points_mm: Sequence[FloatArray], grids: Sequence[Grid]) -> UsualPlaces:
        """Learn it from (N, 3) world points, of which any may be missing (NaN), and the grids of their images."""
        fields = np.stack([grid.upright_sides_mm for grid in grids])
        pairs = zip(points_mm, grids, strict=True)
        offsets = np.stack([(points - grid.center_mm) @ grid.upright for points, grid in pairs])
        known = np.isfinite(offsets)
        count = known.sum(0)
        mean = np.where(count, np.where(known, offsets, 0.0).sum(0) / np.maximum(count, 1), _NOWHERE_MM)
        off = np.where(known, offsets - mean, 0.0).sum(1) / np.maximum(known.sum(1), 1)
        doubt = np.diag((_DOUBT * np.median(fields, axis=0)) ** 2)
        covariance = (off.T @ off + _DOUBTERS * doubt) / (len(off) + _DOUBTERS)
        return cls(mean, covariance, np.stack([fields.min(0), fields.max(0)]))

    def known(self, grid: Grid) -> bool:
        """Whether an image's field of view is one of training's, so that there are usual places in it."""
        ratio = grid.upright_sides_mm / self.fields_mm
        return bool((ratio[0] * _ALIKE >= 1).all() and (ratio[1] <= _ALIKE).all())

    def unlikely(self, peaks_mm: FloatArray, grid: Grid) -> FloatArray:
        """(N, K) nats by which each peak is less likely than the usual place, by its place alone.

        They are 0 where no places are ``known``.

        Args:
            peaks_mm: (N, K, 3) world mm; NaN where there is none.
            grid: of the image.
        """
        if not self.known(grid):
            return np.zeros(peaks_mm.shape[:2])
        off = (peaks_mm - grid.center_mm) @ grid.upright - self.offsets_mm[:, None]
        square = np.einsum("nki,ij,nkj->nk", off, np.linalg.inv(self.covariance), off)
        return np.asarray(np.minimum(np.nan_to_num(square / 2, nan=_FARTHEST), _FARTHEST), dtype=np.float64)
