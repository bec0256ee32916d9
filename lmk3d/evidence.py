"""What a detection notes of a scan while it runs, for an assessment to compare with what it noted of the training's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.nn.modules.conv import _ConvNd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from lmk3d.transforms.intensity import EqualizedWindow, Window
    from lmk3d.transforms.sampling import Scan

    FloatArray = NDArray[np.float64]
    IndexArray = NDArray[np.intp]

__all__ = ["RANKS", "Evidence", "ImageEvidence", "Watch"]

RANKS = (5, 10, 25, 50, 75, 90, 95)
"""Percentiles of an image's intensities that are noted."""

_MOST_VOXELS = 100_000  # whose percentiles are those of the whole image, to a thousandth


@dataclass(frozen=True, eq=False)
class ImageEvidence:
    """One image, as the first stage sees it.

    Args:
        features: for each watched layer the mean of its C channels over the image, (C,), or over each window, (W, C).
        intensities: percentiles of ``RANKS`` of the window's 0 to 1 among voxels above 0, then the share of them at 1.
        limits: the window's limits in stored numbers, where all images have the same; else None.
        sides: (3,) of the image along its upright axes (R, A, S; of a film its own), in the detector's unit.
    """

    features: tuple[FloatArray, ...]
    intensities: FloatArray
    limits: tuple[float, float] | None
    sides: FloatArray

    @classmethod
    def of(cls, scan: Scan, window: Window | EqualizedWindow, features: tuple[FloatArray, ...]) -> ImageEvidence:
        """What is noted of a prepared image, whose features a ``Watch`` has seen."""
        image = scan.coarse
        order = sorted(range(image.ndim), key=image.stride, reverse=True)
        flat = image.permute(order).flatten()  # as they lie in memory, so that none is copied
        seen = window.scale(flat[:: max(1, flat.numel() // _MOST_VOXELS)].float(), scan.limits).cpu().numpy()
        seen = seen[seen > 0] if (seen > 0).any() else seen  # however much air, or padding, is about the patient
        intensities = np.r_[np.percentile(seen, RANKS), (seen >= 1).mean()]
        limits = None if getattr(window, "percentiles", True) else (scan.limits[0], scan.limits[-1])
        return cls(features, intensities, limits, scan.grid.upright_sides_mm)


@dataclass(frozen=True, eq=False)
class Evidence:
    """One scan and its points, seen from the inside; lengths are in the detector's own unit and axes.

    Args:
        image: of the scan.
        numbers: (R,) which landmark each row is.
        there: (R,) which rows are reported.
        stages: (R, 3) points along the upright axes after each stage, by the stage's name.
        scale: (R,) error that the last refiner claims.
        factor: what lengths in the image's own unit were multiplied with.
        unit: "mm" or "px", the image's own.
        apart: share of the landmarks that the searched pose does not explain, and support of the best other pose over
            that of this one, both 0 to 1; None where no pose was searched.
        elsewhere: (R,) share of the first stage's probability that does not lie at its point; None where its maps are
            no probabilities.
        outvoted: (R,) whether its map shows the landmark more than twice as clearly in another place, which neighbours
            or usual places spoke against; None as ``elsewhere``.
    """

    image: ImageEvidence
    numbers: IndexArray
    there: NDArray[np.bool_]
    stages: dict[str, FloatArray]
    scale: FloatArray
    factor: float = 1.0
    unit: str = "mm"
    apart: tuple[float, float] | None = None
    elsewhere: FloatArray | None = None
    outvoted: NDArray[np.bool_] | None = None

    def points(self, count: int) -> FloatArray:
        """(N, 3) reported points of N landmarks along the upright axes; NaN where missing or in several places."""
        found = np.full((count, 3), np.nan)
        rows = np.flatnonzero(self.there)
        numbers = self.numbers[rows]
        once = np.bincount(numbers, minlength=count)[numbers] == 1
        found[numbers[once]] = list(self.stages.values())[-1][rows[once]]
        return found

    def displacements(self) -> dict[str, FloatArray]:
        """(R,) how far each stage displaced the points of the one before, by its name; NaN where one is not reported.

        For the first stage, which has none before it, ``elsewhere``.
        """
        names, points = list(self.stages), list(self.stages.values())
        steps = [np.linalg.norm(after - before, axis=1) for before, after in pairwise(points)]
        found = dict(zip(names[1:], steps, strict=True))
        if self.elsewhere is not None:
            found = {names[0]: self.elsewhere, **found}
        return {name: np.where(self.there, step, np.nan) for name, step in found.items()}


class Watch:
    """Notes the mean of every channel that a network's encoder gives, in the passes it makes anyway.

    The encoder is every convolution until the maps grow again, whatever the architecture; the last one of each size of
    map is kept. Of an ensemble it is the first member's.

    Args:
        network: a first stage; hooks are on it within the block only, so that it can be exported and copied.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._hooks: list[Any] = []
        self._passes: list[list[FloatArray]] = []
        self._smallest = 0
        self._noted: list[tuple[FloatArray, tuple[FloatArray, ...]]] = []

    def __enter__(self) -> Watch:
        self._noted, self._passes = [], []
        self._hooks = [self.network.register_forward_pre_hook(self._begin)]
        self._hooks += [layer.register_forward_hook(self._see) for layer in self._layers()]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def note(self, points: FloatArray) -> None:
        """Keep what was seen since the last note as that which gave these points."""
        passes, self._passes = self._passes, []
        layers = [np.stack(layer) for layer in zip(*passes, strict=True)]
        self._noted.append((points, tuple(layer[0] if len(layer) == 1 else layer for layer in layers)))

    def features_of(self, points: FloatArray) -> tuple[FloatArray, ...]:
        """What was seen in the passes that gave these points; () where nothing was noted for them."""
        return next((features for own, features in self._noted if own is points), ())

    def _layers(self) -> Iterator[nn.Module]:
        return (layer for layer in self.network.modules() if isinstance(layer, _ConvNd) and max(layer.kernel_size) > 1)

    def _begin(self, _network: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        self._passes.append([])
        self._smallest = 2**62

    def _see(self, layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        size = output[0, 0].numel()
        if size > self._smallest:
            self._smallest = 0  # the maps grow: the encoder ends here
            return
        if size == self._smallest:
            self._passes[-1].pop()
        self._smallest = size
        self._passes[-1].append(output[0].flatten(1).mean(1).double().cpu().numpy())
