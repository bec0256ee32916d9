"""3D Slicer's markups, .mrk.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.slicer import describe, name_points, parse_description, parse_slicer_frame, placed
from lmk3d.io.tables import PointRows
from lmk3d.io.text import brief, convert_frame, parse_number, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.landmarks import Landmarks

__all__ = ["read_points_markups", "write_points_markups"]

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/"
    "Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
)
# A plane's or a box's control points are handles, not landmarks.
_LISTS, _LINES = ("Fiducial",), ("Line", "Angle", "Curve", "ClosedCurve")
_UNITS_MM = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1000.0}
# RAS axes in LPS: what Slicer itself writes for a point that nobody turned.
_ORIENTATION = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]
# Red and orange, of points that are not trusted.
_UNLIKE, _DOUBTFUL = [0.9, 0.1, 0.1], [1.0, 0.6, 0.1]


def read_points_markups(path: Path, *, frame: str | None = None) -> Landmarks:
    """Read all control points of the point lists, lines, angles and curves in a markups file.

    A point without a position is missing, and one whose ``positionStatus`` says so, see ``placed``; one without a
    label is named by its id. What descriptions say of trust, confidence and error is read, see ``describe``: those of a
    list that Slicer has saved again are still there.

    Args:
        path: the file.
        frame: not needed, since a file that does not say its frame is LPS by definition; must agree if given.
    Raises:
        InputError: naming the control point.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("markups"), list):
        raise InputError(f"{path}: is no markups file of 3D Slicer (no list `markups`); save it again as .mrk.json")
    rows, units, others = PointRows(), set(), []
    for number, markup in enumerate(content["markups"], 1):
        where = f"{path}, markup {number}"
        if not isinstance(markup, dict):
            raise InputError(f"{where}: is no object; save the file again in Slicer")
        kind = markup.get("type", "Fiducial")
        if kind not in (*_LISTS, *_LINES):
            others.append(brief(kind).strip("'"))
            continue
        if kind in _LINES:
            rows.note(f"holds {_a(kind)}, whose control points are read as points")
        prefix = f"{markup.get('name') or number}-" if len(content["markups"]) > 1 else ""
        units.add(_read_markup(rows, markup, (frame, prefix), where))
    if not units:
        there = f"holds {_a(others[0])}, no list of points" if others else "has no list of points"
        raise InputError(f"{path}: {there}; place a point list in Slicer (markups type Fiducial) and save it")
    for kind in dict.fromkeys(others):
        rows.note(f"{_a(kind)} is left out: its control points are handles, no landmarks")
    if len(units) > 1:
        raise InputError(f"{path}: mixes mm and px; keep one unit in a file")
    name_points(rows)
    return rows.landmarks(unit=units.pop())


def _a(kind: str) -> str:
    return f"{'an' if kind[:1] in 'AEIOU' else 'a'} {kind}"


def _read_markup(rows: PointRows, markup: dict[str, Any], asked: tuple[str | None, str], where: str) -> str:
    """Put the control points of one markup into ``rows``; its unit.

    Args:
        rows, markup, where: to, from, and what errors call it.
        asked: the frame that it must have, and what goes before the id of a point without a label.
    """
    own = parse_slicer_frame(markup.get("coordinateSystem", "LPS"), where)
    if asked[0] not in (None, own):
        raise InputError(f"{where}: says frame {own}, not {asked[0]}; leave the argument frame out")
    code = markup.get("coordinateUnits", "mm")
    code = code[0] if isinstance(code, list) and code else code
    if not isinstance(code, str) or code not in _UNITS_MM:
        raise InputError(f"{where}: coordinateUnits {brief(code)} is unknown; write mm")
    points = markup.get("controlPoints", [])
    if not isinstance(points, list):
        raise InputError(f"{where}: controlPoints is no list; save the file again in Slicer")
    for text in _notes(markup):
        rows.note(text)
    for number, point in enumerate(points, 1):
        at = f"{where}, control point {number}"
        if not isinstance(point, dict):
            raise InputError(f"{at}: is no object; save the file again in Slicer")
        position, label = point.get("position"), point.get("label")
        if position in ("", []):
            position = None
        if isinstance(position, list):
            position = [parse_number(value, "a coordinate", at) * _UNITS_MM[code] for value in position]
        position = placed(position, point.get("positionStatus", "defined"), rows, at)
        if label is None or (isinstance(label, str) and not label.strip()):
            own_id = point.get("id")
            label = asked[1] + (str(own_id) if isinstance(own_id, (str, int)) and str(own_id).strip() else str(number))
            rows.unnamed[len(rows.names)] = label
        rows.add(label, position, own, parse_description(point.get("description", "")), at)
    return "px" if markup.get("unit") == "px" else "mm"


def _notes(markup: dict[str, Any]) -> list[str]:
    notes = markup.get("notes", [])
    return [text for text in notes if isinstance(text, str)] if isinstance(notes, list) else []


def write_points_markups(landmarks: Landmarks, path: Path) -> None:
    """Write a point list that Slicer loads; see ``markups_of``."""
    path.write_text(json.dumps(markups_of(landmarks), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def markups_of(landmarks: Landmarks) -> dict[str, Any]:
    """A point list as Slicer's JSON has it, in LPS; missing points are control points without a position.

    Points that are there and not trusted come last, in a list of their own: Slicer has one colour for a list, and
    theirs is red where the scan is unlike the training data, else orange. A property ``assessment`` of each list has
    the verdict on the scan and its reasons.

    Slicer knows no pixels: points of a film without spacing are written as if a pixel were 1 mm, which is how Slicer
    shows the film, and a property ``unit`` of the markup, which Slicer ignores, says "px". Notes stand in such a
    property, too, and in the description of every point, which Slicer shows.
    """
    suspect = landmarks.present & landmarks.suspect
    lists = [_markup(landmarks, np.flatnonzero(~suspect))] if not suspect.all() or not len(landmarks) else []
    if suspect.any() and landmarks.assessment is not None:
        color = _UNLIKE if landmarks.assessment.reasons else _DOUBTFUL
        colors = {"color": color, "selectedColor": color, "glyphType": "Cross2D"}
        lists.append({**_markup(landmarks, np.flatnonzero(suspect)), "name": "not trusted", "display": colors})
    return {"@schema": _SCHEMA, "markups": lists}


def _markup(landmarks: Landmarks, rows: NDArray[np.intp]) -> dict[str, Any]:
    """One list with the control points of these rows."""
    points, places = [], convert_frame(landmarks.points_mm, "LPS")
    for row in rows.tolist():
        there = bool(landmarks.present[row])
        points.append(
            {
                "id": str(row + 1),
                "label": landmarks.names[row],
                "description": describe(landmarks, row),
                "associatedNodeID": "",
                **({"position": places[row].tolist()} if there else {}),
                "orientation": _ORIENTATION,
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined" if there else "undefined",
            }
        )
    assessment = landmarks.assessment
    said = {} if assessment is None else {"verdict": assessment.verdict, "reasons": list(assessment.reasons)}
    return {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        **({"unit": "px"} if landmarks.unit == "px" else {}),
        **({"notes": list(landmarks.notes)} if landmarks.notes else {}),
        **({"assessment": said} if said else {}),
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(landmarks),
        "controlPoints": points,
    }
