from __future__ import annotations

import random
import shutil
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import find_images, read_image
from lmk3d.io.dicom import Series, dicom_files, entries_in, find_series, is_dicom, read_dicom
from lmk3d.io.patients import patient_of

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


def test_what_a_header_says_never_breaks_the_line():
    assert str(Series("1.2\n3", "\x1b[2J4", "a\nb")) == r"?[2J4 'a\nb' (0 images, UID 1.2?3)"


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


STRANGERS = {
    "dose": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2", "Modality": "RTDOSE", "NumberOfFrames": 2},
    "seg": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "Modality": "SEG", "NumberOfFrames": 2},
    "clip": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1", "Modality": "US", "NumberOfFrames": 2},
    "state": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1", "Modality": "PR", "Rows": None},
    "directory": {"SOPClassUID": "1.2.840.10008.1.3.10", "Rows": None, "Modality": None},
}


@pytest.fixture
def with_strangers(tmp_path, write_slice):
    """Three slices of a CT, and beside them what is no scan."""
    folder = tmp_path / "ct"
    folder.mkdir()
    for z in range(3):
        write_slice(folder / f"{z}", z=z, pixels=np.full((4, 5), z), SeriesNumber=4)
    for number, (name, fields) in enumerate(STRANGERS.items()):
        own = {"SeriesInstanceUID": f"1.2.9.{number}", "PixelData": bytes(80)}
        write_slice(folder / f"{name}.dcm", **own | fields)
    return folder


def test_what_is_no_scan_does_not_block_the_scan_beside_it(with_strangers, tmp_path):
    found = find_series(entries_in(with_strangers))
    assert len(found.series) == 1
    assert sorted(entry.path.stem for entry in found.others) == sorted(STRANGERS)
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for path in with_strangers.iterdir():
            archive.write(path, path.name)
    for path, series in (
        (with_strangers, None),
        (with_strangers, "4"),
        (with_strangers / "1", None),
        (with_strangers / "1", "4"),
        (tmp_path / "ct.zip", None),
        (tmp_path / "ct.zip", "4"),
    ):
        volume = read_image(path, series=series)
        assert volume.data[0, 0].tolist() == [0, 1, 2]
        assert volume.notes == ()
    assert [path.name for path in dicom_files(with_strangers)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dose", r"a radiotherapy dose \(RTDOSE\)"),
        ("seg", r"a segmentation \(SEG\)"),
        ("clip", "a clip of 2 images without positions"),
        ("state", r"a presentation state \(PR\)"),
        ("directory", r"a directory of other DICOM files \(DICOMDIR\)"),
    ],
)
def test_what_is_no_scan_says_what_it_is(name, kind, with_strangers, tmp_path):
    path = with_strangers / f"{name}.dcm"
    with pytest.raises(InputError, match=rf"{name}\.dcm: is {kind}, which is no scan; give the images"):
        read_image(path)
    (tmp_path / "alone").mkdir()
    path.rename(tmp_path / "alone" / path.name)
    with pytest.raises(InputError, match=rf"alone: holds only {kind} \({name}\.dcm\), which is no scan"):
        read_image(tmp_path / "alone")


def test_damaged_file_beside_a_series_is_noted_when_one_file_is_given(study, write_slice):
    (study / "thorax" / "9.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    volume = read_image(study / "thorax" / "1.dcm")
    assert volume.data.shape == (5, 4, 3)
    assert volume.notes == ("9.dcm beside it cannot be read; if the scan lacks slices, these may be among them",)
    with pytest.raises(InputError, match=r"9\.dcm: is no DICOM file, or a damaged one"):
        read_image(study, series="thorax")
    (study / "thorax" / "1.dcm").write_bytes(b"")
    write_slice(study / "thorax" / "3.dcm", z=3, SeriesInstanceUID="1.2.2")
    with pytest.raises(
        InputError, match=r"apart \(are some missing\?\); .*; 1\.dcm and 1 more beside it cannot be read"
    ):
        read_image(study / "thorax" / "0.dcm")


def test_header_that_is_cut_off_is_damage_and_no_report(study):
    path = study / "thorax" / "2.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x28\x00\x10\x00US")])  # before Rows
    with pytest.raises(InputError, match=r"2\.dcm: is no DICOM file, or a damaged one \(without rows and columns\)"):
        read_image(study / "thorax")


def test_series_without_uid_are_those_of_their_folders(tmp_path, write_slice):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for z in range(3):
            write_slice(tmp_path / name / f"{z}.dcm", z=z, SeriesInstanceUID=None)
    assert len(find_series(entries_in(tmp_path)).series) == 2


