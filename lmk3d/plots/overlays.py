"""A registration in pictures: the fixed points and the moved ones, and the two images in one chequered cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.plots.planes import STANDARD_PLANES, cut, film_plane, grey_window, whole_cut
from lmk3d.plots.sheet import DOUBT, FAINT, TEXT, Sheet, View, fit, sampling

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from lmk3d.geometry import Volume

    FloatArray = NDArray[np.float64]

__all__ = ["Overlay", "checkerboard", "point_overlay"]

_SIDE, _HEAD, _EDGE, _FOOT, _LINE = 400.0, 64.0, 12.0, 34.0, 17.0
_SQUARES = 8
# Points this part of a picture's size off its plane are not drawn there.
_NEAR = 0.06


@dataclass(frozen=True, eq=False)
class Overlay:
    """Points of a registration, to be drawn.

    Args:
        names: one for each row.
        fixed_mm, moved_mm: (N, 3) world mm in the fixed world, no NaN.
        used: (N,) False for outliers.
        title: stands on top.
        unit: of lengths.
    """

    names: tuple[str, ...]
    fixed_mm: FloatArray
    moved_mm: FloatArray
    used: NDArray[np.bool_]
    title: str
    unit: str = "mm"


def point_overlay(overlay: Overlay, *, flat: bool) -> Figure:
    """The points alone, projected along each axis: rings are fixed, crosses moved; outliers in a warning's colour.

    Args:
        overlay: the points.
        flat: whether they are a film's, which is seen from one side only.
    """
    planes = STANDARD_PLANES[:1] if flat else STANDARD_PLANES
    points = np.concatenate([overlay.fixed_mm, overlay.moved_mm])
    middle = (points.min(0) + points.max(0)) / 2
    size_mm = max(float(max(np.ptp(plane.position(points), axis=0).max() for plane in planes)) * 1.15, 1e-3)
    side = 760.0 if flat else _SIDE
    width = _EDGE + len(planes) * (side + _EDGE)
    columns = 2 if flat else 3
    lines = -(-len(overlay.names) // columns)
    foot = _HEAD + side + _FOOT / 2
    sheet = _sheet(overlay, width, foot + _FOOT / 2 + lines * _LINE)
    for column, plane in enumerate(planes):
        box = (_EDGE + column * (side + _EDGE), _HEAD, side, side)
        view = View(plane.through(middle), size_mm, box)
        sheet.box((box[0] + side / 2, box[1] + side / 2), (side, side), color="#3a3a3a")
        if not flat:
            sheet.letters(view)
            sheet.text((box[0] + side / 2, _HEAD - 11), plane.name, align="center", color=FAINT)
        _mark(sheet, overlay, view, np.ones(len(overlay.names), dtype=bool), named=True)
    _legend(sheet, width, foot, f"each picture {size_mm:.3g} {overlay.unit} wide")
    wide = (width - _EDGE) / columns
    for row, name in enumerate(overlay.names):
        left, line = _EDGE + row // lines * wide, foot + _FOOT / 2 + (row % lines) * _LINE
        apart = f"{np.linalg.norm(overlay.moved_mm[row] - overlay.fixed_mm[row]):.2f} {overlay.unit}"
        color = TEXT if overlay.used[row] else DOUBT
        sheet.text((left + 20, line), str(row + 1), align="right", color=FAINT)
        sheet.text((left + 28, line), fit(name, wide - 110), color=color)
        sheet.text((left + wide - 20, line), apart, align="right", color=color)
    return sheet.figure


def checkerboard(overlay: Overlay, fixed: Volume, moved: Volume) -> Figure:
    """Fixed image, moved image, and squares of the two in turn: edges that run on across squares are registered.

    Args:
        overlay: the points; those near a plane are drawn.
        fixed: the fixed image; a film is one row, a volume three planes through the middle of the points.
        moved: the moving image resampled onto the fixed one's grid.
    """
    film = fixed.grid.shape[2] == 1
    middle = overlay.fixed_mm.mean(0)
    planes = [film_plane(fixed.grid)] if film else [plane.through(middle) for plane in STANDARD_PLANES]
    cuts = [whole_cut(fixed.grid, plane) for plane in planes]
    side = 520.0 if film else _SIDE
    largest = max(float(size.max()) for _, size in cuts)
    heights = [float(size[1] / largest * side) for _, size in cuts]
    width = _EDGE + 3 * (side + _EDGE)
    total = _HEAD + sum(heights) + len(cuts) * _EDGE + _FOOT
    sheet, windows, top = _sheet(overlay, width, total), (grey_window(fixed), grey_window(moved)), _HEAD
    for column, name in enumerate(("fixed", "moved", "chequered")):
        sheet.text((_EDGE + column * (side + _EDGE) + side / 2, _HEAD - 11), name, align="center", color=FAINT)
    for (plane, size_mm), high in zip(cuts, heights, strict=True):
        wide = float(size_mm[0] / largest * side)
        near = np.abs((overlay.fixed_mm - plane.center_mm) @ plane.normal) < _NEAR * size_mm.max()
        for column in range(3):
            left = _EDGE + column * (side + _EDGE) + (side - wide) / 2
            view = View(plane, size_mm, (left, top, wide, high))
            _fill(sheet, view, (fixed, moved), windows, column, letters=not film)
            if column < 2:
                _mark(sheet, overlay, view, near, named=False)
        top += high + _EDGE
    _legend(sheet, width, total - _FOOT / 2, "points near each plane" if not film else "")
    return sheet.figure


def _sheet(overlay: Overlay, width: float, height: float) -> Sheet:
    sheet = Sheet(width, height)
    sheet.text((_EDGE, 22), fit(overlay.title, width - 2 * _EDGE, 12), size=12)
    return sheet


def _fill(
    sheet: Sheet, view: View, images: tuple[Volume, Volume], windows: tuple[tuple[float, float], ...], column: int,
    *, letters: bool
) -> None:  # fmt: skip
    """The cut of one image, or in the third column of both in turn, each in its own greys."""
    columns, rows = sampling(images[0], view)
    if column < 2:
        sheet.picture(images[column], view, windows[column], letters=letters)
        return
    patches = [
        (cut(volume, view.plane, view.size_mm, (rows, columns)) - low) / (high - low)
        for volume, (low, high) in zip(images, windows, strict=True)
    ]
    step = max(rows, columns) / _SQUARES
    squares = (np.arange(rows)[:, None] // step + np.arange(columns) // step) % 2 == 0
    sheet.greys(np.where(squares, *patches), view, (0.0, 1.0), letters=letters)


def _mark(sheet: Sheet, overlay: Overlay, view: View, shown: NDArray[np.bool_], *, named: bool) -> None:
    left, top, wide, high = view.box
    for row in np.flatnonzero(shown):
        x, y = view.spot(overlay.fixed_mm[row])
        if not (left <= x <= left + wide and top <= y <= top + high):
            continue
        color: dict[str, Any] = {} if overlay.used[row] else {"color": DOUBT}
        ring, cross = view.spot(overlay.fixed_mm[row]), view.spot(overlay.moved_mm[row])
        sheet.ring(ring, 6, **color)
        sheet.cross(cross, 9, **color)
        if np.hypot(cross[0] - ring[0], cross[1] - ring[1]) > 8:
            sheet.line(ring, cross, color=color.get("color", TEXT))
        if named:
            sheet.label((ring[0] + 13, ring[1] - 10), str(row + 1), color=TEXT)


def _legend(sheet: Sheet, width: float, foot: float, about: str) -> None:
    sheet.ring((_EDGE + 8, foot), 6)
    sheet.text((_EDGE + 20, foot), "fixed")
    sheet.cross((_EDGE + 76, foot), 9)
    sheet.text((_EDGE + 90, foot), "moved")
    sheet.text((width - _EDGE, foot), about, align="right", color=FAINT)
