"""Points as a label map, for programs that show segmentations only."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.geometry import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmk3d.geometry import Grid
    from lmk3d.landmarks import Landmarks

__all__ = ["label_map"]


def label_map(
    landmarks: Landmarks, grid: Grid, *, radius_mm: float = 3.0, labels: Mapping[str, int] | None = None
) -> tuple[Volume, dict[str, int]]:
    """A ball round each point, on the image's own grid.

    Args:
        landmarks: world RAS mm (px where the image has no spacing); missing ones leave no ball.
        grid: of the image.
        radius_mm: of the balls; at least one and a half of the largest voxel side, so that none falls between voxels.
        labels: the label of each name; 1, 2, ... in order of those that are there when None, without gaps, since 3D
            Slicer counts the labels that it meets.
    Returns:
        (I, J, K) uint16, 0 where no ball is, and which label each name has. All points of one name have one label;
        where balls meet, a voxel belongs to the nearer point.
    """
    used = dict(labels or {})
    data = np.zeros(grid.shape, dtype=np.uint16)
    nearest = np.full(grid.shape, np.inf, dtype=np.float32)
    radius = max(radius_mm, 1.5 * float(grid.spacing_mm.max()))
    reach = np.ceil(radius * np.linalg.norm(np.linalg.inv(grid.affine[:3, :3]), axis=1)).astype(int)
    for name, point in zip(landmarks.names, landmarks.points_mm, strict=True):
        if not np.isfinite(point).all():
            continue
        label = used.setdefault(name, len(used) + 1)
        middle = np.rint(grid.to_vox(point)).astype(int)
        low, high = np.clip(middle - reach, 0, grid.shape), np.clip(middle + reach + 1, 0, grid.shape)
        box = tuple(starmap(slice, zip(low, high, strict=True)))
        voxels = np.stack(np.meshgrid(*starmap(np.arange, zip(low, high, strict=True)), indexing="ij"), axis=-1)
        distance = np.linalg.norm(grid.to_mm(voxels) - point, axis=-1)
        own = (distance <= radius) & (distance < nearest[box])
        data[box][own], nearest[box][own] = label, distance[own]
    return Volume(data, grid), used
