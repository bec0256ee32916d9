"""Voxels from a file into one array: decompressed on the way, no second copy; what every image reader ends with."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS, Grid, Volume

zlib: Any
try:  # a third of zlib's time
    from isal import isal_zlib as zlib
except ImportError:  # no wheel for this platform
    import zlib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = [
    "ZLIB_MOST",
    "ByteSource",
    "check_shape",
    "check_spacing",
    "file_beside",
    "itk_affine",
    "make_volume",
    "open_source",
    "rescaled",
    "seek_tail",
]

# Bytes read, and made of them, at a time: they stay in the processor's cache, and larger pieces of memory than 128 KiB
# are fetched from the system anew each time, which takes as long as unpacking.
_CHUNK = 1 << 16
_PIECE = 1 << 16
ZLIB_MOST = 1032
"""How many bytes zlib can make of one."""
# More than this behind the voxels is no padding but another file, or a bomb.
_MOST_BEHIND = 1 << 26


class ByteSource:
    """The bytes of an open file from front to end, decompressed as they are asked for.

    Args:
        file: positioned where the bytes begin.
        path: its name, for errors.
        packing: "raw" or "zlib" (zlib or gzip, told apart by their first bytes).
    """

    def __init__(self, file: IO[bytes], path: Path, packing: str = "raw") -> None:
        self._file, self._path, self._packing = file, path, packing
        self._ahead, self._packed = memoryview(b""), b""
        self._unpacker = self._new_unpacker()

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer where the file ends."""
        parts = []
        while count > 0 and (part := self._next(count)):
            parts.append(bytes(part))
            count -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Pass over the next ``count`` bytes, or to where the file ends."""
        while count > 0 and (part := self._next(count)):
            count -= len(part)

    def array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The next voxels, first axis fastest, in the machine's byte order; the rest of a packed file is verified.

        Raises:
            InputError: if the file holds less, if what it holds is damaged, or if it does not fit into memory.
        """
        count = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
        self._check_size(count)
        try:
            data = np.empty(tuple(shape), dtype=dtype, order="F")
        except MemoryError:
            raise InputError(f"{self._path}: needs {count / 2**30:.1f} GiB, more than the memory has") from None
        target = memoryview(data.reshape(-1, order="F").view(np.uint8))  # type: ignore[arg-type]  # an array is a buffer
        done = self._file.readinto(target) if self._packing == "raw" else 0  # type: ignore[attr-defined]
        while done < count and (part := self._next(count - done)):
            target[done : done + len(part)] = part
            done += len(part)
        if done < count:
            raise InputError(f"{self._path}: holds {done} of {count} bytes of voxels; it is cut off, copy it again")
        self._verify_rest()
        if not data.dtype.isnative:
            data = data.byteswap(inplace=True).view(data.dtype.newbyteorder("="))
        return data

    def _verify_rest(self) -> None:
        """Unpack up to the checksum at the end."""
        behind = 0
        while self._packing != "raw" and (part := self._next(_CHUNK)):
            behind += len(part)
            if behind > _MOST_BEHIND:
                raise InputError(f"{self._path}: goes on behind its voxels; its header is damaged, save it again")

    def _check_size(self, count: int) -> None:
        """Refuse what the file cannot hold before memory for it is asked for: sizes in a damaged header are wild."""
        here = self._file.tell()
        left = self._file.seek(0, 2) - here
        self._file.seek(here)
        most = left if self._packing == "raw" else (left + _CHUNK) * ZLIB_MOST
        if most < count:
            raise InputError(
                f"{self._path}: holds less than the {count} bytes of voxels its header says; copy it again"
            )

    def _next(self, most: int) -> memoryview:
        """Some of the next bytes, nothing at the end."""
        while not self._ahead:
            # Raw bytes are read no further than asked for, so that the file's position stays that of the next voxel.
            packed = self._packed or self._file.read(min(most, _CHUNK) if self._unpacker is None else _CHUNK)
            self._ahead = memoryview(packed if self._unpacker is None else self._unpack(packed))
            if not packed and not self._ahead:
                if self._unpacker is not None and not self._unpacker.eof:
                    raise InputError(f"{self._path}: ends in the middle of its compressed data; copy it again")
                break
        part, self._ahead = self._ahead[:most], self._ahead[most:]
        return part

    def _unpack(self, packed: bytes) -> bytes:
        """What these bytes hold, or its beginning; the rest of them is kept."""
        if self._unpacker.eof:
            packed += self._file.read(_CHUNK) if len(packed) == 1 else b""
            if not packed.startswith(b"\x1f\x8b"):
                # A gzip file may consist of several; anything else behind the end is padding.
                self._packed = b""
                return b""
            self._unpacker = self._new_unpacker()
        try:
            part: bytes = self._unpacker.decompress(packed, _PIECE)
        except zlib.error as error:
            raise InputError(f"{self._path}: its compressed data is damaged ({error}); copy it again") from None
        self._packed = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
        return part

    def _new_unpacker(self) -> Any:
        # 32 lets zlib tell zlib from gzip.
        return None if self._packing == "raw" else zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)


