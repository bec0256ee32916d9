"""A lateral skull, face to the right, with the 19 points of a cephalometric analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.canvas import closed_curve, curve
from lmk3d.synthetic.drawn import Drawn, Pose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.canvas import Canvas
    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]
    Points = dict[str, FloatArray]

__all__ = ["SKULL_LANDMARKS", "draw_skull"]

# A mean head, (x, y) in mm from the sella: x to the face, y down.
_MEAN = {
    "sella": (0, 0),
    "nasion": (66, -7),
    "orbitale": (50, 22),
    "porion": (-20, 24),
    "subspinale_A": (64, 50),
    "supramentale_B": (58, 90),
    "pogonion": (59, 105),
    "menton": (50, 114),
    "gnathion": (56, 111),
    "gonion": (-10, 82),
    "lower_incisal_incision": (69, 71),
    "upper_incisal_incision": (72, 73),
    "upper_lip": (84, 65),
    "lower_lip": (81, 79),
    "subnasale": (80, 50),
    "soft_tissue_pogonion": (71, 107),
    "posterior_nasal_spine": (19, 45),
    "anterior_nasal_spine": (69, 45),
    "articulare": (-14, 36),
}
SKULL_LANDMARKS = tuple(_MEAN)
"""The 19 points, by the names of the ISBI 2015 cephalometric challenge."""

# How far a group of points moves together: a longer mandible, a higher face, protruding teeth.
_JAW = ("supramentale_B", "pogonion", "menton", "gnathion", "soft_tissue_pogonion", "lower_lip")
_TEETH = ("lower_incisal_incision", "upper_incisal_incision", "upper_lip", "lower_lip")
_FACE = (*_JAW, *_TEETH[:3], "subspinale_A", "subnasale", "anterior_nasal_spine", "gonion")


def draw_skull(draws: Draws, canvas: Canvas) -> Drawn:
    """Draw a head; see ``Drawn``.

    Where the points lie: sella in the middle of the cup of the skull's base, nasion at its front end, orbitale at the
    lowest point of the orbit's rim, porion at the top of the ear canal, articulare where the ramus crosses the line of
    the skull's base; the spines at the palate's ends, the incisions at the teeth's tips, the others on their outlines.
    """
    own = _subject(draws)
    pose = Pose.drawn(draws, (76.0, 96.0), move_mm=8.0, turn_deg=7.0, grow=0.07)
    _soft_tissue(draws, canvas, pose, own)
    _vault(draws, canvas, pose, own)
    _face(draws, canvas, pose, own)
    _jaws(draws, canvas, pose, own)
    points = pose(list(own.values()))
    return Drawn(SKULL_LANDMARKS, points, noise=draws.uniform(0.01, 0.03))


def _subject(draws: Draws) -> Points:
    """One head's points, in its own mm."""
    moved = {name: np.array(place, float) + draws.jitter(1.6, (2,)) for name, place in _MEAN.items()}
    for group, half in ((_JAW, (7.0, 4.0)), (_TEETH, (3.0, 1.5)), (_FACE, (4.0, 3.0))):
        step = draws.jitter(half, (2,))
        for name in group:
            moved[name] = moved[name] + step
    moved["gonion"] = moved["gonion"] + draws.jitter((3.0, 5.0), (2,))
    # The chin is one smooth bow, on which gnathion lies between pogonion and menton.
    chin = moved["pogonion"] + np.array([-9.0, 9.0]) + draws.jitter(1.0, (2,))
    moved["menton"] = chin
    moved["gnathion"] = (moved["pogonion"] + chin) / 2 + np.array([2.2, 2.0]) + draws.jitter(0.3, (2,))
    return moved


def _soft_tissue(draws: Draws, canvas: Canvas, pose: Pose, own: Points) -> None:
    """Skin from the forehead over nose, lips and chin to the neck, which leaves the film below."""
    crown = draws.near(0.0, 5.0)
    profile = [
        own["nasion"] + (9, -14),
        own["nasion"] + (6, 1),
        own["subnasale"] + (15, -13 + draws.near(0.0, 2.0)),
        own["subnasale"],
        own["upper_lip"],
        (own["upper_lip"] + own["lower_lip"]) / 2 + (-5, 0),
        own["lower_lip"],
        own["soft_tissue_pogonion"] + (-4, -14),
        own["soft_tissue_pogonion"],
        own["menton"] + (4, 8),
        (22, 124),
        (12, 175),
        (-62, 175),
        (-72, 96),
        (-102, 40),
        (-112 - crown, -20),
        (-88, -84 - crown),
        (-20, -108 - crown),
        (48, -84 - crown),
        (74, -48),
    ]
    canvas.star(closed_curve(pose(profile)), 0.30)


