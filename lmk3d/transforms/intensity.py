"""How stored numbers become network input: a window onto 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Window"]


@dataclass(frozen=True)
class Window:
    """Maps ``low`` to 0 and ``high`` to 1, and clips beyond.

    Args:
        low, high: stored numbers (Hounsfield units in CT), or percentiles of each image.
        percentiles: read them as percentiles, for MR and films, whose numbers mean nothing by themselves.
    Raises:
        ValueError: if low is not below high.
    """

    low: float
    high: float
    percentiles: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a window needs low < high, got {self.low} and {self.high}")

    def limits(self, coarse: Tensor) -> tuple[float, float]:
        """The window of one image, in stored numbers; percentiles are taken over its coarse version."""
        if not self.percentiles:
            return self.low, self.high
        flat = coarse.flatten()
        flat = flat[:: max(1, flat.numel() // 2**20)].float()  # every n-th of many says the same
        # NumPy's selects, torch's sorts: a tenth of the time, which every training sample takes.
        low, high = np.percentile(flat.cpu().numpy(), (self.low, self.high)).tolist()
        return (low, high) if low < high else (low, low + 1.0)

    def scale(self, image: Tensor, limits: tuple[float, float]) -> Tensor:
        """Stored numbers to 0 to 1."""
        return ((image - limits[0]) / (limits[1] - limits[0])).clamp_(0, 1)
