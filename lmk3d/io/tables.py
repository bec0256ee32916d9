"""Tables of points: CSV (and tab-separated text) and this package's JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.csv_files import csv_line
from lmk3d.io.text import (
    brief,
    check_keys,
    parse_frame,
    parse_number,
    plain_cell,
    read_json,
    read_text,
)
from lmk3d.io.trust import PointTrust, Said, assessment_of, parse_trust, trust_of
from lmk3d.landmarks import Landmarks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lmk3d.geometry import Volume

__all__ = ["PointRows", "read_points_csv", "read_points_json", "write_points_csv", "write_points_json"]

_NAMES = ("name", "label", "landmark")
# The second and third are what 3D Slicer exports; their letters are the frame.
_COORDINATES = {("x", "y", "z"): None, ("r", "a", "s"): "RAS", ("l", "p", "s"): "LPS"}
# Beyond it nothing is anatomy, and squares of much larger numbers would overflow.
_FARTHEST_MM = 1e9
_MEASURES = ("confidence", "error_mm")
_DEFINED = dict.fromkeys(("", "1", "1.0", "true", "yes", "t", "y"), True)
_DEFINED |= dict.fromkeys(("0", "0.0", "false", "no", "f", "n"), False)
# No file has more to say; one that does is not read by anybody.
_MOST_NOTES = 20
_JSON_KEYS = {"frame", "unit", "notes", "coverage", "landmarks"}
_POINT_KEYS = {"name", "position", "confidence", "error_mm", "trust", "why"}


@dataclass
class PointRows:
    """Rows of a file of points on their way to ``Landmarks``: each is checked where its line is still known."""

    names: list[str] = field(default_factory=list)
    points_mm: list[list[float]] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    error_mm: list[float] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    unnamed: dict[int, str] = field(default_factory=dict)
    trust: list[PointTrust | None] = field(default_factory=list)
    coverage: float | None = None

    def add(self, name: object, point: object, frame: str, said: Said, where: str) -> None:
        """Take one point.

        Args:
            name: its name; not empty.
            point: three numbers in ``frame``; None, or three times nothing or NaN, is a missing point.
            frame: "RAS" or "LPS".
            said: what the file says of it beside.
            where: file and line, for the error.
        Raises:
            InputError: if the name is empty, the point is not three numbers, the confidence is not in [0, 1], or the
                coverage is another one than that of the points before.
        """
        if name is not None and not isinstance(name, str):
            raise InputError(f"{where}: the name of a point is {brief(name)}; write a text")
        if name is None or not name.strip():
            raise InputError(f"{where}: a point has no name; give each point one")
        if "\0" in name:
            raise InputError(f"{where}: the name {brief(name)} has a NUL character; remove it")
        if point is None:
            point = [None] * 3
        if not isinstance(point, (list, tuple)) or len(point) != 3:
            raise InputError(f"{where}: the position of {brief(name)} is {brief(point)}; write three numbers")
        x, y, z = (_number(value, axis, name, where) for axis, value in zip("xyz", point, strict=True))
        if 0 < math.isnan(x) + math.isnan(y) + math.isnan(z) < 3:
            raise InputError(f"{where}: the position of {brief(name)} is {brief(point)}; write three numbers, or none")
        confidence, error_mm = (_number(getattr(said, measure), measure, name, where) for measure in _MEASURES)
        if any(abs(number) > _FARTHEST_MM for number in (x, y, z, error_mm)):
            raise InputError(f"{where}: a number of {brief(name)} is above {_FARTHEST_MM:g}; no image is that large")
        if not math.isnan(confidence) and not 0 <= confidence <= 1:
            raise InputError(f"{where}: confidence of {brief(name)} is {confidence:g}; it lies between 0 and 1")
        if error_mm < 0:
            raise InputError(f"{where}: error_mm of {brief(name)} is {error_mm:g}; a distance is not negative")
        told = parse_trust(said, where)
        placed = told is not None and told.missing and not math.isnan(x)  # by hand since: that was said of no point
        self.trust.append(None if placed else told)
        self.cover(said.coverage, where)
        self.names.append(name)
        # Adding zero turns -0.0 back into 0.0.
        self.points_mm.append([-x + 0.0, -y + 0.0, z] if frame == "LPS" else [x, y, z])
        self.confidence.append(confidence)
        self.error_mm.append(error_mm)

    def cover(self, value: object, where: str) -> None:
        """Take the coverage of the points' errors, which all share; nothing where ``value`` is None or empty."""
        coverage = parse_number(value, "coverage", where)
        if math.isnan(coverage):
            return
        if not 0 < coverage < 1 or self.coverage not in (None, coverage):
            raise InputError(f"{where}: coverage is {coverage:g}; write one number between 0 and 1 for all points")
        self.coverage = coverage

    def note(self, text: str) -> None:
        """Keep what a user should know, once."""
        if len(self.notes) < _MOST_NOTES:
            self.notes[text] = None

    def landmarks(self, *, unit: str = "mm", confidence: bool | None = None, error_mm: bool | None = None) -> Landmarks:
        """The rows as ``Landmarks``.

        Args:
            unit: "mm" or "px".
            confidence, error_mm: whether the file has that measure; None decides by whether any row has it.
        """
        has = [
            not np.isnan(values).all() if has is None else has
            for values, has in ((self.confidence, confidence), (self.error_mm, error_mm))
        ]
        if not self.names:
            self.note("the file is an empty list of points; place the points and save it again")
        held_back = [told is not None and told.suspect for told in self.trust]
        return Landmarks(
            tuple(self.names),
            np.array(self.points_mm, dtype=np.float64).reshape(-1, 3),
            np.array(self.confidence) if has[0] else None,
            np.array(self.error_mm) if has[1] else None,
            unit=unit,
            notes=tuple(self.notes),
            assessment=assessment_of(self.trust),
            coverage=self.coverage,
            held_back=np.array(held_back, dtype=bool),  # where there is a point, Landmarks drops it
        )


