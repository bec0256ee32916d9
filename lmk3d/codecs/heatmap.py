"""Landmarks as heatmaps: targets drawn at the true sub-voxel position, and peaks read back below a voxel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike
    from torch import Tensor

    from lmk3d.geometry import Grid

__all__ = [
    "HeatmapCodec",
    "Peaks",
    "axis_gaussians",
    "draw_gaussians",
    "local_maxima",
    "refine_peaks",
    "top_peaks",
    "unravelled",
]

_READINGS = ("softmax", "heights", "sigmoid", "log")

_CHUNK_VOXELS = 2**24  # decoded at once; with a hundred landmarks copies of all maps would be most of the memory

# A step leaves s^2 / (s^2 + w^2) of the way, so these leave a hundredth for a peak (s) twice as wide as the window (w).
_MEAN_SHIFTS = 20


@dataclass(frozen=True, eq=False)
class Peaks:
    """The highest local maxima of each landmark's map, best first.

    Args:
        points_vox: (N, K, 3) sub-voxel indices; NaN where a map has fewer maxima.
        weights: (N, K) probability mass near each; 0 where there is none.
        presence: (N,) probability that the landmark lies in the image at all.
        heights: (N, K) value of the map at each, as part of the target's peak, where the maps are heights; 0 where
            there is none. None for maps of probabilities, whose height says nothing by itself.
    """

    points_vox: Tensor
    weights: Tensor
    presence: Tensor
    heights: Tensor | None = None


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


def draw_gaussians(points_vox: Tensor, shape: tuple[int, int, int], sigma_vox: float, *, peak: float = 1.0) -> Tensor:
    """Draw each landmark's Gaussian into zeros, only inside a box of four sigma: (N, 3) to (N, I, J, K).

    A NaN row stays all zero; a point outside the grid draws the part of its tail that reaches in. What is left out lies
    below exp(-8) of the peak.

    >>> draw_gaussians(torch.tensor([[1.0, 0.0, 0.0]]), (3, 1, 1), 1.0).flatten()
    tensor([0.6065, 1.0000, 0.6065])
    """
    maps = _zeros(points_vox, (len(points_vox), *shape))
    reach = 4 * sigma_vox
    for landmark, point in enumerate(points_vox):
        if point.isnan().any():
            continue
        box = tuple(
            slice(max(0, int(torch.ceil(x - reach))), max(0, min(side, int(torch.floor(x + reach)) + 1)))
            for x, side in zip(point, shape, strict=True)
        )
        i, j, k = axis_gaussians(point, shape, sigma_vox)
        maps[landmark][box] = peak * i[box[0], None, None] * j[box[1], None] * k[box[2]]
    return maps


def _zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros of this type and device; large fresh memory is zero already, and only torch would write it once more."""
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.zeros(shape, dtype=np.float32))
    return like.new_zeros(shape)


