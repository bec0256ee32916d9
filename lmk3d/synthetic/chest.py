"""A frontal chest film: contours and masks of both lungs, the heart and both clavicles, 166 points in all."""

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

__all__ = ["CHEST_CONTOURS", "CHEST_LANDMARKS", "draw_chest"]

CHEST_CONTOURS = {"right_lung": 44, "left_lung": 50, "heart": 26, "right_clavicle": 23, "left_clavicle": 23}
"""Points of each contour, as many as in the annotations of the JSRT films."""

CHEST_LANDMARKS = tuple(f"{name}_{row:02d}" for name, count in CHEST_CONTOURS.items() for row in range(count))
"""The points; right and left are the patient's, whose right side is on the film's left."""

# Outlines of a mean chest in mm from the middle of the film, the patient's left side; y down.
_LUNG = [(16, -92), (40, -116), (74, -102), (98, -58), (112, 0), (118, 66), (112, 98), (84, 84), (58, 76), (54, 40)]
_LUNG += [(36, 8), (24, -40)]
_HEART = [(-26, -18), (0, -36), (22, -30), (34, -8), (54, 20), (72, 52), (70, 80), (40, 90), (0, 88), (-38, 82)]
_HEART += [(-44, 48), (-36, 10)]


def draw_chest(draws: Draws, canvas: Canvas) -> Drawn:
    """Draw a chest; see ``Drawn``. The first point of each contour is its first knot, the others follow evenly."""
    pose = Pose.drawn(draws, (180.0, 184.0), move_mm=10.0, turn_deg=4.0, grow=0.08)
    _trunk(draws, canvas, pose)
    outlines: dict[str, FloatArray] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, side in (("right_lung", -1.0), ("left_lung", 1.0)):
        knots = np.array(_LUNG, float) + draws.jitter(4.0, (len(_LUNG), 2))
        # The liver lifts the right half of the diaphragm, the heart takes room from the left lung.
        knots += (side > 0) * np.array([[0.0, 4.0]]) + draws.jitter((3.0, 6.0), (2,))
        if side < 0:
            knots[7:11, 0] -= 12.0
        outlines[name] = closed_curve(pose(knots * [side, 1.0]), steps=16)
        masks[name] = canvas.star(outlines[name], -0.30)
    knots = np.array(_HEART, float) + draws.jitter(3.0, (len(_HEART), 2)) + draws.jitter(4.0, (2,))
    outlines["heart"] = closed_curve(pose(knots * [draws.near(1.0, 0.1), 1.0]), steps=16)
    masks["heart"] = canvas.star(outlines["heart"], 0.26)
    _bones(draws, canvas, pose)
    for name, side in (("right_clavicle", -1.0), ("left_clavicle", 1.0)):
        outlines[name], masks[name] = _clavicle(draws, canvas, pose, side)
    rows = np.cumsum([0, *CHEST_CONTOURS.values()])
    contours = {name: tuple(range(rows[n], rows[n + 1])) for n, name in enumerate(CHEST_CONTOURS)}
    points = np.concatenate([evenly(outlines[name], count) for name, count in CHEST_CONTOURS.items()])
    return Drawn(CHEST_LANDMARKS, points, draws.uniform(0.01, 0.03), contours, masks)


def evenly(outline: FloatArray, count: int) -> FloatArray:
    """(count, 2) points of a closed outline, its first point and then as far apart along it from one to the next."""
    closed = np.concatenate([outline, outline[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(closed, axis=0) ** 2).sum(1)))])
    places = along[-1] * np.arange(count) / count
    return np.stack([np.interp(places, along, closed[:, axis]) for axis in range(2)], axis=1)


def _trunk(draws: Draws, canvas: Canvas, pose: Pose) -> None:
    """Skin, arms that leave the film, and the organs below the diaphragm."""
    trunk = [(-28, -190), (28, -190), (40, -140), (130, -120), (166, -60), (150, 20), (146, 190), (-146, 190)]
    trunk += [(-150, 20), (-166, -60), (-130, -120), (-40, -140)]
    canvas.star(closed_curve(pose(trunk)), 0.50, fade_mm=8.0)
    for side in (-1.0, 1.0):
        canvas.blob(pose([(side * 70, 150)])[0], 62.0, draws.uniform(0.25, 0.4))
        canvas.stroke(pose([(side * 138, -110), (side * 176, 10)]), 46.0, 0.2)


def _bones(draws: Draws, canvas: Canvas, pose: Pose) -> None:
    """The spine behind the heart, the ribs, and the dark windpipe with its fork."""
    for level in range(11):
        y = -170 + 33.0 * level
        canvas.polygon(pose([(-15, y), (15, y), (16, y + 27), (-16, y + 27)]), 0.14)
    for side in (-1.0, 1.0):
        for level in range(9):
            y, reach = -118 + 23.0 * level, 62 + 60 * np.sin(np.pi * (level + 2) / 14)
            back = [(16, y), (0.55 * reach, y - 6), (0.95 * reach, y + 12), (1.06 * reach, y + 34)]
            canvas.stroke(curve(pose([(side * x, down) for x, down in back])), 7.0, 0.10)
            if level > 1:
                front = [(1.06 * reach, y + 20), (0.85 * reach, y + 46), (0.5 * reach, y + 62)]
                canvas.stroke(curve(pose([(side * x, down) for x, down in front])), 7.0, 0.055)
    fork = np.array([draws.near(4.0, 3.0), draws.near(-46.0, 5.0)])
    bronchi = [(pose([fork, fork + (side * 22, 20 + 6 * side)]), [11.0, 7.0]) for side in (-1.0, 1.0)]
    canvas.tubes([(pose([(0, -190), (1, -110), fork]), 15.0), *bronchi], -0.20)


def _clavicle(draws: Draws, canvas: Canvas, pose: Pose, side: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    """One clavicle, an S between two lines over x; its outline and its mask."""
    ends = pose([(side * 14, -84.0 + draws.near(0, 4)), (side * (118 + draws.near(0, 6)), -116.0 + draws.near(0, 8))])
    low, high = ends[ends[:, 0].argsort()]
    share = np.linspace(0.0, 1.0, 49)
    x, inner = low[0] + share * (high[0] - low[0]), share if side > 0 else 1 - share
    axis = low[1] + share * (high[1] - low[1]) + draws.uniform(4.0, 8.0) * np.sin(2 * np.pi * inner)
    half = (4.2 + 2.6 * (1 - 2 * inner) ** 2) * np.sqrt(np.clip(1 - (2 * share - 1) ** 8, 0.02, 1.0))
    mask = canvas.band(x, axis - half, axis + half, 0.22)
    upper, lower = np.stack([x, axis - half], axis=1), np.stack([x, axis + half], axis=1)
    # Both contours begin at the breastbone, above, and run outwards: mirror images of one another.
    if side < 0:
        upper, lower = upper[::-1], lower[::-1]
    return np.concatenate([upper, lower[::-1]]), mask