def _number(value: object, what: str, name: str, where: str) -> float:
    """As ``parse_number``; the point's name is put together for an error alone, since files may be long."""
    try:
        return parse_number(value, what, where)
    except InputError:
        return parse_number(value, f"{what} of {brief(name)}", where)


def read_points_csv(path: Path, *, frame: str | None = None, image: Callable[[], Volume] | None = None) -> Landmarks:
    """Read a table with a header: name,x,y,z and, each if there, frame,confidence,error_mm,coverage,unit,trust,why.

    The name's column may be called label or landmark; separators are commas, semicolons or tabs; r,a,s or l,p,s in
    place of x,y,z say the frame. A missing point has empty coordinates. Of a radiograph column,row may stand instead,
    counted from the centre of the first pixel, which is 0,0.

    Args:
        path: the file.
        frame: frame of a table that does not say it; RAS when None.
        image: gives the image of the points; called only for a table of column,row.
    Raises:
        InputError: naming the line.
    """
    text = read_text(path)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, units, columns = PointRows(), set(), None
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if columns is None:
                columns = _Columns.of(cells, frame, where, image)
            elif any(cell.strip() for cell in cells):
                units.add(columns.add_row(rows, cells, where))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: is no valid table ({error}); correct the line") from None
    if columns is None:
        raise InputError(f"{path}: is empty; write a header name,x,y,z,frame and one row for each point")
    if len(units) > 1:
        raise InputError(f"{path}: mixes mm and px; write one unit in all rows")
    has = {measure: measure in columns.index for measure in _MEASURES}
    return rows.landmarks(unit=units.pop() if units else "mm", **has)


