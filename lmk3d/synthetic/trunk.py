"""What lies about heart and aorta in a phantom: lungs, bones, abdominal organs, veins, airways and the body's wall."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.draws import rotation
from lmk3d.synthetic.shapes import Column, Ellipsoid, Shape, Tube, Wall, curve, unit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from lmk3d.synthetic.draws import Draws
    from lmk3d.synthetic.heart import Tissue

    FloatArray = NDArray[np.float64]

__all__ = ["Spine", "Trunk", "draw_spine", "draw_trunk", "into_chest"]

_SIDES = (1.0, -1.0)  # the patient's right, then left


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


@dataclass
class Trunk:
    """Shapes in the order of painting.

    Args:
        inner: below the body's wall, which cuts them off.
        outer: over it.
    """

    inner: list[Shape] = field(default_factory=list)
    outer: list[Shape] = field(default_factory=list)


def draw_trunk(draws: Draws, spine: Spine, renal_ends: FloatArray, tissue: Tissue) -> Trunk:
    """Draw everything about heart and aorta.

    Args:
        draws: random numbers.
        spine: the spine.
        renal_ends: (2, 3) where the right and left kidney take up their arteries.
        tissue: HU.
    """
    trunk = Trunk()
    scale = spine.scale
    _add_lungs(trunk, draws, scale, tissue)
    _add_organs(trunk, draws, scale, renal_ends, tissue)
    _add_wall(trunk, draws, scale, tissue)
    _add_muscles(trunk, spine, tissue)
    _add_vertebrae(trunk, draws, spine)
    _add_cage(trunk, draws, spine)
    _add_tubes(trunk, draws, spine, tissue)
    return trunk


def _egg(
    hu: float, centre: ArrayLike, radii: ArrayLike, scale: FloatArray, turn: FloatArray | None = None, **more: float
) -> Ellipsoid:
    """An ellipsoid in this body's size."""
    axes = np.eye(3) if turn is None else turn
    return Ellipsoid(hu, np.asarray(centre, float) * scale, axes, np.asarray(radii, float) * scale, **more)


def _tube(hu: float, points: ArrayLike, radii: ArrayLike, scale: FloatArray, step: float = 5.0) -> Tube:
    """A smooth tube in this body's size."""
    places = np.asarray(points, float) * scale
    path = curve(np.column_stack([places, np.broadcast_to(radii, len(places))]), step)
    return Tube(hu, path[:, :3], path[:, 3])


def _add_lungs(trunk: Trunk, draws: Draws, scale: FloatArray, tissue: Tissue) -> None:
    for side in _SIDES:
        trunk.inner.append(
            _egg(tissue.lung, [74 * side, 0, 8], [66, 88, 138], scale, rotation(0, 4 * side, 0), egg=0.22)
        )
        hilum = np.array([42.0 * side, -14, 30])
        for _ in range(26):
            # A vessel leaves the hilum, forks once and thins towards the pleura.
            aim = np.array([74.0 * side, 0, 8]) + np.array([58, 76, 120]) * _ball(draws)
            way = hilum + (aim - hilum) * 0.5 + draws.jitter(9.0)
            radius = draws.uniform(1.4, 3.4)
            trunk.inner.append(
                _tube(tissue.right_blood * 0.9, [hilum, way, aim], [radius, radius * 0.7, radius * 0.3], scale, 12)
            )
            twig = way + (aim - way) * 0.7 + draws.jitter(26.0)
            trunk.inner.append(_tube(tissue.right_blood * 0.8, [way, twig], [radius * 0.55, radius * 0.25], scale, 30))
    # Between the lungs: fat in front of the heart and about the great vessels.
    trunk.inner.append(_egg(tissue.fat, [-2, 16, 50], [34, 68, 112], scale, egg=0.1))
    trunk.inner.append(_egg(tissue.fat + 30, [-4, -30, -20], [30, 40, 130], scale))


def _ball(draws: Draws) -> FloatArray:
    """A point in the unit ball, more often near its surface."""
    aim = draws.jitter(1.0)
    return aim / max(1.0, float(np.sqrt((aim**2).sum())))


