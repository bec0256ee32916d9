"""How an aortic arch differs from the usual one: where it is highest, how wide it is, where its branches leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]

__all__ = ["Arch", "draw_arch"]

# Heights of the arch's five points over its highest one where it rises up to its left end (type III).
_RISING = np.array([0.50, 0.75, 0.91, 1.0, 0.87])
_FRONT = np.array([0.5, 1.0, 0.8, 0.2, 0.0])
_BEND = 2  # which of the five is the highest of the usual arch: its branches leave about there


@dataclass(frozen=True)
class Arch:
    """An arch beside the usual one, which has these defaults; directions and mm are of the mean body.

    Args:
        slope: 0 for the usual arch, highest in its middle; 1 for one that rises to its left end, behind its branches.
        rise: height over the valve, over the usual one.
        across: extent from right to left, over the usual one.
        deep: extent from front to back, over the usual one.
        front_mm: by how much farther to the front its ascending part lies.
        before_mm: by how much earlier along the aorta the first branch leaves.
        gaps: (2,) way along the aorta from the first branch to the second, and on to the third, over the usual ones.
        along: (3,) how far each branch leans along the aorta as it leaves; 1 is 45 degrees.
        trunk: length of the brachiocephalic trunk, over the usual one.
        bovine: where the left common carotid artery leaves the brachiocephalic trunk, in parts of the way from the
            trunk's origin to its fork; None where it leaves the aorta.
    """

    slope: float = 0.0
    rise: float = 1.0
    across: float = 1.0
    deep: float = 1.0
    front_mm: float = 0.0
    before_mm: float = 0.0
    gaps: tuple[float, float] = (1.0, 1.0)
    along: tuple[float, float, float] = (0.0, 0.0, 0.0)
    trunk: float = 1.0
    bovine: float | None = None

    def bent(self, knots: FloatArray) -> FloatArray:
        """The usual arch's (5, 3) points from the valve, R, A, S in mm, at this arch's places."""
        top = knots[_BEND, 2]
        heights = (1 - self.slope) * knots[:, 2] + self.slope * top * _RISING
        first = knots[0, :2]
        flat = first + (knots[:, :2] - first) * np.array([self.across, self.deep])
        flat[:, 1] += self.front_mm * _FRONT
        return np.column_stack([flat, self.rise * heights])

    def places(self, usual: FloatArray, width: float) -> FloatArray:
        """(3,) distances along the aorta at which the branches leave.

        Args:
            usual: (3,) those of the usual arch, about its highest point.
            width: of this body's vessels, over the mean one's.
        """
        steps = np.diff(usual) * np.array(self.gaps)
        return np.asarray(usual[0] - self.before_mm * width + np.concatenate([[0.0], np.cumsum(steps)]))


def draw_arch(draws: Draws) -> Arch:
    """Draw it: the usual one in a third of the subjects."""
    usual, slope = draws.chance(0.33), draws.uniform(-0.2, 1.2)
    rise, across, deep = draws.uniform(0.85, 1.2), draws.uniform(0.65, 1.15), draws.uniform(0.85, 1.35)
    front = draws.uniform(-3.0, 12.0)
    before = draws.uniform(-8.0, 12.0) + 45.0 * max(0.0, slope) * draws.uniform(0.3, 1.0)
    gaps = (draws.uniform(0.4, 1.3), draws.uniform(0.5, 1.7))
    along = (draws.uniform(-0.5, 0.5), draws.uniform(-0.5, 0.5), draws.uniform(-0.5, 0.5))
    trunk = draws.uniform(0.65, 1.15)
    shared, part = draws.chance(0.15), draws.uniform(0.15, 0.4)
    if usual:
        return Arch()
    return Arch(slope, rise, across, deep, front, before, gaps, along, trunk, part if shared else None)