@dataclass(frozen=True)
class _Columns:
    """Where a table keeps what."""

    index: dict[str, int]
    name: str
    coordinates: tuple[str, ...]
    frame: str | None
    stated: bool
    radiograph: Volume | None = None

    @classmethod
    def of(cls, header: list[str], frame: str | None, where: str, image: Callable[[], Volume] | None) -> _Columns:
        names = [cell.strip().lower() for cell in header]
        index = {name: column for column, name in enumerate(names)}
        if len(index) < len(names):
            raise InputError(f"{where}: the header has a column twice; keep one of each")
        if "case" in index:
            raise InputError(f"{where}: a column `case` says the table holds several images; write one file for each")
        name = next((name for name in _NAMES if name in index), None)
        coordinates = next((axes for axes in _COORDINATES if set(axes) <= index.keys()), None)
        if name is not None and coordinates is None and {"column", "row"} <= index.keys():
            return cls(
                index, name, ("column", "row"), "RAS", stated=True, radiograph=_radiograph_of(image, index, where)
            )
        if name is None or coordinates is None:
            raise InputError(f"{where}: the header is {brief(','.join(header))}; write name,x,y,z,frame")
        own = _COORDINATES[coordinates]
        return cls(index, name, coordinates, own or frame, stated=own is not None)

    def add_row(self, rows: PointRows, cells: list[str], where: str) -> str:
        """Put one line into ``rows``; its unit."""
        if len(cells) != len(self.index):
            raise InputError(
                f"{where}: has {len(cells)} cells where the header has {len(self.index)}; correct the line"
            )
        own = self._cell(cells, "frame")
        frame = parse_frame(own, where) if own else self.frame
        if self.stated and frame != self.frame:
            raise InputError(f"{where}: frame {frame} contradicts the columns {','.join(self.coordinates)}")
        if frame is None:
            frame = "RAS"
            rows.note("the table does not say its frame, RAS is assumed; add a column frame with RAS or LPS")
        unit = self._cell(cells, "unit") or "mm"
        if unit not in ("mm", "px"):
            raise InputError(f"{where}: unit {brief(unit)} is unknown; write mm or px")
        name = plain_cell(cells[self.index[self.name]])
        gone = not _placed(self._cell(cells, "defined"), where)
        point: object = None if gone else [cells[self.index[axis]] for axis in self.coordinates]
        if self.radiograph is not None:
            point, unit = (
                None if gone else self._in_radiograph(self.radiograph, cells, name, where),
                self.radiograph.unit,
            )
        rows.add(name, point, frame, Said(*(self._cell(cells, column) for column in Said._fields)), where)
        return unit

    def _in_radiograph(self, radiograph: Volume, cells: list[str], name: str, where: str) -> list[float]:
        """World RAS of a pixel of a radiograph."""
        column, row = (_number(self._cell(cells, axis), axis, name, where) for axis in self.coordinates)
        if math.isnan(column) != math.isnan(row):
            raise InputError(f"{where}: the position of {brief(name)} has only one of column and row; write both")
        return list(radiograph.grid.to_mm([row, column, np.nan if math.isnan(row) else 0.0]).tolist())

    def _cell(self, cells: list[str], column: str) -> str:
        return cells[self.index[column]].strip() if column in self.index else ""


def _placed(defined: str, where: str) -> bool:
    """Slicer writes defined = 0 for a point without a position; other programs turn numbers into words."""
    if defined.lower() not in _DEFINED:
        raise InputError(f"{where}: defined is {brief(defined)}; write 1 for a point with a position, else 0")
    return _DEFINED[defined.lower()]


def _radiograph_of(image: Callable[[], Volume] | None, index: dict[str, int], where: str) -> Volume:
    """The radiograph whose pixels a table of column,row counts."""
    if image is None:
        raise InputError(
            f"{where}: pixel indices need their image; name both in a data set, give --image, or write x,y,z in mm"
        )
    if beside := index.keys() & {"slice", "frame", "unit"}:
        raise InputError(f"{where}: column,row with {', '.join(sorted(beside))} is unclear; write x,y,z in mm")
    radiograph = image()
    if radiograph.grid.shape[2] > 1:
        raise InputError(f"{where}: column,row are of a radiograph, the image is a volume; write x,y,z in mm")
    return radiograph


