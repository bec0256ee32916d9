"""Cuts through the world, sampled out of a volume that is never copied.

Planes are in world millimetres, whatever way the grid lies, and follow the radiological convention: the patient's right
is on the viewer's left, anterior (axial) or superior (coronal, sagittal) is up, and a sagittal cut looks to the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.io.fingerprint import otsu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from lmk3d.geometry import Grid, Volume

    FloatArray = NDArray[np.float64]

__all__ = [
    "STANDARD_PLANES",
    "Plane",
    "cut",
    "field_of_view",
    "film_plane",
    "grey_window",
    "letter",
    "plane_through",
    "whole_cut",
]


@dataclass(frozen=True, eq=False)
class Plane:
    """A cut: the world point in the picture's middle and the unit directions of its right and its upper edge."""

    name: str
    center_mm: FloatArray
    right: FloatArray
    up: FloatArray

    @property
    def normal(self) -> FloatArray:
        """(3,) unit direction towards the viewer."""
        return np.cross(self.right, self.up)

    def through(self, center_mm: ArrayLike) -> Plane:
        """The parallel plane with this point in its middle."""
        return Plane(self.name, np.asarray(center_mm, dtype=np.float64), self.right, self.up)

    def position(self, points_mm: ArrayLike) -> FloatArray:
        """(..., 2) mm to the right and up from the middle; what lies off the plane is projected onto it."""
        offset = np.asarray(points_mm, dtype=np.float64) - self.center_mm
        return np.stack([offset @ self.right, offset @ self.up], axis=-1)


def _standard(name: str, right: Sequence[float], up: Sequence[float]) -> Plane:
    return Plane(name, np.zeros(3), np.array(right, dtype=np.float64), np.array(up, dtype=np.float64))


STANDARD_PLANES = (
    _standard("axial", (-1, 0, 0), (0, 1, 0)),
    _standard("coronal", (-1, 0, 0), (0, 0, 1)),
    _standard("sagittal", (0, -1, 0), (0, 0, 1)),
)
"""The three planes in the radiological convention, through the world's origin."""


def letter(direction: ArrayLike) -> str:
    """The anatomical letter (R, L, A, P, S, I) nearest to a world direction.

    >>> letter([0.2, -0.9, 0.1])
    'P'
    """
    towards = np.asarray(direction, dtype=np.float64)
    axis = int(np.abs(towards).argmax())
    return ("RL", "AP", "SI")[axis][int(towards[axis] < 0)]


