"""Maps of the world onto itself, linear or bent, and images carried along by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.geometry import Grid, Volume, apply_affine

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Transform", "displacements", "resample", "thin_plate"]

# Nodes along the longest side of the grid that a bent map is inverted on; between them it is read linearly.
_NODES = 48
_SLAB_VOXELS = 1_000_000


@dataclass(frozen=True, eq=False)
class Transform:
    """A map of the world onto itself: an affine one, and bending added to it where there are centres.

    A point p goes to ``affine(p) + sum_i U(|axes^T (p - center_i)|) weight_i``, with U(r) = -r in space (D = 3) and
    r^2 log r in a plane (D = 2).

    Args:
        affine: (4, 4) world RAS mm to world RAS mm.
        centers_mm: (M, 3) where the bending is held, in the moving world; M = 0 for a linear map.
        weights: (M, 3) mm added for each unit of U.
        axes: (3, D) directions in which distances from the centres count.
    Source:
        Bookstein 1989 for the plane; Duchon 1977 for the kernel in space.

    >>> move = Transform.linear([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    >>> move([[1, 2, 3]]), move.inverse([[6, 2, 3]])
    (array([[6., 2., 3.]]), array([[1., 2., 3.]]))
    """

    affine: FloatArray
    centers_mm: FloatArray
    weights: FloatArray
    axes: FloatArray

    @classmethod
    def linear(cls, affine: ArrayLike) -> Transform:
        """The map of a (4, 4) affine."""
        return cls(np.asarray(affine, dtype=np.float64), np.empty((0, 3)), np.empty((0, 3)), np.eye(3))

    @property
    def is_linear(self) -> bool:
        return not len(self.centers_mm)

    def __call__(self, points_mm: ArrayLike) -> FloatArray:
        """Where (..., 3) points go; NaN stays NaN."""
        points = np.asarray(points_mm, dtype=np.float64)
        moved = apply_affine(self.affine, points)
        if self.is_linear:
            return moved
        return moved + thin_plate((points[..., None, :] - self.centers_mm) @ self.axes) @ self.weights

    def jacobian(self, points_mm: ArrayLike) -> FloatArray:
        """(..., 3, 3) derivative of the map at (..., 3) points; a centre's own kink in space counts as flat."""
        points = np.asarray(points_mm, dtype=np.float64)
        matrix = np.broadcast_to(self.affine[:3, :3], (*points.shape, 3))
        if self.is_linear:
            return matrix
        offset = (points[..., None, :] - self.centers_mm) @ self.axes  # (..., M, D)
        radius = np.maximum(np.linalg.norm(offset, axis=-1, keepdims=True), 1e-12)
        slope = -1 / radius if self.axes.shape[1] == 3 else 2 * np.log(radius) + 1  # U'(r) / r
        return np.asarray(matrix + self.weights.T @ (slope * offset) @ self.axes.T)

    def inverse(self, points_mm: ArrayLike, *, rounds: int = 30, tolerance_mm: float = 1e-6) -> FloatArray:
        """What (..., 3) points came from: exactly for a linear map, else by Newton's steps.

        Returns:
            (..., 3) world mm; NaN where no origin was found to within the tolerance, as where the map folds.
        """
        points = np.asarray(points_mm, dtype=np.float64)
        origin = apply_affine(np.linalg.inv(self.affine), points)
        if self.is_linear:
            return origin
        flat, target = origin.reshape(-1, 3), points.reshape(-1, 3)
        for _ in range(rounds):
            miss = self(flat) - target
            open_rows = np.linalg.norm(miss, axis=1) > tolerance_mm
            if not open_rows.any():
                break
            matrix = self.jacobian(flat[open_rows])
            sound = np.abs(np.linalg.det(matrix)) > 1e-9
            matrix[~sound] = np.eye(3)
            flat[open_rows] -= np.linalg.solve(matrix, miss[open_rows, :, None])[..., 0]
        flat[np.linalg.norm(self(flat) - target, axis=1) > tolerance_mm] = np.nan
        return flat.reshape(points.shape)


def thin_plate(offset: FloatArray) -> FloatArray:
    """U of (..., D) offsets: -r in space, r^2 log r in a plane, r their length in mm."""
    square = (offset**2).sum(-1)
    if offset.shape[-1] == 3:
        return -np.sqrt(square)
    return 0.5 * square * np.log(np.where(square > 0, square, 1.0))


def displacements(transform: Transform, grid: Grid) -> tuple[Grid, FloatArray]:
    """Where the places of an image came from: the way back, at nodes spread over a grid.

    Args:
        transform: from the moving to the fixed world.
        grid: of the fixed image; the nodes' grid reaches as far as its outermost voxels' centres.
    Returns:
        The nodes' grid, at most 48 along each side, and (I, J, K, 3) mm to be added to a node to reach its origin.
    Raises:
        ValueError: if the map folds: some node has no single origin.
    """
    sides = np.asarray(grid.shape)
    reach = grid.spacing_mm * (sides - 1)
    counts = np.where(sides > 1, np.clip(np.ceil(reach / max(reach.max() / (_NODES - 1), 1e-9)) + 1, 2, _NODES), 1)
    counts = np.minimum(counts, sides).astype(int)
    affine = np.array(grid.affine)
    affine[:3, :3] *= np.where(counts > 1, (sides - 1) / np.maximum(counts - 1, 1), 1.0)
    nodes = Grid((counts[0], counts[1], counts[2]), affine)
    moves = np.empty((*nodes.shape, 3))
    for i in range(nodes.shape[0]):
        places = _places(nodes, i, i + 1)
        origins = transform.inverse(places)
        with np.errstate(invalid="ignore"):
            folded = ~(np.linalg.det(transform.jacobian(origins)) > 0)  # also where no origin was found
        if folded.any():
            where = np.round(places[folded][0], 1).tolist()
            raise ValueError(
                f"the spline folds the image over itself near RAS {where}: neighbouring points are pulled across each "
                f"other; check those points, or bend less"
            )
        moves[i] = (origins - places)[0]
    return nodes, moves


def resample(volume: Volume, transform: Transform, grid: Grid) -> Volume:
    """The image moved by a transform, read linearly onto a grid.

    Args:
        volume: the moving image; its type is kept.
        transform: from its world to that of ``grid``.
        grid: of the fixed image.
    Returns:
        An image on ``grid``; its smallest value stands where the moved image does not reach.
    Raises:
        ValueError: if the transform folds.
    """
    from scipy.ndimage import map_coordinates

    out = np.full(grid.shape, volume.data.min(), dtype=volume.data.dtype)
    nodes = None if transform.is_linear else displacements(transform, grid)
    step = max(1, _SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for start in range(0, grid.shape[0], step):
        places = _places(grid, start, min(start + step, grid.shape[0]))
        if nodes is None:
            origins = transform.inverse(places)
        else:
            at = np.moveaxis(nodes[0].to_vox(places), -1, 0)
            moves = [map_coordinates(nodes[1][..., axis], at, order=1, mode="nearest") for axis in range(3)]
            origins = places + np.stack(moves, axis=-1)
        at = np.moveaxis(volume.grid.to_vox(origins), -1, 0)
        values = map_coordinates(volume.data, at, order=1, mode="nearest", output=np.float64)
        if volume.data.dtype.kind in "iu":
            values = np.round(values)
        inside = volume.grid.contains(origins)
        out[start : start + step][inside] = values[inside].astype(volume.data.dtype)
    return Volume(out, grid, volume.unit)


def _places(grid: Grid, start: int, stop: int) -> FloatArray:
    """(stop - start, J, K, 3) world mm of the voxels of some planes of i."""
    axes = (np.arange(start, stop), np.arange(grid.shape[1]), np.arange(grid.shape[2]))
    return grid.to_mm(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
