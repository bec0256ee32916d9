"""Cephalometry: eight measures of a lateral skull film, their classes, and how well two readers' classes agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.apps.films import blank_film, check_film, film_points
from lmk3d.errors import InputError
from lmk3d.plots.sheet import DOUBT, FAINT, LETTER, MARK, TEXT, TRUTH
from lmk3d.plots.tracing import Mark, Row, Stroke, tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

    FloatArray = NDArray[np.float64]

__all__ = ["MEASURES", "POINTS", "Agreement", "Cephalometry", "Measure", "agreement", "ceph_picture", "cephalometry"]

POINTS = {
    "S": "sella",
    "N": "nasion",
    "Or": "orbitale",
    "Po": "porion",
    "A": "subspinale_A",
    "B": "supramentale_B",
    "Pog": "pogonion",
    "Me": "menton",
    "Gn": "gnathion",
    "Go": "gonion",
    "L1": "lower_incisal_incision",
    "U1": "upper_incisal_incision",
    "PNS": "posterior_nasal_spine",
    "ANS": "anterior_nasal_spine",
}
"""The points that the measures are made of, by abbreviation; 14 of the 19 of ISBI 2015."""


@dataclass(frozen=True)
class Measure:
    """One measure and its classes.

    Args:
        definition: in words and abbreviations of ``POINTS``.
        unit: "deg", "mm" or "" for a ratio.
        bounds: ascending; a value on a bound belongs to the normal class.
        classes: number and word of each interval, from below the first bound to above the last.
    """

    definition: str
    unit: str
    bounds: tuple[float, ...]
    classes: tuple[tuple[int, str], ...]

    def classify(self, value: float) -> tuple[int, str]:
        """Number and word of the class of a value.

        Raises:
            ValueError: for NaN or infinity.
        """
        if not np.isfinite(value):
            raise ValueError(f"a value of {value} has no class; measure again")
        # The normal class lies below the last bound and holds both of its own.
        passed = sum(value >= bound for bound in self.bounds[:-1]) + (value > self.bounds[-1])
        return self.classes[int(passed)]


def _three(definition: str, unit: str, bounds: tuple[float, float], *words: str, rising: bool) -> Measure:
    """A measure whose class 1 is between the bounds; class 2 lies above them if ``rising``, else below."""
    normal, second, third = ((number, word) for number, word in enumerate(words, start=1))
    low, high = (third, second) if rising else (second, third)
    return Measure(definition, unit, bounds, (low, normal, high))


MEASURES = {
    "ANB": _three(
        "angle A-N-B, positive when A lies in front", "deg", (3.2, 5.7), "class I", "class II", "class III", rising=True
    ),
    "SNB": _three(
        "angle S-N-B", "deg", (74.6, 78.7), "normal mandible", "retrognathic mandible", "prognathic mandible",
        rising=False,
    ),
    "SNA": _three(
        "angle S-N-A", "deg", (79.4, 83.2), "normal maxilla", "protrusive maxilla", "retrognathic maxilla", rising=True
    ),
    "ODI": _three(
        "angle of A-B and Me-Go plus that of PNS-ANS and Po-Or", "deg", (68.4, 80.5), "normal", "deep bite",
        "open bite tendency", rising=True,
    ),
    "APDI": _three(
        "angle of Po-Or and N-Pog plus those of A-B and N-Pog, PNS-ANS and Po-Or", "deg", (77.6, 85.2), "normal",
        "class II tendency", "class III tendency", rising=False,
    ),
    "FHI": _three(
        "posterior by anterior face height, S-Go / N-Me", "", (0.65, 0.75), "normal", "short face", "long face",
        rising=True,
    ),
    "FMA": _three(
        "angle of S-N and Go-Gn", "deg", (26.8, 31.4), "normal", "high mandibular angle", "low mandibular angle",
        rising=True,
    ),
    "MW": Measure(
        "distance L1-U1, negative when the lower incisor is in front",
        "mm",
        (0.0, 2.0, 4.5),
        ((3, "anterior cross bite"), (2, "edge to edge"), (1, "normal"), (4, "large overjet")),
    ),
}  # fmt: skip
"""The eight measures of ISBI 2015 with its limits.