def cut(volume: Volume, plane: Plane, size_mm: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Sample a plane out of a volume, linearly.

    Args:
        volume: on any grid: oblique, flipped, anisotropic.
        plane: where to cut; its middle becomes the picture's middle.
        size_mm: width and height, or one number for both.
        shape: (rows, columns) of the picture.
    Returns:
        (rows, columns), the first row up; NaN outside the image.
    """
    from scipy.ndimage import map_coordinates

    width, height = np.broadcast_to(np.asarray(size_mm, dtype=np.float64), 2)
    across = ((np.arange(shape[1]) + 0.5) / shape[1] - 0.5) * width
    along = (0.5 - (np.arange(shape[0]) + 0.5) / shape[0]) * height
    points_mm = plane.center_mm + across[None, :, None] * plane.right + along[:, None, None] * plane.up
    points_vox = volume.grid.to_vox(points_mm)
    inside = volume.grid.contains(points_mm)
    if not inside.any():
        return np.full(shape, np.nan, dtype=np.float32)
    # Only the box of voxels that the plane crosses is looked at, in its own type where SciPy can read that.
    last = np.array(volume.grid.shape) - 1
    low = np.clip(np.floor(points_vox[inside].min(0)), 0, last).astype(int)
    high = np.clip(np.ceil(points_vox[inside].max(0)), 0, last).astype(int) + 1
    block = volume.data[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    if not _scipy_reads(block.dtype):
        block = block.astype(np.float32)
    coordinates = np.moveaxis(points_vox - low, -1, 0)
    values = map_coordinates(block, coordinates, output=np.float32, order=1, mode="nearest", prefilter=False)
    return np.where(inside, values, np.float32(np.nan))


def plane_through(first_mm: ArrayLike, second_mm: ArrayLike) -> tuple[Plane, float]:
    """The plane that holds two points and needs the least tilt against a standard one.

    Args:
        first_mm, second_mm: (3,) world RAS mm; the plane's middle lies halfway between them.
    Returns:
        The plane, and its tilt in degrees against the standard plane of its name: 36 at most, 0 for equal points.
    """
    first, second = np.asarray(first_mm, dtype=np.float64), np.asarray(second_mm, dtype=np.float64)
    distance = float(np.linalg.norm(second - first))
    towards = (second - first) / distance if distance > 0 else np.zeros(3)
    nearest = min(STANDARD_PLANES, key=lambda plane: abs(float(plane.normal @ towards)))
    normal = nearest.normal - (nearest.normal @ towards) * towards
    plane = _facing(nearest, normal, (first + second) / 2)
    return plane, float(np.rad2deg(np.arccos(np.clip(plane.normal @ nearest.normal, -1, 1))))


def film_plane(grid: Grid) -> Plane:
    """The plane of a grid of depth one, seen from the side that is nearest to the radiological convention.

    A radiograph lies as it is stored: columns to the right, rows down.
    """
    axis = grid.axes[:, 2]
    nearest = max(STANDARD_PLANES, key=lambda plane: abs(float(plane.normal @ axis)))
    return _facing(nearest, axis * (1.0 if nearest.normal @ axis > 0 else -1.0), grid.center_mm)


def whole_cut(grid: Grid, plane: Plane, points_mm: ArrayLike = ()) -> tuple[Plane, FloatArray]:
    """The same cut with all that it meets of the grid in it, and these points too, which may lie outside.

    Returns:
        The plane moved along itself, and the (width, height) it then takes, in mm.
    """
    ends = np.array([[-0.5, side - 0.5] for side in grid.shape])
    corners = grid.to_mm(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3))
    # The corners' numbers in binary are their places along i, j, k: an edge joins two that differ in one bit.
    starts, stops = np.array([(a, b) for a in range(8) for b in range(a) if (a ^ b) in (1, 2, 4)]).T
    height = (corners - plane.center_mm) @ plane.normal
    crossed = (height[starts] > 0) != (height[stops] > 0)
    along = (height[starts] / np.where(crossed, height[starts] - height[stops], 1.0))[crossed, None]
    met = corners[starts[crossed]] + along * (corners[stops[crossed]] - corners[starts[crossed]])
    shown = np.concatenate([met, np.reshape(points_mm, (-1, 3))])
    across = plane.position(shown if len(met) else corners)
    middle = (across.min(0) + across.max(0)) / 2
    moved = plane.through(plane.center_mm + middle[0] * plane.right + middle[1] * plane.up)
    return moved, np.ptp(across, axis=0)


def field_of_view(grid: Grid, part: float) -> float:
    """A side for pictures round a point: this part of the grid's middle side, but at least 24 of its widest voxels."""
    return float(max(part * np.median(grid.sides_mm), 24 * grid.spacing_mm.max()))


def grey_window(volume: Volume, *, samples: int = 200_000) -> tuple[float, float]:
    """The values to show as black and as white, from percentiles of an even sample of the voxels.

    White is the 99th percentile of the object, which Otsu's threshold parts from the background: in a sparse image
    (angiography, a skull in air) the percentiles of all voxels would be those of the background. Black is the first
    percentile of everything where values count from 0. Where they go below (Hounsfield units) it lies a little under
    the object's fifth percentile, so that air does not use up the greys.
    """
    step = max(1, round((volume.data.size / samples) ** (1 / 3)))
    values: NDArray[Any] = volume.data[
        tuple(slice(None, None, step if side > step else 1) for side in volume.data.shape)
    ]
    sample = values[np.isfinite(values)].astype(np.float64)
    if not len(sample) or sample.min() == sample.max():
        start = float(sample[0]) if len(sample) else 0.0
        return start, start + 1.0
    body = sample[sample > otsu(sample)]
    body = body if len(body) else sample
    black, white = float(np.percentile(sample, 1)), float(np.percentile(body, 99))
    if sample.min() < 0:
        dark = float(np.percentile(body, 5))
        black = max(black, dark - 0.2 * (white - dark))
    return black, white if white > black else black + 1.0


def _facing(standard: Plane, normal: FloatArray, center_mm: FloatArray) -> Plane:
    """The plane with this normal whose upper edge is nearest to that of a standard plane."""
    normal = normal / np.linalg.norm(normal)
    up = standard.up - (standard.up @ normal) * normal
    up /= np.linalg.norm(up)
    return Plane(standard.name, center_mm, np.cross(up, normal), up)


def _scipy_reads(dtype: np.dtype[Any]) -> bool:
    return dtype.isnative and (dtype.kind in "iu" or dtype in (np.float32, np.float64))
