"""What drawing a subject on a film gives beside the film: its points, contours and masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]

__all__ = ["Drawn", "Pose"]


@dataclass(frozen=True, eq=False)
class Drawn:
    """The geometry of what a canvas shows.

    Args:
        names: of the points; one may stand there several times.
        points: (N, 2) (x, y) in mm of the canvas.
        noise: standard deviation of the film's noise, as part of its whole range.
        contours: rows of the points that form each structure's outline.
        masks: (rows, columns) of each structure.
    """

    names: tuple[str, ...]
    points: FloatArray
    noise: float
    contours: dict[str, tuple[int, ...]] = field(default_factory=dict)
    masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Pose:
    """Where and how a subject lies on the film: turned, sized and moved.

    Args:
        matrix: (2, 2) from the subject's own mm to the film's.
        origin: (2,) where its own (0, 0) lies on the film.
    """

    matrix: FloatArray
    origin: FloatArray

    @classmethod
    def drawn(cls, draws: Draws, origin: tuple[float, float], *, move_mm: float, turn_deg: float, grow: float) -> Pose:
        """A random one about ``origin``; width and height grow by up to ``grow`` together, by a third of it apart."""
        angle = np.radians(draws.near(0.0, turn_deg))
        size = 1 + draws.near(0.0, grow) + draws.jitter(grow / 3, (2,))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return cls(turn * size, np.array(origin) + draws.jitter(move_mm, (2,)))

    def __call__(self, points: object) -> FloatArray:
        """(M, 2) own points on the film."""
        return np.asarray(points, dtype=np.float64) @ self.matrix.T + self.origin