Source: Wang et al. 2016, "A benchmark for comparison of dental radiography analysis algorithms", Medical Image Analysis
31, 63-76. It calls MW edge to edge at exactly 0 and normal from 2 to 4.5 mm, and leaves open what lies between: here
that is edge to edge. ODI is Kim 1974 (Am J Orthod 65, 586-611), APDI Kim and Vietas 1978 (Am J Orthod 73, 619-633),
both with their signs: the palatal plane counts positive when it falls towards the front, A-B when B lies in front of
the facial line N-Pog.
"""

# Pairs (behind, in front) along S-N, and what lies below it: names that contradict these are exchanged.
_ORDER = (("Po", "Or"), ("PNS", "ANS"), ("Go", "Me"), ("Go", "Gn"))
_BELOW = ("A", "B", "Pog", "Me", "Gn", "Go", "U1", "L1", "ANS", "PNS")
# From sella to nasion is about 70 mm in an adult; films magnify by a tenth.
_SELLA_NASION_MM = (40.0, 120.0)


@dataclass(frozen=True)
class Cephalometry:
    """The measures of one film.

    Args:
        values: by the names of ``MEASURES``: degrees, mm for MW, a ratio for FHI.
        faces: "right" or "left", where the nose points in the film.
    """

    values: dict[str, float]
    faces: str

    @property
    def classes(self) -> dict[str, int]:
        """Number of each measure's class."""
        return {name: MEASURES[name].classify(value)[0] for name, value in self.values.items()}

    def rows(self) -> list[dict[str, Any]]:
        """The measures as lines of a table."""
        return [
            {"measure": name, "value": value, "unit": own.unit, "class": own.classify(value)[0],
             "meaning": own.classify(value)[1], "definition": own.definition}
            for name, value in self.values.items() for own in [MEASURES[name]]
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """What a JSON file says of it."""
        return {"faces": self.faces, "measures": self.rows()}


def cephalometry(landmarks: Landmarks, *, film: Volume | None = None) -> Cephalometry:
    """The eight measures of a lateral skull film, whichever way it faces.

    All signs follow the patient's front, which the points themselves tell, so a mirrored film measures the same.

    Args:
        landmarks: with all ``POINTS`` (by their long names), in mm.
        film: the image they were placed on, to check that they are its own.
    Raises:
        InputError: if a point is missing, doubled or unknown, the points are in px or of no plausible size, two names
            are exchanged, or the points are not of this film.
    Source:
        See ``MEASURES``.
    """
    points = dict(zip(POINTS, film_points(landmarks, list(POINTS.values())), strict=True))
    if landmarks.unit != "mm":
        raise InputError("the points are in px, but MW is a distance in mm; give --spacing MM, or points in mm")
    if film is not None:
        check_film(film, landmarks.ordered(POINTS.values()))
    faces = "right" if _cross(points["N"] - points["S"], points["Me"] - points["N"]) > 0 else "left"
    if faces == "left":
        points = {name: point * [-1.0, 1.0] for name, point in points.items()}
    _check_face(points)
    s, n, a, b, pog, me, go = (points[name] for name in ("S", "N", "A", "B", "Pog", "Me", "Go"))
    frankfort, palatal = points["Or"] - points["Po"], points["ANS"] - points["PNS"]
    sna, snb = _angle(s - n, a - n), _angle(s - n, b - n)
    palatal_tilt = _turn(frankfort, palatal)
    bite = points["U1"] - points["L1"]
    values = {
        "ANB": sna - snb,
        "SNB": snb,
        "SNA": sna,
        "ODI": _angle(a - b, go - me) + palatal_tilt,
        "APDI": _angle(-frankfort, pog - n) + _turn(b - a, pog - n) + palatal_tilt,
        "FHI": float(np.linalg.norm(s - go) / np.linalg.norm(n - me)),
        "FMA": _angle(n - s, points["Gn"] - go),
        "MW": float(np.copysign(np.linalg.norm(bite), bite @ frankfort)),
    }
    return Cephalometry(values, faces)


def _check_face(points: dict[str, FloatArray]) -> None:
    """Refuse points, of a face looking right, that no face has."""
    s, n = points["S"], points["N"]
    length = float(np.linalg.norm(n - s))
    if not _SELLA_NASION_MM[0] <= length <= _SELLA_NASION_MM[1]:
        low, high = _SELLA_NASION_MM
        raise InputError(
            f"sella and nasion are {length:.1f} mm apart, where {low:.0f} to {high:.0f} are possible; "
            "are the points in px? Give their unit, or --spacing MM"
        )
    for behind, front in _ORDER:
        if (points[front] - points[behind]) @ (n - s) <= 0:
            raise InputError(
                f"{POINTS[front]} lies behind {POINTS[behind]}, seen from sella to nasion; are two names exchanged?"
            )
    for name in _BELOW:
        if _cross(n - s, points[name] - s) <= 0:
            raise InputError(f"{POINTS[name]} lies above the line from sella to nasion; are two names exchanged?")
    if _cross(n - s, points["B"] - points["A"]) <= 0:
        raise InputError(f"{POINTS['B']} does not lie below {POINTS['A']}; are the two names exchanged?")


def _cross(first: FloatArray, second: FloatArray) -> float:
    return float(first[0] * second[1] - first[1] * second[0])


def _turn(first: FloatArray, second: FloatArray) -> float:
    """Degrees from one direction to another, positive clockwise in the picture: for a face looking right, nose down."""
    return float(np.degrees(np.arctan2(_cross(first, second), first @ second)))


def _angle(first: FloatArray, second: FloatArray) -> float:
    return abs(_turn(first, second))


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well two readers' classes of one measure agree.

    Args:
        confusion: (C, C) counts of films; rows are the truth's classes 1, 2, ..., columns the other reader's.
        mean_difference: the other reader's value minus the truth's, averaged.
        mean_absolute: of the differences' absolute values.
    """

    confusion: NDArray[np.int64]
    mean_difference: float
    mean_absolute: float

    @property
    def success_rate(self) -> float:
        """Part of the films put into the true class, in percent."""
        return float(100 * np.trace(self.confusion) / self.confusion.sum())

    @property
    def diagonal_mean(self) -> float:
        """The parts of each true class that were recognised, averaged over the classes that occur, in percent."""
        totals = self.confusion.sum(1)
        return float(100 * (np.diag(self.confusion)[totals > 0] / totals[totals > 0]).mean())


def agreement(truth: Sequence[Cephalometry], other: Sequence[Cephalometry]) -> dict[str, Agreement]:
    """Compare two readers film by film.

    Args:
        truth, other: one for each film, in one order.
    Returns:
        For each measure its confusion table and differences. ISBI 2015's success classification rate is the mean of the
        confusion table's diagonal in percent of its rows, ``diagonal_mean``.
    Raises:
        ValueError: if there are none, or not as many of the one as of the other.
    Source:
        Wang et al. 2016, sec. 3.
    """
    if not truth or len(truth) != len(other):
        raise ValueError(f"{len(truth)} films cannot be compared with {len(other)}; give both readers' same films")
    found = {}
    for name, measure in MEASURES.items():
        confusion = np.zeros((len(measure.classes),) * 2, dtype=np.int64)
        for one, two in zip(truth, other, strict=True):
            confusion[one.classes[name] - 1, two.classes[name] - 1] += 1
        difference = np.array([two.values[name] - one.values[name] for one, two in zip(truth, other, strict=True)])
        found[name] = Agreement(confusion, float(difference.mean()), float(np.abs(difference).mean()))
    return found


# What is drawn in which colour, and where a point's name stands beside it: before the profile (1) or behind it (-1),
# and how far below.
_LINES = (
    (MARK, "face heights", (("S", "N"), ("S", "Go"), ("N", "Me"))),
    (TEXT, "A and B", (("N", "A"), ("N", "B"), ("A", "B"))),
    (LETTER, "Frankfort plane", (("Po", "Or"),)),
    (DOUBT, "palatal plane", (("PNS", "ANS"),)),
    (TRUTH, "facial line, incisors", (("N", "Pog"), ("L1", "U1"))),
    (FAINT, "mandibular plane", (("Me", "Go"), ("Go", "Gn"))),
)
_BESIDE = {"S": (-1, 0), "Po": (-1, 0), "Go": (-1, 0), "PNS": (-1, 0), "Me": (-1, 9), "L1": (-1, 11), "Gn": (1, 11)}


def ceph_picture(landmarks: Landmarks, result: Cephalometry, *, film: Volume | None = None, title: str = "") -> Figure:
    """The tracing: the measures' points and lines on the film, with values and classes beside.

    Args:
        landmarks, result: as in and out of ``cephalometry``.
        film: the image; an empty sheet where None.
        title: usually the file's name.
    """
    known = landmarks.ordered(POINTS.values())
    points = dict(zip(POINTS, known.points_mm, strict=True))
    ahead = 1 if result.faces == "right" else -1
    strokes = [
        Stroke(np.stack([points[start], points[end]]), color, 1.0) for color, _, ends in _LINES for start, end in ends
    ]
    marks = [Mark(point) for point in points.values()]
    for name, point in points.items():
        side, below = _BESIDE.get(name, (1, 0))
        marks.append(Mark(point, name, MARK, (ahead * side * (12.0 + 3.0 * len(name)), float(below))))
    rows = [Row("measure", "class", FAINT)]
    for own in result.rows():
        digits, unit = (2, "") if own["unit"] == "" else (1, "°" if own["unit"] == "deg" else " mm")
        rows.append(Row(f"{own['measure']}   {own['value']:.{digits}f}{unit}", own["meaning"], _color(own["class"])))
    rows += [
        Row(""),
        *(Row(f"{what}: {', '.join('-'.join(pair) for pair in ends)}", "", color) for color, what, ends in _LINES),
    ]
    return tracing(blank_film(known) if film is None else film, strokes, marks, rows, title=title)


def _color(number: int) -> str:
    return TEXT if number == 1 else DOUBT
