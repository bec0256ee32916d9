"""A radiograph in a DICOM file: its pixels, and how large they are in the patient, on the detector or on the film."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import film_affine
from lmk3d.io.dicom_frames import find_numbers, naming, pydicom_dataset
from lmk3d.io.dicom_pixels import read_pixels
from lmk3d.io.packed import check_shape, make_volume, rescaled

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.geometry import Volume
    from lmk3d.io.dicom_frames import Frame

    FloatArray = NDArray[np.float64]

__all__ = ["read_radiograph"]

_TAGS = [
    *("PixelSpacing", "PixelSpacingCalibrationType", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "Modality"),
    *("EstimatedRadiographicMagnificationFactor", "DistanceSourceToDetector", "DistanceSourceToPatient"),
]
# Of these the detector lies behind the patient, so that mm are not the same on both.
_PROJECTIONS = ("CR", "DX", "MG", "XA", "RF", "RG", "PX", "IO", "RTIMAGE")
# Beyond it the distances are a mistake or their units are: a hand near the tube is magnified fourfold.
_MOST_MAGNIFICATION = 10.0
# Spacings and factors are rounded to 3 to 6 digits.
_ROUNDING = 1e-3


def read_radiograph(frame: Frame, path: Path, *, spacing_mm: float | None = None) -> Volume:
    """A radiograph without a place in space as (rows, columns, 1); bright is dense, MONOCHROME1 is inverted.

    Args:
        frame: the radiograph.
        path: its name for errors.
        spacing_mm: pixel spacing; goes before what the file says. Without either the radiograph is in px.
    """
    pixels, dark = read_pixels(frame.entry)
    data = pixels[frame.index][:, :, None]
    check_shape(data.shape, path)
    data = rescaled(np.array(data), *frame.scale)
    if dark:
        data = (data.max() - data) + data.min()  # the sum of both may be more than the type holds
    spacing, notes = ((spacing_mm, spacing_mm), ()) if spacing_mm is not None else _spacing(frame)
    unit = "px" if spacing is None else "mm"
    return make_volume(data, film_affine(spacing or (1.0, 1.0)), path, unit=unit, notes=notes)


def _spacing(frame: Frame) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Distance of rows and of columns in mm, None where it is unknown, and what should be known about it.

    Source:
        DICOM PS3.3, 10.7.1.3 Pixel Spacing Value Order and Calibration, and C.8.7.3, C.8.11.7 for the factors.
    """
    header = pydicom_dataset(frame.entry, tags=_TAGS)
    with naming(frame.entry):
        own, detector, scanned = (
            _sides(header, tag, frame) for tag in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
        )
        if own is not None and (header.get("PixelSpacingCalibrationType") or not _equal(own, detector)):
            return _pair(own), _note_on(own, detector, header)
        on_detector = own if detector is None else detector
        if on_detector is not None:
            factor, source = _magnification(header)
            if factor is None:
                unknown = f"longer than in the patient by a magnification that the header does not say{source}"
                note = f"mm are those of the detector, {unknown}; give the spacing (--spacing) if you know it"
                return _pair(on_detector), (note,)
            text = "/".join(f"{side:.6g}" for side in dict.fromkeys(on_detector.tolist()))
            note = f"mm are those of the patient: detector pixels of {text} mm, divided by {factor:.6g} ({source})"
            return _pair(on_detector / factor), (note,)
        if scanned is not None:
            return _pair(scanned), ("mm are those of the scanned film, not of the patient",)
        return None, ()


def _note_on(own: FloatArray, detector: FloatArray | None, header: Any) -> tuple[str, ...]:
    """What should be known of a PixelSpacing that is used as it is."""
    if header.get("PixelSpacingCalibrationType") or detector is not None:
        return ()  # calibrated, which it says or shows by being another than the detector's
    if str(header.get("Modality") or "") not in _PROJECTIONS:
        return ()
    return ("the header does not say whether its PixelSpacing holds in the patient or on the detector",)


def _magnification(header: Any) -> tuple[float | None, str]:
    """How many times longer lengths are on the detector, and by which tags; None and why where that is unknown."""
    estimated = find_numbers([header], "", "EstimatedRadiographicMagnificationFactor", 1)
    to_detector = find_numbers([header], "", "DistanceSourceToDetector", 1)
    to_patient = find_numbers([header], "", "DistanceSourceToPatient", 1)
    candidates = []
    if estimated is not None and estimated[0] != 0:
        candidates.append((float(estimated[0]), "EstimatedRadiographicMagnificationFactor"))
    if to_detector is not None and to_patient is not None and to_patient[0] > 0:
        factor = float(to_detector[0] / to_patient[0])
        candidates.append((factor, "DistanceSourceToDetector / DistanceSourceToPatient"))
    for factor, source in candidates:
        if 1 - _ROUNDING <= factor <= _MOST_MAGNIFICATION:
            return max(factor, 1.0), source
    return None, "".join(f" (its {source} is {factor:.4g}, which cannot be)" for factor, source in candidates[:1])


def _sides(header: Any, tag: str, frame: Frame) -> FloatArray | None:
    sides = find_numbers([header], "", tag, 2)
    if sides is not None and not (np.isfinite(sides) & (sides > 0)).all():
        raise InputError(f"{frame.entry}: its {tag} is {sides.tolist()}; each must be above 0")
    return sides


def _equal(own: FloatArray, detector: FloatArray | None) -> bool:
    return detector is not None and bool(np.allclose(own, detector, rtol=_ROUNDING))


def _pair(sides: FloatArray) -> tuple[float, float]:
    return float(sides[0]), float(sides[1])
