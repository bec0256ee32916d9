"""Cut any posed grid out of a stored volume: anti-aliased, in one interpolation, touching only the voxels it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from lmk3d.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from lmk3d.geometry import Volume
    from lmk3d.transforms.intensity import Window

__all__ = ["Waves", "block_factors", "block_means", "cut_patches", "patch_grid", "resample", "stored_tensor"]

_SLAB_VOXELS = 2**22  # floats in flight while averaging: 16 MiB


@dataclass(frozen=True)
class Waves:
    """A smooth random deformation of the world, a sum of plane sine waves, exact at any point.

    The deformed image shows at ``x`` what lies at ``x + sum_m a_m sin(k_m . x + phase_m)``. Unlike a deformation on a
    lattice it has a value and a slope everywhere, so that landmarks move with the anatomy to any accuracy.

    Args:
        vectors: (M, 3) k, radians a mm.
        amplitudes_mm: (M, 3) a.
        phases: (M,) radians.
    """

    vectors: NDArray[np.float64]
    amplitudes_mm: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def drawn(
        cls, generator: np.random.RandomState, *, amplitude_mm: float, wavelength_mm: float, count: int = 6
    ) -> Waves:
        """Waves of random direction, at least ``wavelength_mm`` long; their amplitudes' root sum square is drawn up
        to ``amplitude_mm``.
        """
        vectors = generator.normal(size=(count, 3))
        lengths = wavelength_mm * generator.uniform(1, 2, size=(count, 1))
        vectors *= 2 * np.pi / lengths / np.linalg.norm(vectors, axis=1, keepdims=True)
        amplitudes = generator.normal(size=(count, 3))
        amplitudes *= generator.uniform(0, amplitude_mm) / np.linalg.norm(amplitudes)
        return cls(vectors, amplitudes, generator.uniform(0, 2 * np.pi, size=count))

    def __call__(self, points_mm: Tensor) -> Tensor:
        """Where the image at (..., 3) world points is read from."""
        like = {"dtype": points_mm.dtype, "device": points_mm.device}
        vectors, amplitudes = torch.as_tensor(self.vectors, **like), torch.as_tensor(self.amplitudes_mm, **like)
        return points_mm + torch.sin(points_mm @ vectors.T + torch.as_tensor(self.phases, **like)) @ amplitudes

    def inverse(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where (N, 3) world points of the anatomy appear in the deformed image; NaN stays NaN.

        Fixed-point steps; they converge while the deformation folds nowhere (amplitude times k below 1), and forty
        bring the error under 1e-6 mm for the slopes below 0.7 that training uses.
        """
        target = torch.as_tensor(points_mm, dtype=torch.float64)
        guess = target.clone()
        for _ in range(40):
            guess = target - (self(guess) - guess)
        return guess.numpy()


def stored_tensor(volume: Volume) -> torch.Tensor:
    """(I, J, K) tensor on the volume's own memory; only types torch cannot calculate with are widened."""
    data = volume.data
    if data.dtype in (np.uint16, np.uint32, np.uint64):
        data = data.astype(np.int32 if data.dtype == np.uint16 else np.float32)
    return torch.from_numpy(np.ascontiguousarray(data.astype(data.dtype.newbyteorder("="), copy=False)))


def block_factors(grid: Grid, spacing_mm: float) -> tuple[int, int, int]:
    """Voxels along each axis of ``grid`` whose mean has about ``spacing_mm``; 1 where the grid is coarser already."""
    factors = np.clip(np.round(spacing_mm / grid.spacing_mm), 1, grid.shape).astype(int)
    return int(factors[0]), int(factors[1]), int(factors[2])