def _add_organs(trunk: Trunk, draws: Draws, scale: FloatArray, renal_ends: FloatArray, tissue: Tissue) -> None:
    lift = draws.near(0.0, 12.0)
    inner = trunk.inner
    # The left half below the diaphragm: fat, spleen, stomach with its bubble; the right half: liver.
    left = [-66, 0, -112 + lift]
    inner.append(_egg(tissue.muscle, left, [73, 86, 77], scale))
    inner.append(_egg(tissue.fat + 15, left, [70, 83, 74], scale))
    inner.append(_egg(tissue.muscle + 65, [-100, -42, -92 + lift], [27, 40, 46], scale))
    inner.append(_egg(25.0, [-52, 34, -88 + lift], [38, 36, 42], scale, rotation(0, 20, -20)))
    inner.append(_egg(-950.0, [-52, 48, -80 + lift], [24, 17, 24], scale))
    inner.append(_egg(tissue.muscle, [0, 20, -105 + lift], [50, 62, 48], scale))
    inner.append(_egg(tissue.fat, [0, -12, -160], [62, 48, 78], scale))
    inner.append(_egg(tissue.muscle + 30, [70, 4, -104 + lift], [76, 88, 84], scale, rotation(0, 8, 0), egg=-0.1))
    inner.append(_egg(tissue.muscle + 28, [8, 42, -98 + lift], [62, 40, 42], scale, rotation(0, 12, 0)))
    for index in range(int(draws.uniform(26, 40))):
        loop = np.array([0.0, 34, -225]) + np.array([105, 38, 68]) * _ball(draws)
        turn = draws.tilt(180.0)
        size = draws.uniform(9, 17, (3,)) * np.array([1.0, 1.0, 1.7])
        inner.append(_egg(draws.uniform(15, 70), loop, size, scale, turn))
        if index % 4 == 0:
            inner.append(_egg(-900.0, loop + [0, 4, 0], size * 0.65, scale, turn))
    # Kidneys where their arteries end.
    for side, end in zip(_SIDES, renal_ends):
        middle = end + np.array([16.0 * side, -6.0, -3.0]) * scale
        turn = rotation(12, 14 * side, 20 * side)
        bean = np.array([24, 22, 53]) * scale * draws.uniform(0.92, 1.08, (3,))
        inner.append(Ellipsoid(tissue.fat, middle, turn, bean + 12))
        inner.append(Ellipsoid(0.42 * tissue.blood + 20, middle, turn, bean))
        inner.append(Ellipsoid(0.2 * tissue.blood + 30, middle, turn, bean - 8))
        inner.append(Ellipsoid(tissue.fat, middle - np.array([12.0 * side, -4, 0]), turn, bean * [0.55, 0.4, 0.5]))


_CAVITY = np.array(  # height, half width, half depth, middle
    [[-400, 120, 78, 8], [-330, 125, 80, 12], [-260, 128, 78, 16], [-200, 126, 76, 16], [-150, 133, 80, 13],
     [-90, 138, 86, 8], [-30, 136, 87, 6], [30, 126, 82, 4], [80, 100, 70, -2], [120, 62, 48, -12], [150, 38, 38, -6],
     [200, 30, 34, 0.0]]
)  # fmt: skip
_BODY = np.array(
    [[-400, 172, 108, -4], [-330, 165, 104, -4], [-260, 150, 100, 0], [-200, 142, 97, 0], [-150, 147, 101, -2],
     [-90, 152, 106, -3], [-30, 155, 107, -5], [30, 160, 104, -7], [80, 170, 96, -12], [120, 172, 82, -18],
     [150, 120, 68, -18], [165, 82, 62, -14], [200, 62, 58, -8.0]]
)  # fmt: skip


def _add_wall(trunk: Trunk, draws: Draws, scale: FloatArray, tissue: Tissue) -> None:
    """Muscle outside the cavity, fat outside the muscle, air outside the skin."""
    fat = draws.uniform(7.0, 32.0)
    heights = np.arange(-400.0, 201.0, 20.0)
    cavity = (
        np.column_stack([np.interp(heights, _CAVITY[:, 0], column) for column in _CAVITY[:, 1:].T]) * scale[[0, 1, 1]]
    )
    body = np.column_stack([np.interp(heights, _BODY[:, 0], column) for column in _BODY[:, 1:].T]) * scale[[0, 1, 1]]
    # More fat at the belly than at the chest, least at the neck.
    layer = fat * np.interp(heights, [-400, -200, -100, 60, 160], [1.1, 1.3, 0.9, 0.7, 0.3])
    skin = body + np.column_stack([layer, layer, 0 * layer])
    for hu, ellipses in (
        (tissue.muscle, cavity),
        (tissue.fat, body),
        (-1000.0, skin),
    ):
        trunk.inner.append(Wall(hu, np.zeros(3), np.eye(3), heights * scale[2], ellipses))