def _vault(draws: Draws, canvas: Canvas, pose: Pose, own: Points) -> None:
    """The bone round the brain and its base, with the cup of the sella, and the spine of the neck below it."""
    vault = curve(
        pose(
            [
                own["nasion"],
                own["nasion"] + (3, -12),
                (66, -46),
                (42, -78),
                (-18, -100),
                (-82, -78),
                (-104, -22),
                (-92, 28),
                (-52, 48),
                (-32, 34),
            ]
        )
    )
    canvas.stroke(vault, draws.uniform(4.5, 7.0), 0.55)
    canvas.star(
        closed_curve(pose([own["nasion"], (60, -46), (36, -72), (-18, -92), (-90, -40), (-70, 26), (-8, 22)])), 0.24
    )
    cup = [np.array([np.cos(angle), np.sin(angle)]) * 5.5 for angle in np.radians([-25, 0, 35, 90, 145, 180, 205])]
    base = [own["nasion"], own["nasion"] * 0.55 + (0, 1), *[own["sella"] + step for step in cup]]
    canvas.stroke(curve(pose([*base, own["sella"] + (-13, 14), own["articulare"] + (6, -6)])), 2.2, 0.45)
    # The lower line of the skull's base crosses the ramus at articulare.
    canvas.stroke(
        curve(pose([own["articulare"] + (16, -9), own["articulare"], own["articulare"] + (-20, 8)])), 2.0, 0.4
    )
    top = pose(own["porion"][None])[0]
    ring = np.radians(np.arange(0, 360, 30))
    canal = top + np.array([0.0, 4.5]) + 4.5 * np.stack([np.cos(ring), np.sin(ring)], axis=1)
    canvas.blob(top + (2, 6), 10.0, 0.35)
    canvas.star(closed_curve(canal), -0.42)
    for level in range(5):
        y = 50 + 21 * level
        canvas.polygon(pose([(-52, y), (-31, y + 1), (-30, y + 16), (-51, y + 15)]), 0.34)


def _face(draws: Draws, canvas: Canvas, pose: Pose, own: Points) -> None:
    """The orbit's rim, whose lowest point is orbitale on the film; the palate, and the dark air round it."""
    lowest = pose(own["orbitale"][None])[0]
    radius = draws.uniform(15.0, 18.0)
    angles = np.radians(np.arange(-20, 201, 20))
    rim = lowest + np.array([0.0, -radius]) + radius * np.stack([1.1 * np.cos(angles), np.sin(angles)], axis=1)
    canvas.stroke(curve(rim), 1.8, 0.45)
    spines = own["posterior_nasal_spine"], own["anterior_nasal_spine"]
    canvas.polygon(pose([spines[0], spines[0] + (6, -2), spines[1] + (-8, -3), spines[1], spines[1] + (-9, 3)]), 0.55)
    sinus = closed_curve(pose([(28, 20), (50, 28), (54, 40), (30, 40)]))
    canvas.star(sinus, -0.18, fade_mm=3.0)
    airway = curve(pose([(14, 28), own["posterior_nasal_spine"] + (-10, 6), (6, 78), (0, 118), (-2, 170)]))
    canvas.stroke(airway, [*np.linspace(9, 12, len(airway))], -0.26)


def _jaws(draws: Draws, canvas: Canvas, pose: Pose, own: Points) -> None:
    """Maxilla, mandible and the incisors between them, whose tips are the incisions."""
    upper, lower = own["upper_incisal_incision"], own["lower_incisal_incision"]
    point_a, point_b = own["subspinale_A"], own["supramentale_B"]
    necks = point_a + (0, 9), point_b + (1, -10)
    front = curve(pose([own["anterior_nasal_spine"], point_a, necks[0]]))
    canvas.stroke(front, 1.8, 0.4)
    canvas.polygon(pose([own["anterior_nasal_spine"] + (-3, 2), point_a, necks[0], necks[0] + (-36, 4), (24, 50)]), 0.3)
    outline = [
        own["articulare"] + (3, -11),
        own["articulare"],
        own["gonion"] * 0.45 + own["articulare"] * 0.55 + (3, 0),
        own["gonion"] + (1, -10),
        own["gonion"],
        own["gonion"] + (13, 9),
        own["menton"] + (-20, 1),
        own["menton"],
        own["gnathion"],
        own["pogonion"],
        point_b,
        necks[1],
    ]
    line = curve(pose(outline))
    canvas.stroke(line, draws.uniform(2.4, 3.6), 0.5)
    canvas.polygon(
        pose([own["articulare"], own["articulare"] + (24, 2), own["gonion"] + (34, -16), own["gonion"]]), 0.2
    )
    canvas.polygon(pose([own["gonion"] + (6, 5), own["gonion"] + (16, -18), necks[1], point_b, own["menton"]]), 0.24)
    for tip, root, wide in ((upper, point_a + (-5, -1), 7.0), (lower, point_b + (-4, 2), 6.0)):
        across = (tip - root)[::-1] * (1, -1) / np.sqrt(((tip - root) ** 2).sum())
        neck = root + 0.55 * (tip - root)
        canvas.polygon(pose([tip, neck + wide / 2 * across, root, neck - wide / 2 * across]), 0.75)
    for number in range(4):
        middle = (upper + lower) / 2 - (12.0 + 9 * number, -0.5 * number)
        canvas.polygon(pose([middle + (-4, -12), middle + (4, -12), middle + (3.4, 12), middle + (-3.4, 12)]), 0.4)
