from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io.dicom_frames import Entry, frames_of, pydicom_dataset

pydicom = pytest.importorskip("pydicom")
DIRECTIONS = [1, 0, 0, 0, 1, 0]


def load(path):
    return frames_of(pydicom_dataset(Entry(path)), Entry(path))


def test_slice_has_a_place_a_spacing_and_a_scale(write_slice, tmp_path):
    (frame,) = load(write_slice(tmp_path / "a.dcm", z=7.5, PixelSpacing=[0.5, 0.25], RescaleIntercept=-1024))
    assert frame.shape == (4, 5)
    assert frame.position.tolist() == [-10, -20, 7.5]
    assert frame.orientation.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert frame.spacing == (0.5, 0.25)
    assert frame.scale == (1.0, -1024.0)
    assert frame.thickness == 2.0


def test_radiograph_has_no_place(write_slice, tmp_path):
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    (frame,) = load(write_slice(tmp_path / "a.dcm", ImagerPixelSpacing=[0.2, 0.1], **nowhere))
    assert frame.position is None
    assert frame.spacing is None  # that on the detector is none in the patient


def test_frames_of_one_file_have_places_of_their_own(write_frames, tmp_path):
    frames = load(write_frames(tmp_path / "a.dcm", places=[5.0, 2.0, 3.5]))
    assert [frame.position[2] for frame in frames] == [5.0, 2.0, 3.5]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert {frame.scale for frame in frames} == {(2.0, -7.0)}


def test_file_without_pixels_has_no_frames(write_slice, tmp_path):
    assert load(write_slice(tmp_path / "a.dcm", Rows=None, Columns=None)) == []


def test_zero_spacing_is_refused(write_slice, tmp_path):
    with pytest.raises(InputError, match=r"pixel spacing is \[0\.0, 1\.0\]"):
        load(write_slice(tmp_path / "a.dcm", PixelSpacing=[0, 1]))


def test_missing_pydicom_is_named(monkeypatch, write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r"a\.dcm: DICOM needs pydicom; install it"):
        pydicom_dataset(Entry(path))


def test_missing_file_is_named():
    with pytest.raises(InputError, match="nowhere: no such file"):
        pydicom_dataset(Entry(Path("nowhere")))


def test_entry_in_an_archive_names_both():
    assert str(Entry(Path("a.zip"), "b/c")).endswith("a.zip (b/c)")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_number_of_images_must_be_that_of_their_positions(count, write_frames, tmp_path):
    path = write_frames(tmp_path / "a.dcm", [0.0, 1.0, 2.0], NumberOfFrames=count)
    with pytest.raises(InputError, match=rf"a\.dcm: says NumberOfFrames {count} and describes 3 images"):
        load(path)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("ImagePositionPatient", [0, 1e9, 0], r"its position is \[0\.0, 1000000000\.0, 0\.0\]"),
        ("ImageOrientationPatient", [1e300, 0, 0, 0, 1, 0], r"its orientation is \[1e\+300"),
        ("RescaleSlope", "0", r"rescale slope and intercept are \(0\.0, 0\.0\)"),
    ],
)
def test_header_that_no_scanner_writes_is_refused(field, value, match, write_slice, tmp_path):
    with pytest.raises(InputError, match=match):
        load(write_slice(tmp_path / "a.dcm", **{field: value}))


def test_values_are_converted_where_a_failure_names_the_file(write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm")
    content = path.read_bytes()
    place = content.index(b"\x28\x00\x10\x00US\x02\x00")  # Rows, in three bytes in the place of two
    path.write_bytes(content[: place + 6] + b"\x03\x00" + content[place + 8 :])
    with pytest.raises(InputError, match=r"a\.dcm: is no DICOM file, or a damaged one"):
        load(path)


def test_zeros_are_not_parsed_for_minutes(tmp_path):
    path = tmp_path / "a.dcm"
    for start in (b"", bytes(128) + b"DICM"):
        path.write_bytes(start + bytes(1 << 24))
        begin = time.monotonic()
        with pytest.raises(InputError, match="it begins with zeros"):
            pydicom_dataset(Entry(path), tags=["Rows"])
        assert time.monotonic() - begin < 1


def test_deflated_data_set_unpacks_to_what_an_image_needs(write_slice, tmp_path, monkeypatch):
    path = write_slice(tmp_path / "a.dcm", pixels=np.arange(20).reshape(4, 5))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert pydicom_dataset(Entry(path)).pixel_array[3, 4] == 19
    monkeypatch.setattr("lmk3d.io.dicom_frames._MOST_DEFLATED", 100)
    with pytest.raises(InputError, match=r"a\.dcm: unpacks to more than"):
        pydicom_dataset(Entry(path))


def test_deflated_data_set_unpacks_to_no_more_than_pixels_shrink_by(write_slice, tmp_path, monkeypatch):
    monkeypatch.setattr("lmk3d.io.dicom_frames._SMALL_BYTES", 1 << 20)
    path = write_slice(tmp_path / "a.dcm", pixels=np.zeros((1000, 1000)), Rows=1000, Columns=1000)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    with pytest.raises(InputError, match=r"a\.dcm: unpacks to more than 1 MiB; give a file of one image"):
        pydicom_dataset(Entry(path))
