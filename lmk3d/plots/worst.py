"""A case that went wrong: truth and prediction in one cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmk3d.plots.planes import field_of_view, film_plane, grey_window, plane_through, whole_cut
from lmk3d.plots.sheet import FAINT, TEXT, Sheet, View, fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from lmk3d.geometry import Volume
    from lmk3d.plots.sheet import Box

__all__ = ["worst_case"]

_SIDE, _HEAD, _EDGE = 480.0, 46.0, 12.0


def worst_case(
    volume: Volume, truth_mm: ArrayLike, predicted_mm: ArrayLike, *, title: str = "", unit: str = "mm"
) -> Figure:
    """Truth and prediction in the whole cut that holds both, and enlarged beside it, with their distance.

    Args:
        volume: the image; a film is shown as it is.
        truth_mm, predicted_mm: (3,) world RAS mm, both there.
        title: usually the case and the landmark.
        unit: what the distance counts.
    """
    truth, predicted = np.asarray(truth_mm, dtype=np.float64), np.asarray(predicted_mm, dtype=np.float64)
    distance, middle = float(np.linalg.norm(truth - predicted)), (truth + predicted) / 2
    film, tilt_deg = volume.grid.shape[2] == 1, 0.0
    if film:
        plane = film_plane(volume.grid).through(middle)
    else:
        plane, tilt_deg = plane_through(truth, predicted)
    near_mm = max(field_of_view(volume.grid, 0.25), 1.6 * distance)
    whole, whole_mm = whole_cut(volume.grid, plane, [truth, predicted])
    scale = _SIDE / whole_mm.max()
    wide, high = float(whole_mm[0] * scale), float(whole_mm[1] * scale)
    sheet = Sheet(wide + _SIDE + 3 * _EDGE, _SIDE + _HEAD + 40)
    sheet.text((_EDGE, _HEAD / 2), f"{fit(title, wide + _SIDE - 180, 12)}   {distance:.2f} {unit} apart", size=12)
    far = View(whole, whole_mm, (_EDGE, _HEAD + (_SIDE - high) / 2, wide, high))
    near = View(plane, near_mm, (wide + 2 * _EDGE, _HEAD, _SIDE, _SIDE))
    window = grey_window(volume)
    for view, size in ((far, 5.0), (near, 9.0)):
        sheet.picture(volume, view, window, letters=not film)
        if view is near:
            sheet.line(view.spot(truth), view.spot(predicted), color=TEXT)
        sheet.ring(view.spot(truth), size)
        sheet.cross(view.spot(predicted), 1.5 * size)
    sheet.box(*_inside(far.spot(middle), near_mm * scale, far.box))
    foot = _HEAD + _SIDE + 20
    sheet.ring((_EDGE + 8, foot), 6)
    sheet.text((_EDGE + 20, foot), "truth")
    sheet.cross((_EDGE + 76, foot), 9)
    sheet.text((_EDGE + 90, foot), "prediction")
    tilt = f", tilted {tilt_deg:.0f}° to hold both points" if tilt_deg >= 0.5 else ""
    where = "" if film else f"{plane.name} cut{tilt};  "
    about = f"{where}right picture {near_mm:.3g} {unit} wide"
    sheet.text((wide + _SIDE + 2 * _EDGE, foot), about, align="right", color=FAINT)
    return sheet.figure


def _inside(center: tuple[float, float], side: float, frame: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """Centre and size of the part of a square that lies in a frame."""
    low, size = np.array(frame[:2]), np.array(frame[2:])
    start, end = (np.clip(np.array(center) + half, low, low + size) for half in (-side / 2, side / 2))
    middle, extent = (start + end) / 2, end - start
    return (float(middle[0]), float(middle[1])), (float(extent[0]), float(extent[1]))
