"""Scoliosis: the three Cobb angles of a frontal spine film from the four corners of 17 vertebrae."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.apps.films import blank_film, check_film, film_points, from_film
from lmk3d.errors import InputError
from lmk3d.plots.sheet import DOUBT, FAINT, MARK, TEXT, TRUTH
from lmk3d.plots.tracing import Mark, Row, Stroke, tracing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

    FloatArray = NDArray[np.float64]

__all__ = ["CORNERS", "VERTEBRAE", "CobbAngles", "Curve", "cobb_angles", "measure_cobb", "smape", "spine_picture"]

VERTEBRAE = 17
"""T1 to L5, numbered 1 to 17 from the top."""

CORNERS = tuple(
    f"V{number:02d}_{edge}_{side}"
    for number in range(1, VERTEBRAE + 1)
    for edge in ("top", "bottom")
    for side in ("left", "right")
)
"""Names of the 68 corners; left and right are those of the picture, not of the patient."""

_NAMES = {"PT": "proximal thoracic", "MT": "main thoracic", "TL": "thoracolumbar"}
_COLORS = {"PT": TRUTH, "MT": MARK, "TL": DOUBT}
# Beside the spine's length squared: what separates a bend from rounding of the coordinates.
_STRAIGHT = 1e-9


@dataclass(frozen=True)
class Curve:
    """One curve of the spine: its angle, and the end vertebrae (1 to 17) that are tilted most against each other."""

    name: str
    angle_deg: float
    upper: int
    lower: int


@dataclass(frozen=True)
class CobbAngles:
    """The three curves of a spine from top to bottom.

    Args:
        curves: proximal thoracic (PT), main thoracic (MT), thoracolumbar (TL).
        largest: which of them has the largest angle of all.
        s_shaped: whether the spine crosses the line between its ends.
    """

    curves: tuple[Curve, Curve, Curve]
    largest: int
    s_shaped: bool

    @property
    def challenge_deg(self) -> tuple[float, float, float]:
        """The angles in AASCE's order: the largest, the one above it, the third (degrees)."""
        others = (0, 2) if self.largest == 1 else (1, 0)
        first, second, third = (self.curves[row].angle_deg for row in (self.largest, *others))
        return first, second, third

    def as_dict(self) -> dict[str, Any]:
        """What a JSON file says of it."""
        curves = {
            curve.name: {"angle_deg": curve.angle_deg, "upper": curve.upper, "lower": curve.lower}
            for curve in self.curves
        }
        return {"curves": curves, "largest": self.curves[self.largest].name, "s_shaped": self.s_shaped}

    def rows(self) -> list[dict[str, Any]]:
        """The curves as lines of a table."""
        return [
            {"curve": own.name, "angle_deg": own.angle_deg, "upper": own.upper, "lower": own.lower}
            for own in self.curves
        ]


def cobb_angles(corners: ArrayLike, *, film_height: float | None = None) -> CobbAngles:
    """The three Cobb angles as the AASCE 2019 challenge computes its references.

    A vertebra's tilt is that of the line from the middle of its left to the middle of its right side. The two that are
    tilted most against each other bound the largest curve. In a spine that stays on one side of the line between its
    ends, the second and third angle are those between the first vertebra and the upper end, and between the lower end
    and the last. In one that crosses it, they are the largest within the part above and the part below; when the
    largest curve lies in the film's lower half, it is the lowest, and the third is the largest within what is left
    above the second.

    Args:
        corners: (17, 4, 2): top left, top right, bottom left, bottom right, each to the right and down from the film's
            first pixel, all in one unit with square pixels. They are taken as they come; ``measure_cobb`` checks them.
        film_height: of the film, in that unit. Where None, the middle between the spine's highest and lowest end plate
            counts as the film's; that changes the third angle of 14 of the 481 films of AASCE 2019 by over 2 degrees.
    Returns:
        The curves with their end vertebrae.
    Raises:
        ValueError: if the shape is another, or a corner is NaN.
    Source:
        Wang et al. 2021 (AASCE 2019), Medical Image Analysis 72, 102115; the rules are those of the challenge's
        MATLAB function, found by trying: every angle of its 481 training films comes back within 0.1 degrees.
    """
    points = np.asarray(corners, dtype=np.float64)
    if points.shape != (VERTEBRAE, 4, 2) or not np.isfinite(points).all():
        raise ValueError(f"corners must be finite (17, 4, 2), got shape {points.shape}; give 17 x 4 points")
    tilt = points[:, 1] + points[:, 3] - points[:, 0] - points[:, 2]
    tilt = tilt / np.linalg.norm(tilt, axis=1, keepdims=True)
    between = np.degrees(np.arccos(np.clip(tilt @ tilt.T, -1.0, 1.0)))
    edges = points.reshape(-1, 2, 2).mean(1)  # the middles of 34 end plates, from the top down
    upper, lower = (int(end) for end in np.unravel_index(between.argmax(), between.shape))
    s_shaped = _crosses(edges)
    height = edges[:, 1].min() + edges[:, 1].max() if film_height is None else film_height
    last = VERTEBRAE - 1
    if not s_shaped:
        ends, largest = [(0, upper), (upper, lower), (lower, last)], 1
    elif edges[2 * upper + 1, 1] + edges[2 * lower + 1, 1] < height:
        top, bottom = int(between[upper, : upper + 1].argmax()), lower + int(between[lower, lower:].argmax())
        ends, largest = [(top, upper), (upper, lower), (lower, bottom)], 1
    else:
        middle = int(between[upper, : upper + 1].argmax())
        top = int(between[middle, : middle + 1].argmax())
        ends, largest = [(top, middle), (middle, upper), (upper, lower)], 2
    first, second, third = (
        Curve(name, float(between[start, end]), start + 1, end + 1)
        for name, (start, end) in zip(_NAMES, ends, strict=True)
    )
    return CobbAngles((first, second, third), largest, s_shaped)