def write_points_csv(landmarks: Landmarks, path: Path, *, delimiter: str = ",") -> None:
    """Write a table with the header name,x,y,z,frame in RAS; missing points stay empty.

    Columns confidence, error_mm, coverage (which belongs to error_mm), unit, trust and why follow where there is
    anything to say in them.
    """
    measures = [name for name in _MEASURES if getattr(landmarks, name) is not None]
    shared = {"coverage": landmarks.coverage, "unit": "px" if landmarks.unit == "px" else None}
    shared = {name: value for name, value in shared.items() if value is not None}
    assessed = landmarks.assessment is not None
    heads: list[object] = ["name", "x", "y", "z", "frame", *measures, *shared, *(["trust", "why"] if assessed else [])]
    lines = [heads]
    for row, name in enumerate(landmarks.names):
        values = [*landmarks.points_mm[row].tolist(), *(float(getattr(landmarks, m)[row]) for m in measures)]
        trust = trust_of(landmarks, row) if assessed else ()
        lines.append([name, *values[:3], "RAS", *values[3:], *shared.values(), *trust])
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(csv_line(line, delimiter) + "\n" for line in lines)


def read_points_json(path: Path, *, frame: str | None = None) -> Landmarks:
    """Read {"frame", "unit", "notes", "coverage", "landmarks": [{"name", "position", ...}]}.

    A landmark's other keys are confidence, error_mm, trust and why.

    Args:
        path: the file.
        frame: frame of a file that does not say it; RAS when None.
    Raises:
        InputError: naming the entry.
    """
    content = read_json(path)
    if isinstance(content, dict) and "markups" in content:
        raise InputError(f"{path}: is a markups file of 3D Slicer; name it .mrk.json")
    if not isinstance(content, dict) or not isinstance(content.get("landmarks"), list):
        raise InputError(f'{path}: is no file of points; write {{"frame": "RAS", "unit": "mm", "landmarks": [...]}}')
    check_keys(content, _JSON_KEYS, str(path))
    rows = PointRows(notes=dict.fromkeys(_notes(content.get("notes", []), path)))
    if "frame" not in content and frame is None:
        rows.note('the file does not say its frame, RAS is assumed; add "frame": "RAS" or "LPS"')
    frame = parse_frame(content["frame"], str(path)) if "frame" in content else frame or "RAS"
    unit = content.get("unit", "mm")
    if unit not in ("mm", "px"):
        raise InputError(f"{path}: unit {brief(unit)} is unknown; write mm or px")
    rows.cover(content.get("coverage"), str(path))
    for number, entry in enumerate(content["landmarks"], 1):
        where = f"{path}, landmark {number}"
        if not isinstance(entry, dict):
            raise InputError(f'{where}: is {brief(entry)}; write {{"name": ..., "position": [x, y, z]}}')
        check_keys(entry, _POINT_KEYS, where)
        said = Said(**{key: entry[key] for key in Said._fields if key in entry})
        rows.add(entry.get("name"), entry.get("position"), frame, said, where)
    has = {measure: any(measure in entry for entry in content["landmarks"]) for measure in _MEASURES}
    return rows.landmarks(unit=unit, **has)


def _notes(value: object, path: Path) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{path}: notes must be a list of texts; correct it")
    return list(value)


def write_points_json(landmarks: Landmarks, path: Path) -> None:
    """Write the points in RAS; a missing point has the position null."""
    entries: list[dict[str, Any]] = []
    for row, name in enumerate(landmarks.names):
        point = landmarks.points_mm[row].tolist() if landmarks.present[row] else None
        entries.append({"name": name, "position": point})
        for measure in _MEASURES:
            if (values := getattr(landmarks, measure)) is not None:
                entries[-1][measure] = None if np.isnan(values[row]) else float(values[row])
        if landmarks.assessment is not None:
            entries[-1]["trust"], entries[-1]["why"] = trust_of(landmarks, row)
    shared = {"notes": list(landmarks.notes) or None, "coverage": landmarks.coverage}
    shared = {key: value for key, value in shared.items() if value is not None}
    content = {"frame": "RAS", "unit": landmarks.unit, **shared, "landmarks": entries}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
