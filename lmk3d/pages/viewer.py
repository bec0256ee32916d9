"""The page of ``lmk3d view``: a scan in three planes and 3D with its landmarks, drawn by NiiVue."""

from __future__ import annotations

import base64
import gzip
import json
import math
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import Volume
from lmk3d.landmarks import Landmarks
from lmk3d.metrics import compare
from lmk3d.pages.html import asset, document
from lmk3d.pages.listing import (
    WARNING,
    color_of,
    landmark_list,
    legend,
    lies_outside,
    trust_banner,
    trust_of_rows,
)
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lmk3d.metrics import PointError

__all__ = ["reduced", "view_page"]

_MOST_BYTES = 64 << 20
"""Of voxels in a page: 320 cubed in 16 bits. A browser holds them several times over, and a graphics card once more."""
_KEPT = ("uint8", "int16", "uint16", "float32")  # types that every NIfTI viewer knows
_SLAB = 0.02  # of the image's longest side: how far from a slice a landmark is still drawn on it
_PLANES = ("sagittal", "coronal", "axial")


def view_page(volume: Volume, points: Sequence[Landmarks], *, title: str) -> tuple[str, list[str]]:
    """One HTML page with the scan and its landmarks; it needs nothing beside it, and no network.

    Args:
        volume: the scan; a large one is averaged over blocks of voxels, which the notes say.
        points: of one file, or of two, the truth and a prediction: the one of the two that says confidences, else the
            second, is the prediction.
        title: what stands on top, usually the scan's name.
    Returns:
        The page, and notes on the points and on what it shows, a sentence each, that stand on it too.
    Raises:
        InputError: if two sets of points have no name in common, not one point lies in the scan, or points are in px
            and the scan in mm.
    """
    if volume.unit == "mm" and any(own.unit == "px" for own in points):
        raise InputError(f"{title}: has a spacing, but points are in px; write them in mm")
    # Points beside an image without spacing are in its pixels, also where their file does not say so.
    truth, predicted = _sides([replace(own, unit=volume.unit).withheld(keep_points=True) for own in points])
    doubted = {name for name, suspect in zip(predicted.names, predicted.suspect, strict=True) if suspect}
    names = sorted(dict.fromkeys((*truth.names, *predicted.names)), key=lambda name: name not in doubted)
    rows = compare(truth, predicted, names)  # those that are not trusted first, where nobody overlooks them
    shown, notes = reduced(volume)
    known = dict.fromkeys([*volume.notes, *(note for own in points for note in own.notes)])
    notes = [*(f"Note: {note}." for note in known), *notes]
    outside = [row.name for row in rows if lies_outside(row, volume)]
    if outside and len(outside) == sum(row.has_truth or row.has_prediction for row in rows):
        raise InputError(f"{title}: not one of the points lies in the image; are they those of another one?")
    if outside:
        notes.append(f"Outside the image: {', '.join(outside)}.")
    grid = volume.grid
    film = _PLANES[int(np.abs(grid.axes[:, 2]).argmax())] if grid.shape[2] == 1 else None
    data = {
        "unit": volume.unit,
        "film": film,
        "slab_mm": max(_SLAB * float(grid.sides_mm.max()), 2 * float(grid.spacing_mm.max())),
        "rows": [_plain(row, verdict) for row, (verdict, _) in zip(rows, trust_of_rows(rows, predicted), strict=True)],
    }
    several, sure = len(points) > 1, any(not math.isnan(row.confidence) for row in rows)
    assessment, marked = predicted.assessment, (predicted.present & predicted.suspect).any()
    suspect = WARNING[assessment.verdict] if assessment is not None and marked else None
    keys = legend(notes, several=several, sure=sure, suspect=suspect, film=film is not None)
    body = "\n".join(
        [
            _header(title, volume, film),
            _scan(title, rows, film),
            f"<aside>{trust_banner(predicted)}{landmark_list(rows, volume, predicted, several=several)}{keys}</aside>",
            f'<script type="application/json" id="data">{_script_json(data)}</script>',
            f'<script type="text/plain" id="volume">{_packed(shown)}</script>',
        ]
    )
    scripts = (asset("niivue.umd.js"), asset("view.js"))
    return document(title, body, styles=("base.css", "view.css"), scripts=scripts), notes


