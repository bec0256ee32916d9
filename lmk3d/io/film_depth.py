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

__all__ = ["as_stored", "plain_tiff", "wide_png"]

_PNG_GREY, _PNG_GREY_ALPHA = 0, 4
# Tags of TIFF.
_COLUMNS, _ROWS, _BITS, _PACKING, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _SIZES, _KIND = 273, 274, 277, 279, 339
_MIN_IS_WHITE = 0
_GREY_OR_RGB = (0, 1, 2)
_KINDS = {1: "u", 2: "i", 3: "f"}


def wide_png(path: Path) -> NDArray[Any] | None:
    """(rows, columns, 3 or 4) of a PNG in colour of 16 bits, of which Pillow keeps the upper 8; None for any other.

    Whoever calls has had Pillow decode it, so that its size is checked and it is whole.

    Raises:
        InputError: for 16-bit grey with transparency, which ITK does not read either, and for what ITK cannot read.
    """
    with path.open("rb") as file:
        depth, colour = file.read(26).ljust(26)[24:]  # of IHDR, which is the first chunk
    if depth < 16 or colour == _PNG_GREY:
        return None
    if colour == _PNG_GREY_ALPHA:
        raise InputError(f"{path}: has 16 bits and transparency; save it without transparency")
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003 - its own signature
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="PNGImageIO"))
    except RuntimeError:
        raise InputError(f"{path}: is damaged, or cannot be read; save it again") from None


def as_stored(pixels: NDArray[Any], tags: Mapping[int, Any], path: Path) -> NDArray[Any]:
    """The numbers that a TIFF stores, zero black, of those that Pillow makes of them.

    Args:
        pixels: (rows, columns) or (rows, columns, 3); Pillow has inverted those of 8 bits and less.
        tags: the file's.
        path: its name, for the error.
    Raises:
        InputError: if Pillow has cut them, or their kind is odd.
    """
    bits, kind = _depth(tags, path)
    if bits > 8 * pixels.dtype.itemsize:
        raise InputError(f"{path}: has colours of {bits} bits; save it as a grey picture")
    if tags.get(_PHOTOMETRIC, 1) not in _GREY_OR_RGB:
        return pixels
    if kind == "u" and bits == 32 and pixels.dtype == np.int32:
        pixels = pixels.view(np.uint32)
    elif kind == "i" and bits == 8 and pixels.dtype == np.uint8:
        pixels = pixels.view(np.int8)
    elif (kind == "f") != (pixels.dtype.kind == "f") or (kind == "i" and pixels.dtype.kind != "i"):
        raise InputError(f"{path}: has {bits}-bit numbers that cannot be read; save it in 16 bits without sign")
    return _black_zero(pixels, bits, path) if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE and bits > 8 else pixels


def plain_tiff(path: Path) -> NDArray[Any] | None:
    """(rows, columns) of a grey TIFF of 16 or 32 bits, not packed, that Pillow does not know; None for any other file.

    Raises:
        InputError: if it has several pages, lies on its side or is mirrored, or ends too early.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] not in (b"II*\0", b"MM\0*"):
            return None
        tags: Any = ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
        bits, kind = _depth(tags, path)
        usual = all(tags.get(tag, 1) == 1 for tag in (_SAMPLES, _PACKING, _FILL_ORDER))
        if not usual or bits not in (16, 32) or tags.get(_PHOTOMETRIC) not in (0, 1) or _STRIPS not in tags:
            return None
        if tags.next:
            raise InputError(f"{path}: has several pages; give one picture")
        if tags.get(_ORIENTATION, 1) != 1:
            raise InputError(f"{path}: has an orientation tag ({tags[_ORIENTATION]}); save it upright")
        shape = tags[_ROWS], tags[_COLUMNS]
        check_shape((*shape, 1), path)
        strips, size = [*zip(tags[_STRIPS], tags[_SIZES], strict=True)], path.stat().st_size
        whole = all(at + count <= size for at, count in strips)
        if not whole or 8 * sum(count for _, count in strips) != shape[0] * shape[1] * bits:
            raise InputError(f"{path}: is not a picture, or is damaged (it ends too early); copy it again")
        blob = b"".join(file.read(count) for at, count in strips if file.seek(at) >= 0)
    dtype = np.dtype(f"{'<' if head[:1] == b'I' else '>'}{kind}{bits // 8}")
    pixels = np.frombuffer(blob, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    return _black_zero(pixels, bits, path) if tags[_PHOTOMETRIC] == _MIN_IS_WHITE else pixels


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
