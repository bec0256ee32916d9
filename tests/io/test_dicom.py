from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_image
from lmk3d.io.dicom import entries_in, find_series, is_dicom, read_dicom

pytest.importorskip("pydicom")


@pytest.fixture
def study(tmp_path, write_slice):
    """Two series of three slices in subfolders, a report, a hidden file, and a slice in a hidden folder."""
    for number, name in ((2, "thorax"), (10, "abdomen")):
        (tmp_path / name).mkdir()
        for place in range(3):
            write_slice(
                tmp_path / name / f"{place}.dcm",
                z=place,
                pixels=np.full((4, 5), number),
                SeriesInstanceUID=f"1.2.{number}",
                SeriesNumber=number,
                SeriesDescription=name,
            )
    report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.34", "Modality": "SR", "SeriesInstanceUID": "1.2.99"}
    write_slice(tmp_path / "report.dcm", Rows=None, Columns=None, **report)
    (tmp_path / "._0.dcm").write_bytes(b"what a Mac leaves behind")
    (tmp_path / ".trash").mkdir()
    write_slice(tmp_path / ".trash" / "thrown_away.dcm", SeriesInstanceUID="1.2.98", SeriesNumber=1)
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    return tmp_path


def test_series_are_found_by_number(study):
    found = find_series(entries_in(study)).series
    assert [(series.number, series.description, len(series.frames)) for series in found] == [
        ("2", "thorax", 3),
        ("10", "abdomen", 3),
    ]
    assert all(series.is_volume for series in found)
    assert str(found[0]) == "2 'thorax' (3 images, UID 1.2.2)"
    assert len(entries_in(study, deep=False)) == 1


def test_several_series_are_listed_when_none_is_chosen(study):
    with pytest.raises(InputError, match=r"holds 2 series; choose one .*: 2 'thorax' \(3 images.*; 10 'abdomen'"):
        read_image(study)


@pytest.mark.parametrize("series", ["1.2.10", "10", "abdomen"])
def test_series_is_chosen_by_uid_number_or_description(study, series):
    assert (read_image(study, series=series).data == 10).all()


def test_series_that_is_not_there_is_refused_with_the_list(study):
    with pytest.raises(InputError, match=r"has no single series 'head'; choose one .*thorax"):
        read_image(study, series="head")


def test_one_file_stands_for_its_series_in_its_folder(study):
    volume = read_image(study / "thorax" / "1.dcm")
    assert volume.data.shape == (5, 4, 3)
    assert (volume.data == 2).all()


def test_archive_is_read_like_a_folder(study, tmp_path):
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in sorted(study.rglob("*.dcm")):
            archive.write(path, path.relative_to(study).as_posix())
    assert (read_image(tmp_path / "study.zip", series="2").data == 2).all()
    with pytest.raises(InputError, match="holds 2 series"):
        read_image(tmp_path / "study.zip")


def test_damaged_or_wrong_archives_are_named(tmp_path, write_slice):
    slices = write_slice(tmp_path / "a.dcm")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(slices, "a.dcm")
        archive.writestr("readme.txt", "hello")
    whole = bytearray((tmp_path / "a.zip").read_bytes())
    whole[200] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(whole)
    (tmp_path / "short.zip").write_bytes(whole[:-60])
    (tmp_path / "text.zip").write_text("hello", encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"damaged\.zip \(a\.dcm\): is no DICOM file, or a damaged one \("):
        read_image(tmp_path / "damaged.zip")
    for name in ("short.zip", "text.zip"):
        with pytest.raises(InputError, match=rf"{name}: cannot be unpacked"):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match=r"empty\.zip: holds no DICOM images"):
        read_image(tmp_path / "empty.zip")


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no DICOM images"):
        read_image(tmp_path)


def test_several_films_of_one_series_need_a_choice_of_file(tmp_path, write_slice):
    film = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    paths = [write_slice(tmp_path / f"{number}.dcm", pixels=np.full((4, 5), number), **film) for number in range(2)]
    with pytest.raises(InputError, match="are several radiographs; give one file"):
        read_image(tmp_path)
    assert (read_image(paths[1]).data == 1).all()


def test_series_of_slices_and_films_is_refused(tmp_path, write_slice):
    write_slice(tmp_path / "0.dcm")
    write_slice(tmp_path / "1.dcm", ImagePositionPatient=None)
    with pytest.raises(InputError, match="mixes slices and images without a place"):
        read_image(tmp_path)


def test_slices_have_their_own_spacing(study):
    with pytest.raises(InputError, match="says its own spacing"):
        read_dicom(study, series="2", spacing_mm=0.3)


def test_file_without_preamble_is_known_by_its_ending(tmp_path, write_slice):
    path = write_slice(tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[132:])
    assert is_dicom(path)
    assert read_image(path).data.shape == (5, 4, 1)
    assert not is_dicom(tmp_path / "nowhere")


def test_damaged_slice_is_named(study):
    path = study / "thorax" / "1.dcm"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"1\.dcm: is no DICOM file, or a damaged one"):
        read_image(study, series="2")


def test_real_series_is_that_which_simpleitk_reads(real_files, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    for path in sorted((real_files / "dicom_ct_series").iterdir())[:4]:  # JPEG 2000 takes its time
        shutil.copy(path, tmp_path)
    volume = read_image(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    np.testing.assert_array_equal(volume.data, sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    last = [side - 1 for side in volume.data.shape]
    expected = np.array(image.TransformIndexToPhysicalPoint(last)) * [-1, -1, 1]
    np.testing.assert_allclose(volume.grid.to_mm(last), expected, atol=1e-6)
