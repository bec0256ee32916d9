"""What lies beside a trunk in a scan: arms, head, legs, and the table; all of it to be painted last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.bones import SIDES, tube
from lmk3d.synthetic.shapes import Column, Ellipsoid, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.draws import Draws
    from lmk3d.synthetic.tissue import Tissue

    FloatArray = NDArray[np.float64]

__all__ = ["arms", "head", "legs", "table"]


def _limb(line: FloatArray, radii: FloatArray, scale: FloatArray, tissue: Tissue) -> list[Shape]:
    """Fat, muscle, bone and marrow about a line."""
    return [
        tube(hu, line, part * radii, scale, 15)
        for hu, part in ((tissue.fat, 1.0), (tissue.muscle, 0.82), (900.0, 0.30), (80.0, 0.17))
    ]


def arms(draws: Draws, scale: FloatArray, tissue: Tissue) -> list[Shape]:
    """Both arms beside the body, on the belly, or over the head; in a third of the scans but one of them."""
    where = int(draws.uniform(0, 3))
    shapes: list[Shape] = []
    for side in SIDES if draws.chance(0.67) else SIDES[:1]:
        line = np.array([
            [[190, -25, 105], [222, -20, 0], [228, -8, -150], [225, 15, -330]],
            [[190, -25, 105], [222, -5, 0], [195, 85, -130], [80, 135, -110]],
            [[150, -25, 140], [160, -20, 220], [120, 0, 340], [30, 10, 380]],
        ][where], dtype=float) + draws.jitter(12.0, (4, 3))  # fmt: skip
        thick = draws.uniform(0.8, 1.3) * np.array([48.0, 46, 38, 30])
        shapes += _limb(line * [side, 1, 1], thick, scale, tissue)
    return shapes


def head(draws: Draws, scale: FloatArray, tissue: Tissue) -> list[Shape]:
    """A head over the neck: scalp, skull, brain, jaw, teeth and air in nose and sinuses."""
    middle = np.array([0.0, 15, 320]) + draws.jitter(8.0)
    hard = draws.uniform(800, 1600)
    shapes: list[Shape] = []
    for hu, radii in ((tissue.fat, [80, 100, 112]), (hard, [74, 93, 105]), (draws.uniform(25, 42), [68, 87, 98])):
        shapes.append(Ellipsoid(hu, middle * scale, np.eye(3), np.array(radii, float) * scale))
    face = middle + np.array([0.0, 55, -75])
    shapes.append(Ellipsoid(tissue.muscle, face * scale, np.eye(3), np.array([52.0, 48, 50]) * scale))
    jaw = face + np.array([[50.0, -40, 5], [40, 10, -25], [0, 38, -30], [-40, 10, -25], [-50, -40, 5]])
    shapes.append(tube(hard, jaw, np.full(5, 9.0), scale))
    shapes.append(tube(draws.uniform(1200, 3000), jaw[1:4] + np.array([0.0, -5, 14]), np.full(3, 6.0), scale))
    gaps = face + np.array([[18.0, 10, 10], [-18, 10, 10], [0, 25, 20]])
    hollow = np.array([12.0, 14, 16]) * scale
    return [*shapes, *(Ellipsoid(-980.0, gap * scale, np.eye(3), hollow) for gap in gaps)]


def legs(draws: Draws, scale: FloatArray, tissue: Tissue) -> list[Shape]:
    """Bladder, hip joints and two thighs with air between them, below the pelvis."""
    shapes: list[Shape] = [Ellipsoid(-1000.0, np.array([0.0, 0, -900]) * scale, np.eye(3), np.array([400.0, 400, 430]))]
    bladder = np.array([0.0, 45, -400]) + draws.jitter(10.0)
    shapes.append(Ellipsoid(draws.uniform(-5, 25), bladder * scale, np.eye(3), draws.uniform(25, 52, (3,))))
    for side in SIDES:
        line = np.array([[85.0, 10, -430], [98, 5, -520], [95, 5, -640], [90, 0, -900]]) * [side, 1, 1]
        shapes += _limb(line, draws.uniform(0.85, 1.2) * np.array([70.0, 84, 76, 60]), scale, tissue)
        joint = np.array([90.0 * side, -5, -420])
        for hu, radius in ((draws.uniform(500, 1000), 26.0), (300.0, 22.0)):
            shapes.append(Ellipsoid(hu, joint * scale, np.eye(3), np.full(3, radius)))
    return shapes


def table(draws: Draws, scale: FloatArray) -> list[Shape]:
    """The table below the back; before the belly of a patient lying prone, beside one lying on the side."""
    angle = np.radians(90.0 * int(draws.uniform(0, 4)) if draws.chance(0.3) else 0.0)
    away = (draws.uniform(150, 185) if abs(np.sin(angle)) < 0.5 else draws.uniform(225, 250)) * scale[1]
    out = np.array([np.sin(angle), -np.cos(angle), 0.0])
    axes = np.stack([np.array([out[1], -out[0], 0.0]), -out, np.array([0.0, 0, 1])], axis=1)
    wide = draws.uniform(190, 260)
    return [
        Column(hu, away * out, axes, np.array([wide - less, 16.0 - less, 2000.0]))
        for hu, less in ((draws.uniform(-300, 250), 0.0), (draws.uniform(-960, -800), 3.0))
    ]
