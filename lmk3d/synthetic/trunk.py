"""What lies about heart and aorta in a phantom: lungs, bones, abdominal organs, veins, airways and the body's wall."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.bones import CHEST, SIDES, Spine, egg, skeleton, tube
from lmk3d.synthetic.draws import rotation
from lmk3d.synthetic.shapes import Ellipsoid, Shape, Tube, Wall, curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.draws import Draws
    from lmk3d.synthetic.tissue import Tissue

    FloatArray = NDArray[np.float64]

__all__ = ["Trunk", "draw_trunk", "into_chest"]


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
    trunk.outer += skeleton(draws, spine)
    _add_tubes(trunk, draws, spine, tissue)
    return trunk


def _add_lungs(trunk: Trunk, draws: Draws, scale: FloatArray, tissue: Tissue) -> None:
    for side in SIDES:
        trunk.inner.append(
            egg(tissue.lung, [74 * side, 0, 8], [66, 88, 138], scale, rotation(0, 4 * side, 0), squeeze=0.22)
        )
        hilum = np.array([42.0 * side, -14, 30])
        for _ in range(26):
            # A vessel leaves the hilum, forks once and thins towards the pleura.
            aim = np.array([74.0 * side, 0, 8]) + np.array([58, 76, 120]) * _ball(draws)
            way = hilum + (aim - hilum) * 0.5 + draws.jitter(9.0)
            radius = draws.uniform(1.4, 3.4)
            trunk.inner.append(
                tube(tissue.right_blood * 0.9, [hilum, way, aim], [radius, radius * 0.7, radius * 0.3], scale, 12)
            )
            twig = way + (aim - way) * 0.7 + draws.jitter(26.0)
            trunk.inner.append(tube(tissue.right_blood * 0.8, [way, twig], [radius * 0.55, radius * 0.25], scale, 30))
    # Between the lungs: fat in front of the heart and about the great vessels.
    trunk.inner.append(egg(tissue.fat, [-2, 16, 50], [34, 68, 112], scale, squeeze=0.1))
    trunk.inner.append(egg(tissue.fat + 30, [-4, -30, -20], [30, 40, 130], scale))


def _ball(draws: Draws) -> FloatArray:
    """A point in the unit ball, more often near its surface."""
    aim = draws.jitter(1.0)
    return aim / max(1.0, float(np.sqrt((aim**2).sum())))


def _add_organs(trunk: Trunk, draws: Draws, scale: FloatArray, renal_ends: FloatArray, tissue: Tissue) -> None:
    lift = draws.near(0.0, 12.0)
    inner = trunk.inner
    # The left half below the diaphragm: fat, spleen, stomach with its bubble; the right half: liver.
    left = [-66, 0, -112 + lift]
    inner.append(egg(tissue.muscle, left, [73, 86, 77], scale))
    inner.append(egg(tissue.fat + 15, left, [70, 83, 74], scale))
    inner.append(egg(tissue.muscle + 65, [-100, -42, -92 + lift], [27, 40, 46], scale))
    inner.append(egg(25.0, [-52, 34, -88 + lift], [38, 36, 42], scale, rotation(0, 20, -20)))
    inner.append(egg(-950.0, [-52, 48, -80 + lift], [24, 17, 24], scale))
    inner.append(egg(tissue.muscle, [0, 20, -105 + lift], [50, 62, 48], scale))
    inner.append(egg(tissue.fat, [0, -12, -160], [62, 48, 78], scale))
    inner.append(egg(tissue.muscle + 30, [70, 4, -104 + lift], [76, 88, 84], scale, rotation(0, 8, 0), squeeze=-0.1))
    inner.append(egg(tissue.muscle + 28, [8, 42, -98 + lift], [62, 40, 42], scale, rotation(0, 12, 0)))
    for index in range(int(draws.uniform(26, 40))):
        loop = np.array([0.0, 34, -225]) + np.array([105, 38, 68]) * _ball(draws)
        turn = draws.tilt(180.0)
        size = draws.uniform(9, 17, (3,)) * np.array([1.0, 1.0, 1.7])
        inner.append(egg(draws.uniform(15, 70), loop, size, scale, turn))
        if index % 4 == 0:
            inner.append(egg(-900.0, loop + np.array([0.0, 4, 0]), size * 0.65, scale, turn))
    # Kidneys where their arteries end.
    for side, end in zip(SIDES, renal_ends, strict=True):
        middle = end + np.array([16.0 * side, -6.0, -3.0]) * scale
        turn = rotation(12, 14 * side, 20 * side)
        bean = np.array([24, 22, 53]) * scale * draws.uniform(0.92, 1.08, (3,))
        inner.append(Ellipsoid(tissue.fat, middle, turn, bean + 12))
        inner.append(Ellipsoid(0.42 * tissue.blood + 20, middle, turn, bean))
        inner.append(Ellipsoid(0.2 * tissue.blood + 30, middle, turn, bean - 8))
        inner.append(Ellipsoid(tissue.fat, middle - np.array([12.0 * side, -4, 0]), turn, bean * [0.55, 0.4, 0.5]))


_BODY = np.array(
    [[-400, 172, 108, -4], [-330, 165, 104, -4], [-260, 150, 100, 0], [-200, 142, 97, 0], [-150, 147, 101, -2],
     [-90, 152, 106, -3], [-30, 155, 107, -5], [30, 160, 104, -7], [80, 170, 96, -12], [120, 172, 82, -18],
     [150, 120, 68, -18], [165, 82, 62, -14], [200, 62, 58, -8.0]]
)  # fmt: skip


def _add_wall(trunk: Trunk, draws: Draws, scale: FloatArray, tissue: Tissue) -> None:
    """Muscle outside the cavity, fat outside the muscle, air outside the skin."""
    fat = draws.uniform(7.0, 32.0)
    heights = np.arange(-400.0, 201.0, 20.0)
    cavity = np.column_stack([np.interp(heights, CHEST[:, 0], column) for column in CHEST[:, 1:].T]) * scale[[0, 1, 1]]
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
    _, wide, deep, middle = (np.interp(point[2] / scale[2], CHEST[:, 0], column) for column in CHEST.T)
    half = np.array([wide, deep]) * scale[:2]
    place = (point[:2] - np.array([0.0, middle * scale[1]])) / half
    reach = float(np.sqrt((place**2).sum()))
    return np.append(place * half * (min(1.0, 0.9 / reach) - 1), 0.0)


def _add_muscles(trunk: Trunk, spine: Spine, tissue: Tissue) -> None:
    """Along the spine: psoas before, the long back muscles behind; fat lies between them and the wall."""
    scale = spine.scale
    for side in SIDES:
        psoas = spine(np.array([-165.0, -200, -240, -290, -340]) * scale[2])
        psoas += np.array([[24, -6, 0], [34, 0, 0], [40, 4, 0], [50, 12, 0], [58, 26, 0]]) * [side, 1, 1] * scale
        path = curve(np.column_stack([psoas, np.array([8, 15, 18, 18, 16.0])]), 8.0)
        trunk.outer.append(Tube(tissue.muscle, path[:, :3], path[:, 3]))
        back = spine(np.arange(-340.0, 130, 40) * scale[2]) + np.array([30 * side, -36, 0]) * scale
        trunk.outer.append(Tube(tissue.muscle, back, np.full(len(back), 20.0) * scale[1]))


def _add_tubes(trunk: Trunk, draws: Draws, spine: Spine, tissue: Tissue) -> None:
    """Airways, oesophagus and the body's great veins."""
    scale = spine.scale
    fork = np.array([2.0, -16, 52]) + draws.jitter(3.0)
    right = fork + np.array([[0, 0, 0], [18, -6, -16], [36, -10, -26]])
    left = fork + np.array([[0, 0, 0], [-22, -8, -16], [-44, -14, -24]])
    windpipe = np.array([[2, 6, 170], [1, -2, 120], [1, -10, 80], fork])
    for hu, more in ((tissue.muscle, 1.6), (-990.0, 0.0)):
        trunk.outer.append(tube(hu, windpipe, np.full(4, 8.5) + more, scale))
        trunk.outer.append(tube(hu, right, np.array([7, 6.5, 5]) + more, scale))
        trunk.outer.append(tube(hu, left, np.array([6.5, 5.5, 4.5]) + more, scale))
    gullet = spine(np.array([160.0, 100, 40, -20, -70, -100]) * scale[2])
    gullet += np.array([[-4, 22, 0], [-6, 24, 0], [-6, 26, 0], [-10, 29, 0], [-16, 40, 0], [-26, 52, 0]]) * scale
    trunk.outer.append(Tube(tissue.muscle - 5, gullet, np.full(6, 7.0)))
    lower = spine(np.array([-275.0, -230, -170, -120, -75, -50]) * scale[2])
    lower += np.array([[16, 26, 0], [20, 29, 0], [23, 33, 0], [27, 40, 0], [32, 56, 0], [36, 64, 0]]) * scale
    trunk.outer.append(tube(tissue.vein_blood, lower / scale, [10, 10, 11, 12, 12, 12], scale))
    for side in SIDES:
        fork_down = np.array(
            [
                lower[0],
                lower[0] + np.array([side * 24 - 6, -6, -42]) * scale,
                lower[0] + np.array([side * 52 - 10, 0, -95]) * scale,
            ]
        )
        trunk.outer.append(tube(tissue.vein_blood, fork_down / scale, [8, 7, 6.5], scale))
        neck = np.array([[22 * side, 10, 108], [30 * side, 4, 140], [32 * side, 0, 180]])
        trunk.outer.append(tube(tissue.vein_blood, neck, [6.5, 6, 6], scale))
    into = np.array([[32, 14, 92], [26, 26, 100], [0, 36, 104], [-26, 18, 110]])
    trunk.outer.append(tube(tissue.arm_vein, into, [8, 7, 6.5, 6], scale))
