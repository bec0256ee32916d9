"""Radiographs as pictures: PNG, JPEG, TIFF and BMP, through Pillow."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import film_affine
from lmk3d.io.packed import check_shape, make_volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.geometry import Volume

__all__ = ["grey", "read_film"]

# What programs write when nobody measured: screens, and 1 for "only the ratio counts".
_DEFAULT_DPI = (1, 72, 96)
# Pixels of radiographs; beyond these a resolution tag is about paper or a mistake.
_FILM_MM = (0.02, 1.0)
# EXIF tags "Make" and "Model" of a camera: the photograph of a film has no scale.
_CAMERA_TAGS = (0x010F, 0x0110)


def read_film(path: Path, *, spacing_mm: float | None = None) -> Volume:
    """Read a grey picture as a volume of shape (rows, columns, 1).

    Rows and columns are those stored; a rotation that EXIF asks viewers for is not applied. Three equal channels count
    as grey.

    Args:
        path: the picture.
        spacing_mm: pixel spacing; goes before the file's own resolution. When None a resolution tag is believed if it
            is none of the usual defaults, fits a radiograph and was not written by a camera; without one the volume is
            in px.
    Raises:
        InputError: if it is no picture, is damaged, is in colour, or has several pages.
    """
    data, spacing = _read(path)
    if spacing_mm is not None:
        spacing = (spacing_mm, spacing_mm)
    affine = film_affine(spacing or (1.0, 1.0))
    return make_volume(data[:, :, None], affine, path, unit="px" if spacing is None else "mm")


def grey(data: NDArray[Any], path: Path) -> NDArray[Any]:
    """(rows, columns) of a picture that has one channel, or three equal ones.

    Args:
        data: (rows, columns) or (rows, columns, 3).
        path: its name, for the error.
    Raises:
        InputError: for true colour.
    """
    if data.ndim == 2:
        return data
    if data.shape[-1] == 3 and all(np.array_equal(data[..., 0], data[..., channel]) for channel in (1, 2)):
        return np.ascontiguousarray(data[..., 0])
    raise InputError(f"{path}: is in colour (RGB); give a grey image")


def _read(path: Path) -> tuple[NDArray[Any], tuple[float, float] | None]:
    try:
        from PIL import Image
    except ImportError:
        raise InputError(f"{path}: pictures need Pillow; install it with `pip install pillow`") from None
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with warnings.catch_warnings():
            # Large films are no attack, and odd tags do not matter here.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                if getattr(picture, "n_frames", 1) > 1:
                    raise InputError(f"{path}: has {picture.n_frames} pages; give one picture")
                check_shape((picture.height, picture.width, 1), path)
                spacing = _spacing(picture)
                return grey(_pixels(picture, path), path), spacing
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
        text = str(error).replace(str(path), "the file").splitlines()
        raise InputError(f"{path}: is no picture, or a damaged one ({text[0] if text else error!r})") from None


def _pixels(picture: Any, path: Path) -> NDArray[Any]:
    """(rows, columns) or (rows, columns, 3) without transparency."""
    if picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    pixels = np.asarray(picture)
    if picture.mode in ("LA", "RGBA"):
        if (pixels[..., -1] != pixels[..., -1].max()).any():
            raise InputError(f"{path}: has transparent parts; save it without transparency")
        pixels = pixels[..., 0] if picture.mode == "LA" else pixels[..., :3]
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    # Pillow may hand out read-only or foreign-endian memory; the rest of the package wants neither.
    return np.array(pixels, dtype=pixels.dtype.newbyteorder("="))


def _spacing(picture: Any) -> tuple[float, float] | None:
    """Distance of rows and of columns in mm by the resolution tag, if it can be believed."""
    dpi = picture.info.get("dpi")
    try:
        across, down = float(dpi[0]), float(dpi[1])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    if not (np.isfinite([across, down]).all() and min(across, down) > 0):
        return None
    # PNG and BMP store whole pixels per metre: 72 dpi comes back as 72.009.
    if any(abs(across - default) < 0.1 for default in _DEFAULT_DPI):
        return None
    if any(tag in picture.getexif() for tag in _CAMERA_TAGS):
        return None
    spacing = 25.4 / down, 25.4 / across
    return spacing if all(_FILM_MM[0] <= side <= _FILM_MM[1] for side in spacing) else None
