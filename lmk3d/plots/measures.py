"""A picture of measurements: points, planes and measured lines from three sides, and their values beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.plots.planes import STANDARD_PLANES, film_plane, grey_window, whole_cut
from lmk3d.plots.sheet import FAINT, TEXT, TRUTH, Sheet, View, fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

    FloatArray = NDArray[np.float64]

__all__ = ["MeasureDrawing", "MeasureLine", "measure_sheet"]

_SIDE, _HEAD, _EDGE, _LINE = 460.0, 60.0, 12.0, 19.0
_TABLE = 420.0
# Told apart by colour-blind eyes too; used again from the start after the last.
_COLORS = ("#7cd4ff", "#ff9a52", "#d7a6ff", "#f2f2f2", "#ff6f91", "#b7e26b")


@dataclass(frozen=True, eq=False)
class MeasureLine:
    """A measure on a picture.

    Args:
        number: what its label says.
        name: the measure's.
        text: its value.
        segments: (3,) world mm ends of its lines; none where it is missing.
    """

    number: int
    name: str
    text: str
    segments: tuple[tuple[FloatArray, FloatArray], ...]


@dataclass(frozen=True, eq=False)
class MeasureDrawing:
    """All that a picture of measurements shows.

    Args:
        title: stands on top.
        landmarks: the points measured.
        lines: the measures.
        outlines: (M, 3) world mm corners of each plane.
    """

    title: str
    landmarks: Landmarks
    lines: tuple[MeasureLine, ...]
    outlines: tuple[FloatArray, ...]


def measure_sheet(drawing: MeasureDrawing, volume: Volume | None = None) -> Figure:
    """The measures from three sides, of a film from one; everything is projected onto the picture.

    Args:
        drawing: what to show.
        volume: the image behind it: a film as it is, of a volume the planes through the middle of the points.
    """
    points = drawing.landmarks.points_mm[drawing.landmarks.present]
    ends = [end for line in drawing.lines for segment in line.segments for end in segment]
    shown = np.concatenate([points, np.reshape(ends, (-1, 3)), *drawing.outlines])
    film = volume is not None and volume.grid.shape[2] == 1
    flat = film or (len(points) > 0 and not points[:, 2].any())
    planes = STANDARD_PLANES[:1] if flat else STANDARD_PLANES
    side = 820.0 if flat else _SIDE
    rows = len(drawing.lines) + len(drawing.landmarks) + 2
    height = _HEAD + max(side, rows * _LINE if flat else 0.0) + (0 if flat else _table_height(drawing)) + 24
    width = _EDGE + len(planes) * (side + _EDGE) + (_TABLE if flat else 0.0)
    sheet = Sheet(width, height)
    sheet.text((_EDGE, 22), fit(drawing.title, width - 2 * _EDGE, 12), size=12)
    middle = (shown.min(0) + shown.max(0)) / 2 if len(shown) else np.zeros(3)
    extents = [np.ptp(plane.position(shown), axis=0) for plane in planes if len(shown)]
    size_mm = 1.2 * float(np.max(extents, initial=1e-3))
    for column, plane in enumerate(planes):
        box = (_EDGE + column * (side + _EDGE), _HEAD, side, side)
        view = View(plane.through(middle), size_mm, box)
        if film and volume is not None:
            whole, whole_mm = whole_cut(volume.grid, film_plane(volume.grid))
            view = View(whole, float(whole_mm.max()), box)
        _draw(sheet, drawing, view, volume, plane.name if not flat else "")
    left = _EDGE + side + 2 * _EDGE if flat else _EDGE
    _table(sheet, drawing, left, _HEAD if flat else _HEAD + side + 20, 1 if flat else 3)
    return sheet.figure


def _draw(sheet: Sheet, drawing: MeasureDrawing, view: View, volume: Volume | None, name: str) -> None:
    left, top, side, _ = view.box
    if volume is not None:
        sheet.picture(volume, view, grey_window(volume), letters=bool(name))
    else:
        sheet.box((left + side / 2, top + side / 2), (side, side), color="#3a3a3a")
        if name:
            sheet.letters(view)
    sheet.text((left + side / 2, top - 11), name, align="center", color=FAINT)
    for corners in drawing.outlines:
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            sheet.line(view.spot(start), view.spot(end), color=TRUTH, width=0.8)
    taken: list[FloatArray] = []
    for line in drawing.lines:
        color = _COLORS[(line.number - 1) % len(_COLORS)]
        for start, end in line.segments:
            sheet.line(view.spot(start), view.spot(end), color=color, width=1.8)
        if line.segments:
            spot = np.array([view.spot((start + end) / 2) for start, end in line.segments]).mean(0) + np.array(
                [9.0, -9.0]
            )
            while any(np.abs(spot - other).max() < 13 for other in taken):
                spot = spot + np.array([0.0, 13.0])
            taken.append(spot)
            sheet.label((float(spot[0]), float(spot[1])), str(line.number), color=color)
    for row in np.flatnonzero(drawing.landmarks.present):
        spot = view.spot(drawing.landmarks.points_mm[row])
        sheet.cross(spot, 6)
        sheet.label((spot[0] + 11, spot[1] - 9), _letter(int(row)), color=TEXT)


def _table_height(drawing: MeasureDrawing) -> float:
    return 24 + _LINE * max(-(-len(drawing.landmarks) // 3), 1) + _LINE * (-(-len(drawing.lines) // 3) + 1)


def _table(sheet: Sheet, drawing: MeasureDrawing, left: float, top: float, columns: int) -> None:
    """The measures with their values, and below them the points' names, in columns."""
    wide = _SIDE + _EDGE if columns > 1 else _TABLE
    lines = -(-len(drawing.lines) // columns)
    for place, line in enumerate(drawing.lines):
        x, y = left + place // lines * wide, top + (place % lines + 0.5) * _LINE
        color = _COLORS[(line.number - 1) % len(_COLORS)]
        sheet.text((x + 16, y), str(line.number), align="right", color=color)
        sheet.text((x + 24, y), fit(line.name, wide * 0.46))
        sheet.text((x + wide - 26, y), fit(line.text, wide * 0.45), align="right")
    top += lines * _LINE + 12
    rows = -(-len(drawing.landmarks) // columns)
    for place, name in enumerate(drawing.landmarks.names):
        x, y = left + place // rows * wide, top + (place % rows + 0.5) * _LINE
        gone = "" if drawing.landmarks.present[place] else "  (missing)"
        sheet.text((x + 16, y), _letter(place), align="right", color=FAINT)
        sheet.text((x + 24, y), fit(f"{name}{gone}", wide - 40), color=FAINT)


def _letter(row: int) -> str:
    """The point's letter: a to z, then aa, ab, ...

    >>> [_letter(row) for row in (0, 25, 26, 53)]
    ['a', 'z', 'aa', 'bb']
    """
    return ("" if row < 26 else _letter(row // 26 - 1)) + chr(ord("a") + row % 26)