def block_means(data: Tensor, factors: Sequence[int]) -> Tensor:
    """Means over blocks of voxels, float32, worked out slab by slab so that no float copy of the volume is made.

    Args:
        data: (I, J, K) of any real type.
        factors: the block's sides; a rest at the far end is left out, as in ``Grid.coarsened``.
    Returns:
        (I // a, J // b, K // c) float32.
    """
    if tuple(factors) == (1, 1, 1):
        return data.float()
    shape = [side // factor for side, factor in zip(data.shape, factors, strict=True)]
    out = torch.empty(shape, dtype=torch.float32)
    rows = max(1, _SLAB_VOXELS // (factors[0] * data.shape[1] * data.shape[2]))
    for start in range(0, shape[0], rows):
        stop = min(start + rows, shape[0])
        slab = data[start * factors[0] : stop * factors[0]].float()
        out[start:stop] = functional.avg_pool3d(slab[None, None], tuple(factors))[0, 0]
    return out


def resample(data: Tensor, grid: Grid, target: Grid, *, fill: float, waves: Waves | None = None) -> Tensor:
    """The volume as it looks on another grid: block means where that is coarser, then one trilinear interpolation.

    Args:
        data: (I, J, K) stored numbers of any real type, on ``grid``.
        grid: where they lie.
        target: the grid to fill; any pose, also mirrored.
        fill: value of everything outside the volume.
        waves: a deformation of the world; the image is read where it points.
    Returns:
        float32 of ``target.shape``.
    """
    points = _grid_points_vox(target, grid, waves)
    low = np.floor(points.reshape(-1, 3).amin(0).numpy()).astype(int)
    high = np.ceil(points.reshape(-1, 3).amax(0).numpy()).astype(int) + 1
    factors = block_factors(grid, float(target.spacing_mm.min()))
    start = [max(0, int(first) - 2 * factor) for first, factor in zip(low, factors, strict=True)]
    stop = [min(side, int(last) + 2 * factor) for side, last, factor in zip(grid.shape, high, factors, strict=True)]
    # Blocks are counted from the volume's corner, so that a patch and the whole volume give the same numbers.
    start = [first // factor * factor for first, factor in zip(start, factors, strict=True)]
    if any(last - first < factor for first, last, factor in zip(start, stop, factors, strict=True)):
        return torch.full(target.shape, float(fill))
    box = block_means(data[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]], factors)
    step = torch.tensor(factors, dtype=torch.float32)
    index = (points - torch.tensor(start, dtype=torch.float32) - (step - 1) / 2) / step
    # Corners not aligned: the formula also holds for an axis of one voxel.
    normalised = (2 * index + 1) / torch.tensor(box.shape, dtype=torch.float32) - 1
    found = functional.grid_sample(
        (box - fill)[None, None], normalised.flip(-1)[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return found[0, 0] + fill


def patch_grid(center_mm: NDArray[np.float64], pose: NDArray[np.float64], size: int, spacing_mm: float) -> Grid:
    """The cubic grid of one patch.

    Args:
        center_mm: (3,) world point at the patch's middle.
        pose: (3, 3) patch frame to world directions; a scale in it scales the patch, a reflection mirrors it.
        size: voxels along each side.
        spacing_mm: in the patch frame.
    """
    scale = np.cbrt(abs(np.linalg.det(pose)))
    return Grid.around(center_mm, (size, size, size), spacing_mm * scale, pose / scale)


def cut_patches(
    data: Tensor, grid: Grid, targets: list[Grid], window: Window, limits: tuple[float, float], waves: Waves | None = None
) -> Tensor:
    """Sample each patch from the stored volume and scale its intensities: (P, S, S, S) float32."""
    patches = [resample(data, grid, target, fill=limits[0], waves=waves) for target in targets]
    return window.scale(torch.stack(patches), limits)


def _grid_points_vox(target: Grid, grid: Grid, waves: Waves | None) -> Tensor:
    """(I, J, K, 3) float32: where each voxel of ``target`` is read from, in voxels of ``grid``."""
    matrix = target.affine if waves is not None else grid.inverse @ target.affine
    affine = torch.as_tensor(matrix, dtype=torch.float32)
    i, j, k = (torch.arange(side, dtype=torch.float32)[:, None] for side in target.shape)
    rows, columns, slices = i * affine[:3, 0], j * affine[:3, 1], k * affine[:3, 2] + affine[:3, 3]
    points = rows[:, None, None] + columns[None, :, None] + slices[None, None]
    if waves is not None:
        inverse = torch.as_tensor(grid.inverse, dtype=torch.float32)
        points = waves(points) @ inverse[:3, :3].T + inverse[:3, 3]
    return points
