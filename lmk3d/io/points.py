"""Files of points: the format follows the file's name."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.errors import InputError
from lmk3d.io.atomic import atomic_path
from lmk3d.io.fcsv import read_points_fcsv, write_points_fcsv
from lmk3d.io.markups import read_points_markups, write_points_markups
from lmk3d.io.tables import read_points_csv, read_points_json, write_points_csv, write_points_json
from lmk3d.io.text import parse_frame

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

__all__ = ["POINT_FORMATS", "read_points", "write_points"]

REPORT = "sr.dcm"
"""What the name of a DICOM structured report ends in where this package chooses it."""


def _read_report(path: Path, *, frame: str | None = None) -> Landmarks:
    if frame not in (None, "LPS"):
        raise InputError(f"{path}: DICOM is always LPS; leave frame out")
    from lmk3d.io.structured_report import read_points_sr

    return read_points_sr(path)


_READERS: dict[str, Callable[..., Landmarks]] = {
    ".mrk.json": read_points_markups,
    ".fcsv": read_points_fcsv,
    ".csv": read_points_csv,
    ".tsv": read_points_csv,
    ".txt": read_points_csv,
    ".json": read_points_json,
    ".dcm": _read_report,
}
_WRITERS: dict[str, Callable[..., None]] = {
    ".mrk.json": write_points_markups,
    ".fcsv": write_points_fcsv,
    ".csv": write_points_csv,
    ".tsv": partial(write_points_csv, delimiter="\t"),
    ".txt": partial(write_points_csv, delimiter="\t"),
    ".json": write_points_json,
}

POINT_FORMATS = tuple(_WRITERS)
"""Endings of the files of points that need nothing else; a DICOM report (.dcm) needs its images to be written."""


def read_points(
    path: str | os.PathLike[str], *, frame: str | None = None, image: Callable[[], Volume] | None = None
) -> Landmarks:
    """Read a file of points.

    3D Slicer's .mrk.json and .fcsv, tables (.csv, .tsv, .txt), this package's .json, DICOM structured reports (.dcm).

    Args:
        path: the file.
        frame: "RAS" or "LPS", of a table or .json that does not say it; RAS when None.
        image: gives the image that the points lie in; called only for a table of pixels, column,row.
    Returns:
        The points in world RAS mm (or px), missing ones as NaN.
    Raises:
        InputError: naming file and line.
    """
    path = Path(path)
    ending = _ending(path)
    frame = None if frame is None else parse_frame(frame, "argument frame")
    if _READERS[ending] is read_points_csv:
        return read_points_csv(path, frame=frame, image=image)
    return _READERS[ending](path, frame=frame)


def write_points(
    landmarks: Landmarks,
    path: str | os.PathLike[str],
    *,
    image: str | os.PathLike[str] | None = None,
    series: str | None = None,
) -> None:
    """Write points in the format of the file's name; see ``read_points``. An existing file is replaced.

    Points that are not trusted are marked, and have no expected error; ``Landmarks.withheld`` leaves them out.

    Args:
        landmarks: the points.
        path: the file.
        image: the DICOM images the points lie in; only a structured report (.dcm) needs and uses them.
        series: which of them, if there are several series.
    Raises:
        InputError: if no format has this ending, a landmark has no name, or the file cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> from lmk3d.landmarks import Landmarks
    >>> points = Landmarks(("apex", "root"), [[1, 2, 3], [float("nan")] * 3])
    >>> with TemporaryDirectory() as folder:
    ...     write_points(points, f"{folder}/points.mrk.json")
    ...     found = read_points(f"{folder}/points.mrk.json")
    >>> found.names, found.present
    (('apex', 'root'), array([ True, False]))
    """
    path = Path(path)
    ending = _ending(path)
    if not all(name.strip() for name in landmarks.names):
        raise InputError(f"{path}: a landmark has no name; give each one before writing")
    if any("\0" in name for name in landmarks.names):
        raise InputError(f"{path}: a landmark's name has a NUL character, which no format holds; remove it")
    landmarks = landmarks.withheld(keep_points=True)
    with atomic_path(path) as temporary:
        if ending != ".dcm":
            _WRITERS[ending](landmarks, temporary)
        elif image is None:
            raise InputError(f"{path}: a DICOM report refers to its images; say which the points lie in (--image)")
        else:
            from lmk3d.io.structured_report import write_points_sr

            write_points_sr(landmarks, temporary, image=Path(image), series=series)


def _ending(path: Path) -> str:
    name = path.name.lower()
    for ending in _READERS:  # .mrk.json comes before .json
        if name.endswith(ending):
            return ending
    raise InputError(f"{path}: is no file of points; its name must end in {', '.join(_READERS)}")
