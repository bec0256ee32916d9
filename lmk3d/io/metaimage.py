"""MetaImage files, .mha and .mhd, without ITK, which gives memory as it finds it for damaged packed voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.packed import (
    ByteSource,
    check_shape,
    check_spacing,
    file_beside,
    itk_affine,
    make_volume,
    open_source,
    seek_tail,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.geometry import Volume

__all__ = ["metaimage_voxels", "read_metaimage"]

_LONGEST = 1 << 31  # voxels along an axis
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def read_metaimage(path: Path, *, spacing_mm: float | None = None) -> Volume:
    """Read an image of one value a voxel, its voxels in the same file or in one beside it, packed or not.

    Args:
        path: the .mha or .mhd file.
        spacing_mm: spacing of a file that does not say its own; such a file is in px without it.
    Raises:
        InputError: if it is no MetaImage, is damaged, is 4D or in colour, or has no usable geometry.
    """
    with open_source(path) as (file, _):
        header = _Header(_read_fields(file, path), path)
        shape, dtype, packing = header.shape(), header.dtype(), header.packing()
        affine, known = header.affine(spacing_mm)
        if header.voxels() == path:
            data = header.skip(file, shape, dtype, packing).array(shape, dtype)
        else:
            with open_source(header.voxels()) as (other, _):
                data = header.skip(other, shape, dtype, packing).array(shape, dtype)
    return make_volume(data, affine, path, unit="mm" if known else "px", notes=header.notes())


def metaimage_voxels(path: Path) -> Path:
    """The file that holds the voxels.

    Raises:
        InputError: if the header cannot be read, or names a file that must not be read.
    """
    with open_source(path) as (file, _):
        return _Header(_read_fields(file, path), path).voxels()


def _read_fields(file: IO[bytes], path: Path) -> dict[str, str]:
    """The header's lines up to ElementDataFile, after which the voxels may begin."""
    fields: dict[str, str] = {}
    for number in range(1, 10_000):
        line = file.readline(1 << 16)
        key, sign, value = line.decode("utf-8", errors="replace").partition("=")
        if not sign or "\0" in key:
            raise InputError(f"{path}, line {number}: is not a MetaImage header; give a .mha or .mhd file")
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            break
    return fields


@dataclass(frozen=True)
class _Header:
    """The fields of a header by their names in small letters."""

    fields: dict[str, str]
    path: Path

    def numbers(self, *names: str, count: int) -> list[float] | None:
        """The numbers of the first of these fields that is there."""
        name = next((name for name in names if name in self.fields), None)
        if name is None:
            return None
        try:
            values = [
                float(part.replace("_", "x")) for part in self.fields[name].split()
            ]  # Python's 1_000 is no number
        except ValueError:
            values = []
        if len(values) != count or not np.isfinite(values).all():
            raise InputError(f"{self.path}: {name} is {self.fields[name][:80]!r}; it must be {count} numbers")
        return values

    def says(self, name: str, default: str = "false") -> bool:
        said = self.fields.get(name, default).lower()
        if said not in ("true", "1", "false", "0"):
            raise InputError(f"{self.path}: {name} is {said[:80]!r}; it must be True or False")
        return said in ("true", "1")

    def shape(self) -> tuple[int, ...]:
        dims = self.numbers("ndims", count=1) or [0.0]
        if not 1 <= dims[0] <= 10:
            raise InputError(f"{self.path}: NDims is {self.fields.get('ndims')!r}; give a three-dimensional image")
        sizes = self.numbers("dimsize", count=int(dims[0]))
        if sizes is None:
            raise InputError(f"{self.path}: has no DimSize; its header is damaged")
        if not all(size.is_integer() and abs(size) < _LONGEST for size in (*dims, *sizes)):
            raise InputError(f"{self.path}: DimSize is {self.fields['dimsize'][:80]!r}; give whole numbers of voxels")
        shape = tuple(int(size) for size in sizes)
        check_shape(shape, self.path)
        if (self.numbers("elementnumberofchannels", count=1) or [1.0]) != [1.0]:
            raise InputError(f"{self.path}: holds several values a voxel (colour?); give an image of grey values")
        return shape

    def dtype(self) -> np.dtype[Any]:
        name = self.fields.get("elementtype", "").upper()
        if name not in _TYPES:
            raise InputError(f"{self.path}: ElementType {name!r} is no plain number; save it as MET_SHORT or MET_FLOAT")
        big = self.says("binarydatabyteordermsb") or self.says("elementbyteordermsb")
        return np.dtype((">" if big else "<") + _TYPES[name])

    def packing(self) -> str:
        if not self.says("binarydata", "true"):
            raise InputError(f"{self.path}: its voxels are text (BinaryData = False); save it as binary")
        return "zlib" if self.says("compresseddata") else "raw"

    def affine(self, spacing_mm: float | None) -> tuple[np.ndarray[Any, np.dtype[np.float64]], bool]:
        """Voxel index to world RAS, and whether a spacing is known."""
        dims = len(self.fields["dimsize"].split())
        own = self.numbers("elementspacing", "elementsize", count=dims)
        if own is not None and spacing_mm is not None:
            raise InputError(f"{self.path}: says its own spacing; give none")
        spacing = [spacing_mm or 1.0] * dims if own is None else own
        check_spacing(spacing, self.path)
        # One axis after the other: the columns of ITK's direction matrix.
        axes = self.numbers("transformmatrix", "rotation", "orientation", count=dims * dims)
        direction = np.eye(dims) if axes is None else np.reshape(axes, (dims, dims)).T
        origin = self.numbers("offset", "position", "origin", count=dims) or [0.0] * dims
        used = min(dims, 3)
        affine = itk_affine(spacing[:used], direction[:used, :used], origin[:used])
        return affine, own is not None or spacing_mm is not None

    def voxels(self) -> Path:
        name = self.fields["elementdatafile"]
        return self.path if name.upper() == "LOCAL" else file_beside(self.path, name)

    def notes(self) -> tuple[str, ...]:
        unit = self.fields.get("distanceunits", "mm").lower()
        odd = unit not in ("mm", "millimeter", "?", "none", "unknown")
        return (f"its header says units of {unit[:20]!r}; they are read as mm, as by 3D Slicer",) if odd else ()

    def skip(self, file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], packing: str) -> ByteSource:
        """Where the voxels begin in ``file``; -1 counts them from its end."""
        size = (self.numbers("headersize", count=1) or [0.0])[0]
        if not size.is_integer() or not -1 <= size <= self.path.stat().st_size + _LONGEST:
            raise InputError(f"{self.path}: HeaderSize is {size:g}; give the bytes before the voxels, or -1")
        if size == -1 and packing == "raw":
            seek_tail(file, shape, dtype)
        elif size > 0:
            file.seek(int(size))
        return ByteSource(file, self.path, packing)
