"""Depths that Pillow cuts or mistakes: 16-bit colour in PNG, and TIFF whose numbers are signed, wide or inverted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.packed import check_shape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["as_stored", "tiff_by_itk", "wide_png"]

_PNG_GREY, _PNG_GREY_ALPHA = 0, 4
# Tags of TIFF.
_BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _SAMPLES, _SIZES, _TILES, _KIND = 258, 262, 273, 274, 277, 279, 324, 339
_MIN_IS_WHITE = 0
_GREY_OR_RGB = (0, 1, 2)
_KINDS = {1: "u", 2: "i", 3: "f"}


def wide_png(path: Path) -> NDArray[Any] | None:
    """(rows, columns, 3 or 4) of a PNG in colour of 16 bits, of which Pillow keeps the upper 8; None for any other.

    Raises:
        InputError: for 16-bit grey with transparency, which ITK does not read either, and for what ITK cannot read.
    """
    with path.open("rb") as file:
        depth, colour = file.read(26).ljust(26)[24:]  # of IHDR, which is the first chunk
    if depth < 16 or colour == _PNG_GREY:
        return None
    if colour == _PNG_GREY_ALPHA:
        raise InputError(f"{path}: has 16 bits and transparency; save it without transparency")
    return _by_itk(path, "PNGImageIO")


def as_stored(pixels: NDArray[Any], tags: Mapping[int, Any], path: Path) -> NDArray[Any]:
    """The numbers that a TIFF stores, zero black, of those that Pillow makes of them.

    Args:
        pixels: (rows, columns) or (rows, columns, 3); Pillow has inverted those of 8 bits and less.
        tags: the file's.
        path: its name, for the error.
    Raises:
        InputError: if Pillow has cut them, or their kind is odd.
    """
    if tags.get(_PHOTOMETRIC, 1) not in _GREY_OR_RGB:
        return pixels
    bits, kind = _depth(tags, path)
    if bits > 8 * pixels.dtype.itemsize:
        raise InputError(f"{path}: has colours of {bits} bits; save it as a grey picture")
    if kind == "u" and bits == 32 and pixels.dtype == np.int32:
        pixels = pixels.view(np.uint32)
    elif kind == "i" and bits == 8 and pixels.dtype == np.uint8:
        pixels = pixels.view(np.int8)
    elif (kind == "f") != (pixels.dtype.kind == "f") or (kind == "i" and pixels.dtype.kind != "i"):
        raise InputError(f"{path}: has {bits}-bit numbers that cannot be read; save it in 16 bits without sign")
    return _black_zero(pixels, bits, path) if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE and bits > 8 else pixels


def tiff_by_itk(path: Path) -> NDArray[Any] | None:
    """(rows, columns) of a grey TIFF of 16 or 32 bits that Pillow does not know; None for any other file.

    Raises:
        InputError: if it has several pages, lies on its side or is mirrored, or is damaged.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] not in (b"II*\0", b"MM\0*"):
            return None
        tags: Any = ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
        size = file.seek(0, 2)
    bits, kind = _depth(tags, path)
    if tags.get(_SAMPLES, 1) != 1 or _TILES in tags or bits not in (16, 32):
        return None
    if tags.next:
        raise InputError(f"{path}: has several pages; give one picture")
    if tags.get(_ORIENTATION, 1) != 1:
        raise InputError(f"{path}: has an orientation tag ({tags[_ORIENTATION]}); save it upright")
    if any(at + count > size for at, count in zip(tags[_STRIPS], tags[_SIZES], strict=True)):
        raise InputError(f"{path}: is not a picture, or is damaged (it ends too early); copy it again")
    pixels = _by_itk(path, "TIFFImageIO")
    if pixels.ndim != 2 or pixels.dtype != np.dtype(f"{kind}{bits // 8}"):
        return None
    return _black_zero(pixels, bits, path) if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE else pixels


def _depth(tags: Mapping[int, Any], path: Path) -> tuple[int, str]:
    """Bits of each number, and its kind as in NumPy's types."""
    bits, kinds = set(tags.get(_BITS, (1,))), set(tags.get(_KIND, (1,)))
    if len(bits) != 1 or len(kinds) != 1 or not kinds <= _KINDS.keys():
        raise InputError(f"{path}: has numbers of mixed or unknown kinds; save it in 16 bits without sign")
    return bits.pop(), _KINDS[kinds.pop()]


def _black_zero(pixels: NDArray[Any], bits: int, path: Path) -> NDArray[Any]:
    if pixels.dtype.kind != "u":
        raise InputError(f"{path}: its zero is white, in {pixels.dtype} voxels; save it with black as zero")
    return pixels.dtype.type((1 << bits) - 1) - pixels


def _by_itk(path: Path, image_io: str) -> NDArray[Any]:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003 - its own signature
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        check_shape((*reader.GetSize()[:2], 1), path)
        return sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError:
        raise InputError(f"{path}: is damaged, or cannot be read; save it again") from None
