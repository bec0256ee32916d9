"""The bones of a phantom: spine, ribs, sternum, shoulders, pelvis; and the chest that they hold open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.draws import rotation
from lmk3d.synthetic.shapes import Column, Ellipsoid, Shape, Tube, curve, unit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]

__all__ = ["CHEST", "SIDES", "Spine", "draw_spine", "egg", "skeleton", "tube"]

SIDES = (1.0, -1.0)
"""The patient's right, then left."""

CHEST = np.array(  # height, half width, half depth, middle
    [[-400, 120, 78, 8], [-330, 125, 80, 12], [-260, 128, 78, 16], [-200, 126, 76, 16], [-150, 133, 80, 13],
     [-90, 138, 86, 8], [-30, 136, 87, 6], [30, 126, 82, 4], [80, 100, 70, -2], [120, 62, 48, -12], [150, 38, 38, -6],
     [200, 30, 34, 0.0]]
)  # fmt: skip


@dataclass(frozen=True)
class Spine:
    """The line through the centres of the vertebral bodies.

    Args:
        heights: (M,) rising heights (S, mm).
        offsets: (M, 2) R and A of the line there.
        scale: (3,) size of this body over the mean one.
    """

    heights: FloatArray
    offsets: FloatArray
    scale: FloatArray

    def __call__(self, heights: FloatArray) -> FloatArray:
        """(M, 3) points of the line at these heights."""
        columns = [np.interp(heights, self.heights, column) for column in self.offsets.T]
        return np.stack([*columns, heights], axis=-1)

    def axes(self, height: float) -> FloatArray:
        """(3, 3) right, front and up of a vertebra, in columns."""
        above, below = self(np.array([height + 15.0, height - 15.0]))
        up = unit(above - below)
        right = unit(np.array([1.0, 0.0, 0.0]) - up[0] * up)
        return np.stack([right, np.cross(up, right), up], axis=1)


def draw_spine(draws: Draws, scale: FloatArray) -> Spine:
    """A spine with kyphosis, lordosis and a little scoliosis."""
    knots = np.array(
        [[165, -22], [125, -36], [80, -49], [30, -57], [-30, -58], [-90, -52], [-150, -43], [-205, -36], [-260, -35],
         [-300, -45], [-340, -66], [-380, -84.0]]
    )  # fmt: skip
    aside = np.interp(knots[:, 0], [-340, -200, -100, 0, 100, 165], draws.jitter(4.0, (6,)))
    bend = draws.near(1.0, 0.25)
    depth = -48 + (knots[:, 1] + 48) * bend
    smooth = curve(np.column_stack([aside, depth, knots[:, 0]])[::-1] * scale, 5.0)
    return Spine(smooth[:, 2], smooth[:, :2], scale)


def egg(
    hu: float,
    centre: ArrayLike,
    radii: ArrayLike,
    scale: FloatArray,
    turn: FloatArray | None = None,
    squeeze: float = 0.0,
) -> Ellipsoid:
    """An ellipsoid in this body's size."""
    axes = np.eye(3) if turn is None else turn
    return Ellipsoid(hu, np.asarray(centre, float) * scale, axes, np.asarray(radii, float) * scale, egg=squeeze)


def tube(hu: float, points: ArrayLike, radii: ArrayLike, scale: FloatArray, step: float = 5.0) -> Tube:
    """A smooth tube in this body's size."""
    places = np.asarray(points, float) * scale
    path = curve(np.column_stack([places, np.broadcast_to(radii, len(places))]), step)
    return Tube(hu, path[:, :3], path[:, 3])


def skeleton(draws: Draws, spine: Spine) -> list[Shape]:
    """All bones, in the order of painting."""
    bones: list[Shape] = []
    _add_vertebrae(bones, draws, spine)
    _add_cage(bones, draws, spine)
    return bones


def _add_vertebrae(bones: list[Shape], draws: Draws, spine: Spine) -> None:
    """T1 to L5 and the sacrum: bodies with a hard shell, discs, arches and processes."""
    scale = spine.scale
    hard, soft = draws.uniform(480, 750), draws.uniform(150, 300)
    heights = np.array([18, 19, 20, 20, 21, 22, 22, 23, 24, 25, 26, 27, 34, 35, 36, 36, 36.0]) * scale[2]
    top = 134.0 * scale[2]
    for level, height in enumerate(heights):
        middle = top - height / 2
        top -= height
        centre, axes = spine(np.array([middle]))[0], spine.axes(middle)
        grow = level / 16
        across = np.array([14 + 9 * grow, 11.5 + 5.5 * grow]) * scale[:2]
        body = Column(hard, centre, axes, np.array([*across, 0.41 * height]))
        disc = Column(85.0, centre - axes[:, 2] * height / 2, axes, np.array([*(across * 0.98), 0.14 * height]))
        core = Column(soft, centre, axes, np.array([*(across - 1.8), 0.41 * height - 1.6]))
        arch = centre + axes @ (np.array([0, -1, 0]) * (across[1] + 9 * scale[1]))
        bones += [disc, body, core]
        _add_arch(bones, arch, axes, scale, grow, hard)
    _add_pelvis(bones, spine, hard, soft)


