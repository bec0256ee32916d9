"""NRRD files, .nrrd and .nhdr: SimpleITK reads them; what it would take in silence is refused or noted here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.itk import read_itk
from lmk3d.io.packed import ZLIB_MOST, check_spacing, file_beside, make_volume

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.geometry import Volume

__all__ = ["nrrd_voxels", "read_nrrd"]

# How many bytes of voxels a byte of the file can stand for.
_ENCODINGS = {"raw": 1, "gzip": ZLIB_MOST, "gz": ZLIB_MOST, "ascii": 1, "text": 1, "txt": 1, "hex": 1}
# ITK skips line by line and, in a packed file, byte by byte.
_MOST_SKIPPED = 1 << 20
_MM = ("", "mm", "millimeter", "millimeters", "millimetre", "millimetres", "???", "none")
_ANATOMICAL = re.compile(r"(left|right)-(anterior|posterior)-superior|[lr][ap]s")


def read_nrrd(path: Path, *, spacing_mm: float | None = None) -> Volume:
    """Read an image of one value a voxel, its voxels in the same file or in one beside it, packed or not.

    Args:
        path: the .nrrd or .nhdr file.
        spacing_mm: spacing of a file that does not say its own; such a file is in px without it.
    Raises:
        InputError: if it is not an NRRD image, is damaged, is 4D or in colour, or has no usable geometry.
    """
    fields = _read_fields(path)
    known = "spacedirections" in fields or "spacings" in fields
    if known and spacing_mm is not None:
        raise InputError(f"{path}: says its own spacing; give none")
    _check_geometry(fields, path)
    data, affine = read_itk(path, "NrrdImageIO", most=_most(fields, path))
    if spacing_mm is not None:
        affine[:3, :3] *= spacing_mm
    unit = "mm" if known or spacing_mm else "px"
    return make_volume(data, affine, path, unit=unit, notes=_notes(fields, unit, data.shape))


def nrrd_voxels(path: Path) -> Path:
    """The file that holds the voxels.

    Raises:
        InputError: if the header cannot be read, or names a file that must not be read.
    """
    return _voxels(_read_fields(path), path)


def _voxels(fields: dict[str, str], path: Path) -> Path:
    return file_beside(path, fields["datafile"]) if "datafile" in fields else path


def _read_fields(path: Path) -> dict[str, str]:
    """The header's fields, their names in small letters without spaces, up to its empty line or its end."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.readline(64).startswith(b"NRRD"):
            raise InputError(f"{path}: is not an NRRD image; give a .nrrd or .nhdr file")
        for number in range(2, 10_000):
            line = file.readline(1 << 16).decode("utf-8", errors="replace").rstrip("\r\n")
            if not line:
                break
            key, sign, value = line.partition(":")
            if not line.startswith("#") and not sign:
                raise InputError(f"{path}, line {number}: is not a line of an NRRD header; the file is damaged")
            if not line.startswith("#") and not value.startswith("="):  # := belongs to comments of programs
                fields["".join(key.lower().split())] = value.strip()
            if value.strip().startswith("LIST"):  # of files, whose names follow
                break
    return fields


def _check_geometry(fields: dict[str, str], path: Path) -> None:
    """Refuse where ITK invents a number for one that the header lacks, or loses one that it has."""
    sizes = [int(side) if side.isdigit() else 0 for side in fields.get("sizes", "").split()]
    axes = re.findall(r"\([^)]*\)|none", fields.get("spacedirections", ""))
    for axis, (side, vector) in enumerate(zip(sizes, axes, strict=False)):
        if vector == "none" and side > 1:
            raise InputError(f"{path}: axis {axis} of {side} has no place in space; give one grey image")
    spacings = fields.get("spacings", "").split()
    check_spacing([_number(text) for side, text in zip(sizes, spacings, strict=False) if side > 1], path)
    if not all(np.isfinite(_number(text)) for text in fields.get("spaceorigin", "0").strip("()").split(",")):
        raise InputError(f"{path}: its space origin is {fields['spaceorigin'][:80]!r}; write the first voxel's place")
    if "axismaxs" in fields and not spacings:
        raise InputError(f"{path}: says its extent but no spacing; write spacings into its header")
    if re.match(r"(right|left-anterior|ra|la).*t(ime)?$", fields.get("space", "").lower()):  # ITK drops the signs
        raise InputError(f"{path}: its space {fields['space']!r} has an axis of time; save it in three dimensions")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _most(fields: dict[str, str], path: Path) -> int:
    """How many voxels the file can hold, now that nothing in its header can lead elsewhere or on for ever."""
    encoding = fields.get("encoding", "").lower()
    if encoding not in _ENCODINGS:
        raise InputError(f"{path}: encoding {encoding!r} cannot be read; save it as raw or gzip")
    lines, skip = (_whole(fields, name, path) for name in ("lineskip", "byteskip"))
    size = _voxels(fields, path).stat().st_size
    packed = _ENCODINGS[encoding] > 1
    if not 0 <= lines <= _MOST_SKIPPED or not -1 <= skip <= size or (packed and not 0 <= skip <= _MOST_SKIPPED):
        raise InputError(f"{path}: line skip {lines} or byte skip {skip} leads out of the file; correct its header")
    return size * _ENCODINGS[encoding]


def _whole(fields: dict[str, str], name: str, path: Path) -> int:
    try:
        return int(fields.get(name, "0").replace("_", "x"))  # Python's 1_000 is no number
    except ValueError:
        raise InputError(f"{path}: {name} is {fields[name][:80]!r}, no whole number; correct its header") from None


def _notes(fields: dict[str, str], unit: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """What ITK, and Slicer with it, does not say: units that it takes for mm, and a space that it takes for LPS."""
    notes = []
    given = re.findall(r'"([^"]*)"', fields.get("spaceunits", fields.get("units", "")))
    if odd := sorted({text for text in given if text.strip().lower() not in _MM}):
        notes.append(f"its header says units of {', '.join(odd)}; they are read as mm, as by 3D Slicer")
    space = fields.get("space", "")
    if unit == "mm" and max(shape[2:], default=1) > 1 and not _ANATOMICAL.match(space.lower()):
        said = f"says space {space!r}" if space else "names no space"
        notes.append(f"its header {said}, which tells no left from right; it is read as LPS, as by 3D Slicer")
    if "spacedirections" in fields and "spaceorigin" not in fields:
        notes.append("its header names no space origin; its first voxel is taken to lie at 0,0,0, as by 3D Slicer")
    return tuple(notes)
