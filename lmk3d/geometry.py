"""Grids of voxels in world space, and fits between point sets.

World is RAS millimetres throughout the package; ``points_vox`` are array indices (i, j, k), the centre of the first
voxel being 0. Everything here is NumPy in float64: points are few, a thousandth of a voxel matters, and the shell can
convert a file of points without waiting for torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = [
    "LPS_TO_RAS",
    "Grid",
    "Volume",
    "apply_affine",
    "cube_rotations",
    "film_affine",
    "fit_similarity",
    "random_rotation",
]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns LPS (ITK, DICOM) into RAS (NIfTI, this package) and back; it is its own inverse."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A box of voxels in the world: the only place that turns voxels into millimetres and back.

    Args:
        shape: voxels along (i, j, k), each at least 1; a radiograph has k = 1.
        affine: (4, 4) voxel index to world RAS mm; may be oblique, flipped, anisotropic or sheared, not singular.
    Raises:
        ValueError: if a side is below 1, or the affine is not finite, not (4, 4), or singular.

    >>> grid = Grid((4, 4, 2), np.diag([0.5, 0.5, 3.0, 1.0]))
    >>> grid.to_mm([2, 0, 1])
    array([1., 0., 3.])
    >>> grid.to_vox([1, 0, 3])
    array([2., 0., 1.])
    >>> grid.spacing_mm
    array([0.5, 0.5, 3. ])
    >>> grid.contains([[1, 0, 3], [1, 0, 9]])
    array([ True, False])
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        shape = tuple(int(side) for side in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be three sides of at least 1 voxel, got {self.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            what = "NaN or infinite values" if affine.shape == (4, 4) else f"shape {affine.shape}"
            raise ValueError(f"affine must be a finite (4, 4) matrix, got {what}")
        edges = np.linalg.norm(affine[:3, :3], axis=0)
        # Volume of the voxel against that of a box of the same edges: 0 where the axes lie in a plane.
        if edges.min() < 1e-9 or abs(np.linalg.det(affine[:3, :3] / edges)) < 1e-6:
            raise ValueError(f"affine is singular: its axes span no volume (spacing {edges.tolist()})")
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def around(
        cls, center_mm: ArrayLike, shape: Sequence[int], spacing_mm: ArrayLike, axes: ArrayLike | None = None
    ) -> Grid:
        """The grid of this shape and spacing whose middle lies at ``center_mm``.

        Args:
            center_mm: (3,) world RAS mm, the point halfway between the first and the last voxel's centre.
            shape: voxels along (i, j, k).
            spacing_mm: one number, or one for each axis.
            axes: (3, 3) unit directions of i, j, k in its columns; the identity (R, A, S) when None.

        >>> Grid.around([0, 0, 0], (5, 5, 3), 2.0).to_mm([2, 2, 1])
        array([0., 0., 0.])
        """
        affine = np.eye(4)
        affine[:3, :3] = (np.eye(3) if axes is None else np.asarray(axes, float)) * np.broadcast_to(spacing_mm, 3)
        affine[:3, 3] = np.asarray(center_mm, float) - affine[:3, :3] @ ((np.asarray(shape, float) - 1) / 2)
        return cls((shape[0], shape[1], shape[2]), affine)

    @classmethod
    def of(cls, image: Any) -> Grid:
        """The grid of a MONAI ``MetaTensor`` (C, I, J, K), read from the affine it carries now."""
        shape = tuple(image.shape[-3:])
        return cls((shape[0], shape[1], shape[2]), np.asarray(image.affine, dtype=np.float64))

    def to_mm(self, points_vox: ArrayLike) -> FloatArray:
        """World RAS mm of (..., 3) voxel indices; NaN stays NaN."""
        return apply_affine(self.affine, points_vox)

    def to_vox(self, points_mm: ArrayLike) -> FloatArray:
        """Voxel indices (i, j, k) of (..., 3) world RAS mm; NaN stays NaN."""
        return apply_affine(self.inverse, points_mm)

    @property
    def inverse(self) -> FloatArray:
        """(4, 4) world RAS mm to voxel index."""
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    @property
    def spacing_mm(self) -> FloatArray:
        """(3,) distance of neighbouring voxels along i, j, k."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def axes(self) -> FloatArray:
        """(3, 3) unit directions of i, j, k in its columns."""
        return self.affine[:3, :3] / self.spacing_mm

    @property
    def upright(self) -> FloatArray:
        """(3, 3) directions along which this image is looked at: R, A, S, of a film its own axes."""
        return self.axes if self.shape[2] == 1 else np.eye(3)

    @property
    def center_mm(self) -> FloatArray:
        """(3,) world RAS mm of the middle of the box."""
        return self.to_mm((np.asarray(self.shape, float) - 1) / 2)

    @property
    def sides_mm(self) -> FloatArray:
        """(3,) lengths of the box along i, j, k, counting whole voxels."""
        return self.spacing_mm * self.shape

    @property
    def upright_sides_mm(self) -> FloatArray:
        """(3,) lengths of the smallest box along ``upright`` that holds this one."""
        return np.asarray(np.abs(self.upright.T @ self.axes) @ self.sides_mm, dtype=np.float64)

    def contains(self, points_mm: ArrayLike, *, margin_vox: float = 0.5) -> NDArray[np.bool_]:
        """Whether each of (..., 3) world points lies in the box; a missing (NaN) point does not.

        Args:
            points_mm: world RAS mm.
            margin_vox: how far outside the outermost voxels' centres still counts; 0.5 reaches the voxels' faces.
        """
        points_vox = self.to_vox(points_mm)
        with np.errstate(invalid="ignore"):
            inside = (points_vox >= -margin_vox) & (points_vox <= np.asarray(self.shape) - 1 + margin_vox)
        return np.asarray(inside.all(axis=-1))

    def coarsened(self, factors: Sequence[int]) -> Grid:
        """The grid of the means over blocks of ``factors`` voxels; a rest at the far end is left out.

        The centre of the first block lies (factor - 1) / 2 voxels in: the affine's origin, kept, would shift the image.

        >>> Grid((8, 8, 8), np.eye(4)).coarsened((4, 4, 4)).to_mm([0, 0, 0])
        array([1.5, 1.5, 1.5])
        """
        steps = np.asarray(factors, float)
        affine = np.array(self.affine)
        affine[:3, 3] = self.to_mm((steps - 1) / 2)
        affine[:3, :3] *= steps
        i, j, k = (side // int(step) for side, step in zip(self.shape, factors, strict=True))
        return Grid((i, j, k), affine)

    def coarsened_to(self, shape: Sequence[int]) -> Grid:
        """The grid of a map of this shape that covers this one in whole blocks, such as a network's output."""
        return self.coarsened([side // size for side, size in zip(self.shape, shape, strict=True)])

    def scaled(self, factor: float) -> Grid:
        """The same voxels in a world that is ``factor`` times as large."""
        return Grid(self.shape, np.diag([factor, factor, factor, 1.0]) @ self.affine)

    def cropped(self, start: Sequence[int], shape: Sequence[int]) -> Grid:
        """The part of this grid of ``shape`` voxels that begins at voxel ``start`` (which may lie outside)."""
        affine = np.array(self.affine)
        affine[:3, 3] = self.to_mm(start)
        return Grid((shape[0], shape[1], shape[2]), affine)


@dataclass(frozen=True, eq=False)
class Volume:
    """One image: its stored numbers in their own type, on the grid they lie on.

    Args:
        data: (I, J, K) numbers as the file stores them (integers stay integers); a radiograph has K = 1.
        grid: where the voxels lie; its shape is that of ``data``.
        unit: "mm", or "px" where the file gives no spacing: world coordinates then count pixels.
        notes: what a user should know about how the file was read, one sentence each, without the file's name.

    >>> volume = Volume(np.zeros((4, 3, 2), np.int16), Grid((4, 3, 2), np.diag([0.5, 0.5, 3.0, 1.0])))
    >>> volume.grid.sides_mm
    array([2. , 1.5, 6. ])
    >>> Volume(np.zeros((4, 3)), Grid((4, 3, 1), np.eye(4)))
    Traceback (most recent call last):
    ValueError: data of shape (4, 3) does not fit a grid of shape (4, 3, 1)
    """

    data: NDArray[Any]
    grid: Grid
    unit: str = "mm"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.shape != self.grid.shape:
            raise ValueError(f"data of shape {self.data.shape} does not fit a grid of shape {self.grid.shape}")

    def factor_to(self, side_px: float | None) -> float:
        """What makes the longest side of an image without spacing measure ``side_px``; 1 for one in mm, or for None."""
        return 1.0 if side_px is None or self.unit == "mm" else side_px / float(self.grid.sides_mm.max())


def film_affine(spacing_mm: tuple[float, float]) -> FloatArray:
    """(4, 4) affine of a film: row r, column c lies at LPS (c * across, r * down, 0), as ITK would say.

    Args:
        spacing_mm: distance of rows (down) and of columns (across), mm.
    """
    down, across = spacing_mm
    affine = np.zeros((4, 4))
    affine[1, 0], affine[0, 1], affine[2, 2], affine[3, 3] = -down, -across, 1.0, 1.0
    return affine


def apply_affine(affine: ArrayLike, points: ArrayLike) -> FloatArray:
    """Map (..., D) points through a (D + 1, D + 1) affine; NaN stays NaN.

    >>> apply_affine(LPS_TO_RAS, [[10, 20, 30]])
    array([[-10., -20.,  30.]])
    """
    matrix = np.asarray(affine, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ matrix[:-1, :-1].T + matrix[:-1, -1]


def fit_similarity(
    moving_mm: ArrayLike, fixed_mm: ArrayLike, weights: ArrayLike | None = None, *, scale: bool = True
) -> FloatArray:
    """The similarity (or rigid) transform that brings ``moving_mm`` nearest to ``fixed_mm``; never a reflection.

    Args:
        moving_mm, fixed_mm: (..., N, D) paired points, in the world (D = 3) or in a film (D = 2); a pair with
            a NaN on either side is left out.
        weights: (..., N) non-negative weights of the squared distances; equal when None.
        scale: also fit one scale; False gives the rigid transform.
    Returns:
        (..., D + 1, D + 1) affine, moving to fixed.
    Raises:
        ValueError: if fewer than D pairs are there.
    Source:
        Umeyama 1991, eqs. 40-43, with weights.

    >>> moving = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> fit_similarity(moving, 2 * moving + [5, 0, 0]).round(6) + 0.0
    array([[2., 0., 0., 5.],
           [0., 2., 0., 0.],
           [0., 0., 2., 0.],
           [0., 0., 0., 1.]])
    """
    moving, fixed = np.asarray(moving_mm, float), np.asarray(fixed_mm, float)
    there = np.isfinite(moving).all(-1) & np.isfinite(fixed).all(-1)
    weight = np.where(there, 1.0 if weights is None else np.asarray(weights, float), 0.0)
    dims = moving.shape[-1]
    if (found := int((weight > 0).sum(-1).min())) < dims:
        raise ValueError(f"a fit needs at least {dims} pairs of points, got {found} of {moving.shape[-2]}")
    moving, fixed = (np.where(there[..., None], points, 0.0) for points in (moving, fixed))
    share = (weight / weight.sum(-1, keepdims=True))[..., None]
    moving_mean, fixed_mean = ((share * points).sum(-2, keepdims=True) for points in (moving, fixed))
    moving, fixed = moving - moving_mean, fixed - fixed_mean
    left, singular, right = np.linalg.svd(np.swapaxes(fixed * share, -1, -2) @ moving)
    signs = np.ones_like(singular)
    signs[..., -1] = np.where(np.linalg.det(left @ right) < 0, -1.0, 1.0)
    variance = (share * moving**2).sum((-2, -1))
    factor = (singular * signs).sum(-1) / np.maximum(variance, 1e-300) if scale else np.ones_like(variance)
    matrix = factor[..., None, None] * (left * signs[..., None, :]) @ right
    affine = np.zeros((*variance.shape, dims + 1, dims + 1))
    affine[..., :-1, :-1], affine[..., -1, -1] = matrix, 1.0
    affine[..., :-1, -1] = (fixed_mean - moving_mean @ np.swapaxes(matrix, -1, -2))[..., 0, :]
    return affine


def random_rotation(generator: np.random.Generator | np.random.RandomState, max_angle: float = np.pi) -> FloatArray:
    """A (3, 3) rotation: uniform over SO(3) at ``max_angle`` pi, else about a uniform axis by up to that angle.

    Args:
        generator: where the random numbers come from.
        max_angle: radians.
    Source:
        Shoemake 1992 for the uniform case; the axis and angle formula is Rodrigues'.
    """
    quaternion = generator.normal(size=4)
    quaternion /= np.linalg.norm(quaternion)
    if max_angle < np.pi:
        angle = generator.uniform(-max_angle, max_angle) / 2
        axis = quaternion[1:] / np.linalg.norm(quaternion[1:])
        quaternion = np.concatenate([[np.cos(angle)], np.sin(angle) * axis])
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@cache
def cube_rotations() -> tuple[FloatArray, ...]:
    """The 24 rotations that bring a cube onto itself; no pose is more than 63 degrees from one of them.

    The identity comes first. The first twelve lie at least 120 degrees from one another, so that they cover what they
    can before the others fill the gaps.
    """
    orders, signs = permutations(range(3)), list(product((1, -1), repeat=3))
    signed = [np.diag(sign) @ np.eye(3)[list(order)] for order in orders for sign in signs]
    proper = [matrix for matrix in signed if np.linalg.det(matrix) > 0]
    return tuple(sorted(proper, key=lambda matrix: bool(np.linalg.det(np.abs(matrix)) < 0)))
