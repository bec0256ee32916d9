"""3D Slicer's older files of points, .fcsv."""

from __future__ import annotations

import csv
from functools import lru_cache
from typing import TYPE_CHECKING

from lmk3d.errors import InputError
from lmk3d.io.slicer import STATES, describe, name_points, parse_description, parse_slicer_frame, placed
from lmk3d.io.tables import PointRows
from lmk3d.io.text import brief, convert_frame, read_text

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.landmarks import Landmarks

__all__ = ["read_points_fcsv", "write_points_fcsv"]

_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_MISSING, _NOTE = "missing", "note"
_SLICER_3_COLUMNS = "label,x,y,z,sel,vis"
# Slicer 5.2 and later write two cells more than they name: the position's state, and whether Slicer made the point.
_UNNAMED_CELLS = 2


def read_points_fcsv(path: Path, *, frame: str | None = None) -> Landmarks:
    """Read points of Slicer 3 to 5.

    The header's CoordinateSystem is RAS or LPS, or 0 (RAS) or 1 (LPS) in older files. Points that Slicer calls
    undefined or missing are missing, see ``placed``; so are those in comments, see ``write_points_fcsv``.

    Args:
        path: the file.
        frame: frame of a file without CoordinateSystem; RAS, as in Slicer 3, when None.
    Raises:
        InputError: naming the line; for points in voxel indices (IJK, 2).
    """
    header: dict[str, str] = {}
    rows = PointRows()
    text = read_text(path)
    for number, line in enumerate(text.split("\n" if "\n" in text else "\r"), 1):  # old Macs end lines in \r alone
        where = f"{path}, line {number}"
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            key, value = key.strip().lower(), value.strip()
            header[key] = value
            if key == "coordinatesystem":
                frame = parse_slicer_frame(value, where)
            elif key == _NOTE:
                rows.note(value)
            elif key == _MISSING:
                _add_line(rows, value, header, frame, where)
        elif line.strip():
            _add_line(rows, line.rstrip("\r"), header, frame, where)
    if not header and not rows.names:
        raise InputError(f"{path}: is empty; save the points again in Slicer")
    name_points(rows)
    return rows.landmarks(unit="px" if header.get("unit") == "px" else "mm")


def _add_line(rows: PointRows, line: str, header: dict[str, str], frame: str | None, where: str) -> None:
    default = _COLUMNS if "markups fiducial file version" in header else _SLICER_3_COLUMNS
    columns = _columns(header.get("columns", default), where)
    try:
        values = next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise InputError(f"{where}: is no valid line ({error}); correct it") from None
    cells = dict(zip(columns, values, strict=False))
    if not {"label", "x", "y", "z"} <= cells.keys():
        raise InputError(f"{where}: has {len(cells)} of {len(columns)} cells; correct the line")
    if frame is None:
        frame = "RAS"
        if default == _COLUMNS:
            rows.note("the file does not say its CoordinateSystem, RAS is assumed")
    label = cells["label"]
    if not label.strip():
        label = rows.unnamed[len(rows.names)] = cells.get("id", "").strip() or str(len(rows.names) + 1)
    point = placed([cells[axis] for axis in "xyz"], _state(values[len(columns) :], where), rows, where)
    rows.add(label, point, frame, parse_description(cells.get("desc", "")), where)


@lru_cache(maxsize=8)
def _names(columns: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in columns.split(","))


def _columns(text: str, where: str) -> tuple[str, ...]:
    columns = _names(text)
    if not {"label", "x", "y", "z"} <= set(columns) or len(set(columns)) < len(columns):
        raise InputError(
            f"{where}: the columns {brief(','.join(columns))} lack label, x, y or z, or have one twice; save the file "
            "again in Slicer"
        )
    return columns


def _state(more: list[str], where: str) -> str:
    """The state of a position, from the cells behind those that the header names; "defined" where there are none."""
    if not more:
        return "defined"
    number = more[0].strip()
    if len(more) > _UNNAMED_CELLS or number not in map(str, range(len(STATES))):
        raise InputError(f"{where}: has more cells than columns; put texts that hold a comma in double quotes")
    return STATES[int(number)]


def write_points_fcsv(landmarks: Landmarks, path: Path) -> None:
    """Write a file that Slicer 4 and 5 load, in LPS.

    The format of Slicer before 5.2 has no missing points, and would show one without coordinates at the origin: their
    lines are put into comments, which Slicer skips and ``read_points_fcsv`` keeps.

    Raises:
        InputError: if a name has a line break, which the format cannot hold.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# Markups fiducial file version = 5.2\n# CoordinateSystem = LPS\n# columns = {_COLUMNS}\n")
        if landmarks.unit == "px":
            file.write("# unit = px\n")
        file.writelines(f"# {_NOTE} = {' '.join(note.split())}\n" for note in landmarks.notes)
        writer = csv.writer(file, lineterminator="\n")
        for row, name in enumerate(landmarks.names):
            if "\n" in name or "\r" in name:
                raise InputError(f"the name {name!r} has a line break, which .fcsv cannot hold; choose another format")
            there = bool(landmarks.present[row])
            point = convert_frame(landmarks.points_mm[row], "LPS")[0].tolist()
            cells = [repr(value) for value in point] if there else [""] * 3
            state = STATES.index("defined" if there else "missing")
            if not there:
                file.write(f"# {_MISSING} = ")
            text = " ".join(describe(landmarks, row).split())
            writer.writerow([row + 1, *cells, 0, 0, 0, 1, 1, 1, 0, name, text, "", state, 0])
