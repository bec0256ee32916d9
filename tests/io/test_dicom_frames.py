from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io.dicom_frames import Entry, frames_of, pydicom_dataset, read_pixels

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


def test_film_has_a_spacing_on_the_detector_but_no_place(write_slice, tmp_path):
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    (frame,) = load(write_slice(tmp_path / "a.dcm", ImagerPixelSpacing=[0.2, 0.1], **nowhere))
    assert frame.position is None
    assert frame.spacing == (0.2, 0.1)


def test_frames_of_one_file_have_places_of_their_own(write_frames, tmp_path):
    frames = load(write_frames(tmp_path / "a.dcm", places=[5.0, 2.0, 3.5]))
    assert [frame.position[2] for frame in frames] == [5.0, 2.0, 3.5]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert {frame.scale for frame in frames} == {(2.0, -7.0)}


def test_film_clip_is_refused(write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm", NumberOfFrames=2, PixelData=bytes(80))
    with pytest.raises(InputError, match="has 2 images without positions"):
        load(path)


def test_file_without_pixels_has_no_frames(write_slice, tmp_path):
    assert load(write_slice(tmp_path / "a.dcm", Rows=None, Columns=None)) == []


def test_zero_spacing_is_refused(write_slice, tmp_path):
    with pytest.raises(InputError, match=r"pixel spacing is \[0\.0, 1\.0\]"):
        load(write_slice(tmp_path / "a.dcm", PixelSpacing=[0, 1]))


def test_pixels_come_as_stored(write_slice, tmp_path):
    pixels, dark = read_pixels(Entry(write_slice(tmp_path / "a.dcm", pixels=np.arange(20).reshape(4, 5))))
    assert pixels.shape == (1, 4, 5)
    assert pixels[0, 1, 2] == 7
    assert not dark


def test_colour_is_refused_and_equal_channels_are_grey(write_slice, tmp_path):
    colours = np.stack([np.arange(20).reshape(4, 5)] * 3, axis=-1).astype(np.uint8)
    settings = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsStored": 8}
    settings |= {"BitsAllocated": 8, "HighBit": 7}
    path = write_slice(tmp_path / "a.dcm", PixelData=colours.tobytes(), **settings)
    assert read_pixels(Entry(path))[0][0, 1, 2] == 7
    colours[0, 0, 1] = 99
    write_slice(path, PixelData=colours.tobytes(), **settings)
    with pytest.raises(InputError, match=r"a\.dcm: is in colour \(RGB\)"):
        read_pixels(Entry(path))
    write_slice(path, PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError, match=r"is in colour \(palette\)"):
        read_pixels(Entry(path))


def test_truncated_and_foreign_files_are_named_in_one_line(write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm")
    whole = path.read_bytes()
    for content in (whole[:-9], whole[:300], b"text\n" * 100, b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.dcm: is no DICOM file, or a damaged one") as caught:
            read_pixels(Entry(path))
        assert "\n" not in str(caught.value)


def test_packing_that_nothing_can_unpack_is_named(write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(40)])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    with pytest.raises(InputError, match=r"packed as MPEG2 .*install python-gdcm"):
        read_pixels(Entry(path))


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