def reduced(volume: Volume, *, most_bytes: int = _MOST_BYTES) -> tuple[Volume, list[str]]:
    """The volume in a type that viewers know, averaged over blocks of voxels until it fits.

    The axis of the finest spacing is halved (then thirded, ...) first, so that voxels become more alike.

    Returns:
        The volume, and a sentence if it was averaged.
    """
    data, kind = _finite(volume.data), volume.data.dtype.name
    kept = kind if kind in _KEPT else "int16" if kind in ("int8", "bool") else "float32"
    factors = np.ones(3, dtype=int)
    while np.prod(np.array(data.shape) // factors, dtype=float) * np.dtype(kept).itemsize > most_bytes:
        finest = np.where(np.array(data.shape) // factors > 1, volume.grid.spacing_mm * factors, np.inf).argmin()
        factors[finest] += 1
    if (factors == 1).all():
        return Volume(data.astype(kept, copy=False), volume.grid, volume.unit), []
    grid = volume.grid.coarsened(factors.tolist())
    means = np.zeros(grid.shape, np.float32)
    for start in np.ndindex(*factors):  # the first voxel of every block, then the second of every block, ...
        places = tuple(slice(a, a + f * n, f) for a, f, n in zip(start, factors, grid.shape, strict=True))
        means += data[places]
    means /= factors.prod()
    if kept != "float32":
        means = np.rint(means, out=means)
    by, steps = (" x ".join(f"{value:.3g}" for value in values) for values in (factors, grid.spacing_mm))
    note = f"The scan is shown averaged over blocks of {by} voxels, {steps} {volume.unit}; the points are exact."
    return Volume(means.astype(kept, copy=False), grid, volume.unit), [note]


def _finite(data: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, NaN and infinities as the lowest finite one."""
    if data.dtype.kind != "f" or np.isfinite(data).all():
        return data
    there = data[np.isfinite(data)]
    low = float(there.min()) if len(there) else 0.0
    return np.nan_to_num(data, nan=low, posinf=low, neginf=low)


def _packed(volume: Volume) -> str:
    """A gzipped NIfTI in base 64, its grey window in the header."""
    from lmk3d.io.nifti import nifti_image
    from lmk3d.plots import grey_window

    image = nifti_image(volume)
    image.header["cal_min"], image.header["cal_max"] = grey_window(volume)
    # Level 1: the higher ones take twice as long and save 2 % of a CT.
    return base64.b64encode(gzip.compress(image.to_bytes(), 1, mtime=0)).decode("ascii")


def _sides(points: Sequence[Landmarks]) -> tuple[Landmarks, Landmarks]:
    """Truth and prediction; the points of one file count as a prediction."""
    if len(points) == 1:
        return Landmarks((), np.empty((0, 3)), unit=points[0].unit), points[0]
    truth, predicted = points
    if truth.confidence is not None and predicted.confidence is None:
        truth, predicted = predicted, truth
    if not set(truth.names) & set(predicted.names):
        ours, theirs = (", ".join(own.names[:3]) or "nothing" for own in (truth, predicted))
        raise InputError(
            f"the two files of points have no name in common ({ours}, ... and {theirs}, ...); rename the points of one"
        )
    return truth, predicted


def _plain(row: PointError, verdict: str) -> dict[str, Any]:
    truth, predicted = (
        None if np.isnan(point).any() else np.round(point, 4).tolist() for point in (row.truth_mm, row.predicted_mm)
    )
    color, dashed = WARNING.get(verdict, color_of(row.confidence)), verdict in WARNING
    return {"name": row.name, "truth": truth, "predicted": predicted, "color": color, "dashed": dashed}


def _script_json(data: dict[str, Any]) -> str:
    """JSON that no text in it can end the script element of."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _header(title: str, volume: Volume, film: str | None) -> str:
    shape, spacing = " × ".join(map(str, volume.grid.shape)), " × ".join(f"{v:.3g}" for v in volume.grid.spacing_mm)
    planes = "" if film else _planes()
    return (
        f'<header><h1>{escape(title)}</h1><span class="facts faint">{shape} voxels of {spacing} {volume.unit}</span>'
        f'{planes}<label><input type="checkbox" id="names" checked> names</label></header>'
    )


def _planes() -> str:
    shown = {"all": "All", "axial": "Axial", "coronal": "Coronal", "sagittal": "Sagittal", "3D": "3D"}
    buttons = "".join(
        f'<button type="button" data-plane="{plane}" aria-pressed="{str(plane == "all").lower()}">{text}</button>'
        for plane, text in shown.items()
    )
    return f'<div class="planes" role="group" aria-label="Planes to show">{buttons}</div>'


def _scan(title: str, rows: Sequence[PointError], film: str | None) -> str:
    found = sum(row.has_truth or row.has_prediction for row in rows)
    what = "The film" if film else "Three planes and a 3D view of the scan"
    label = escape(f"{what} {title} with {counted(found, 'landmark')} marked; the table lists them.")
    return (
        f'<main class="scan"><canvas id="scan" tabindex="0" role="img" aria-label="{label}"></canvas>'
        '<canvas id="marks" aria-hidden="true"></canvas><p id="where" aria-live="polite"></p>'
        '<div id="trouble" role="alert" hidden></div></main>'
    )
