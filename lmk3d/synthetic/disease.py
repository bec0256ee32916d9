"""Disease of an aorta: aneurysms, mural thrombus, a dissection's false lumen, stent grafts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.shapes import Shape, Tube

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.draws import Draws
    from lmk3d.synthetic.tissue import Tissue

    FloatArray = NDArray[np.float64]

__all__ = ["Disease", "draw_disease"]

# Parts of the way from the root (0) to the fork into the iliac arteries (1).
_ASCENDING, _DESCENDING, _INFRARENAL = (0.07, 0.15), (0.32, 0.58), (0.86, 0.95)
_FLAP_MM = 1.3


@dataclass(frozen=True)
class Disease:
    """What is wrong with an aorta; places are parts of the way along its centreline, from 0 to 1.

    Args:
        bulges: middle, half length and growth of each aneurysm; a growth of 0.5 makes the radius 1.5 times as large.
        lumen: begin, end and part of the radius of a narrower lumen beside mural thrombus or a false lumen; None
            without one.
        false_hu: HU beside that lumen: thrombus, or blood of another density.
        angle_deg: on which side of the aorta the lumen lies at its begin, and by how much it winds up to its end.
        stent: begin and end of a stent graft's metal; None without one.
    """

    bulges: tuple[tuple[float, float, float], ...] = ()
    lumen: tuple[float, float, float] | None = None
    false_hu: float = 50.0
    angle_deg: tuple[float, float] = (0.0, 0.0)
    stent: tuple[float, float] | None = None

    def widened(self, path: FloatArray) -> FloatArray:
        """The (K, 4) centreline and radius with its aneurysms."""
        along, out = _along(path), path.copy()
        for middle, half, growth in self.bulges:
            fall = np.clip(1 - ((along - middle) / half) ** 2, 0, None)
            out[:, 3] *= 1 + growth * fall**2
        return out

    def shapes(self, path: FloatArray, tissue: Tissue) -> list[Shape]:
        """What is painted over the aorta's blood: (K, 4) centreline and radius of the widened aorta."""
        shapes: list[Shape] = []
        if self.lumen is not None:
            begin, end, part = self.lumen
            piece = path[(_along(path) >= begin) & (_along(path) <= end)]
            out, _ = _across(piece, np.radians(self.angle_deg))
            middle = piece[:, :3] + (1 - part) * piece[:, 3:] * out
            shapes.append(Tube(self.false_hu, piece[:, :3], piece[:, 3]))
            shapes.append(Tube(tissue.wall, middle, part * piece[:, 3]))
            shapes.append(Tube(tissue.blood, middle, part * piece[:, 3] - _FLAP_MM))
        if self.stent is not None:
            shapes += _rings(path, *self.stent)
        return shapes


def draw_disease(draws: Draws, blood: float) -> Disease:
    """Draw it: nothing in half of the subjects.

    Args:
        draws: random numbers.
        blood: HU of the blood in the aorta.
    """
    healthy = draws.chance(0.5)
    bulges = tuple(
        (draws.uniform(*where), draws.uniform(0.05, 0.13), draws.uniform(0.2, most))
        for where, most, chance in ((_ASCENDING, 0.6, 0.35), (_DESCENDING, 1.0, 0.35), (_INFRARENAL, 1.3, 0.4))
        if draws.chance(chance)
    )
    begin = draws.uniform(0.16, 0.6)
    lumen = (begin, min(begin + draws.uniform(0.08, 0.35), 0.68), draws.uniform(0.55, 0.8))
    false_hu = draws.uniform(30.0, 90.0) if draws.chance(0.5) else draws.uniform(60.0, 1.1 * blood + 20)
    angles = (draws.uniform(0.0, 360.0), draws.near(0.0, 180.0))
    first = draws.uniform(0.18, 0.45)
    stent = (first, min(first + draws.uniform(0.1, 0.35), 0.69))
    has_lumen, has_stent = draws.chance(0.4), draws.chance(0.35)
    if healthy:
        return Disease()
    return Disease(bulges, lumen if has_lumen else None, false_hu, angles, stent if has_stent else None)


def _along(path: FloatArray) -> FloatArray:
    """(K,) part of the way at each point."""
    length = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(path[:, :3], axis=0) ** 2).sum(1)))])
    return np.asarray(length / length[-1], dtype=np.float64)


def _across(path: FloatArray, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two (K, 3) unit directions across a path, turned by (2,) ``angle``: at its begin, and more at its end."""
    tangent = np.gradient(path[:, :3], axis=0)
    tangent /= np.sqrt((tangent**2).sum(1, keepdims=True))
    right = np.array([1.0, 0.0, 0.0]) - tangent[:, :1] * tangent
    right /= np.sqrt((right**2).sum(1, keepdims=True))
    front = np.cross(tangent, right)
    turn = (angle[0] + angle[1] * np.linspace(0, 1, len(path)))[:, None]
    return np.cos(turn) * right + np.sin(turn) * front, np.cos(turn) * front - np.sin(turn) * right


def _rings(path: FloatArray, begin: float, end: float) -> list[Shape]:
    """Zigzag rings of nitinol inside the wall."""
    inside = np.flatnonzero((_along(path) >= begin) & (_along(path) <= end))
    right, front = _across(path, np.zeros(2))
    angles = np.arange(17) / 16 * 2 * np.pi
    rings: list[Shape] = []
    for row in inside[1:-1:4]:  # about 12 mm apart
        points = path[row, :3] + (path[row, 3] - 1.2) * (
            np.cos(angles)[:, None] * right[row] + np.sin(angles)[:, None] * front[row]
        )
        points += np.where(np.arange(17) % 2, 4.0, -4.0)[:, None] * np.cross(right[row], front[row])
        rings.append(Tube(2600.0, points, np.full(17, 0.45)))
    return rings