@contextmanager
def open_source(path: Path) -> Iterator[tuple[IO[bytes], ByteSource]]:
    """The file and its bytes, unpacked if it is a gzip file whatever its name.

    Raises:
        InputError: if it is no regular file (a pipe would never end), or cannot be opened or read.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no regular file; give a file of an image")
        with path.open("rb") as file:
            packing = "zlib" if file.read(2) == b"\x1f\x8b" else "raw"
            file.seek(0)
            yield file, ByteSource(file, path, packing)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); give a file you may read") from None


def file_beside(path: Path, name: str) -> Path:
    """The file in the folder of a header, or in a subfolder, that the header says holds the voxels.

    Raises:
        InputError: for many files, one outside the folder, and one that is no regular file.
    """
    shown = repr(name[:80])
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(f"{path}: its voxels lie in many files ({shown}); save it as one file")
    # Not resolve(): a link may lead where the data are kept.
    inner = Path(os.path.normpath(Path("folder", name)))
    if not inner.is_relative_to("folder"):
        raise InputError(f"{path}: its voxels lie outside its folder, in {shown}; put them beside it")
    other = path.parent / inner.relative_to("folder")
    try:
        regular = other.is_file()
    except OSError:  # a name that no file can have
        regular = False
    if not regular:
        raise InputError(f"{path}: its voxels lie in {shown}, which is no file; copy it beside the header")
    return other


def itk_affine(spacing: ArrayLike, direction: ArrayLike, origin: ArrayLike) -> FloatArray:
    """(4, 4) voxel index to world RAS mm from what ITK's formats say in LPS, in as many dimensions as they have.

    Args:
        spacing: (D,) mm.
        direction: (D, D) unit directions of the axes in its columns.
        origin: (D,) mm of the first voxel's centre.
    """
    dims = len(np.asarray(spacing))
    affine = np.eye(4)
    affine[:dims, :dims] = np.asarray(direction, float) * np.asarray(spacing, float)
    affine[:dims, 3] = origin
    return LPS_TO_RAS @ affine


def seek_tail(file: IO[bytes], shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Go to where voxels begin that are the last bytes of a file; to its beginning where it is shorter."""
    file.seek(-min(int(np.prod(shape, dtype=object)) * dtype.itemsize, file.seek(0, 2)), 2)


def rescaled(data: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """``data * slope + intercept``; integers stay integers where the two are whole and the result fits.

    Args:
        data: any shape; its memory is used for the result where that has the same size.
        slope, intercept: finite; 1 and 0 give back ``data``.
    Returns:
        The stored type, int16 or int32 if whole; float32 otherwise, float64 for float64.
    """
    if (slope, intercept) == (1, 0) or data.size == 0:
        return data
    if data.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        ends = [int(end) * int(slope) + int(intercept) for end in (data.min(), data.max())]
        for dtype in (data.dtype, np.dtype(np.int16), np.dtype(np.int32)):
            if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                return _scale(data, dtype, int(slope), int(intercept))
    return _scale(data, np.dtype(np.float64 if data.dtype == np.float64 else np.float32), slope, intercept)


def _scale(data: NDArray[Any], dtype: np.dtype[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Plane by plane, in a type wide enough for the steps between; where sizes agree in the memory that is there."""
    out = data.view(dtype) if data.dtype.itemsize == dtype.itemsize else np.empty_like(data, dtype=dtype)
    wide = np.float64 if dtype.kind == "f" else np.int64
    for plane in range(data.shape[-1]):
        out[..., plane] = data[..., plane].astype(wide) * slope + intercept
    return out


def make_volume(
    data: NDArray[Any], affine: FloatArray, path: Path | str, *, unit: str = "mm", notes: tuple[str, ...] = ()
) -> Volume:
    """A volume from what a reader found, or the reason why it is none.

    Args:
        data: (I, J, K); fewer axes are filled up, further axes of length one are dropped.
        affine: (4, 4) voxel index to world RAS.
        path: its name, for errors, or what else they should call it.
        unit: "mm" or "px".
        notes: see ``Volume``.
    Raises:
        InputError: for more than three dimensions, no or one voxel, numbers that are not real, and a singular affine.
    """
    check_shape(data.shape, path)
    if data.dtype.kind not in "iufb":
        raise InputError(f"{path}: its voxels are {data.dtype}, no plain numbers; give an image of grey values")
    data = data.view(np.uint8) if data.dtype.kind == "b" else data
    shape = (*data.shape, 1, 1)
    try:
        grid = Grid((shape[0], shape[1], shape[2]), affine)
        return Volume(data.reshape(grid.shape, order="F"), grid, unit, notes)
    except ValueError as error:
        raise InputError(f"{path}: {error}; correct its header") from None


def check_shape(shape: Sequence[int], path: Path | str) -> None:
    """Refuse what is no volume; called before the voxels are read.

    Raises:
        InputError: for more than three dimensions and for no or one voxel.
    """
    text = " x ".join(str(side) for side in shape)
    if any(side != 1 for side in shape[3:]):
        raise InputError(f"{path}: is {len(shape)}D ({text}); give one three-dimensional image")
    if min(shape, default=0) < 1:
        raise InputError(f"{path}: is empty ({text}); give an image with voxels")
    if max(shape) == 1:
        raise InputError(f"{path}: has a single voxel; give an image")


def check_spacing(spacing: ArrayLike, path: Path) -> None:
    """Refuse a zero, negative or infinite distance between voxels.

    Raises:
        InputError: naming the spacing.
    """
    values = np.asarray(spacing, float)
    if not (np.isfinite(values) & (values > 0)).all():
        raise InputError(f"{path}: its spacing is {values.tolist()}; each must be above 0, correct its header")
