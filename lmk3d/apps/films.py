"""Points on a film, for measures that know left, right, up and down: taken by name, checked, and laid on their film."""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS, Grid, Volume, apply_affine
from lmk3d.io.trust import trust_of
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from lmk3d.landmarks import Landmarks

    FloatArray = NDArray[np.float64]

__all__ = ["blank_film", "check_film", "film_points", "from_film", "refuse_untrusted"]

# What rounding in a file may add to the third coordinate, beside the points' own extent.
_FLAT = 1e-3


def film_points(landmarks: Landmarks, names: Sequence[str]) -> FloatArray:
    """The named points as they lie on their film.

    Args:
        landmarks: world RAS, in mm or px, of a film as the readers place it: columns run along -R, rows along -A.
        names: which, each with exactly one point.
    Returns:
        (N, 2) to the right and down from the film's first pixel, in the landmarks' unit.
    Raises:
        InputError: if a name is unknown, missing, doubled or not trusted, or the points do not lie on one film.
    """
    refuse_untrusted(landmarks, names)
    if unknown := [name for name in names if name not in landmarks.names]:
        near = get_close_matches(unknown[0], landmarks.names, n=1, cutoff=0.5)
        there = repr(near[0]) if near else _some(landmarks.names)
        raise InputError(f"lacks {_some(unknown)} (there is {there}); rename the points, or give another file")
    count = Counter(np.asarray(landmarks.names)[landmarks.present].tolist())
    if missing := [name for name in names if not count[name]]:
        raise InputError(f"{_some(missing)} is missing (NaN); every point is needed, so place it")
    if twice := [name for name in names if count[name] > 1]:
        raise InputError(f"{_some(twice)} has several points; keep one of each")
    lps = apply_affine(LPS_TO_RAS, landmarks.ordered(names).points_mm)
    extent = np.ptp(lps, axis=0)
    if extent[2] > _FLAT * max(extent[:2].max(), 1.0):
        raise InputError(
            f"the points are {extent[2]:.3g} {landmarks.unit} apart in depth; give points of one film (R and A vary)"
        )
    return np.asarray(lps[:, :2] + 0.0)


def refuse_untrusted(landmarks: Landmarks, names: Sequence[str]) -> None:
    """Refuse points that are not trusted, withheld or not: a value made of them would look like any other.

    Raises:
        InputError: naming the first few and why.
    """
    suspect = [row for row in np.flatnonzero(~landmarks.trusted) if landmarks.names[row] in names]
    if suspect:
        _, why = trust_of(landmarks, int(suspect[0]))
        raise InputError(
            f"not trusted: {_some([landmarks.names[row] for row in suspect])} ({why}); place them by hand and clear "
            "what the file says of their trust, or measure all the same with --keep-untrusted"
        )


def from_film(points: ArrayLike) -> FloatArray:
    """World RAS (..., 3) of (..., 2) to the right and down on a film: undoes ``film_points``; NaN stays NaN."""
    across, down = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    return np.stack([-across, -down, np.where(np.isnan(across), np.nan, 0.0)], axis=-1)


def check_film(film: Volume, landmarks: Landmarks) -> None:
    """Refuse a film that these points do not belong to.

    Raises:
        InputError: if it is a volume, lies otherwise than films do, is in another unit, or has a point outside.
    """
    if film.grid.shape[2] != 1:
        raise InputError(f"the image has {film.grid.shape[2]} slices; give a film of one")
    axes = apply_affine(LPS_TO_RAS, film.grid.axes.T)
    if not np.allclose(axes[:2], [[0, 1, 0], [1, 0, 0]], atol=1e-3):
        raise InputError("the image's rows do not run down and its columns to the right; save it as a picture (PNG)")
    if film.unit != landmarks.unit:
        raise InputError(
            f"the film is in {film.unit}, the points in {landmarks.unit}; give --spacing MM, or both in one unit"
        )
    outside = landmarks.present & ~film.grid.contains(landmarks.points_mm)
    if outside.any():
        first = landmarks.names[int(np.flatnonzero(outside)[0])]
        raise InputError(
            f"outside the film: {int(outside.sum())} of {counted(len(landmarks), 'point')}, {first!r} first; "
            "give the film they were placed on, in the same unit"
        )


def blank_film(landmarks: Landmarks) -> Volume:
    """An empty film round the points, to draw on where there is none."""
    across, down = (-landmarks.points_mm[landmarks.present][:, axis] for axis in (0, 1))
    edge = 0.08 * max(np.ptp(across), np.ptp(down))
    width, height = np.ptp(across) + 2 * edge, np.ptp(down) + 2 * edge
    # Two pixels a side: a pixel's centre lies a quarter of the side in.
    affine = LPS_TO_RAS @ np.array(
        [
            [0, width / 2, 0, across.min() - edge + width / 4],
            [height / 2, 0, 0, down.min() - edge + height / 4],
            [0, 0, 1, 0],
            [0, 0, 0, 1],
        ]
    )
    return Volume(np.zeros((2, 2, 1), np.uint8), Grid((2, 2, 1), affine), landmarks.unit)


def _some(names: Sequence[str], most: int = 4) -> str:
    """The first few of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
