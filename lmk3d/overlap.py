"""How well a mask covers another: Dice and the distance between their surfaces, in world units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["compare_masks", "dice", "surface_distance"]


def compare_masks(
    truth: Mapping[str, NDArray[np.bool_]], found: Mapping[str, NDArray[np.bool_]], spacing_mm: ArrayLike
) -> dict[str, dict[str, float]]:
    """The "dice" and the surface distance "asd" of each mask of the truth; one that was not found counts as empty."""
    scores = {}
    for name, mask in truth.items():
        other = found.get(name, np.zeros_like(mask))
        scores[name] = {"dice": dice(mask, other), "asd": surface_distance(mask, other, spacing_mm)}
    return scores


def dice(one: ArrayLike, other: ArrayLike) -> float:
    """Twice the common voxels over all voxels of two masks of one shape; NaN where both are empty.

    >>> dice([[True, True, False]], [[False, True, True]])
    0.5
    """
    one, other = np.asarray(one, dtype=bool), np.asarray(other, dtype=bool)
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else float("nan")


def surface_distance(one: ArrayLike, other: ArrayLike, spacing_mm: ArrayLike) -> float:
    """Average symmetric surface distance of two masks.

    Args:
        one, other: (I, J, K) masks; a film has K = 1, and its surface is a line.
        spacing_mm: (3,) of the voxels.
    Returns:
        The mean over the surface voxels of both of the distance to the nearest surface voxel of the other; NaN where a
        mask is empty.
    """
    from scipy.ndimage import distance_transform_edt

    first, second = _surface(one), _surface(other)
    if not first.any() or not second.any():
        return float("nan")
    low, high = np.inf * np.ones(3), np.zeros(3)
    for surface in (first, second):
        places = np.argwhere(surface)
        low, high = np.minimum(low, places.min(0)), np.maximum(high, places.max(0) + 1)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))  # which holds both: distances stay
    first, second = first[box], second[box]
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), 3)
    there = distance_transform_edt(~second, sampling=spacing)[first]
    back = distance_transform_edt(~first, sampling=spacing)[second]
    return float((there.sum() + back.sum()) / (len(there) + len(back)))


def _surface(mask: ArrayLike) -> NDArray[np.bool_]:
    """The voxels of a mask with a neighbour outside it, or at the rim; an axis of one voxel has no neighbours."""
    from scipy.ndimage import binary_erosion, generate_binary_structure

    mask = np.asarray(mask, dtype=bool)
    structure = generate_binary_structure(3, 1)
    if mask.shape[2] == 1:
        structure[:, :, [0, 2]] = False
    return np.asarray(mask & ~binary_erosion(mask, structure))
