"""NRRD files, .nrrd and .nhdr, without ITK: its import alone takes longer than most predictions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS
from lmk3d.io.packed import ByteSource, check_shape, check_spacing, make_volume, open_source, pack, seek_tail

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.geometry import Volume

__all__ = ["read_nrrd", "write_nrrd"]

_TYPES = {
    "i1": "signed char int8 int8_t",
    "u1": "uchar unsigned_char uint8 uint8_t",
    "i2": "short short_int signed_short signed_short_int int16 int16_t",
    "u2": "ushort unsigned_short unsigned_short_int uint16 uint16_t",
    "i4": "int signed_int int32 int32_t",
    "u4": "uint unsigned_int uint32 uint32_t",
    "i8": "longlong long_long long_long_int signed_long_long signed_long_long_int int64 int64_t",
    "u8": "ulonglong unsigned_long_long unsigned_long_long_int uint64 uint64_t",
    "f4": "float",
    "f8": "double",
}
# Signs that turn a space into RAS; a file without one of these names is read as LPS, as ITK does.
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
}
_DOMAIN_KINDS = ("domain", "space", "time", "none", "???", "stub")


def read_nrrd(path: Path, *, spacing_mm: float | None = None) -> Volume:
    """Read an image of one value a voxel, its voxels in the same file or in one beside it, packed or not.

    Args:
        path: the .nrrd or .nhdr file.
        spacing_mm: spacing of a file that does not say its own; such a file is in px without it.
    Raises:
        InputError: if it is no NRRD image, is damaged, is 4D or in colour, or has no usable geometry.
    """
    with open_source(path) as (file, _):
        header = _Header(_read_fields(file, path), path)
        shape, dtype, packing = header.shape(), header.dtype(), header.packing()
        affine, known = header.affine(spacing_mm)
        name = header.fields.get("data file", header.fields.get("datafile"))
        if name is None:
            data = header.skip(file, shape, dtype, packing).array(shape, dtype)
        else:
            with open_source(header.beside(name)) as (other, _):
                data = header.skip(other, shape, dtype, packing).array(shape, dtype)
    return make_volume(data, affine, path, unit="mm" if known else "px")


def _read_fields(file: IO[bytes], path: Path) -> dict[str, str]:
    """The header's fields up to its empty line (or the end of a detached header)."""
    if not file.readline(64).startswith(b"NRRD"):
        raise InputError(f"{path}: is no NRRD image; give a .nrrd or .nhdr file")
    fields: dict[str, str] = {}
    for number in range(2, 10_000):
        line = file.readline(1 << 16).decode("utf-8", errors="replace").rstrip("\r\n")
        if not line:
            break
        key, sign, value = line.partition(":")
        if not line.startswith("#") and not sign:
            raise InputError(f"{path}, line {number}: is no line of an NRRD header; the file is damaged")
        if not line.startswith("#") and not value.startswith("="):  # := belongs to comments of programs
            fields[key.strip().lower()] = value.strip()
    return fields