def _crosses(edges: FloatArray) -> bool:
    """Whether end plates' middles lie on both sides of the line between the first and the last (which is left out)."""
    offset = edges - edges[-1]
    side = (offset[:, 1] * offset[0, 0] - offset[:, 0] * offset[0, 1])[:-2] / (offset[0] ** 2).sum()
    return bool((side > _STRAIGHT).any() and (side < -_STRAIGHT).any())


def measure_cobb(landmarks: Landmarks, *, film: Volume | None = None) -> CobbAngles:
    """The three Cobb angles of named corners, checked first.

    Args:
        landmarks: with all ``CORNERS``; in mm or px, since angles need no scale.
        film: the image they were placed on; without it see ``film_height`` of ``cobb_angles``.
    Raises:
        InputError: if a corner is missing or doubled, vertebrae are mirrored, upside down or out of order, or the
            corners are not of this film.
    """
    corners = film_points(landmarks, CORNERS).reshape(VERTEBRAE, 4, 2)
    _check_spine(corners)
    if film is None:
        return cobb_angles(corners)
    check_film(film, landmarks.ordered(CORNERS))
    return cobb_angles(corners, film_height=float(film.grid.sides_mm[0]))


def _check_spine(corners: FloatArray) -> None:
    """Refuse corners whose names contradict where they lie: angles of such would look right and be wrong."""
    width = corners[:, 1] + corners[:, 3] - corners[:, 0] - corners[:, 2]
    height = corners[:, 2] + corners[:, 3] - corners[:, 0] - corners[:, 1]
    mirrored, upturned = np.flatnonzero(width[:, 0] <= 0), np.flatnonzero(height[:, 1] <= 0)
    if len(mirrored) == VERTEBRAE:
        raise InputError("left corners lie right of right ones: the film or the names are mirrored; exchange the names")
    if len(mirrored):
        raise InputError(f"V{mirrored[0] + 1:02d}: its left corners lie right of its right ones; exchange them")
    if len(upturned):
        raise InputError(f"V{upturned[0] + 1:02d}: its top corners lie below its bottom ones; exchange them")
    early = np.flatnonzero(np.diff(corners.mean(1)[:, 1]) <= 0)
    if len(early):
        first = int(early[0]) + 1
        raise InputError(f"V{first + 1:02d} does not lie below V{first:02d}; number the vertebrae from the top down")


def smape(predicted_deg: ArrayLike, truth_deg: ArrayLike) -> float:
    """Symmetric mean absolute percentage error of the angles of several spines, in percent; 0 is best, 100 worst.

    Args:
        predicted_deg, truth_deg: (S, 3) degrees, in one order.
    Raises:
        ValueError: if the shapes differ, an angle is NaN, or a spine's angles are all 0.
    Source:
        AASCE 2019: the sum of a spine's absolute differences over the sum of both its angles, averaged over spines.
    """
    predicted, truth = np.atleast_2d(np.asarray(predicted_deg, float)), np.atleast_2d(np.asarray(truth_deg, float))
    if predicted.shape != truth.shape:
        raise ValueError(f"angles of shapes {predicted.shape} and {truth.shape} cannot be compared; give as many")
    total = (predicted + truth).sum(1)
    if not (np.isfinite(total).all() and (total > 0).all()):
        raise ValueError("a spine has a NaN angle, or none above 0; leave it out")
    return float(100 * (np.abs(predicted - truth).sum(1) / total).mean())


def spine_picture(landmarks: Landmarks, angles: CobbAngles, *, film: Volume | None = None, title: str = "") -> Figure:
    """The vertebrae on their film, the end vertebrae of each curve with their tilt drawn out, and the angles beside.

    Args:
        landmarks, angles: as in and out of ``measure_cobb``.
        film: the image; an empty sheet where None.
        title: usually the file's name.
    """
    corners = film_points(landmarks, CORNERS).reshape(VERTEBRAE, 4, 2)
    strokes = [Stroke(from_film(corners[row][[0, 1, 3, 2, 0]]), FAINT, 0.8) for row in range(VERTEBRAE)]
    reach = 1.6 * np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1).mean()
    marks = [Mark(from_film(corners[row, 0]), str(row + 1), shift=(-11.0, 0.0)) for row in range(VERTEBRAE)]
    for number, curve in enumerate(angles.curves):
        for end in (curve.upper, curve.lower):
            middle, tilt = corners[end - 1].mean(0), corners[end - 1, [1, 3]].mean(0) - corners[end - 1, [0, 2]].mean(0)
            tilt = tilt / np.linalg.norm(tilt) * reach
            # A vertebra may end two curves: each has its own line, side by side.
            aside = np.array([0.0, (number - 1) * 0.03 * reach])
            line = from_film(np.stack([middle - tilt, middle + tilt]) + aside)
            strokes.append(Stroke(line, _COLORS[curve.name], 1.4))
    rows = [Row("Cobb angle", "vertebrae", FAINT)]
    for own in angles.curves:
        ends = f"{own.upper} to {own.lower}"
        rows.append(Row(f"{own.name} {_NAMES[own.name]}", f"{own.angle_deg:.1f}°     {ends}", _COLORS[own.name]))
    shape = "crosses the line between its ends" if angles.s_shaped else "stays on one side of the line between its ends"
    rows.append(Row(f"the spine {shape}", color=TEXT))
    return tracing(blank_film(landmarks) if film is None else film, strokes, marks, rows, title=title)
