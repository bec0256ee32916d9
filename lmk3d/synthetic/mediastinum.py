"""A faint therapy film of the middle of the chest: a tracheal bifurcation, and none to five spinous processes."""

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

__all__ = ["MEDIASTINUM_LANDMARKS", "draw_mediastinum"]

MEDIASTINUM_LANDMARKS = ("spinous_process", "tracheal_bifurcation")
"""The two names; the first has none to five points on a film, the second one."""

_STEP_MM = 30.0  # from one vertebra to the next
_LEVELS = 9


def draw_mediastinum(draws: Draws, canvas: Canvas, spinous: int | None) -> Drawn:
    """Draw one; see ``Drawn``: a spinous process is the middle of its drop, the bifurcation where the tubes part.

    Args:
        draws: the subject's random numbers.
        canvas: to draw on.
        spinous: how many spinous processes are to be seen, 0 to 5; drawn where None.
    Raises:
        ValueError: for another number.
    """
    drawn = int(draws.uniform(0, 6))
    count = drawn if spinous is None else spinous
    if count not in range(6):
        raise ValueError(f"spinous must be 0 to 5, got {spinous!r}")
    pose = Pose.drawn(draws, (130.0, 130.0), move_mm=12.0, turn_deg=6.0, grow=0.08)
    _chest(draws, canvas, pose)
    spine = np.stack([draws.near(0, 4) + 3 * np.sin(np.arange(_LEVELS) / 2 + draws.near(0, 3)), _heights()], axis=1)
    first = int(draws.uniform(1, _LEVELS - 1 - count))  # which are seen: neighbours, as where the chest is thin
    spines = []
    for level, middle in enumerate(spine):
        corners = middle + np.array([(-15, -11), (15, -11), (16, 11), (-16, 11)])
        canvas.polygon(pose(corners), 0.10)
        for side in (-9.5, 9.5):
            canvas.blob(pose([middle + (side, -3)])[0], 2.6, 0.05)
        place = middle + (draws.near(0, 2.5), 9 + draws.near(0, 2))
        if first <= level < first + count:
            spines.append(place)
            drop = [place + step for step in ((0, -5.5), (2.6, -2), (2.9, 2.4), (0, 5.5), (-2.9, 2.4), (-2.6, -2))]
            canvas.star(closed_curve(pose(drop)), draws.uniform(0.16, 0.28))
    fork = np.array([draws.near(0, 6), draws.near(-6.0, 16.0)])
    _airways(draws, canvas, pose, fork)
    names = (*["spinous_process"] * count, "tracheal_bifurcation")
    return Drawn(names, pose([*spines, fork]), draws.uniform(0.02, 0.05))


def _heights() -> FloatArray:
    return np.asarray(_STEP_MM * (np.arange(_LEVELS) - (_LEVELS - 1) / 2), dtype=np.float64)


def _chest(draws: Draws, canvas: Canvas, pose: Pose) -> None:
    """Lungs to both sides, the broad shadow between them, ribs."""
    canvas.image[:] += 0.45
    for side in (-1.0, 1.0):
        lung = [(30, -110), (70, -124), (110, -60), (124, 30), (112, 112), (62, 96), (40, 40), (26, -20)]
        bent = np.array(lung, float) + draws.jitter(5.0, (len(lung), 2))
        canvas.star(closed_curve(pose(bent * [side, 1.0])), -0.20, fade_mm=7.0)
        for level in range(7):
            y = -110 + 32.0 * level
            rib = [(18, y), (60, y - 8), (104, y + 14), (122, y + 44)]
            canvas.stroke(curve(pose([(side * x, down) for x, down in rib])), 7.5, 0.05)
    heart = [(-36, 10), (4, -6), (44, 24), (66, 74), (30, 100), (-40, 92)]
    canvas.star(closed_curve(pose(np.array(heart, float) + draws.jitter(4.0, (6, 2)))), 0.18, fade_mm=6.0)


def _airways(draws: Draws, canvas: Canvas, pose: Pose, fork: FloatArray) -> None:
    """Windpipe and main bronchi, dark, their middle lines parting at ``fork``: (2,), the subject's own mm."""
    width = draws.uniform(13.0, 17.0)
    trachea = curve(pose([(draws.near(0, 3), -150), (fork[0] - 1, fork[1] - 50), fork]))
    right, left = np.radians(draws.near(28, 6)), np.radians(draws.near(48, 6))
    tubes = [(trachea, np.full(len(trachea), width))]
    for angle, side, length in ((right, -1.0, 30.0), (left, 1.0, 42.0)):
        way = length * np.array([side * np.sin(angle), np.cos(angle)])
        tube = curve(pose([fork, fork + 0.5 * way, fork + way]))
        tubes.append((tube, np.linspace(0.78, 0.5, len(tube)) * width))
    canvas.tubes(tubes, -0.20)
