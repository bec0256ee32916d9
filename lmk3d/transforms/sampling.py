"""Cut any posed grid out of a stored volume: anti-aliased, in one interpolation, touching only the voxels it needs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from lmk3d.geometry import Grid, apply_affine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from lmk3d.geometry import Volume
    from lmk3d.transforms.intensity import EqualizedWindow, Window

__all__ = ["Scan", "Waves", "block_factors", "block_means", "cut_patches", "patch_grid", "resample", "stored_tensor"]

_SLAB_VOXELS = 2**20  # floats in flight while averaging: 4 MiB, about what a cache holds


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
        """Waves of random direction and length.

        Args:
            generator: where the random numbers come from.
            amplitude_mm: the most that the root of the amplitudes' sum of squares is drawn to be.
            wavelength_mm: the shortest wave; the longest is twice as long.
            count: M, how many waves.
        """
        vectors = generator.normal(size=(count, 3))
        lengths = wavelength_mm * generator.uniform(1, 2, size=(count, 1))
        vectors *= 2 * np.pi / lengths / np.linalg.norm(vectors, axis=1, keepdims=True)
        amplitudes = generator.normal(size=(count, 3))
        amplitudes *= generator.uniform(0, amplitude_mm) / np.linalg.norm(amplitudes)
        return cls(vectors, amplitudes, generator.uniform(0, 2 * np.pi, size=count))

    def __call__(self, points_mm: Tensor) -> Tensor:
        """Where the image at (..., 3) world points is read from."""
        vectors, amplitudes, phases = (
            torch.as_tensor(part, dtype=points_mm.dtype, device=points_mm.device)
            for part in (self.vectors, self.amplitudes_mm, self.phases)
        )
        return points_mm + torch.sin(points_mm @ vectors.T + phases) @ amplitudes

    def within(self, normal: NDArray[np.float64]) -> Waves:
        """The waves without what they move along a (3,) unit vector: a film's anatomy stays in the film."""
        return replace(self, amplitudes_mm=self.amplitudes_mm - np.outer(self.amplitudes_mm @ normal, normal))

    def inverse(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where (N, 3) world points of the anatomy appear in the deformed image; NaN stays NaN.

        Fixed-point steps, until none moves a point any more; they converge while the deformation folds nowhere (the
        sum of amplitude times k below 1), which ``RandWavesd`` sees to.

        Raises:
            ValueError: if they do not converge.
        """
        target = torch.as_tensor(points_mm, dtype=torch.float64)
        guess = target.clone()
        for _ in range(1000):
            last, guess = guess, target - (self(guess) - guess)
            # After a step this small less than 1e-6 mm is left to go, for slopes up to 0.999.
            if not bool(((guess - last).abs() > 1e-9).any()):
                return guess.numpy()
        raise ValueError("the waves fold the image, so that points have no single place in it; make them longer")


def stored_tensor(volume: Volume) -> torch.Tensor:
    """(I, J, K) tensor on the volume's own memory, whatever its order; only types torch cannot read are widened.

    Nothing may write to it: the memory may be that of a file. Of uint16 torch knows little more than ``float()``.
    """
    kind = volume.data.dtype.str[1:]  # without the byte order
    wider = {"u4": np.float32, "u8": np.float32, "f12": np.float64, "f16": np.float64}
    # The order of the axes in memory stays: turning it round would take a copy of the volume.
    data = volume.data.astype(wider.get(kind, volume.data.dtype.newbyteorder("=")), order="K", copy=False)
    if min(data.strides) < 0:  # which torch does not know
        data = data.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the memory is read-only
        return torch.from_numpy(data)


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
    order = sorted(range(3), key=data.stride, reverse=True)  # slabs as the numbers lie in memory
    data, steps = data.permute(order), [factors[axis] for axis in order]
    shape = [side // step for side, step in zip(data.shape, steps, strict=True)]
    data = data[: shape[0] * steps[0], : shape[1] * steps[1], : shape[2] * steps[2]]
    out = torch.empty(shape, dtype=torch.float32)
    rows = max(1, _SLAB_VOXELS // data[: steps[0]].numel())
    for start in range(0, shape[0], rows):
        slab = data[start * steps[0] : (start + rows) * steps[0]].float()
        for axis, step in enumerate(steps):  # several times as fast as pooling
            slab = slab.unflatten(axis, (-1, step)).sum(axis + 1) if step > 1 else slab
        out[start : start + rows] = slab
    out /= float(np.prod(steps))
    return out.permute([order.index(axis) for axis in range(3)]).contiguous()


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume made ready: everything both stages read from, and nothing of native size but the volume itself.

    ``means`` holds block means for refiners of many landmarks, by the blocks' sides; see ``source``.
    """

    data: Tensor
    grid: Grid
    coarse: Tensor
    coarse_grid: Grid
    limits: tuple[float, ...]
    means: dict[tuple[int, int, int], tuple[Tensor, Grid]] = field(default_factory=dict)

    def source(self, like: Grid, patches: int) -> tuple[Tensor, Grid]:
        """What so many patches are cut from: the volume, or its block means where they would read all of it anyway."""
        factors = block_factors(self.grid, float(like.spacing_mm.min()))
        block = int(np.prod(factors))
        # Of eight voxels and more the means are small beside the volume; a patch sees the same numbers either way.
        if block >= 8 and factors not in self.means and patches * block * np.prod(like.shape) > self.data.numel():
            self.means[factors] = block_means(self.data, factors), self.grid.coarsened(factors)
        return self.means.get(factors, (self.data, self.grid))


def resample(
    data: Tensor, grid: Grid, target: Grid, *, fill: float, waves: Waves | None = None, reflect: bool = False
) -> Tensor:
    """The volume as it looks on another grid: block means where that is coarser, then one trilinear interpolation.

    Args:
        data: (I, J, K) stored numbers of any real type, on ``grid``.
        grid: where they lie.
        target: the grid to fill; any pose, also mirrored.
        fill: value of everything outside the volume.
        waves: a deformation of the world; the image is read where it points.
        reflect: beyond its end the volume goes on mirrored, instead of with ``fill``.
    Returns:
        float32 of ``target.shape``.

    >>> ramp = torch.arange(4.0)[:, None, None].expand(4, 2, 2)
    >>> source = Grid((4, 2, 2), np.eye(4))
    >>> target = Grid.around([1.25, 0.5, 0.5], (2, 1, 1), 0.5)
    >>> resample(ramp, source, target, fill=0.0).flatten()
    tensor([1.0000, 1.5000])
    """
    points = None if waves is None else _waved_points_vox(target, grid, waves)
    if points is None:
        ends = product(*((0, side - 1) for side in target.shape))
        reached = apply_affine(grid.inverse @ target.affine, list(ends))
    else:
        reached = torch.stack([points.amin((0, 1, 2)), points.amax((0, 1, 2))]).numpy()
    low, high = np.floor(reached.min(0)).astype(int), np.ceil(reached.max(0)).astype(int) + 1
    factors = block_factors(grid, float(target.spacing_mm.min()))
    start = [max(0, int(first) - 2 * factor) for first, factor in zip(low, factors, strict=True)]
    stop = [min(side, int(last) + 2 * factor) for side, last, factor in zip(grid.shape, high, factors, strict=True)]
    # Blocks are counted from the volume's corner, so that a patch and the whole volume give the same numbers.
    start = [first // factor * factor for first, factor in zip(start, factors, strict=True)]
    if any(last - first < factor for first, last, factor in zip(start, stop, factors, strict=True)):
        return torch.full(target.shape, float(fill))
    box = block_means(data[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]], factors)
    # Voxels of the volume to grid_sample's coordinates, last axis first; corners not aligned, so that the formula also
    # holds for an axis of one voxel.
    scale = 2 / (np.array(factors) * box.shape)
    normalise = np.eye(4)
    normalise[:3, :3], normalise[:3, 3] = np.diag(scale), (0.5 - np.array(start)) * scale - 1
    normalise = normalise[[2, 1, 0, 3]]
    if points is None:
        where = _affine_points(normalise @ grid.inverse @ target.affine, target.shape)
    else:
        matrix = torch.as_tensor(normalise, dtype=torch.float32)
        where = points @ matrix[:3, :3].T + matrix[:3, 3]
    beyond = "reflection" if reflect else "zeros"
    found = functional.grid_sample((box - fill)[None, None], where[None], padding_mode=beyond, align_corners=False)
    return found[0, 0] + fill


def patch_grid(
    volume: Grid, center_mm: NDArray[np.float64], pose: NDArray[np.float64], size: int, spacing_mm: float
) -> Grid:
    """The grid of one patch: a cube, over a film a square.

    Args:
        volume: what the patch is cut from.
        center_mm: (3,) world point at the patch's middle.
        pose: (3, 3) patch frame to world directions; a scale in it scales the patch, a reflection mirrors it.
        size: voxels along each side.
        spacing_mm: in the patch frame.
    """
    scale = np.cbrt(abs(np.linalg.det(pose)))
    shape = (size, size, 1 if volume.shape[2] == 1 else size)
    return Grid.around(center_mm, shape, spacing_mm * scale, pose / scale)


def cut_patches(
    data: Tensor,
    grid: Grid,
    targets: list[Grid],
    window: Window | EqualizedWindow,
    limits: tuple[float, ...],
    waves: Waves | None = None,
) -> Tensor:
    """Sample each patch from the stored volume, scale its intensities: (P, S, S, S) float32, of a film (P, S, S, 1)."""
    patches = [resample(data, grid, target, fill=limits[0], waves=waves) for target in targets]
    return window.scale(torch.stack(patches), limits)


def _affine_points(affine: NDArray[np.float64], shape: Sequence[int]) -> Tensor:
    """(I, J, K, 3) float32: each index of a box of ``shape`` through a (4, 4) affine."""
    matrix = torch.tensor(affine, dtype=torch.float32)
    i, j, k = (torch.arange(side, dtype=torch.float32)[:, None] for side in shape)
    rows, columns, slices = i * matrix[:3, 0], j * matrix[:3, 1], k * matrix[:3, 2] + matrix[:3, 3]
    return rows[:, None, None] + (columns[:, None] + slices)


def _waved_points_vox(target: Grid, grid: Grid, waves: Waves) -> Tensor:
    """(I, J, K, 3) float32: where each voxel of ``target`` is read from through ``waves``, in voxels of ``grid``."""
    inverse = torch.as_tensor(grid.inverse, dtype=torch.float32)
    return waves(_affine_points(target.affine, target.shape)) @ inverse[:3, :3].T + inverse[:3, 3]