def test_only_the_files_of_the_image_are_its_files(study, write_frames, write_slice):
    assert [path.name for path in dicom_files(study, "thorax")] == ["0.dcm", "1.dcm", "2.dcm"]
    alone = write_frames(study / "frames.dcm", [0.0, 1.0])
    write_slice(study / "beside.dcm")
    assert dicom_files(alone) == [alone]


def test_folders_that_hold_the_same_places_are_series_of_their_own(tmp_path, write_slice):
    for name, places in (("a", (0, 1)), ("b", (2, 3)), ("c", (2, 3))):
        (tmp_path / name).mkdir()
        for z in places:
            write_slice(tmp_path / name / f"{z}.dcm", z=z)
    (whole,) = find_series([*entries_in(tmp_path / "a"), *entries_in(tmp_path / "b")]).series
    assert whole.by_folder() == [whole]
    (twice,) = find_series(entries_in(tmp_path)).series
    assert [len(one.frames) for one in twice.by_folder()] == [2, 2, 2]


def test_packed_data_on_a_mac_or_a_cd_is_read(tmp_path, write_slice):
    folder = tmp_path / "DICOM" / "S00001"
    folder.mkdir(parents=True)
    for z in range(3):
        write_slice(folder / f"I{z:04}", z=z)
        (folder / f"._I{z:04}").write_bytes(b"\0\5\x16\7" + bytes(200))
    (tmp_path / ".DS_Store").write_bytes(b"Bud1")
    write_slice(tmp_path / "DICOMDIR", **STRANGERS["directory"] | {"PixelData": None})
    assert read_image(tmp_path).data.shape == (5, 4, 3)
    with pytest.raises(InputError, match=r"DICOMDIR: is a directory of other DICOM files"):
        read_image(tmp_path / "DICOMDIR")


def test_damage_anywhere_raises_no_other_error(study):
    path = study / "thorax" / "1.dcm"
    whole, chance, readable = path.read_bytes(), random.Random(7), 0
    for _ in range(120):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 1, 4])):
            content[chance.randrange(128, len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.choice([None, None, chance.randrange(len(content))])])
        patient_of(path)
        for read in (read_image, find_images, dicom_files):
            with suppress(InputError):
                read([path.parent] if read is find_images else path.parent)
                readable += 1
    assert 0 < readable < 360


@pytest.mark.parametrize("tag", ["PatientID", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_images_of_two_patients_studies_or_frames_of_reference_are_two_series(tmp_path, write_slice, tag):
    for z in range(4):
        write_slice(tmp_path / str(z), z=z, pixels=np.full((4, 5), z), **{tag: f"1.{z // 2}"})
    with pytest.raises(InputError, match=f"holds 2 series; choose one .*'{tag}=1.0' .*'{tag}=1.1'"):
        read_image(tmp_path)
    assert read_image(tmp_path, series=f"{tag}=1.1").data[0, 0].tolist() == [2, 3]


def test_files_of_a_concatenation_are_read_together_or_not_at_all(tmp_path, write_frames):
    parts = {"ConcatenationUID": "1.2.9", "InConcatenationTotalNumber": 2}
    first = write_frames(tmp_path / "a.dcm", [0.0, 2.0], InConcatenationNumber=1, **parts)
    other = write_frames(tmp_path / "other.dcm", [40.0, 42.0], ConcatenationUID="1.2.8", InConcatenationNumber=1)
    with pytest.raises(InputError, match=r"a\.dcm: holds 1 file of the 2 of a concatenation; give the folder with all"):
        read_image(first)
    second = write_frames(tmp_path / "b.dcm", [4.0, 6.0], InConcatenationNumber=2, **parts)
    for path in (first, second):
        volume = read_image(path)
        assert volume.data[0, 0].tolist() == [-7, -5, -7, -5]  # 2 x - 7, for 0 and 1 of each file
        assert volume.grid.spacing_mm[2] == 2
    other.unlink()
    assert find_images([first, second]) == [tmp_path]


def test_concatenation_that_does_not_say_how_many_files_it_has_is_noted(tmp_path, write_frames):
    path = write_frames(tmp_path / "a.dcm", [0.0, 2.0], ConcatenationUID="1.2.9", InConcatenationNumber=1)
    assert read_image(path).notes == ("it is a concatenation of 1 file, and its header does not say of how many",)
    write_frames(path, [0.0, 2.0], ConcatenationUID="1.2.9", InConcatenationNumber=3)
    with pytest.raises(InputError, match="holds 1 file of the 3 of a concatenation"):
        read_image(tmp_path)
