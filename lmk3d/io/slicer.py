"""What 3D Slicer's two formats of points share: frames, states of a point, names, and measures in a description."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.text import brief, parse_frame
from lmk3d.io.trust import WORDS, Said, trust_of

if TYPE_CHECKING:
    from lmk3d.io.tables import PointRows
    from lmk3d.landmarks import Landmarks

__all__ = ["STATES", "describe", "name_points", "parse_description", "parse_slicer_frame", "placed"]

STATES = ("undefined", "preview", "defined", "missing")
"""Of a point's position, in the order of Slicer's numbers, which .fcsv has."""

# What ``describe`` begins with where somebody assessed the point: a word, and in brackets why.
_TRUST = re.compile(rf"({'|'.join(WORDS)})(?: \((.*?)\))?(?=;|$)", re.DOTALL)


def parse_slicer_frame(value: object, where: str) -> str:
    """The frame, "RAS" or "LPS", from a name or from the number in files of older Slicers: 0 is RAS, 1 is LPS.

    Raises:
        InputError: for anything else; for voxel indices (IJK, 2) saying what to do.
    """
    text = str(value).strip().upper() if isinstance(value, (str, int)) else ""
    if text in ("IJK", "2"):
        raise InputError(f"{where}: points are voxel indices (IJK) of an unknown image; save them in RAS or LPS")
    return parse_frame({"0": "RAS", "1": "LPS"}.get(text, value), where)


def placed(point: Any, state: object, rows: PointRows, where: str) -> Any:
    """The point where its state says that somebody placed it, else None.

    A preview is one once it has a place of its own: Slicer writes it at the origin until then. The coordinates of an
    undefined or missing point are left over from an earlier place.

    Args:
        point: three coordinates, or None.
        state: one of ``STATES``.
        rows: get a note on what may not be meant.
        where: file and line, for the error.
    Raises:
        InputError: for a state that Slicer does not have.
    """
    if state not in STATES:
        raise InputError(f"{where}: positionStatus {brief(state)} is unknown; write {', '.join(STATES)}")
    if point is None or state == "defined":
        return point
    if state == "preview":
        if _unset(point):
            return None
        rows.note("points of the state preview are taken as placed; in Slicer, place them to make sure")
        return point
    if not _unset(point):
        rows.note("points of the state undefined or missing have coordinates of an earlier place; they are missing")
    return None


def _unset(point: Any) -> bool:
    """Whether there are no coordinates, or those of the origin exactly."""
    try:
        numbers = [float(value or 0) for value in point]
    except (TypeError, ValueError):  # no numbers; told where they are read
        return False
    return all(number == 0 or number != number for number in numbers)


def name_points(rows: PointRows) -> None:
    """Give the points without a label, which Slicer does not need, names of their own: their ids."""
    taken = {name for row, name in enumerate(rows.names) if row not in rows.unnamed}
    for row, name in rows.unnamed.items():
        marks = next(marks for marks in count() if name + "'" * marks not in taken)
        rows.names[row] = name + "'" * marks
        taken.add(rows.names[row])
    if rows.unnamed:
        rows.note("points without a label are named by their ids; name them in Slicer")


def describe(landmarks: Landmarks, row: int) -> str:
    """How far one point is trusted and why, its confidence and expected error, and the notes on all, as one text.

    >>> from lmk3d.landmarks import Assessment, Landmarks
    >>> doubtful = Assessment((), ("far off",))
    >>> describe(Landmarks(("a",), [[1, 2, 3]], [0.9], [1.5], coverage=0.9, assessment=doubtful), 0)
    'doubtful (far off); confidence=0.9; error_mm=1.5; coverage=0.9'
    """
    measures = {"confidence": landmarks.confidence, f"error_{landmarks.unit}": landmarks.error_mm}
    # float() so that NumPy 2 does not write np.float64(...).
    there = {name: float(values[row]) for name, values in measures.items() if values is not None}
    numbers = [f"{name}={value!r}" for name, value in there.items() if not np.isnan(value)]
    if landmarks.coverage is not None and numbers and numbers[-1].startswith("error"):
        numbers.append(f"coverage={landmarks.coverage!r}")
    word, why = trust_of(landmarks, row)
    trust = [f"{word} ({why.replace(';', ',')})" if why else word] if word else []
    return "; ".join([*trust, *numbers, *landmarks.notes])


def parse_description(text: object) -> Said:
    """What ``describe`` wrote of one point; None for what is not there."""
    if not isinstance(text, str) or not text:
        return Said()
    names = ("confidence", "error_(?:mm|px)", "coverage")
    found = [re.search(rf"\b{name}=(\d[\d.eE+-]*)", text) for name in names] if "=" in text else [None] * 3
    trust = _TRUST.match(text)
    return Said(*(match and match.group(1) for match in found), *(trust.groups() if trust else (None, None)))