def into_chest(point: FloatArray, scale: FloatArray) -> FloatArray:
    """(3,) the shortest shift, along the line to the chest's middle, that brings a point well inside its wall."""
    _, wide, deep, middle = (np.interp(point[2] / scale[2], _CAVITY[:, 0], column) for column in _CAVITY.T)
    half = np.array([wide, deep]) * scale[:2]
    place = (point[:2] - np.array([0.0, middle * scale[1]])) / half
    reach = float(np.sqrt((place**2).sum()))
    return np.append(place * half * (min(1.0, 0.9 / reach) - 1), 0.0)


def _add_muscles(trunk: Trunk, spine: Spine, tissue: Tissue) -> None:
    """Along the spine: psoas before, the long back muscles behind; fat lies between them and the wall."""
    scale = spine.scale
    for side in _SIDES:
        psoas = spine(np.array([-165.0, -200, -240, -290, -340]) * scale[2])
        psoas += np.array([[24, -6, 0], [34, 0, 0], [40, 4, 0], [50, 12, 0], [58, 26, 0]]) * [side, 1, 1] * scale
        path = curve(np.column_stack([psoas, np.array([8, 15, 18, 18, 16.0])]), 8.0)
        trunk.outer.append(Tube(tissue.muscle, path[:, :3], path[:, 3]))
        back = spine(np.arange(-340.0, 130, 40) * scale[2]) + np.array([30 * side, -36, 0]) * scale
        trunk.outer.append(Tube(tissue.muscle, back, np.full(len(back), 20.0) * scale[1]))


def _add_vertebrae(trunk: Trunk, draws: Draws, spine: Spine) -> None:
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
        trunk.outer += [disc, body, core]
        _add_arch(trunk, arch, axes, scale, grow, hard)
    _add_pelvis(trunk, spine, hard, soft)


def _add_arch(trunk: Trunk, arch: FloatArray, axes: FloatArray, scale: FloatArray, grow: float, hard: float) -> None:
    """The bony ring about the spinal canal, whose middle is ``arch``, with three processes."""
    bone = 0.75 * hard
    for side in _SIDES:
        ring = (
            arch + np.array([[8 * side, 11, 2], [13 * side, 3, 1], [9 * side, -8, -3], [0, -13, -6]]) * scale @ axes.T
        )
        trunk.outer.append(Tube(bone, ring, np.array([4.5, 4.5, 3.5, 3.5])))
        wing = arch + np.array([[12 * side, 0, 0], [34 * side, -6 + 8 * grow, 4 - 4 * grow]]) * scale @ axes.T
        trunk.outer.append(Tube(bone, wing, np.array([4.5, 3.5])))
    spine_tip = arch + np.array([[0, -12, -5], [0, -36, -24 + 16 * grow]]) * scale @ axes.T
    trunk.outer.append(Tube(bone, spine_tip, np.array([3.5, 4.0])))
    trunk.outer.append(Column(20.0, arch, axes, np.array([8.5 * scale[0], 7.5 * scale[1], 9.0])))


def _add_pelvis(trunk: Trunk, spine: Spine, hard: float, soft: float) -> None:
    """The sacrum and the two wings of the ilium."""
    scale = spine.scale
    for height, wide in ((-320.0, 48.0), (-345.0, 40.0), (-370.0, 30.0)):
        centre, axes = spine(np.array([height * scale[2]]))[0], spine.axes(height * scale[2])
        trunk.outer.append(Ellipsoid(hard * 0.8, centre, axes, np.array([wide, 14, 17]) * scale))
        trunk.outer.append(Ellipsoid(soft, centre, axes, np.array([wide - 3, 11, 14]) * scale))
    for side in _SIDES:
        wing = spine(np.array([-335.0 * scale[2]]))[0] + np.array([76 * side, 34, 12]) * scale
        turn = rotation(8, 24 * side, -38 * side)
        trunk.outer.append(Ellipsoid(hard * 0.9, wing, turn, np.array([7, 58, 68]) * scale))
        trunk.outer.append(Ellipsoid(soft, wing, turn, np.array([4, 54, 64]) * scale))