def _add_arch(
    bones: list[Shape], arch: FloatArray, axes: FloatArray, scale: FloatArray, grow: float, hard: float
) -> None:
    """The bony ring about the spinal canal, whose middle is ``arch``, with three processes."""
    bone = 0.75 * hard
    for side in SIDES:
        ring = (
            arch + np.array([[8 * side, 11, 2], [13 * side, 3, 1], [9 * side, -8, -3], [0, -13, -6]]) * scale @ axes.T
        )
        bones.append(Tube(bone, ring, np.array([4.5, 4.5, 3.5, 3.5])))
        wing = arch + np.array([[12 * side, 0, 0], [34 * side, -6 + 8 * grow, 4 - 4 * grow]]) * scale @ axes.T
        bones.append(Tube(bone, wing, np.array([4.5, 3.5])))
    spine_tip = arch + np.array([[0, -12, -5], [0, -36, -24 + 16 * grow]]) * scale @ axes.T
    bones.append(Tube(bone, spine_tip, np.array([3.5, 4.0])))
    bones.append(Column(20.0, arch, axes, np.array([8.5 * scale[0], 7.5 * scale[1], 9.0])))


def _add_pelvis(bones: list[Shape], spine: Spine, hard: float, soft: float) -> None:
    """The sacrum and the two wings of the ilium."""
    scale = spine.scale
    for height, wide in ((-320.0, 48.0), (-345.0, 40.0), (-370.0, 30.0)):
        centre, axes = spine(np.array([height * scale[2]]))[0], spine.axes(height * scale[2])
        bones.append(Ellipsoid(hard * 0.8, centre, axes, np.array([wide, 14, 17]) * scale))
        bones.append(Ellipsoid(soft, centre, axes, np.array([wide - 3, 11, 14]) * scale))
    for side in SIDES:
        wing = spine(np.array([-335.0 * scale[2]]))[0] + np.array([76 * side, 34, 12]) * scale
        turn = rotation(8, 24 * side, -38 * side)
        bones.append(Ellipsoid(hard * 0.9, wing, turn, np.array([7, 58, 68]) * scale))
        bones.append(Ellipsoid(soft, wing, turn, np.array([4, 54, 64]) * scale))


def _add_cage(bones: list[Shape], draws: Draws, spine: Spine) -> None:
    """Twelve pairs of ribs, the sternum, collar bones and shoulder blades."""
    scale = spine.scale
    hard = draws.uniform(380, 600)
    steps = np.array([18, 19, 20, 20, 21, 22, 22, 23, 24, 25, 26, 27.0])
    for level, height in enumerate(134.0 - np.cumsum(steps) + steps / 2):
        for side in SIDES:
            rib = _rib(level, float(height), side) * scale
            rib += spine(np.array([height * scale[2]]))[0] * [1, 0, 0]
            path = curve(np.column_stack([rib, np.full(len(rib), 4.6)]), 14.0)
            bones.append(Tube(hard, path[:, :3], path[:, 3]))
            bones.append(Tube(150.0, path[:, :3], path[:, 3] - 2.0))
    for middle, radii, lean in (([0, 80, 66], [23, 7, 24], -22), ([0, 93, 5], [18, 6.5, 56], -6)):
        bones.append(egg(hard * 0.8, middle, radii, scale, rotation(lean, 0, 0)))
        bones.append(egg(160.0, middle, np.array(radii) - 2.0, scale, rotation(lean, 0, 0)))
    for side in SIDES:
        collar = np.array([[18 * side, 68, 84], [60 * side, 58, 104], [100 * side, 26, 118], [135 * side, 4, 120]])
        bones.append(tube(hard * 1.2, collar, [8, 6, 6, 6], scale, 15))
        bones.append(tube(200.0, collar, [5.5, 3.5, 3.5, 3.5], scale, 15))
        blade = np.array([112.0 * side, -66, 58])
        bones.append(egg(hard, blade, [42, 4, 62], scale, rotation(-6, 8 * side, 38 * side)))
        bones.append(egg(150.0, blade, [40, 2, 60], scale, rotation(-6, 8 * side, 38 * side)))


def _rib(level: int, height: float, side: float) -> FloatArray:
    """(M, 3) line of one rib from its vertebra forwards and down, in the mean body."""
    droop = np.interp(level, [0, 3, 7, 11], [28, 55, 78, 40])
    reach = np.interp(level, [0, 1, 6, 9, 10, 11], [150, 152, 152, 125, 70, 45])  # degrees about the chest
    points = []
    for share in np.linspace(0.0, 1.0, 9):
        angle = np.radians(18 + share * (reach - 18))  # from the back, towards the side, to the front
        low = height - droop * share**1.3
        wide, deep, middle = (
            np.interp(low, CHEST[:, 0], column) + more for column, more in zip(CHEST[:, 1:].T, (6, 6, 0), strict=True)
        )
        points.append([side * wide * np.sin(angle), middle - deep * np.cos(angle), low])
    return np.array(points)