@dataclass(frozen=True)
class HeatmapCodec:
    """Turns landmarks into heatmap targets, and logits into peaks.

    Args:
        sigma_vox: standard deviation of the Gaussians in voxels of the heatmap's grid.
        background: add the paper's background channel and scale the others so that each voxel sums to one.
        peak: k, the height of the Gaussians.
        num_peaks: local maxima to keep for each landmark.
        decode_radius: half side of the window a peak's sub-voxel position is found in; 0 gives the plain argmax.
        reading: what a map without background holds: "softmax" (logits of a spatial softmax with one more place,
            "nowhere"), "heights" (the Gaussians themselves), "sigmoid" (their logits) or "log" (their logarithms).
        separation: voxels within which only the highest maximum counts; the radius where it is larger.
        instances: how many points of one name an image may show; above 1 every peak that is high enough is a point.
    Raises:
        ValueError: for another reading, or several instances of what is no height.
    Source:
        Tan et al. 2020, eq. 1 and sec. 2.1. The paper takes the argmax; sub-voxel decoding is ours. Several instances:
        LandmarkNet 2020, "slide a window through a given heatmap to find their maximum values".

    >>> from lmk3d.geometry import Grid
    >>> grid = Grid((16, 16, 12), np.diag([2.0, 2.0, 3.0, 1.0]))
    >>> codec = HeatmapCodec(sigma_vox=1.5, reading="heights")
    >>> maps = codec.encode([[10.0, 12.5, 15.0], [np.nan] * 3], grid)
    >>> maps.shape
    torch.Size([2, 16, 16, 12])
    >>> peaks = codec.decode(maps)
    >>> grid.to_mm(peaks.points_vox[0, 0]).round(1)
    array([10. , 12.5, 15. ])
    >>> peaks.presence
    tensor([0.9862, 0.0000])
    """

    sigma_vox: float = 1.5
    background: bool = False
    peak: float = 1.0
    num_peaks: int = 4
    decode_radius: int = 2
    reading: str = "softmax"
    separation: int = 0
    instances: int = 1

    def __post_init__(self) -> None:
        if self.reading not in _READINGS:
            raise ValueError(f"reading must be one of {', '.join(_READINGS)}, got {self.reading!r}")
        if self.instances > 1 and not self.heights:
            raise ValueError("several instances need maps of heights; set reading to 'heights', 'sigmoid' or 'log'")

    @property
    def heights(self) -> bool:
        """Whether the maps are read as heights, where 1 is a peak, and not as logits of a softmax."""
        return self.background or self.reading != "softmax"

    @property
    def reach(self) -> int:
        """Half side in voxels of the window in which a peak is the highest."""
        return max(self.decode_radius, self.separation, 1)

    def narrowed(self, factor: float) -> HeatmapCodec:
        """The codec of a map that is ``factor`` times coarser; no Gaussian is narrower than a voxel."""
        return self if factor <= 1 else replace(self, sigma_vox=max(self.sigma_vox / factor, min(1.0, self.sigma_vox)))

    def channels(self, logits: Tensor) -> Tensor:
        """The landmarks' channels of (N or N + 1, ...) logits: heights of a peak of 1, or logits of the softmax."""
        if self.background:
            return logits[:-1] / self.peak
        if self.reading == "sigmoid":
            return torch.sigmoid(logits)
        if self.reading == "log":
            return torch.exp(logits)
        return logits / self.peak if self.reading == "heights" else logits

    def encode(self, points_mm: ArrayLike, grid: Grid) -> Tensor:
        """Targets on a grid.

        Args:
            points_mm: (N, 3) world RAS mm, or (N, M, 3) where a landmark has up to M instances; a NaN row is a missing
                one, which draws nothing.
            grid: where to draw.
        Returns:
            (N, I, J, K) float32; (N + 1, I, J, K) with background, which is 1 - the nearest landmark's Gaussian.
        """
        return self.draw(torch.as_tensor(grid.to_vox(points_mm), dtype=torch.float32), grid.shape)

    def draw(self, points_vox: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """``encode`` for points that are sub-voxel indices (N, 3) or (N, M, 3) already."""
        if points_vox.ndim == 3:  # of several instances the nearest is drawn
            maps = reduce(torch.maximum, (draw_gaussians(some, shape, self.sigma_vox) for some in points_vox.unbind(1)))
            maps = maps * self.peak
        else:
            maps = draw_gaussians(points_vox, shape, self.sigma_vox, peak=self.peak)
        if not self.background:
            return maps
        background = 1 - maps.amax(0, keepdim=True)
        total = maps.sum(0, keepdim=True)
        scaled = maps * torch.where(total > 0, (1 - background) / total.clamp_min(1e-12), torch.zeros_like(total))
        return torch.cat([scaled, background])

    def decode(self, logits: Tensor) -> Peaks:
        """Peaks of the logits (N, I, J, K), or (N + 1, I, J, K) with background.

        Heights are read as they are; "softmax" is the spatial softmax that ``losses.spatial_cross_entropy`` trains, in
        which "nowhere" has the logit 0.
        """
        landmarks = logits[:-1] if self.background else logits
        # A network may leave the channels of a voxel together in memory; every step here goes through whole maps.
        chunks = landmarks.split(max(1, _CHUNK_VOXELS // landmarks[0].numel()))
        parts = [self._decoded(chunk.contiguous()) for chunk in chunks]
        points, weights, presence = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("points_vox", "weights", "presence")
        )
        heights = [part.heights for part in parts if part.heights is not None]
        return Peaks(points, weights, presence, torch.cat(heights) if heights else None)

    def _decoded(self, chunk: Tensor) -> Peaks:
        if self.heights:
            plain = replace(self, background=False, reading="heights") if self.background else self
            maps = plain.channels(chunk).clamp_min(0)
            highest = maps.flatten(1).amax(1).clamp_max(1)
            return top_peaks(maps, highest, self.num_peaks, self.decode_radius, reach=self.reach, heights=True)
        # Against the highest logit, so that no exponential overflows; "nowhere" is one more place of logit 0.
        highest = chunk.flatten(1).amax(1).clamp_min(0)
        maps = (chunk - highest[:, None, None, None]).exp_()
        inside = maps.flatten(1).sum(1)
        total = inside + torch.exp(-highest)
        peaks = top_peaks(maps, inside / total, self.num_peaks, self.decode_radius, reach=self.reach)
        weights = torch.where(peaks.weights > 0, peaks.weights / total[:, None], 0.0)  # NaN logits weigh nothing
        return replace(peaks, weights=weights)


def top_peaks(
    maps: Tensor, presence: Tensor, count: int, radius: int, *, reach: int | None = None, heights: bool = False
) -> Peaks:
    """The highest local maxima of each map with their sub-voxel positions.

    Args:
        maps: (N, I, J, K) non-negative.
        presence: (N,) handed through.
        count: K, maxima to keep.
        radius: half side of the refining window; see ``refine_peaks``.
        reach: half side of the window in which a maximum is the highest; the radius when None.
        heights: note how high each is.
    """
    reach = max(radius, 1) if reach is None else reach
    values, index = _apart(*local_maxima(maps, count, reach), reach)
    points, mass = refine_peaks(maps, index, radius)
    there = values > 0
    points = torch.where(there[..., None], points, torch.nan)
    found = torch.where(there, values, 0.0) if heights else None
    return Peaks(points, torch.where(there, mass, 0.0), presence, found)


def _apart(values: Tensor, index: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Of maxima (N, K) that lie within ``reach`` of each other, which are of one height, only the first is left."""
    together = (index[:, :, None] - index[:, None]).abs().amax(-1) <= reach
    values = torch.where(together.triu(diagonal=1).any(1), -torch.inf, values)
    order = values.argsort(dim=1, descending=True, stable=True)
    return torch.take_along_dim(values, order, dim=1), torch.take_along_dim(index, order[..., None], dim=1)


def local_maxima(
    maps: Tensor, count: int, reach: int, box: tuple[slice, slice, slice] | None = None
) -> tuple[Tensor, Tensor]:
    """The highest voxels of each map that no other within ``reach`` exceeds.

    A block of ``reach + 1`` voxels lies in the window of each of them, so that only the highest voxel of a block can be
    a maximum: a fraction of the work of pooling with a moving window.

    Args:
        maps: (N, I, J, K).
        count: how many to find in each map.
        reach: half side in voxels of the window in which a maximum is the highest.
        box: look for them only in there; their windows reach beyond it.
    Returns:
        (N, count) values, best first, -inf where a map has fewer, and their (N, count, 3) voxels.
    """
    i, j, k = box or (slice(0, side) for side in maps.shape[1:])
    blocks = _block_maxima(maps[:, i, j, k], reach + 1)
    first = torch.tensor([i.start, j.start, k.start], device=maps.device)
    last = torch.tensor([i.stop, j.stop, k.stop], device=maps.device) - 1
    within, around = _offsets(0, reach, maps.device), _offsets(-reach, reach, maps.device)
    every = blocks[0].numel()
    tried = min(8 * count, every)
    while True:
        tops = blocks.flatten(1).topk(tried, dim=1)
        corner = first + (reach + 1) * unravelled(tops.indices, blocks.shape[1:])
        voxels = (corner[:, :, None] + within).minimum(last)
        place = _values(maps, voxels).argmax(2)
        index = torch.take_along_dim(voxels, place[..., None, None], dim=2)[:, :, 0]
        highest = _values(maps, index[:, :, None] + around).amax(2)
        values = torch.where(tops.values == highest, tops.values, -torch.inf)
        best = values.topk(min(count, tried), dim=1)
        if tried == every or bool((best.values[:, -1] > -torch.inf).all()):
            break
        tried = min(8 * tried, every)
    lacking = (0, count - best.values.shape[1])
    index = torch.take_along_dim(index, best.indices[..., None], dim=1)
    return functional.pad(best.values, lacking, value=-torch.inf), functional.pad(index, (0, 0, *lacking))


def _block_maxima(maps: Tensor, side: int) -> Tensor:
    """The highest value of each block of ``side`` voxels; the last one along an axis may be smaller."""
    for axis in (3, 2, 1):
        count, rest = divmod(maps.shape[axis], side)
        whole = maps.narrow(axis, 0, count * side).unflatten(axis, (count, side))
        tops = reduce(torch.maximum, whole.unbind(axis + 1))
        if rest:
            end = maps.narrow(axis, count * side, rest).amax(axis, keepdim=True)
            tops = torch.cat([tops, end], dim=axis)
        maps = tops
    return maps


def unravelled(flat: Tensor, shape: Sequence[int]) -> Tensor:
    """(..., 3) voxels of (...) places in a flattened map; torch's own function imports half a second of modules."""
    _, second, third = shape
    return torch.stack([flat // (second * third), flat // third % second, flat % third], dim=-1)


def _offsets(first: int, last: int, device: torch.device) -> Tensor:
    """(W, 3) all steps from ``first`` to ``last`` along three axes."""
    steps = torch.arange(first, last + 1, device=device)
    return torch.cartesian_prod(steps, steps, steps)


def _values(maps: Tensor, voxels: Tensor) -> Tensor:
    """(N, K, W) values of (N, I, J, K) maps at (N, K, W, 3) voxels, or at the nearest inside."""
    shape = torch.tensor(maps.shape[1:], device=maps.device)
    steps = torch.tensor([maps.shape[2] * maps.shape[3], maps.shape[3], 1], device=maps.device)
    flat = (voxels.clamp_min(0).minimum(shape - 1) * steps).sum(-1)
    return torch.gather(maps.flatten(1), 1, flat.flatten(1)).reshape(flat.shape)


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
    offsets = _offsets(-radius, radius, maps.device)
    shape = torch.tensor(maps.shape[1:], device=maps.device)
    at = index[:, :, None] + offsets
    # A window cut off on one side would pull the mean to the other: drop both a voxel outside and its mirror image.
    mirrored = index[:, :, None] - offsets
    inside = ((at >= 0) & (at < shape) & (mirrored >= 0) & (mirrored < shape)).all(-1)
    values = _values(maps, at).float() * inside
    mean = torch.zeros_like(index, dtype=values.dtype)
    for _ in range(_MEAN_SHIFTS if radius else 0):
        square = ((offsets - mean[:, :, None]) ** 2).sum(-1)
        weights = values * torch.exp(-2 * square / radius**2)
        mean = (weights[..., None] * offsets).sum(2) / weights.sum(-1).clamp_min(1e-30)[..., None]
    return index + mean, values.sum(-1)