@dataclass(frozen=True)
class _Header:
    """The fields of a header by their names in small letters."""

    fields: dict[str, str]
    path: Path

    def shape(self) -> tuple[int, ...]:
        try:
            shape = tuple(int(side) for side in self.fields.get("sizes", "").split())
        except ValueError:
            shape = ()
        if not shape or str(len(shape)) != self.fields.get("dimension"):
            raise InputError(f"{self.path}: sizes {self.fields.get('sizes')!r} do not fit dimension; it is damaged")
        kinds = self.fields.get("kinds", "").lower().split()
        if any(kind not in _DOMAIN_KINDS and side > 1 for kind, side in zip(kinds, shape, strict=False)):
            raise InputError(f"{self.path}: holds several values a voxel ({' '.join(kinds)}); give one grey image")
        check_shape(shape, self.path)
        return shape

    def dtype(self) -> np.dtype[Any]:
        name = "_".join(self.fields.get("type", "").lower().split())
        # A plain "char" is signed; the first list holds "signed char" as two words.
        code = next((c for c, n in _TYPES.items() if name in n.split()), "i1" if name == "signed_char" else None)
        if code is None:
            raise InputError(
                f"{self.path}: type {self.fields.get('type')!r} is no plain number; save it as short or float"
            )
        endian = self.fields.get("endian", "little").lower()
        return np.dtype((">" if endian == "big" else "<") + code)

    def packing(self) -> str:
        encoding = self.fields.get("encoding", "").lower()
        packings = {"raw": "raw", "gzip": "zlib", "gz": "zlib", "bzip2": "bz2", "bz2": "bz2"}
        if encoding not in packings:
            raise InputError(f"{self.path}: encoding {encoding!r} cannot be read; save it as raw or gzip")
        return packings[encoding]

    def vectors(self, name: str) -> list[list[float] | None]:
        """Vectors like (1,0,0) none (0,0,1)."""
        found: list[list[float] | None] = []
        for part in re.findall(r"\([^)]*\)|none", self.fields.get(name, "")):
            try:
                found.append(None if part == "none" else [float(number) for number in part[1:-1].split(",")])
            except ValueError:
                raise InputError(f"{self.path}: {name} is {self.fields[name][:80]!r}; correct its header") from None
        return found

    def affine(self, spacing_mm: float | None) -> tuple[np.ndarray[Any, np.dtype[np.float64]], bool]:
        """Voxel index to world RAS, and whether a spacing is known."""
        affine, known = np.eye(4), True
        axes = self.vectors("space directions")
        if spacing_mm is not None and (axes or "spacings" in self.fields):
            raise InputError(f"{self.path}: says its own spacing; give none")
        if axes:
            for column, axis in enumerate(axes[:3]):
                if axis is None or len(axis) > 3:
                    raise InputError(
                        f"{self.path}: axis {column} has no place in space; give a three-dimensional image"
                    )
                affine[:3, column] = 0
                affine[: len(axis), column] = axis
            if len(axes) == 2 and len(axes[0] or ()) == 3:  # one slice somewhere in space
                normal = np.cross(affine[:3, 0], affine[:3, 1])
                affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
            check_spacing(np.linalg.norm(affine[:3, :3], axis=0), self.path)
        else:
            known = "spacings" in self.fields or spacing_mm is not None
            spacing = self.fields.get("spacings", f"{spacing_mm or 1.0}").split()
            values = np.array([float(part) for part in spacing])[:3] if _are_numbers(spacing) else np.zeros(1)
            check_spacing(values, self.path)
            scale = np.broadcast_to(values, 3) if len(values) == 1 else np.append(values, [1.0])[:3]
            affine[:3, :3] = np.diag(scale)
        for origin in self.vectors("space origin"):
            if origin is not None:
                affine[: len(origin), 3] = origin
        signs = _SPACES.get(self.fields.get("space", "").lower(), (-1, -1, 1))
        return np.diag([*signs, 1.0]) @ affine, known

    def beside(self, name: str) -> Path:
        if name.upper().startswith("LIST") or "%" in name:
            raise InputError(f"{self.path}: its voxels lie in many files ({name}); save it as one .nrrd")
        return self.path.parent / name

    def skip(self, file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], packing: str) -> ByteSource:
        """Where the voxels begin in ``file``; a byte skip of -1 counts them from its end."""
        try:
            lines, skip = (int(self.fields.get(name, "0")) for name in ("line skip", "byte skip"))
        except ValueError:
            raise InputError(f"{self.path}: line skip or byte skip is no number; correct its header") from None
        for _ in range(lines):
            file.readline()
        if skip == -1 and packing == "raw":
            seek_tail(file, shape, dtype)
        source = ByteSource(file, self.path, packing)
        source.take(max(skip, 0))  # of the unpacked bytes, as the format says
        return source


def _are_numbers(parts: list[str]) -> bool:
    try:
        return all(np.isfinite(float(part)) for part in parts)
    except ValueError:
        return False


def write_nrrd(volume: Volume, path: Path) -> None:
    """Write .nrrd, packed, in the volume's own type, in LPS as ITK and Slicer do; the affine keeps all its digits."""
    data = volume.data
    code = f"{data.dtype.kind}{data.dtype.itemsize}"
    if code not in _TYPES:
        raise InputError(f"an image of {data.dtype} cannot be written as .nrrd; convert it to float32")
    name = {"float32": "float", "float64": "double"}.get(data.dtype.name, data.dtype.name)
    lps = LPS_TO_RAS @ volume.grid.affine
    header = {
        "type": name,
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": " ".join(str(side) for side in data.shape),
        "space directions": " ".join(_vector(lps[:3, axis]) for axis in range(3)),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip",
        "space origin": _vector(lps[:3, 3]),
    }
    with path.open("wb") as file:
        file.write(("NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in header.items()) + "\n").encode())
        pack(data, file, wbits=31)


def _vector(values: Any) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"
