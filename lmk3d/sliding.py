"""Look through a volume window by window and keep only each landmark's best peaks, never a map of full size.

Each voxel belongs to the core of one window, the one in whose middle it lies most. The cores give a running list of
the best peaks and a running sum; only the small surroundings of those few peaks are then blended over the windows that
overlap there, as a stitched map would be everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from lmk3d.codecs import HeatmapCodec, Peaks
from lmk3d.codecs.heatmap import local_maxima, refine_peaks, unravelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from lmk3d.transforms.intensity import Window

    Triple = tuple[int, int, int]

__all__ = ["Tiling", "maps_by_windows", "peaks_by_windows", "sliding_peaks"]

_MARGIN = 2  # voxels: how far blending may move a peak, and how far beyond its core a window's peaks are noted
_SHARE = 0.005  # a window with less of the largest weight at a peak changes its logits by too little to see
_NATS = 7.0  # a peak with less than a thousandth of the best one's probability stays as one window saw it
_LEAST_WEIGHT = 1e-3  # of a blended window's rim, as in MONAI


@torch.inference_mode()
def sliding_peaks(  # noqa: PLR0913 - what is looked at, by what, and how
    network: Callable[[Tensor], Tensor],
    data: Tensor,
    window: Window,
    limits: tuple[float, ...],
    codec: HeatmapCodec,
    *,
    roi: Sequence[int],
    overlap: float = 0.5,
    device: torch.device | str = "cpu",
) -> Peaks:
    """The peaks of a network's maps over a whole volume at its own resolution, in memory for one window.

    Args:
        network: images ``(1, 1, *roi)`` of 0 to 1 to logits (1, N or N + 1, ...), which may be coarser; in eval mode.
        data: (I, J, K) stored numbers of any real type; a film has K = 1.
        window: how stored numbers become 0 to 1.
        limits: the window of this image, from ``window.limits``.
        codec: reads the maps.
        roi: voxels of a window along (i, j, k), such as the network takes; a smaller volume is padded with zeros.
        overlap: of neighbouring windows, 0 to below 1.
        device: where the network runs.
    Returns:
        ``codec.decode`` of the maps blended with Gaussian weights, in voxels of ``data``. Masses and presence are
        counted on the cores, not on the blended maps.
    Raises:
        ValueError: if roi or overlap cannot be used, or the network's output does not fit its input.
    """

    def read(start: Triple) -> Tensor:
        return window.scale(_box(data, start, roi, fill=limits[0]), limits).to(device)

    return peaks_by_windows(network, read, tuple(data.shape), codec, roi=roi, overlap=overlap)


@torch.inference_mode()
def peaks_by_windows(
    network: Callable[[Tensor], Tensor],
    read: Callable[[Triple], Tensor],
    shape: Sequence[int],
    codec: HeatmapCodec,
    *,
    roi: Sequence[int],
    overlap: float = 0.5,
) -> Peaks:
    """``sliding_peaks`` of an image that is made window by window.

    Args:
        network, codec, roi, overlap: as there.
        read: gives the ``(*roi)`` input of the window that begins at a voxel, on the network's device; the voxel lies
            outside where the image is smaller than the window.
        shape: (I, J, K) of the image.
    """
    tiling = Tiling(shape, roi, overlap=overlap)
    logits = _logits(network, read(tiling.start(0)))  # the first window begins at the same place whatever the stride
    tiling = Tiling(shape, roi, stride=_stride(roi, logits), overlap=overlap)
    tops = _Tops(tiling, codec, logits)
    for number in range(len(tiling)):
        tops.note(number, logits if number == 0 else _logits(network, read(tiling.start(number))))
    for number, rows in tops.wanted().items():
        tops.blend(number, rows, _logits(network, read(tiling.start(number))))
    return tops.peaks()


@torch.inference_mode()
def maps_by_windows(
    network: Callable[[Tensor], Tensor],
    read: Callable[[Triple], Tensor],
    shape: Sequence[int],
    *,
    roi: Sequence[int],
    overlap: float = 0.5,
) -> Tensor:
    """The blended maps themselves, for codecs that read all of them together (a few channels a structure).

    Args:
        network, read, shape, roi, overlap: as in ``peaks_by_windows``.
    Returns:
        (C, ...) maps over the image.
    """
    logits = _logits(network, read(Tiling(shape, roi, overlap=overlap).start(0)))
    tiling = Tiling(shape, roi, stride=_stride(roi, logits), overlap=overlap)
    if max(tiling.before):
        raise ValueError(
            f"the image of {tuple(shape)} voxels is smaller than the window {tuple(roi)}; use a smaller one"
        )
    size = [-(-side // step) for side, step in zip(shape, tiling.stride, strict=True)]
    total, weights = logits.new_zeros(len(logits), *size), logits.new_zeros(size)
    axes = [torch.arange(side, device=logits.device) for side in tiling.size]
    factors = [tiling.weights(axis, axis.new_zeros(()), number) for number, axis in enumerate(axes)]
    weight = torch.einsum("i,j,k->ijk", *factors).clamp_min(_LEAST_WEIGHT)
    for number in range(len(tiling)):
        logits = logits if number == 0 else _logits(network, read(tiling.start(number)))
        box = [slice(at, at + side) for at, side in zip(tiling.corner(number), tiling.size, strict=True)]
        total[:, box[0], box[1], box[2]] += weight * logits
        weights[box[0], box[1], box[2]] += weight
    return (total / weights).cpu()


def _logits(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    return network(image[None, None])[0].float().contiguous()


def _stride(roi: Sequence[int], logits: Tensor) -> Triple:
    """How many voxels of the input one of the output stands for."""
    shape = tuple(logits.shape[1:])
    if len(shape) != 3 or any(side % size for side, size in zip(roi, shape, strict=True)):
        raise ValueError(f"a window of {tuple(roi)} voxels gave maps of {shape}; its sides must be multiples of theirs")
    i, j, k = (side // size for side, size in zip(roi, shape, strict=True))
    return i, j, k


def _box(data: Tensor, start: Sequence[int], size: Sequence[int], *, fill: float) -> Tensor:
    """The (*size) float32 numbers that begin at ``start``, with ``fill`` outside of ``data``."""
    stop = [min(side, first + length) for side, first, length in zip(data.shape, start, size, strict=True)]
    inner = data[tuple(slice(max(0, first), last) for first, last in zip(start, stop, strict=True))].float()
    if tuple(inner.shape) == tuple(size):
        return inner.contiguous()
    pad = [(max(0, -first), first + length - last) for first, length, last in zip(start, size, stop, strict=True)]
    return functional.pad(inner, [side for pair in pad[::-1] for side in pair], value=fill)


@dataclass(frozen=True)
class Tiling:
    """Where the windows lie over an image: as MONAI lays them, in voxels of the maps.

    Args:
        shape: (I, J, K) of the image.
        roi: voxels of a window.
        stride: voxels of the image for each of the maps, along each axis.
        overlap: of neighbouring windows.
    Raises:
        ValueError: if the roi is not three positive numbers, or the overlap not in [0, 1).
    """

    shape: Sequence[int]
    roi: Sequence[int]
    stride: Sequence[int] = (1, 1, 1)
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or len(self.roi) != 3 or min(self.roi) < 1:
            raise ValueError(f"roi must be three sides of at least 1 voxel, got {tuple(self.roi)}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap must be at least 0 and below 1, got {self.overlap}")

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def size(self) -> Triple:
        """Voxels of a window's map."""
        i, j, k = (side // step for side, step in zip(self.roi, self.stride, strict=True))
        return i, j, k

    @cached_property
    def before(self) -> Triple:
        """Voxels of padding before an image smaller than the window."""
        i, j, k = (max(0, side - size) // 2 for size, side in zip(self.shape, self.roi, strict=True))
        return i, j, k

    @cached_property
    def starts(self) -> tuple[list[int], ...]:
        """First map voxel of each window along each axis; the last window ends where the image does."""
        found = []
        for side, roi, size, step in zip(self.shape, self.roi, self.size, self.stride, strict=True):
            last = -(-max(side, roi) // step) - size
            interval = max(1, int(roi * (1 - self.overlap)) // step)
            found.append([*range(0, last, interval), last])
        return tuple(found)

    @cached_property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """First map voxel inside the image along each axis, and the one behind the last."""
        found = []
        for side, step, pad in zip(self.shape, self.stride, self.before, strict=True):
            centres = (torch.arange(-(-(side + pad) // step)) + 0.5) * step - pad
            inside = torch.nonzero((centres > 0) & (centres < side)).flatten().tolist()
            found.append((inside[0], inside[-1] + 1))
        return tuple(found)

    @cached_property
    def _places(self) -> list[Triple]:
        return [(i, j, k) for i, j, k in product(*(range(len(starts)) for starts in self.starts))]

    def corner(self, number: int) -> Triple:
        """First map voxel of a window."""
        i, j, k = (starts[place] for starts, place in zip(self.starts, self._places[number], strict=True))
        return i, j, k

    def start(self, number: int) -> Triple:
        """First image voxel of a window; negative where the image is smaller."""
        i, j, k = (at * step - pad for at, step, pad in zip(self.corner(number), self.stride, self.before, strict=True))
        return i, j, k

    def core(self, number: int, margin: int = 0) -> tuple[slice, ...]:
        """The voxels nearest to this window's middle among all windows, counted from its corner.

        Args:
            number: of the window.
            margin: voxels to add on all sides, as far as window and image reach.
        """
        found = []
        for place, starts, size, (low, high) in zip(
            self._places[number], self.starts, self.size, self.bounds, strict=True
        ):
            # Halfway between two middles; a voxel right there goes to the window before it.
            first = low if place == 0 else (starts[place - 1] + starts[place] + size + 1) // 2
            last = high if place + 1 == len(starts) else (starts[place] + starts[place + 1] + size + 1) // 2
            reach = (max(low, first - margin), min(high, last + margin))
            inside = [min(max(0, at - starts[place]), size) for at in reach]
            found.append(slice(*inside))
        return tuple(found)

    def weights(self, index: Tensor, corner: Tensor, axis: int) -> Tensor:
        """One factor of the Gaussian weight, 0 outside the window; both in map voxels, broadcast against each other."""
        size = self.size[axis]
        away = (index - corner - (size - 1) / 2) / (size / 8)  # MONAI's width
        return torch.exp(-(away**2) / 2) * (away.abs() <= 4)


class _Found(NamedTuple):
    """The best peaks of some landmarks, best first; all (n, K, ...).

    Args:
        values: logit at each peak; -inf where there is none.
        vox: (n, K, 3) map voxel of each.
        source: number of the window that saw it.
        start: (n, K, 3) first map voxel of the patch round it.
        sums, weights: (n, K, *patch) weighted logits and their weights.
        counted: (n, K, *patch) the logits that went into the running sum; -inf where not known.
    """

    values: Tensor
    vox: Tensor
    source: Tensor
    start: Tensor
    sums: Tensor
    weights: Tensor
    counted: Tensor

    def ordered(self, reach: int) -> _Found:
        """Best first; of peaks that lie within ``reach`` of each other only the best is left."""
        found = self._taken(self.values.argsort(dim=1, descending=True, stable=True))
        together = (found.vox[:, :, None] - found.vox[:, None]).abs().amax(-1) <= reach
        worse = together.triu(diagonal=1).any(1)  # than a peak before it that it lies together with
        found = found._replace(values=torch.where(worse, -torch.inf, found.values))
        return found._taken(found.values.argsort(dim=1, descending=True, stable=True))

    def _taken(self, order: Tensor) -> _Found:
        rows = torch.arange(len(order), device=order.device)[:, None]
        return _Found(*(part[rows, order] for part in self))

    def first(self, count: int) -> _Found:
        return _Found(*(part[:, :count] for part in self))


class _Tops:
    """The running best peaks of every landmark, and the running sum that makes probabilities of logits."""

    def __init__(self, tiling: Tiling, codec: HeatmapCodec, logits: Tensor) -> None:
        self.tiling, self.codec = tiling, codec
        self.reach = codec.reach
        self.half = _MARGIN + self.reach
        self.low, self.high = torch.tensor(tiling.bounds, device=logits.device).T
        self.patch = (self.high - self.low).clamp_max(2 * self.half + 1)
        rows, count = len(logits) - codec.background, 2 * codec.num_peaks  # some will turn out to be the same peak
        index = torch.zeros(rows, count, 3, dtype=torch.long, device=logits.device)
        patches = logits.new_zeros(rows, count, *self.patch.tolist())
        values = logits.new_full((rows, count), -torch.inf)
        self.best = _Found(
            values, index, index[..., 0].clone(), index.clone(), patches, patches.clone(), patches - torch.inf
        )
        self.total = logits.new_full((rows,), -torch.inf)

    def note(self, number: int, logits: Tensor) -> None:
        """Count the core of a window, and keep its peaks that are better than what is there."""
        logits = self.codec.channels(logits)
        core, wide = self.tiling.core(number), self.tiling.core(number, _MARGIN)
        self.total = torch.logaddexp(self.total, _boxes(logits, core).flatten(1).logsumexp(1))
        least = self.best.values[:, -1]
        if self.codec.heights:  # what is not above 0 is nothing
            least = least.clamp_min(0)
        rows = torch.nonzero(_boxes(logits, wide).flatten(1).amax(1) > least).flatten()
        if not len(rows):  # most windows, once the best have been seen
            return
        values, index = self._maxima(logits[rows], number, wide)
        start = torch.minimum((index - self.half).maximum(self.low), self.high - self.patch)
        patches = self._patches(logits, rows[:, None].expand(values.shape), start, number)
        new = _Found(values, index, torch.full_like(index[..., 0], number), start, *patches)
        both = (torch.cat([old[rows], part], dim=1) for old, part in zip(self.best, new, strict=True))
        merged = _Found(*both).ordered(self.reach).first(self.best.values.shape[1])
        for part, better in zip(self.best, merged, strict=True):
            part[rows] = better

    def _maxima(self, logits: Tensor, number: int, wide: tuple[slice, ...]) -> tuple[Tensor, Tensor]:
        """The highest local maxima inside a box of a window: values (n, K) and map voxels (n, K, 3)."""
        corner = self.tiling.corner(number)
        # Padding round a small image is no part of it.
        inside = [
            slice(max(low - at, 0), high - at) for (low, high), at in zip(self.tiling.bounds, corner, strict=True)
        ]
        i, j, k = (slice(side.start - rim.start, side.stop - rim.start) for side, rim in zip(wide, inside, strict=True))
        count = self.best.values.shape[1]
        values, index = local_maxima(_boxes(logits, inside), count, self.reach, (i, j, k))
        if self.codec.heights:
            values = torch.where(values > 0, values, -torch.inf)
        return values, index + index.new_tensor([rim.start + at for rim, at in zip(inside, corner, strict=True)])

    def _patches(self, logits: Tensor, rows: Tensor, start: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """One window's part of patches: weighted logits, weights (0 where it does not reach), the logits of its core.

        Args:
            logits: (N, ...) of the window.
            rows: (...) landmark of each patch.
            start: (..., 3) first map voxel of each patch.
            number: of the window.
        """
        weight, inside, places = logits.new_ones(()), torch.ones((), dtype=torch.bool, device=logits.device), []
        for axis, (corner, core) in enumerate(zip(self.tiling.corner(number), self.tiling.core(number), strict=True)):
            steps = self._steps(start, axis) - corner
            weight = weight * self.tiling.weights(steps, steps.new_zeros(()), axis)
            inside = inside & (steps >= core.start) & (steps < core.stop)
            places.append(steps.clamp(0, self.tiling.size[axis] - 1))
        weight = torch.where(weight > 0, weight.clamp_min(_LEAST_WEIGHT), 0.0)
        values = logits[_lone(rows), places[0], places[1], places[2]]
        return weight * values, weight, torch.where(inside, values, -torch.inf)

    def _steps(self, start: Tensor, axis: int) -> Tensor:
        """Map index along one axis of every voxel of patches, shaped to broadcast to (..., *patch)."""
        steps = start[..., axis, None] + torch.arange(int(self.patch[axis]), device=start.device)
        return steps.reshape(*start.shape[:-1], *(-1 if axis == other else 1 for other in range(3)))

    def wanted(self) -> dict[int, Tensor]:
        """The windows whose share in a peak is still lacking: number to (M, 2) pairs of landmark and place."""
        values = self.best.values
        least = values[:, :1] * math.exp(-_NATS) if self.codec.heights else values[:, :1] - _NATS
        pairs = torch.nonzero(torch.isfinite(values) & (values >= least))
        index, source = (part[pairs[:, 0], pairs[:, 1]] for part in (self.best.vox, self.best.source))
        weight = values.new_ones(len(pairs), 1)
        for axis, starts in enumerate(self.tiling.starts):
            corner, at = index.new_tensor(starts), index[:, axis, None]
            # Weighed where the window sees best among the voxels whose centre of mass the peak is.
            middle = corner + (self.tiling.size[axis] - 1) // 2
            nearest = middle.maximum(at - self.reach).minimum(at + self.reach)
            weight = (weight[:, :, None] * self.tiling.weights(nearest, corner, axis)[:, None]).flatten(1)
        weight = torch.where(weight > 0, weight.clamp_min(_LEAST_WEIGHT), 0.0)
        lacking = weight > _SHARE * weight.amax(1, keepdim=True)
        lacking[torch.arange(len(pairs)), source] = False
        return {number: pairs[lacking[:, number]] for number in torch.nonzero(lacking.any(0)).flatten().tolist()}

    def blend(self, number: int, pairs: Tensor, logits: Tensor) -> None:
        """Add what one more window says round some peaks."""
        rows, places = pairs.unbind(1)
        sums, weights, counted = self._patches(self.codec.channels(logits), rows, self.best.start[rows, places], number)
        self.best.sums[rows, places] += sums
        self.best.weights[rows, places] += weights
        self.best.counted[rows, places] = self.best.counted[rows, places].maximum(counted)  # a voxel has one core

    def peaks(self) -> Peaks:
        """The peaks of the blended maps, in voxels of the image."""
        seen = self.best
        blended = torch.where(seen.weights > 0, seen.sums / seen.weights, -torch.inf)
        away = [(self._steps(seen.start, axis) - _lone(seen.vox[..., axis])).abs() for axis in range(3)]
        near = (away[0] <= _MARGIN) & (away[1] <= _MARGIN) & (away[2] <= _MARGIN)
        top = torch.where(near, blended, -torch.inf).flatten(2).max(2)
        index = seen.start + unravelled(top.indices, blended.shape[2:])
        values = torch.where(torch.isfinite(seen.values), top.values, -torch.inf)
        found = seen._replace(values=values, vox=index, sums=blended).ordered(self.reach).first(self.codec.num_peaks)
        inside = self._sum_of_blended(found)
        total = functional.softplus(inside)  # with "nowhere", whose logit is 0
        if self.codec.heights:
            maps, presence = found.sums.clamp_min(0), found.values[:, 0].clamp(0, 1)
        else:
            maps, presence = (found.sums - _lone(total[:, None])).exp(), (inside - total).exp()
        local = (found.vox - found.start).flatten(0, 1)[:, None]
        points, mass = refine_peaks(maps.flatten(0, 1), local, self.codec.decode_radius)
        step, before = (points.new_tensor(triple) for triple in (self.tiling.stride, self.tiling.before))
        points = (points.reshape(found.start.shape) + found.start + 0.5) * step - 0.5 - before
        there = torch.isfinite(found.values)
        points = torch.where(there[..., None], points, torch.nan)
        heights = torch.where(there, found.values, 0.0).cpu() if self.codec.heights else None
        return Peaks(points.cpu(), torch.where(there, mass.reshape(there.shape), 0.0).cpu(), presence.cpu(), heights)

    def _sum_of_blended(self, found: _Found) -> Tensor:
        """Log of the sum of exp(logits) over each map: of the cores, and blended round the peaks, where most of it is.

        A patch that overlaps that of a better peak is left out, so that nothing counts twice.
        """
        apart = ((found.start[:, :, None] - found.start[:, None]).abs() >= self.patch).any(-1)
        once = torch.isfinite(found.values) & ~(~apart).triu(diagonal=1).any(1)
        known = torch.isfinite(found.counted) & _lone(once)
        cores, blended = (
            torch.where(known, part, -torch.inf).flatten(1).logsumexp(1) for part in (found.counted, found.sums)
        )
        rest = self.total + torch.log(-torch.expm1((cores - self.total).clamp_max(-1e-6)))
        return torch.logaddexp(rest, blended)


def _boxes(maps: Tensor, box: Iterable[slice]) -> Tensor:
    """One box of all (N, I, J, K) maps."""
    i, j, k = box
    return maps[:, i, j, k]


def _lone(values: Tensor) -> Tensor:
    """(n, K) numbers shaped to broadcast to (n, K, *patch)."""
    return values[..., None, None, None]
