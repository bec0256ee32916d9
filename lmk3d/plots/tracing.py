"""A tracing: lines and marks of a measurement on its film, with the numbers beside it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.plots.planes import film_plane, grey_window, whole_cut
from lmk3d.plots.sheet import TEXT, Sheet, View, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from lmk3d.geometry import Volume

    FloatArray = NDArray[np.float64]

__all__ = ["Mark", "Row", "Stroke", "tracing"]

_HEAD, _LINE, _EDGE, _SIDE, _BESIDE = 46.0, 19.0, 14.0, 950.0, 430.0


@dataclass(frozen=True, eq=False)
class Stroke:
    """A line through (M, 3) world points."""

    points_mm: ArrayLike
    color: str = TEXT
    width: float = 1.2


@dataclass(frozen=True, eq=False)
class Mark:
    """A few signs in the middle of a world point, moved (right, down) by hundredths of an inch; "" is a cross."""

    point_mm: ArrayLike
    text: str = ""
    color: str = TEXT
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Row:
    """A line beside the film: what stands on the left, and what on the right."""

    left: str
    right: str = ""
    color: str = TEXT


def tracing(
    film: Volume, strokes: Sequence[Stroke], marks: Sequence[Mark], rows: Sequence[Row], *, title: str = ""
) -> Figure:
    """Draw strokes and marks on the whole film, and the rows beside it.

    Args:
        film: of depth one; the picture shows it as it is stored.
        strokes, marks: in world RAS, in the film's unit; strokes under marks.
        rows: from top to bottom.
        title: usually the file and the measure.
    """
    plane, size = whole_cut(film.grid, film_plane(film.grid))
    wide, high = (float(side) * _SIDE / float(size.max()) for side in size)
    height = _HEAD + max(high, len(rows) * _LINE) + _EDGE
    sheet = Sheet(wide + _BESIDE + 3 * _EDGE, height)
    view = View(plane, size, (_EDGE, _HEAD, wide, high))
    sheet.text((_EDGE, _HEAD / 2), fit(title, wide + _BESIDE, 12), size=12)
    sheet.picture(film, view, grey_window(film), letters=False)
    for stroke in strokes:
        spots = [view.spot(point) for point in np.asarray(stroke.points_mm, dtype=np.float64)]
        for start, end in pairwise(spots):
            sheet.line(start, end, color=stroke.color, width=stroke.width)
    for mark in marks:
        across, down = view.spot(mark.point_mm)
        spot = (across + mark.shift[0], down + mark.shift[1])
        if mark.text:
            sheet.label(spot, mark.text, color=mark.color)
        else:
            sheet.cross(spot, 5, color=mark.color)
    left = wide + 2 * _EDGE
    for number, row in enumerate(rows):
        line = _HEAD + (number + 0.5) * _LINE
        sheet.text((left, line), row.left, color=row.color)
        sheet.text((left + _BESIDE, line), row.right, align="right", color=row.color)
    return sheet.figure
