"""Fields of view of varied scans: which part of a body, how its voxels lie, and how large they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lmk3d.geometry import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.anatomy import Anatomy
    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]

__all__ = ["BODY_VIEWS", "BodyView", "draw_field"]

BodyView = Literal["heart", "chest", "aorta", "abdomen", "body", "pelvis", "neck"]
"""What a scan of a body shows; pelvis and neck hold none of the landmarks."""

BODY_VIEWS: tuple[BodyView, ...] = get_args(BodyView)

# Lowest and highest end of the bottom and of the top, mm of the mean body about its heart (S).
_HEIGHTS: dict[BodyView, tuple[tuple[float, float], tuple[float, float]]] = {
    "chest": ((-190, -60), (70, 170)),
    "aorta": ((-330, -280), (120, 170)),
    "abdomen": ((-340, -270), (-95, -20)),
    "body": ((-700, -330), (120, 400)),
    "pelvis": ((-640, -480), (-390, -325)),
    "neck": ((150, 190), (280, 440)),
}
_TOP, _BOTTOM = 160.0, -315.0  # of ``Anatomy.spine_mm``, in the same mm
_LARGEST_SIDE = 512


def draw_field(draws: Draws, anatomy: Anatomy, view: BodyView, spacing_mm: float | None = None) -> Grid:
    """The grid of a scan of a body.

    Args:
        draws: random numbers.
        anatomy: the subject.
        view: what the scan shows.
        spacing_mm: of the planes; those along S are as thick or up to three times as thick. Drawn where None.
    """
    centre, sides = _box(draws, anatomy, view)
    drawn = draws.uniform(0.4, 0.8) if view == "heart" else draws.uniform(0.6, 1.2)
    step = (drawn if spacing_mm is None else spacing_mm) * np.array([1.0, 1.0, draws.uniform(1.0, 1.6)])
    if draws.chance(0.15):
        step[2] = max(step[2], draws.uniform(2.5, 5.0))
    tilt = draws.tilt(10.0) if draws.chance(0.3) else np.eye(3)
    signs = np.where(draws.uniform(0.0, 1.0, (3,)) < 0.5, -1.0, 1.0)
    order = draws.order(3) if draws.chance(0.35) else [0, 1, 2]
    count = np.clip(np.ceil(sides / step), 1, _LARGEST_SIDE).astype(int)[order]
    return Grid.around(centre, [int(side) for side in count], step[order], (tilt * signs)[:, order])


def _box(draws: Draws, anatomy: Anatomy, view: BodyView) -> tuple[FloatArray, FloatArray]:
    """Middle (3,) and sides (3,) along R, A, S of the field of view."""
    wide, deep = draws.uniform(150.0, 430.0), draws.uniform(0.65, 1.0)
    wobble, cut, end = draws.jitter(1.0), draws.uniform(0.0, 1.0), draws.chance(0.5)
    cropped, axis = draws.chance(0.2), draws.order(3)[0]
    if view == "heart":
        sides = draws.uniform(120.0, 220.0) * np.array([1.0, 1.0, draws.uniform(0.7, 1.0)])
        centre = anatomy.heart_mm + wobble * np.array([16.0, 16.0, 14.0])
        if cropped:
            centre = centre + (1.0 if end else -1.0) * cut * 0.7 * sides * np.eye(3)[axis]
        return centre, sides
    bottom, top = (draws.uniform(*part) for part in _HEIGHTS[view])
    above, below = anatomy.spine_mm
    ends = np.array([above + (_TOP - height) / (_TOP - _BOTTOM) * (below - above) for height in (bottom, top)])
    if cropped and view in ("chest", "aorta", "body"):
        ends[int(end)] = ends.mean(0) + cut * (ends[int(end)] - ends.mean(0))
    middle = 0.4 * anatomy.heart_mm[:2] + 0.6 * ends.mean(0)[:2] if view == "chest" else ends.mean(0)[:2]
    room = np.array([0.12, 0.12]) * min(wide, 250.0)
    centre = np.append(middle + wobble[:2] * room, ends.mean(0)[2])
    return centre, np.array([wide, deep * wide, abs(ends[1, 2] - ends[0, 2])])
