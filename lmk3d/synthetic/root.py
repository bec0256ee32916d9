"""The aortic root: outflow tract, three sinuses and the closed valve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.shapes import Ellipsoid, Shape, Tube, curve, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.draws import Draws
    from lmk3d.synthetic.tissue import Frame, Tissue

    FloatArray = NDArray[np.float64]

__all__ = ["Root", "draw_root"]


@dataclass(frozen=True)
class Root:
    """The aortic root: three ellipsoids (right, left, non-coronary sinus) about an axis.

    Args:
        base: (3,) centre of the annulus.
        up: (3,) unit axis, out of the ventricle.
        outward: (3, 3) unit direction of each sinus, in the rows, across the axis.
        annulus, junction: radii of the outflow tract and of the sinotubular junction.
        height: of the junction over the annulus.
        offset: of each sinus's centre from the axis.
        sinus: (3, 3) half axes of each sinus (rows): outward, along the wall, along the axis.
    """

    base: FloatArray
    up: FloatArray
    outward: FloatArray
    annulus: float
    junction: float
    height: float
    offset: float
    sinus: FloatArray

    def centre(self, index: int) -> FloatArray:
        return self.base + self.offset * self.outward[index] + self.sinus[index, 2] * 0.9 * self.up

    def axes(self, index: int) -> FloatArray:
        return np.stack([self.outward[index], np.cross(self.up, self.outward[index]), self.up], axis=1)

    def hinge(self, index: int) -> FloatArray:
        """Where, in its middle plane, the wall of a sinus meets the wall of the outflow tract."""
        out, _, along = self.sinus[index]
        drop = along * np.sqrt(1 - ((self.annulus - self.offset) / out) ** 2)
        return self.base + self.annulus * self.outward[index] + (0.9 * along - drop) * self.up

    def wall(self, index: int, azimuth_deg: float, rise_deg: float) -> tuple[FloatArray, FloatArray]:
        """The point of a sinus's wall seen from its centre in a direction, and the outward normal there."""
        azimuth, rise = np.radians(azimuth_deg), np.radians(rise_deg)
        ball = np.array([np.cos(rise) * np.cos(azimuth), np.cos(rise) * np.sin(azimuth), np.sin(rise)])
        axes = self.axes(index)
        return self.centre(index) + axes @ (ball * self.sinus[index]), unit(axes @ (ball / self.sinus[index]))

    @property
    def aorta_start(self) -> FloatArray:
        """(4, 4) first points and radii of the ascending aorta's centreline."""
        heights = np.array([[0.7], [0.85], [1.0], [1.25]]) * self.height
        return np.column_stack([self.base + heights * self.up, np.array([0.84, 0.94, 1.0, 1.05]) * self.junction])

    def tract(self, inside: FloatArray) -> FloatArray:
        """(K, 4) points and radii of the outflow tract, from a point inside the ventricle to the sinuses."""
        points = np.stack([inside, *(self.base + rise * self.up for rise in (-9, -4, 0, 5))])
        return curve(np.column_stack([points, np.array([1.05, 1.0, 1.0, 1.0, 1.0]) * self.annulus]), 3.0)

    def walls(self, inside: FloatArray, tissue: Tissue) -> list[Shape]:
        """The walls of outflow tract and sinuses, to be painted first."""
        path = self.tract(inside)
        sinuses = [Ellipsoid(tissue.wall, self.centre(i), self.axes(i), self.sinus[i] + 1.5) for i in range(3)]
        return [Tube(tissue.wall, path[2:, :3], path[2:, 3] + 1.8), *sinuses]

    def blood(self, inside: FloatArray, tissue: Tissue) -> list[Shape]:
        """Outflow tract, middle of the root and sinuses, then the closed valve's leaflets."""
        path = self.tract(inside)
        stem = np.linspace(0.45, 1.0, 4)
        width = self.annulus + (self.junction - self.annulus) * stem
        middle = Tube(tissue.blood, self.base + stem[:, None] * self.height * self.up, width)
        sinuses = [Ellipsoid(tissue.blood, self.centre(i), self.axes(i), self.sinus[i]) for i in range(3)]
        leaflets = [self._leaflet(index, tissue) for index in range(3)]
        return [Tube(tissue.blood, path[:, :3], path[:, 3]), middle, *sinuses, *leaflets]

    def _leaflet(self, index: int, tissue: Tissue) -> Ellipsoid:
        """The inner floor of a sinus, up to where the three leaflets meet."""
        out = self.outward[index]
        cuts = [(self.base + 0.62 * self.height * self.up, self.up), (self.base + self.annulus * out, out)]
        cuts += [(self.base, unit(self.outward[other] - out)) for other in range(3) if other != index]
        return Ellipsoid(
            0.2 * tissue.blood + 40, self.centre(index), self.axes(index), self.sinus[index],
            shell_mm=1.1, cuts=tuple(cuts),
        )  # fmt: skip


def draw_root(draws: Draws, frame: Frame) -> Root:
    """Draw the root of a heart."""
    up = unit(frame.to(0.36, 0.20, 0.91) + draws.jitter(0.12))
    across = unit(np.cross(frame.to(0.0, 1.0, 0.0), up))  # about to the patient's right
    ahead = np.cross(up, across)
    size = frame.scale * draws.near(1.0, 0.12)
    turn = draws.near(0.0, 12.0)
    outward = []
    for middle in (70.0, 190.0, 310.0):  # degrees from the patient's right towards the front
        angle = np.radians(middle + turn + draws.near(0.0, 5.0))
        outward.append(np.cos(angle) * across + np.sin(angle) * ahead)
    sinus = size * np.array([10.8, 10.6, 11.5]) * (1 + draws.jitter(0.08, (3, 3)))
    return Root(
        base=frame.at(0, 0, 0)[0],
        up=up,
        outward=np.stack(outward),
        annulus=11.3 * size * draws.near(1.0, 0.04),
        junction=13.6 * size * draws.near(1.0, 0.08),
        height=22.0 * size * draws.near(1.0, 0.08),
        offset=6.4 * size,
        sinus=sinus,
    )
