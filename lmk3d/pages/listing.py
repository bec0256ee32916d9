"""The list of landmarks beside a scan, and what its signs and colours mean."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.pages.html import breakable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmk3d.geometry import Volume
    from lmk3d.metrics import PointError

__all__ = ["color_of", "landmark_list", "legend", "lies_outside"]

_PLAIN = "#ffd84d"  # as in view.js: of a point without a confidence
_RAMP = ((255, 92, 57), (255, 216, 77), (92, 190, 255))  # confidence 0, 0.5, 1; told apart by colour-blind eyes too
_SAID = {"missed": "not found", "false": "not in the truth", "absent": "in neither"}
_RING = '<circle cx="10" cy="10" r="5.5" fill="none" stroke="#53e07d" stroke-width="2"/>'
_CROSS = f'<path d="M4 4l4 4M12 12l4 4M16 4l-4 4M8 12l-4 4" stroke="{_PLAIN}" stroke-width="2"/>'
_KEYS = "Choose a row to go there (arrows and Enter too). Right button: drag for contrast."
_TURNING = "Wheel: next slice. Drag the 3D view to turn it."


def landmark_list(rows: Sequence[PointError], volume: Volume, *, several: bool) -> str:
    """A table with a row for each landmark, which view.js ties to the scan.

    Args:
        rows: truth and prediction of each; of one file of points, all are predictions.
        volume: the scan.
        several: whether there are both, so that there are errors.
    """
    heads = ["landmark", *([f"error {volume.unit}"] if several else []), "confidence", f"expected {volume.unit}"]
    top = "".join(f'<th scope="col"><button type="button">{head}</button></th>' for head in heads)
    lines = []
    for number, row in enumerate(rows):
        values = [*([(row.error_mm, 2)] if several else []), (row.confidence, 2), (row.expected_mm, 1)]
        cells = "".join(_cell(value, digits) for value, digits in values)
        name = _name_cell(row, _status(row, volume, several=several))
        lines.append(f'<tr tabindex="0" data-row="{number}" aria-selected="false">{name}{cells}</tr>')
    return (
        '<div class="list"><table role="grid" aria-label="Landmarks; Enter moves the crosshair to one">'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def legend(notes: Sequence[str], *, several: bool, sure: bool, film: bool) -> str:
    """What the signs mean, notes, and how to move.

    Args:
        notes: plain text.
        several: whether truth and prediction are shown.
        sure: whether any point has a confidence.
        film: whether there is only one slice.
    """
    signs = [("truth", _RING), ("prediction", _CROSS)] if several else [("point", _CROSS)]
    keys = [f'<span><svg viewBox="0 0 20 20" aria-hidden="true">{sign}</svg>{name}</span>' for name, sign in signs]
    if sure:
        colors = ",".join(color_of(value) or "" for value in (0.0, 0.5, 1.0))
        ramp = f'<i class="ramp" style="background:linear-gradient(90deg,{colors})"></i>'
        keys.append(f"<span>confidence 0{ramp}1</span>")
    said = "".join(f'<p class="note">{escape(line)}</p>' for line in notes)
    lines = "".join(f"<p>{escape(line)}</p>" for line in (_KEYS, *([] if film else [_TURNING])))
    return f'<footer><div class="key">{"".join(keys)}</div>{said}{lines}</footer>'


def color_of(confidence: float) -> str | None:
    """The colour of a confidence from 0 to 1, as #rrggbb; None for NaN."""
    if math.isnan(confidence):
        return None
    place = 2 * min(max(confidence, 0.0), 1.0)
    start = min(int(place), 1)
    mixed = [a + (place - start) * (b - a) for a, b in zip(_RAMP[start], _RAMP[start + 1], strict=True)]
    return "#" + "".join(f"{round(value):02x}" for value in mixed)


def lies_outside(row: PointError, volume: Volume) -> bool:
    """Whether one of the two points is there and outside the image; before or behind a film's plane is inside."""
    points = np.array([row.truth_mm, row.predicted_mm])
    there = points[~np.isnan(points).any(axis=1)]
    sides = np.array(volume.grid.shape)
    places = volume.grid.to_vox(there)[:, sides > 1]
    return bool(((places < -0.5) | (places > sides[sides > 1] - 0.5)).any())


def _name_cell(row: PointError, status: str) -> str:
    name = row.name if row.instance == 0 else f"{row.name} {row.instance + 1}"
    look = f'" style="background:{color_of(row.confidence) or _PLAIN}' if row.has_prediction else " none"
    said = f'<span class="status">{status}</span>' if status else ""
    shown = f'<span class="dot{look}"></span><span>{breakable(name)}{said}</span>'
    return f'<td data-value="{escape(name)}"><div>{shown}</div></td>'


def _cell(value: float, digits: int) -> str:
    return "<td>–</td>" if math.isnan(value) else f'<td data-value="{value}">{value:.{digits}f}</td>'


def _status(row: PointError, volume: Volume, *, several: bool) -> str:
    if lies_outside(row, volume):
        return "outside the image"
    if several:
        return _SAID.get(row.status, "")
    return "" if row.has_prediction else "missing"