def _add_cage(trunk: Trunk, draws: Draws, spine: Spine) -> None:
    """Twelve pairs of ribs, the sternum, collar bones and shoulder blades."""
    scale = spine.scale
    hard = draws.uniform(380, 600)
    steps = np.array([18, 19, 20, 20, 21, 22, 22, 23, 24, 25, 26, 27.0])
    for level, height in enumerate(134.0 - np.cumsum(steps) + steps / 2):
        for side in _SIDES:
            rib = _rib(level, float(height), side) * scale
            rib += spine(np.array([height * scale[2]]))[0] * [1, 0, 0]
            path = curve(np.column_stack([rib, np.full(len(rib), 4.6)]), 14.0)
            trunk.outer.append(Tube(hard, path[:, :3], path[:, 3]))
            trunk.outer.append(Tube(150.0, path[:, :3], path[:, 3] - 2.0))
    for middle, radii, lean in (([0, 80, 66], [23, 7, 24], -22), ([0, 93, 5], [18, 6.5, 56], -6)):
        trunk.outer.append(_egg(hard * 0.8, middle, radii, scale, rotation(lean, 0, 0)))
        trunk.outer.append(_egg(160.0, middle, np.array(radii) - 2.0, scale, rotation(lean, 0, 0)))
    for side in _SIDES:
        collar = np.array([[18 * side, 68, 84], [60 * side, 58, 104], [100 * side, 26, 118], [135 * side, 4, 120]])
        trunk.outer.append(_tube(hard * 1.2, collar, [8, 6, 6, 6], scale, 15))
        trunk.outer.append(_tube(200.0, collar, [5.5, 3.5, 3.5, 3.5], scale, 15))
        blade = np.array([112.0 * side, -66, 58])
        trunk.outer.append(_egg(hard, blade, [42, 4, 62], scale, rotation(-6, 8 * side, 38 * side)))
        trunk.outer.append(_egg(150.0, blade, [40, 2, 60], scale, rotation(-6, 8 * side, 38 * side)))


def _rib(level: int, height: float, side: float) -> FloatArray:
    """(M, 3) line of one rib from its vertebra forwards and down, in the mean body."""
    droop = np.interp(level, [0, 3, 7, 11], [28, 55, 78, 40])
    reach = np.interp(level, [0, 1, 6, 9, 10, 11], [150, 152, 152, 125, 70, 45])  # degrees about the chest
    points = []
    for share in np.linspace(0.0, 1.0, 9):
        angle = np.radians(18 + share * (reach - 18))  # from the back, towards the side, to the front
        low = height - droop * share**1.3
        wide, deep, middle = (
            np.interp(low, _CAVITY[:, 0], column) + more for column, more in zip(_CAVITY[:, 1:].T, (6, 6, 0))
        )
        points.append([side * wide * np.sin(angle), middle - deep * np.cos(angle), low])
    return np.array(points)


def _add_tubes(trunk: Trunk, draws: Draws, spine: Spine, tissue: Tissue) -> None:
    """Airways, oesophagus and the body's great veins."""
    scale = spine.scale
    fork = np.array([2.0, -16, 52]) + draws.jitter(3.0)
    right = np.array([fork, fork + [18, -6, -16], fork + [36, -10, -26]])
    left = np.array([fork, fork + [-22, -8, -16], fork + [-44, -14, -24]])
    windpipe = np.array([[2, 6, 170], [1, -2, 120], [1, -10, 80], fork])
    for hu, more in ((tissue.muscle, 1.6), (-990.0, 0.0)):
        trunk.outer.append(_tube(hu, windpipe, np.full(4, 8.5) + more, scale))
        trunk.outer.append(_tube(hu, right, np.array([7, 6.5, 5]) + more, scale))
        trunk.outer.append(_tube(hu, left, np.array([6.5, 5.5, 4.5]) + more, scale))
    gullet = spine(np.array([160.0, 100, 40, -20, -70, -100]) * scale[2])
    gullet += np.array([[-4, 22, 0], [-6, 24, 0], [-6, 26, 0], [-10, 29, 0], [-16, 40, 0], [-26, 52, 0]]) * scale
    trunk.outer.append(Tube(tissue.muscle - 5, gullet, np.full(6, 7.0)))
    lower = spine(np.array([-275.0, -230, -170, -120, -75, -50]) * scale[2])
    lower += np.array([[16, 26, 0], [20, 29, 0], [23, 33, 0], [27, 40, 0], [32, 56, 0], [36, 64, 0]]) * scale
    trunk.outer.append(_tube(tissue.vein_blood, lower / scale, [10, 10, 11, 12, 12, 12], scale))
    for side in _SIDES:
        fork_down = np.array(
            [
                lower[0],
                lower[0] + np.array([side * 24 - 6, -6, -42]) * scale,
                lower[0] + np.array([side * 52 - 10, 0, -95]) * scale,
            ]
        )
        trunk.outer.append(_tube(tissue.vein_blood, fork_down / scale, [8, 7, 6.5], scale))
        neck = np.array([[22 * side, 10, 108], [30 * side, 4, 140], [32 * side, 0, 180]])
        trunk.outer.append(_tube(tissue.vein_blood, neck, [6.5, 6, 6], scale))
    into = np.array([[32, 14, 92], [26, 26, 100], [0, 36, 104], [-26, 18, 110]])
    trunk.outer.append(_tube(tissue.vein_blood, into, [8, 7, 6.5, 6], scale))
