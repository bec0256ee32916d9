"""How stored numbers become network input: a window onto 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["EqualizedWindow", "Window"]


@dataclass(frozen=True)
class Window:
    """Maps ``low`` to 0 and ``high`` to 1, and clips beyond.

    Args:
        low, high: stored numbers (Hounsfield units in CT), or percentiles of each image.
        percentiles: read them as percentiles, for MR and films, whose numbers mean nothing by themselves.
    Raises:
        ValueError: if low is not below high.

    >>> window = Window(-100, 300)  # Hounsfield units
    >>> image = torch.tensor([-500.0, -100, 100, 500])
    >>> window.scale(image, window.limits(image))
    tensor([0.0000, 0.0000, 0.5000, 1.0000])
    """

    low: float
    high: float
    percentiles: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a window needs low < high, got {self.low} and {self.high}")

    def limits(self, coarse: Tensor) -> tuple[float, ...]:
        """The window of one image, in stored numbers; percentiles are taken over its coarse version."""
        if not self.percentiles:
            return self.low, self.high
        low, high = _percentiles(coarse, (self.low, self.high))
        return (low, high) if low < high else (low, low + 1.0)

    def scale(self, image: Tensor, limits: tuple[float, ...]) -> Tensor:
        """Stored numbers to 0 to 1."""
        return ((image - limits[0]) / (limits[1] - limits[0])).clamp_(0, 1)


@dataclass(frozen=True)
class EqualizedWindow:
    """Histogram equalisation: a stored number becomes the share of the image's voxels that lie below it.

    Args:
        knots: steps of the image's distribution; between two of them it is taken as even.
    Raises:
        ValueError: for fewer than two knots.

    >>> window, image = EqualizedWindow(), torch.tensor([0.0, 1, 2, 3, 1000])
    >>> window.scale(image, window.limits(image))
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """

    knots: int = 65

    def __post_init__(self) -> None:
        if self.knots < 2:
            raise ValueError(f"knots must be at least 2, got {self.knots}")

    def limits(self, coarse: Tensor) -> tuple[float, ...]:
        """The distribution of one image: its quantiles, from the least to the greatest number."""
        return tuple(_percentiles(coarse, np.linspace(0, 100, self.knots)))

    def scale(self, image: Tensor, limits: tuple[float, ...]) -> Tensor:
        """Stored numbers to 0 to 1; one that many voxels share becomes the middle of their shares."""
        knots, image = torch.tensor(limits, device=image.device), image.float().contiguous()
        below = torch.searchsorted(knots, image).clamp(1, len(knots) - 1)
        above = torch.searchsorted(knots, image, right=True).clamp(1, len(knots) - 1)
        return (self._share(image, knots, below) + self._share(image, knots, above)) / 2

    @staticmethod
    def _share(image: Tensor, knots: Tensor, step: Tensor) -> Tensor:
        """The share below each number, by the knots at ``step - 1`` and ``step``."""
        first, last = knots[step - 1], knots[step]
        part = ((image - first) / (last - first).clamp_min(1e-12)).clamp(0, 1)
        return (step - 1 + part) / (len(knots) - 1)


def _percentiles(coarse: Tensor, ranks: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """Of an image's numbers; of many, every n-th says the same."""
    order = sorted(range(coarse.ndim), key=coarse.stride, reverse=True)
    flat = coarse.permute(order).flatten()  # as they lie in memory, so that none is copied
    some = flat[:: max(1, flat.numel() // 2**20)].float()
    # NumPy's selects, torch's sorts: a tenth of the time, which every training sample takes.
    return np.percentile(some.cpu().numpy(), ranks).tolist()
