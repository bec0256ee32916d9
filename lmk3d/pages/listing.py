"""The list of landmarks beside a scan, and what its signs and colours mean."""

from __future__ import annotations

import math
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.landmarks import VERDICTS
from lmk3d.pages.html import breakable
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks
    from lmk3d.metrics import PointError

__all__ = ["WARNING", "color_of", "landmark_list", "legend", "lies_outside", "trust_banner", "trust_of_rows"]

WARNING = {VERDICTS[1]: "#ff9a52", VERDICTS[2]: "#ff6b6b"}
"""The colours of points that are not trusted, by the verdict on them."""

_PLAIN = "#ffd84d"  # as in view.js: of a point without a confidence
_RAMP = ((255, 92, 57), (255, 216, 77), (92, 190, 255))  # confidence 0, 0.5, 1; told apart by colour-blind eyes too
_SAID = {"missed": "not found", "false": "not in the truth", "absent": "in neither"}
_RING = '<circle cx="10" cy="10" r="5.5" fill="none" stroke="#53e07d" stroke-width="2"/>'
_CROSS = f'<path d="M4 4l4 4M12 12l4 4M16 4l-4 4M8 12l-4 4" stroke="{_PLAIN}" stroke-width="2"/>'
_BROKEN = '<path d="M4 4l4 4M12 12l4 4M16 4l-4 4M8 12l-4 4" stroke="{}" stroke-width="2" stroke-dasharray="2.2 1.3"/>'
_KEYS = "Choose a row to go there (arrows and Enter too). Right button: drag for contrast."
_TURNING = "Wheel: next slice. Drag the 3D view to turn it."


def landmark_list(rows: Sequence[PointError], volume: Volume, predicted: Landmarks, *, several: bool) -> str:
    """A table with a row for each landmark, which view.js ties to the scan.

    Args:
        rows: truth and prediction of each; of one file of points, all are predictions.
        volume: the scan.
        predicted: the predictions, which say what their errors are and how far they can be trusted.
        several: whether there are both, so that there are errors.
    """
    expected = "expected" if predicted.coverage is None else f"{100 * predicted.coverage:.4g} % radius"
    heads = ["landmark", *([f"error {volume.unit}"] if several else []), "confidence", f"{expected} {volume.unit}"]
    top = "".join(f'<th scope="col"><button type="button">{head}</button></th>' for head in heads)
    lines, unlike = [], predicted.assessment is not None and bool(predicted.assessment.reasons)
    for number, (row, (verdict, why)) in enumerate(zip(rows, trust_of_rows(rows, predicted), strict=True)):
        sure = (math.nan, math.nan) if unlike or verdict in WARNING else (row.confidence, row.expected_mm)
        values = [*([(row.error_mm, 2)] if several else []), (sure[0], 2), (sure[1], 1)]
        cells = "".join(_cell(value, digits) for value, digits in values)
        said = [_status(row, volume, several=several)]
        if verdict in WARNING:
            said = [verdict, *said, why] if row.has_prediction else [f"withheld, {verdict}", why]
        name = _name_cell(row, ": ".join(filter(None, said)), WARNING.get(verdict))
        lines.append(f'<tr tabindex="0" data-row="{number}" aria-selected="false">{name}{cells}</tr>')
    return (
        '<div class="list"><table role="grid" aria-label="Landmarks; Enter moves the crosshair to one">'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def trust_of_rows(rows: Sequence[PointError], predicted: Landmarks) -> list[tuple[str, str]]:
    """The verdict on each row's point and what speaks against it alone; empty where nobody assessed it, or none is."""
    assessment, found = predicted.assessment, [("", "")] * len(rows)
    if assessment is None:
        return found
    there = predicted.present | predicted.held_back
    for place, row in enumerate(rows):
        own = [number for number, name in enumerate(predicted.names) if name == row.name and there[number]]
        same = [n for n in own if np.array_equal(predicted.points_mm[n], row.predicted_mm, equal_nan=True)]
        if same:
            doubt = assessment.doubts[same[0]]
            found[place] = replace(assessment, doubts=(doubt,)).verdict, doubt
    return found


def trust_banner(predicted: Landmarks) -> str:
    """The verdict on all predictions with its reasons, for the top of the list; nothing where nobody assessed them."""
    assessment = predicted.assessment
    if assessment is None:
        return ""
    if assessment.reasons:
        items = "".join(f"<li>{escape(reason)}</li>" for reason in assessment.reasons)
        said = f"<b>Not trusted:</b> the scan is unlike the training data<ul>{items}</ul>"
    elif count := int(predicted.suspect.sum()):
        found = counted(int((predicted.present | predicted.held_back).sum()), "point")
        said = f"<b>Doubtful:</b> {count} of {found} found, on top of the list"
    else:
        said = "<b>Trusted:</b> the scan is like the training data"
    color = WARNING.get(assessment.verdict)
    border = f' style="border-left-color:{color}"' if color else ""
    return f'<div class="trust" role="status"{border}>{said}</div>'


def legend(notes: Sequence[str], *, several: bool, sure: bool, suspect: str | None, film: bool) -> str:
    """What the signs mean, notes, and how to move.

    Args:
        notes: plain text.
        several: whether truth and prediction are shown.
        sure: whether any point has a confidence.
        suspect: colour of the points that are not trusted; None where none is shown.
        film: whether there is only one slice.
    """
    signs = [("truth", _RING), ("prediction", _CROSS)] if several else [("point", _CROSS)]
    if suspect is not None:
        signs.append(("not trusted", _BROKEN.format(suspect)))
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


def _name_cell(row: PointError, status: str, warning: str | None) -> str:
    name = row.name if row.instance == 0 else f"{row.name} {row.instance + 1}"
    color = warning or color_of(row.confidence) or _PLAIN
    look = f'" style="background:{color}' if row.has_prediction else " none"
    if warning and not row.has_prediction:
        look += f'" style="border-color:{warning}'
    said = f'<span class="status{" warn" if warning else ""}">{escape(status)}</span>' if status else ""
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
