"""Landmarks as heatmaps: targets drawn at the true sub-voxel position, and peaks read back below a voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

    from lmk3d.geometry import Grid

__all__ = ["HeatmapCodec", "Peaks", "axis_gaussians", "draw_gaussians", "refine_peaks", "top_peaks"]

# A step leaves s^2 / (s^2 + w^2) of the way, so these leave a hundredth for a peak (s) twice as wide as the window (w).
_MEAN_SHIFTS = 20


@dataclass(frozen=True, eq=False)
class Peaks:
    """The highest local maxima of each landmark's map, best first.

    Args:
        points_vox: (N, K, 3) sub-voxel indices; NaN where a map has fewer maxima.
        weights: (N, K) probability mass near each; 0 where there is none.
        presence: (N,) probability that the landmark lies in the image at all.
    """

    points_vox: Tensor
    weights: Tensor
    presence: Tensor


def axis_gaussians(points_vox: Tensor, shape: tuple[int, ...], sigma_vox: float) -> list[Tensor]:
    """The three factors of a Gaussian at each point: its values along i, j and k.

    Args:
        points_vox: (..., 3) sub-voxel indices; a NaN row gives zeros.
        shape: (I, J, K).
        sigma_vox: standard deviation in voxels.
    Returns:
        (..., I), (..., J), (..., K), whose outer product is ``exp(-|v - p|^2 / (2 sigma^2))``.
    """
    factors = []
    for axis, side in enumerate(shape):
        steps = torch.arange(side, dtype=points_vox.dtype, device=points_vox.device)
        factor = torch.exp(-((steps - points_vox[..., axis, None]) ** 2) / (2 * sigma_vox**2))
        factors.append(torch.nan_to_num(factor, nan=0.0))
    return factors


def draw_gaussians(points_vox: Tensor, shape: tuple[int, int, int], sigma_vox: float) -> Tensor:
    """Draw each landmark's Gaussian into zeros, only inside a box of four sigma: (N, 3) to (N, I, J, K), peak 1.

    A NaN row stays all zero; a point outside the grid draws the part of its tail that reaches in. What is left out lies
    below exp(-8) of the peak.
    """
    maps = points_vox.new_zeros(len(points_vox), *shape)
    reach = 4 * sigma_vox
    for landmark, point in enumerate(points_vox):
        if point.isnan().any():
            continue
        box = tuple(
            slice(max(0, int(torch.ceil(x - reach))), max(0, min(side, int(torch.floor(x + reach)) + 1)))
            for x, side in zip(point, shape, strict=True)
        )
        i, j, k = axis_gaussians(point, shape, sigma_vox)
        maps[landmark][box] = i[box[0], None, None] * j[box[1], None] * k[box[2]]
    return maps


@dataclass(frozen=True)
class HeatmapCodec:
    """Turns landmarks into heatmap targets, and logits into peaks.

    Args:
        sigma_vox: standard deviation of the Gaussians in voxels of the heatmap's grid.
        background: add the paper's background channel and scale the others so that each voxel sums to one.
        peak: k, the height of the Gaussians.
        num_peaks: local maxima to keep for each landmark.
        decode_radius: half side of the window a peak's sub-voxel position is found in; 0 gives the plain argmax.
    Source:
        Tan et al. 2020, eq. 1 and sec. 2.1. The paper takes the argmax; sub-voxel decoding is ours.
    """

    sigma_vox: float = 1.5
    background: bool = False
    peak: float = 1.0
    num_peaks: int = 4
    decode_radius: int = 2

    def encode(self, points_mm: ArrayLike, grid: Grid) -> Tensor:
        """Targets on a grid.

        Args:
            points_mm: (N, 3) world RAS mm; a NaN row is a missing landmark, whose map is all zero.
            grid: where to draw.
        Returns:
            (N, I, J, K) float32; (N + 1, I, J, K) with background, which is 1 - the nearest landmark's Gaussian.
        """
        return self.draw(torch.as_tensor(grid.to_vox(points_mm), dtype=torch.float32), grid.shape)

    def draw(self, points_vox: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """``encode`` for points that are sub-voxel indices (N, 3) already."""
        maps = self.peak * draw_gaussians(points_vox, shape, self.sigma_vox)
        if not self.background:
            return maps
        background = 1 - maps.amax(0, keepdim=True)
        total = maps.sum(0, keepdim=True)
        scaled = maps * torch.where(total > 0, (1 - background) / total.clamp_min(1e-12), torch.zeros_like(total))
        return torch.cat([scaled, background])

    def decode(self, logits: Tensor) -> Peaks:
        """Peaks of the logits (N, I, J, K), or (N + 1, I, J, K) with background.

        With background the maps are read as they are, as heatmaps; without, as the spatial softmax that the cross
        entropy of ``losses.spatial_cross_entropy`` trains, in which "nowhere" has the logit 0.
        """
        if self.background:
            maps = (logits[:-1] / self.peak).clamp_min(0)
            return top_peaks(maps, maps.flatten(1).amax(1).clamp_max(1), self.num_peaks, self.decode_radius)
        flat = logits.flatten(1)
        total = torch.logsumexp(functional.pad(flat, (1, 0)), dim=1)
        maps = (logits - total[:, None, None, None]).exp()
        return top_peaks(maps, maps.flatten(1).sum(1), self.num_peaks, self.decode_radius)


def top_peaks(maps: Tensor, presence: Tensor, count: int, radius: int) -> Peaks:
    """The highest local maxima of each map with their sub-voxel positions.

    Args:
        maps: (N, I, J, K) non-negative.
        presence: (N,) handed through.
        count: K, maxima to keep.
        radius: half side of the refining window; see ``refine_peaks``.
    """
    reach = 2 * max(radius, 1) + 1
    window = [min(reach, side - 1 + side % 2) for side in maps.shape[1:]]
    tops = functional.max_pool3d(maps[None], window, stride=1, padding=[side // 2 for side in window])[0]
    found = torch.where(tops == maps, maps, torch.zeros_like(maps)).flatten(1).topk(min(count, maps[0].numel()), dim=1)
    index = torch.stack(torch.unravel_index(found.indices, maps.shape[1:]), dim=-1)
    points, mass = refine_peaks(maps, index, radius)
    there = found.values > 0
    points = torch.where(there[..., None], points, torch.nan)
    return Peaks(points, torch.where(there, mass, 0.0), presence)


def refine_peaks(maps: Tensor, index: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The sub-voxel position of each peak: the mean under a Gaussian window that moves along until it is centred there.

    The mean of a fixed window is drawn to its middle, by 0.2 voxel for a peak as wide as the window; under a window
    that is centred on the peak itself nothing is drawn anywhere, however wide the peak is. At the border the window
    stays symmetric.

    Args:
        maps: (N, I, J, K) non-negative.
        index: (N, K, 3) whole voxels.
        radius: half side of the window in voxels, and two standard deviations of it; 0 gives the voxels back.
    Returns:
        (N, K, 3) sub-voxel indices in float32 and the (N, K) mass within ``radius`` of the voxel.
    Source:
        Mean shift with a Gaussian window (Comaniciu and Meer 2002, eq. 20) instead of the paper's argmax.
    """
    steps = torch.arange(-radius, radius + 1, device=maps.device)
    offsets = torch.cartesian_prod(steps, steps, steps)
    shape = torch.tensor(maps.shape[1:], device=maps.device)
    at = index[:, :, None] + offsets
    # A window cut off on one side would pull the mean to the other: drop both a voxel outside and its mirror image.
    mirrored = index[:, :, None] - offsets
    inside = ((at >= 0) & (at < shape) & (mirrored >= 0) & (mirrored < shape)).all(-1)
    strides = torch.tensor([maps.shape[2] * maps.shape[3], maps.shape[3], 1], device=maps.device)
    flat = (at.clamp_min(0).minimum(shape - 1) * strides).sum(-1)
    values = torch.gather(maps.flatten(1), 1, flat.flatten(1)).reshape(flat.shape).float() * inside
    mean = torch.zeros_like(index, dtype=values.dtype)
    for _ in range(_MEAN_SHIFTS if radius else 0):
        square = ((offsets - mean[:, :, None]) ** 2).sum(-1)
        weights = values * torch.exp(-2 * square / radius**2)
        mean = (weights[..., None] * offsets).sum(2) / weights.sum(-1).clamp_min(1e-30)[..., None]
    return index + mean, values.sum(-1)
