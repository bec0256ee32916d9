"""Radiographs as pictures: PNG, JPEG, TIFF and BMP, through Pillow."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import film_affine
from lmk3d.io.film_depth import as_stored, plain_tiff, wide_png
from lmk3d.io.packed import check_shape, make_volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.geometry import Volume

__all__ = ["grey", "read_film"]

# What programs write when nobody measured: screens, and 1 for "only the ratio counts".
_DEFAULT_DPI = (1, 72, 96)
_ORIENTATION = 0x0112
# Pillow's other plugins start programs (EPS) or follow names in the file; a radiograph is none of theirs.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_UNITS_MM = {"mm": 1.0, "cm": 10.0, "micron": 0.001, "um": 0.001, "\u00b5m": 0.001, "inch": 25.4}


def read_film(path: Path, *, spacing_mm: float | None = None) -> Volume:
    """Read a grey picture as a volume of shape (rows, columns, 1).

    A picture's resolution is that of a screen, a printer or a scanner, seldom that of a detector: it is no spacing, but
    a note says what spacing it would be. Rows and columns of JPEG and PNG are those stored, those of TIFF as its
    orientation tag mirrors them, both as in ITK. Three equal channels count as grey; a TIFF whose zero is white is
    inverted.

    Args:
        path: the picture.
        spacing_mm: pixel spacing; without it the volume is in px.
    Raises:
        InputError: if it is no picture, is damaged, is in colour, or has several pages.
    """
    data, notes = _read(path, told=spacing_mm is not None)
    spacing = spacing_mm or 1.0
    unit = "mm" if spacing_mm else "px"
    return make_volume(data[:, :, None], film_affine((spacing, spacing)), path, unit=unit, notes=notes)


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


def _read(path: Path, *, told: bool) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The pixels, and what to know of them; of their spacing only if it was not told."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise InputError(f"{path}: pictures need Pillow; install it with `pip install pillow`") from None
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with warnings.catch_warnings():
            # Large films are no attack, and odd tags do not matter here.
            warnings.simplefilter("ignore")
            try:
                opened = Image.open(path, formats=_FORMATS)
            except UnidentifiedImageError:
                if (pixels := plain_tiff(path)) is None:
                    raise
                return pixels, ()
            with opened as picture:
                if getattr(picture, "n_frames", 1) > 1:
                    raise InputError(f"{path}: has {picture.n_frames} pages; give one picture")
                check_shape((picture.height, picture.width, 1), path)
                notes = "" if told else _resolution(picture), _orientation(picture, path)
                return grey(_pixels(picture, path), path), tuple(note for note in notes if note)
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise InputError(
            f"{path}: is not a picture, or is damaged (no PNG, JPEG, TIFF or BMP of a known kind); save it as PNG"
        ) from None
    except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
        text = str(error).replace(str(path), "the file").splitlines()
        raise InputError(f"{path}: is not a picture, or is damaged ({text[0] if text else error!r})") from None


def _pixels(picture: Any, path: Path) -> NDArray[Any]:
    """(rows, columns) or (rows, columns, 3) without transparency."""
    tags = getattr(picture, "tag_v2", None)
    if picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    pixels = np.asarray(picture)
    if picture.format == "PNG" and (wide := wide_png(path)) is not None:
        pixels = wide
    if picture.mode in ("LA", "RGBA"):
        if (pixels[..., -1] != pixels[..., -1].max()).any():
            raise InputError(f"{path}: has transparent parts; save it without transparency")
        pixels = pixels[..., 0] if picture.mode == "LA" else pixels[..., :3]
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    # Pillow may hand out read-only or foreign-endian memory; the rest of the package wants neither.
    pixels = np.array(pixels, dtype=pixels.dtype.newbyteorder("="))
    return as_stored(pixels, tags, path) if tags else pixels


def _resolution(picture: Any) -> str:
    """What spacing the picture's resolution would be, "" where it says none or a program's default."""
    said, steps = _by_imagej(picture)
    if not said:
        try:
            across, down = (float(number) for number in picture.info["dpi"])
            steps = 25.4 / across, 25.4 / down
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return ""
        # PNG and BMP store whole pixels per metre: 72 dpi comes back as 72.009.
        if any(abs(across - default) < 0.1 for default in _DEFAULT_DPI):
            return ""
        said = f"{across:.4g} dpi" if across == down else f"{across:.4g} x {down:.4g} dpi"
    if not (np.isfinite(steps).all() and min(steps) > 0):
        return ""
    if steps[0] != steps[1]:
        return f"the file says {said}, {steps[0]:.3g} x {steps[1]:.3g} mm a pixel; --spacing takes square pixels only"
    return (
        f"the file says {said}, {steps[0]:.3g} mm a pixel, which is seldom the detector's; if it is, give "
        f"--spacing {steps[0]:.3g}"
    )


def _by_imagej(picture: Any) -> tuple[str, tuple[float, float]]:
    """The scale that ImageJ keeps in a TIFF, as pixels per a unit in its description, and columns' and rows' mm."""
    tags = getattr(picture, "tag_v2", {})
    text = str(tags.get(270, ""))
    unit = re.search(r"^unit=(.*)$", text, re.MULTILINE)
    factor = _UNITS_MM.get(unit[1].strip().replace("\\u00B5", "\u00b5") if unit else "")
    try:
        if text.startswith("ImageJ") and factor:
            return f"a scale in {unit[1].strip()} (ImageJ)", (factor / float(tags[282]), factor / float(tags[283]))  # type: ignore[index]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        pass
    return "", (0.0, 0.0)


def _orientation(picture: Any, path: Path) -> str:
    """What becomes of a tag that asks viewers to turn or mirror the picture; "" where there is none."""
    code = picture.getexif().get(_ORIENTATION, 1)
    if code not in range(2, 9):
        return ""
    if picture.format != "TIFF":
        return (
            f"viewers turn or mirror it (EXIF orientation {code}); rows and columns are those stored, as in 3D Slicer"
        )
    if code > 4:  # Pillow scrambles some of them
        raise InputError(f"{path}: its orientation tag ({code}) turns it on its side; save it upright")
    return f"it is mirrored as its orientation tag ({code}) says, as in 3D Slicer"
