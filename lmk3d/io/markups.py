"""3D Slicer's markups, .mrk.json."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.tables import PointRows
from lmk3d.io.text import convert_frame, parse_frame, parse_number, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.landmarks import Landmarks

__all__ = ["describe", "parse_description", "parse_slicer_frame", "read_points_markups", "write_points_markups"]

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/"
    "Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
)
# Lists of points; a plane's or a box's control points are handles, not landmarks.
_TYPES = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")
_UNITS_MM = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1000.0}
# RAS axes in LPS: what Slicer itself writes for a point that nobody turned.
_ORIENTATION = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]


def read_points_markups(path: Path, *, frame: str | None = None) -> Landmarks:
    """Read all control points of the point lists in a markups file.

    A point whose ``positionStatus`` is not "defined", or without a position, is missing. Confidence and error come
    from descriptions like "confidence=0.93; error_mm=1.2".

    Args:
        path: the file.
        frame: not needed, since a file that does not say its frame is LPS by definition; must agree if given.
    Raises:
        InputError: naming the control point.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("markups"), list):
        raise InputError(f"{path}: is no markups file of 3D Slicer (no list `markups`); save it again as .mrk.json")
    rows, units, found = PointRows(), set(), 0
    for number, markup in enumerate(content["markups"], 1):
        where = f"{path}, markup {number}"
        if not isinstance(markup, dict):
            raise InputError(f"{where}: is no object; save the file again in Slicer")
        if markup.get("type", "Fiducial") not in _TYPES:
            continue
        units.add(_read_markup(rows, markup, frame, where))
        found += 1
    if not found:
        raise InputError(f"{path}: has no list of points; save a point list (markups type Fiducial)")
    if len(units) > 1:
        raise InputError(f"{path}: mixes mm and px; keep one unit in a file")
    return rows.landmarks(unit=units.pop())


def _read_markup(rows: PointRows, markup: dict[str, Any], frame: str | None, where: str) -> str:
    """Put the control points of one markup into ``rows``; its unit."""
    own = parse_slicer_frame(markup.get("coordinateSystem", "LPS"), where)
    if frame not in (None, own):
        raise InputError(f"{where}: says frame {own}, not {frame}; leave the argument frame out")
    code = markup.get("coordinateUnits", "mm")
    code = code[0] if isinstance(code, list) and code else code
    if not isinstance(code, str) or code not in _UNITS_MM:
        raise InputError(f"{where}: coordinateUnits {code!r} is unknown; write mm")
    points = markup.get("controlPoints", [])
    if not isinstance(points, list):
        raise InputError(f"{where}: controlPoints is no list; save the file again in Slicer")
    for number, point in enumerate(points, 1):
        at = f"{where}, control point {number}"
        if not isinstance(point, dict):
            raise InputError(f"{at}: is no object; save the file again in Slicer")
        position = point.get("position") or None
        if point.get("positionStatus", "defined") != "defined":
            position = None
        if isinstance(position, list):
            position = [parse_number(value, "a coordinate", at) * _UNITS_MM[code] for value in position]
        rows.add(point.get("label"), position, own, parse_description(point.get("description", "")), at)
    return "px" if markup.get("unit") == "px" else "mm"


def write_points_markups(landmarks: Landmarks, path: Path) -> None:
    """Write a point list that Slicer loads; see ``markups_of``."""
    path.write_text(json.dumps(markups_of(landmarks), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def markups_of(landmarks: Landmarks) -> dict[str, Any]:
    """A point list as Slicer's JSON has it, in LPS; missing points are control points without a position.

    Slicer knows no pixels: points of a film without spacing are written as if a pixel were 1 mm, which is how Slicer
    shows the film, and a property ``unit`` of the markup, which Slicer ignores, says "px".
    """
    points = []
    for row, (name, point) in enumerate(zip(landmarks.names, convert_frame(landmarks.points_mm, "LPS"), strict=True)):
        there = bool(landmarks.present[row])
        points.append(
            {
                "id": str(row + 1),
                "label": name,
                "description": describe(landmarks, row),
                "associatedNodeID": "",
                **({"position": point.tolist()} if there else {}),
                "orientation": _ORIENTATION,
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined" if there else "undefined",
            }
        )
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        **({"unit": "px"} if landmarks.unit == "px" else {}),
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(points),
        "controlPoints": points,
    }
    return {"@schema": _SCHEMA, "markups": [markup]}


def parse_slicer_frame(value: object, where: str) -> str:
    """The frame, "RAS" or "LPS", from a name or from the number in files of older Slicers: 0 is RAS, 1 is LPS.

    Raises:
        InputError: for anything else; for voxel indices (IJK, 2) saying what to do.
    """
    text = str(value).strip().upper()
    if text in ("IJK", "2"):
        raise InputError(f"{where}: points are voxel indices (IJK) of an unknown image; save them in RAS or LPS")
    return parse_frame({"0": "RAS", "1": "LPS"}.get(text, value), where)


def describe(landmarks: Landmarks, row: int) -> str:
    """Confidence and expected error of one point as its description."""
    measures = {"confidence": landmarks.confidence, f"error_{landmarks.unit}": landmarks.error_mm}
    # float() so that NumPy 2 does not write np.float64(...).
    there = {name: float(values[row]) for name, values in measures.items() if values is not None}
    return "; ".join(f"{name}={value!r}" for name, value in there.items() if not np.isnan(value))


def parse_description(text: object) -> tuple[str | None, str | None]:
    """Confidence and expected error that ``describe`` wrote; None for what is not there."""
    found = (re.search(rf"\b{name}=(\d[\d.eE+-]*)", str(text)) for name in ("confidence", "error_(?:mm|px)"))
    confidence, error_mm = (match and match.group(1) for match in found)
    return confidence, error_mm
