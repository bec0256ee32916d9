"""3D Slicer's older files of points, .fcsv."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from lmk3d.errors import InputError
from lmk3d.io.markups import describe, parse_description, parse_slicer_frame
from lmk3d.io.tables import PointRows
from lmk3d.io.text import convert_frame, read_text

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.landmarks import Landmarks

__all__ = ["read_points_fcsv", "write_points_fcsv"]

_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_MISSING = "missing"
_SLICER_3_COLUMNS = "label,x,y,z,sel,vis"


def read_points_fcsv(path: Path, *, frame: str | None = None) -> Landmarks:
    """Read points of Slicer 3 to 5.

    The header's CoordinateSystem is RAS or LPS, or 0 (RAS) or 1 (LPS) in older files. Missing points are comments, see
    ``write_points_fcsv``.

    Args:
        path: the file.
        frame: frame of a file without CoordinateSystem; RAS, as in Slicer 3, when None.
    Raises:
        InputError: naming the line; for points in voxel indices (IJK, 2).
    """
    header: dict[str, str] = {}
    rows = PointRows()
    for number, line in enumerate(read_text(path).split("\n"), 1):
        where = f"{path}, line {number}"
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            header[key.strip().lower()] = value.strip()
            if key.strip().lower() == "coordinatesystem":
                frame = parse_slicer_frame(value.strip(), where)
            elif key.strip().lower() == _MISSING:
                _add_line(rows, value.removeprefix(" ").rstrip("\r"), header, frame or "RAS", where)
        elif line.strip():
            _add_line(rows, line.rstrip("\r"), header, frame or "RAS", where)
    if not header and not rows.names:
        raise InputError(f"{path}: is empty; save the points again in Slicer")
    return rows.landmarks(unit="px" if header.get("unit") == "px" else "mm")


def _add_line(rows: PointRows, line: str, header: dict[str, str], frame: str, where: str) -> None:
    default = _COLUMNS if "markups fiducial file version" in header else _SLICER_3_COLUMNS
    columns = [name.strip() for name in header.get("columns", default).split(",")]
    if not {"label", "x", "y", "z"} <= set(columns):
        raise InputError(
            f"{where}: the columns {','.join(columns)!r} lack label, x, y or z; save the file again in Slicer"
        )
    try:
        values = next(csv.reader([line]))
    except csv.Error as error:
        raise InputError(f"{where}: is no valid line ({error}); correct it") from None
    cells = dict(zip(columns, values, strict=False))  # Slicer 5 writes two more cells than it names
    if not {"label", "x", "y", "z"} <= cells.keys():
        raise InputError(f"{where}: has {len(cells)} of {len(columns)} cells; correct the line")
    point = [cells[axis] for axis in "xyz"]
    rows.add(cells["label"], point, frame, parse_description(cells.get("desc", "")), where)


def write_points_fcsv(landmarks: Landmarks, path: Path) -> None:
    """Write a file that Slicer 4 and 5 load, in LPS.

    The format has no missing points, and Slicer would show one without coordinates at the origin: their lines are put
    into comments, which Slicer skips and ``read_points_fcsv`` keeps.

    Raises:
        InputError: if a name has a line break, which the format cannot hold.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# Markups fiducial file version = 5.0\n# CoordinateSystem = LPS\n# columns = {_COLUMNS}\n")
        if landmarks.unit == "px":
            file.write("# unit = px\n")
        writer = csv.writer(file, lineterminator="\n")
        for row, name in enumerate(landmarks.names):
            if "\n" in name or "\r" in name:
                raise InputError(f"the name {name!r} has a line break, which .fcsv cannot hold; choose another format")
            point = convert_frame(landmarks.points_mm[row], "LPS")[0].tolist()
            cells = [repr(value) for value in point] if landmarks.present[row] else [""] * 3
            if not landmarks.present[row]:
                file.write(f"# {_MISSING} = ")
            writer.writerow([row + 1, *cells, 0, 0, 0, 1, 1, 1, 0, name, describe(landmarks, row), ""])
