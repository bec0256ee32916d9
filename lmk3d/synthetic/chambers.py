"""How a heart's chambers differ from the usual ones: large atria, and contrast that mixes within the right heart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.shapes import Ellipsoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.draws import Draws
    from lmk3d.synthetic.shapes import Shape
    from lmk3d.synthetic.tissue import Frame, Tissue

    FloatArray = NDArray[np.float64]

__all__ = ["Chambers", "draw_chambers"]

# Into which a grown atrium moves, of its growth: away from the valve, which keeps its place.
_LEFT_AWAY, _RIGHT_AWAY = np.array([0.0, -0.5, 0.0]), np.array([0.7, 0.0, 0.0])


@dataclass(frozen=True)
class Chambers:
    """Chambers beside the usual ones, which have these defaults; directions are the heart's.

    Args:
        left: (3,) size of the left atrium over the usual one, along R, A, S.
        right: (3,) the same of the right atrium.
        clouds: clouds of contrast, or of blood without, in each chamber of the right heart: place and size (3,) in
            parts of the chamber's half axes, and HU.
    """

    left: tuple[float, float, float] = (1.0, 1.0, 1.0)
    right: tuple[float, float, float] = (1.0, 1.0, 1.0)
    clouds: tuple[tuple[tuple[float, ...], tuple[float, ...], float], ...] = ()

    def grown_left(self, centre: FloatArray, radii: FloatArray, frame: Frame) -> tuple[FloatArray, FloatArray]:
        """Centre and half axes of the left atrium; it grows to the back."""
        return _grown(centre, radii, frame, self.left, _LEFT_AWAY)

    def grown_right(self, centre: FloatArray, radii: FloatArray, frame: Frame) -> tuple[FloatArray, FloatArray]:
        """Centre and half axes of the right atrium; it grows to the right."""
        return _grown(centre, radii, frame, self.right, _RIGHT_AWAY)

    def mixture(self, chamber: Ellipsoid) -> list[Shape]:
        """The clouds within a chamber."""
        return [
            Ellipsoid(
                hu,
                chamber.centre_mm + chamber.axes @ (np.array(place) * chamber.radii_mm),
                chamber.axes,
                np.array(size) * chamber.radii_mm,
            )
            for place, size, hu in self.clouds
        ]


def draw_chambers(draws: Draws, tissue: Tissue) -> Chambers:
    """Draw them: the usual ones in half of the subjects, and clouds in every third.

    Args:
        draws: random numbers.
        tissue: HU; clouds are as bright as blood with contrast from the caval vein, or with none, or between.
    """
    usual, cloudy = draws.chance(0.5), draws.chance(0.35)
    left = draws.uniform(0.9, 1.45) * draws.uniform(0.88, 1.12, (3,))
    right = draws.uniform(0.85, 1.35) * draws.uniform(0.9, 1.1, (3,))
    low, high = sorted((tissue.vein_blood, max(tissue.cava, tissue.right_blood)))
    clouds = tuple(
        (tuple(draws.uniform(-0.4, 0.4, (3,)).tolist()), tuple(draws.uniform(0.15, 0.55, (3,)).tolist()), hu)
        for hu in draws.uniform(low, high, (1 + int(draws.uniform(0, 6)),)).tolist()
    )
    grown = ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)) if usual else (tuple(left.tolist()), tuple(right.tolist()))
    return Chambers(*grown, clouds if cloudy else ())


def _grown(
    centre: FloatArray, radii: FloatArray, frame: Frame, factors: tuple[float, float, float], away: FloatArray
) -> tuple[FloatArray, FloatArray]:
    grown = radii * np.array(factors)
    return centre + frame.turn @ (away * (grown - radii)), grown
