from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.errors import InputError
from lmk3d.io import read_image

pytest.importorskip("pydicom")
PLACELESS = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "Modality": "DX", "PixelSpacing": None}


@pytest.fixture
def radiograph(tmp_path, write_slice):
    """Writes a radiograph of 4 rows and 5 columns and reads it."""

    def write(*, spacing_mm=None, pixels=None, **fields):
        path = write_slice(tmp_path / "a.dcm", pixels=pixels, **PLACELESS | fields)
        return read_image(path, spacing_mm=spacing_mm)

    return write


FACTOR = "EstimatedRadiographicMagnificationFactor"
DISTANCES = {"DistanceSourceToDetector": 1500, "DistanceSourceToPatient": 1200}


@pytest.mark.parametrize(
    ("fields", "mm", "note"),
    [
        (
            {FACTOR: 1.1},
            0.15 / 1.1,
            rf"^mm are those of the patient: detector pixels of 0\.15 mm, .* by 1\.1 \({FACTOR}",
        ),
        (DISTANCES, 0.12, r"divided by 1\.25 \(DistanceSourceToDetector / DistanceSourceToPatient\)"),
        ({FACTOR: 1.1} | DISTANCES, 0.15 / 1.1, rf"{FACTOR}"),
        ({FACTOR: 1}, 0.15, r"divided by 1 "),
        ({"PixelSpacing": [0.15, 0.15], FACTOR: 1.1}, 0.15 / 1.1, FACTOR),  # equal to the detector's: not calibrated
        ({}, 0.15, r"^mm are those of the detector, .* the header does not say; give the spacing \(--spacing\)"),
        ({FACTOR: 0}, 0.15, "header does not say;"),
        ({FACTOR: 0.5}, 0.15, rf"header does not say \(its {FACTOR} is 0\.5, which cannot be\)"),
        ({FACTOR: 0.5} | DISTANCES, 0.12, "DistanceSourceToPatient"),
        ({"DistanceSourceToDetector": 1500}, 0.15, "header does not say;"),
    ],
)
def test_spacing_on_the_detector_is_made_that_in_the_patient_or_noted(fields, mm, note, radiograph):
    volume = radiograph(ImagerPixelSpacing=[0.15, 0.15], **fields)
    assert_allclose(volume.grid.spacing_mm, [mm, mm, 1], rtol=1e-12)
    assert volume.unit == "mm"
    (found,) = volume.notes
    assert re.search(note, found)


@pytest.mark.parametrize("kind", ["GEOMETRY", "FIDUCIAL", None])
def test_calibrated_spacing_is_that_of_the_patient(kind, radiograph):
    spacing = {"PixelSpacing": [0.1364, 0.13], "ImagerPixelSpacing": [0.15, 0.15], FACTOR: 1.1}
    volume = radiograph(PixelSpacingCalibrationType=kind, **spacing)
    assert volume.grid.spacing_mm.tolist() == [0.1364, 0.13, 1]
    assert volume.notes == ()
    again = radiograph(**spacing | {"PixelSpacing": [0.15, 0.15], "PixelSpacingCalibrationType": "FIDUCIAL"})
    assert again.grid.spacing_mm.tolist() == [0.15, 0.15, 1]  # says that it is calibrated, and is believed


def test_rows_and_columns_are_magnified_alike(radiograph):
    volume = radiograph(ImagerPixelSpacing=[0.22, 0.11], **{FACTOR: 1.1})
    assert_allclose(volume.grid.spacing_mm, [0.2, 0.1, 1])
    assert "detector pixels of 0.22/0.11 mm" in volume.notes[0]


def test_spacing_that_does_not_say_where_it_holds_is_noted_of_projections_alone(radiograph):
    assert radiograph(PixelSpacing=[0.2, 0.2]).notes == (
        "the header does not say whether its PixelSpacing holds in the patient or on the detector",
    )
    assert radiograph(PixelSpacing=[0.2, 0.2], Modality="XC").notes == ()


def test_scanned_film_is_measured_on_the_film(radiograph):
    volume = radiograph(NominalScannedPixelSpacing=[0.1, 0.1])
    assert volume.grid.spacing_mm.tolist() == [0.1, 0.1, 1]
    assert volume.notes == ("mm are those of the scanned film, not of the patient",)


def test_the_users_spacing_goes_before_all(radiograph):
    volume = radiograph(spacing_mm=0.3, ImagerPixelSpacing=[0.15, 0.15], **{FACTOR: 1.1})
    assert volume.grid.spacing_mm.tolist() == [0.3, 0.3, 1]
    assert volume.notes == ()


def test_without_any_spacing_it_is_in_pixels(radiograph):
    volume = radiograph()
    assert (volume.unit, volume.notes) == ("px", ())


def test_spacing_of_zero_is_refused(radiograph):
    with pytest.raises(InputError, match=r"a\.dcm: its ImagerPixelSpacing is \[0\.0, 0\.1\]; each must be above 0"):
        radiograph(ImagerPixelSpacing=[0, 0.1])


def test_rows_lie_where_itk_puts_them(radiograph):
    pixels = np.arange(20).reshape(4, 5)
    volume = radiograph(pixels=pixels, PixelSpacing=[0.5, 0.25])
    np.testing.assert_array_equal(volume.data[..., 0], pixels)
    assert volume.grid.to_mm([2, 4, 0]).tolist() == [-1, -1, 0]


def test_high_values_that_are_dark_are_inverted(radiograph):
    pixels = np.arange(20).reshape(4, 5)
    dark = {"PhotometricInterpretation": "MONOCHROME1"}
    np.testing.assert_array_equal(radiograph(pixels=pixels, **dark).data[..., 0], 19 - pixels)
    scaled = radiograph(pixels=pixels, RescaleSlope=2, RescaleIntercept=-5, **dark)
    np.testing.assert_array_equal(scaled.data[..., 0], 2 * (19 - pixels) - 5)
    pixels = np.full((4, 5), 65535)
    pixels[0] = 10  # the sum of both does not fit their type
    np.testing.assert_array_equal(radiograph(pixels=pixels, **dark).data[..., 0], 65545 - pixels)


def test_radiograph_with_a_place_in_space_is_no_slice(radiograph):
    place = {
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 0, -1],
        "PixelSpacing": [0.2, 0.2],
    }
    projection = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "ImagerPixelSpacing": [0.2, 0.2], FACTOR: 1.25}
    pixels = np.arange(20).reshape(4, 5)
    volume = radiograph(pixels=pixels, PhotometricInterpretation="MONOCHROME1", **place | projection)
    np.testing.assert_array_equal(volume.data[:, :, 0], 19 - pixels)
    assert_allclose(volume.grid.spacing_mm, [0.16, 0.16, 1], rtol=1e-12)
