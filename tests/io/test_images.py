from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io import find_images, read_image, write_image
from lmk3d.io.dicom import is_dicom
from lmk3d.io.images import image_files

VOLUME = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), Grid((2, 3, 4), np.diag([1.0, 2, 3, 1])))


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_importing_the_room_imports_no_reader():
    code = (
        "import sys, lmk3d.io as io; io.read_image, io.find_images, io.read_points, io.atomic_path; print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"nibabel", "itk", "PIL", "pydicom", "scipy", "torch"} & set(run.stdout.split())


def test_room_has_the_names_it_lists_and_no_others():
    import lmk3d.io

    assert all(getattr(lmk3d.io, name) is not None for name in lmk3d.io.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(lmk3d.io, "nothing")  # noqa: B009 - an unknown name is the point


@pytest.mark.parametrize("name", ["a.nii", "a.NII.GZ", "a.nrrd", "a.mha", "two words.nii.gz", "ß.mha", "a.b.nrrd"])
def test_format_follows_the_name(tmp_path, name):
    write_image(VOLUME, tmp_path / name)
    found = read_image(str(tmp_path / name))
    np.testing.assert_array_equal(found.data, VOLUME.data)
    np.testing.assert_allclose(found.grid.affine, VOLUME.grid.affine, rtol=1e-14)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_existing_file_is_replaced_whole_and_a_failure_leaves_it(tmp_path, monkeypatch):
    path = tmp_path / "a.nii"
    write_image(VOLUME, path)
    before = path.read_bytes()

    def fail(_volume, temporary):
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("lmk3d.io.nifti.write_nifti", fail)
    with pytest.raises(KeyboardInterrupt):
        write_image(VOLUME, path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.nii"]


def test_unknown_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: an image cannot be written under this name; end it in \.nii,"):
        write_image(VOLUME, tmp_path / "a.png")
    touch(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"a\.txt: is no image of a known kind"):
        read_image(tmp_path / "a.txt")


def test_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.nii: cannot be written"):
        write_image(VOLUME, tmp_path / "nowhere" / "a.nii")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.nii: no such file or folder"):
        read_image(tmp_path / "a.nii")


def test_arguments_that_do_not_fit_the_file_are_refused(tmp_path):
    write_image(VOLUME, tmp_path / "a.nii")
    with pytest.raises(InputError, match="is no DICOM series"):
        read_image(tmp_path / "a.nii", series="1")
    with pytest.raises(InputError, match="says its own spacing"):
        read_image(tmp_path / "a.nii", spacing_mm=1.0)
    with pytest.raises(InputError, match=r"argument spacing_mm is -1\.0"):
        read_image(tmp_path / "a.nii", spacing_mm=-1.0)


def test_image_beyond_the_memory_is_refused(tmp_path, monkeypatch):
    def fail(_path):
        raise MemoryError

    touch(tmp_path / "a.nii")
    monkeypatch.setattr("lmk3d.io.nifti.read_nifti", fail)
    with pytest.raises(InputError, match="does not fit into memory"):
        read_image(tmp_path / "a.nii")


def test_files_and_folders_give_each_scan_once_and_sorted(tmp_path):
    touch(*(tmp_path / "f" / name for name in ("b.nii.gz", "a.mha", "c.nrrd", ".hidden.nii", "notes.txt", "a.zraw")))
    touch(tmp_path / "single.nii")
    found = find_images([tmp_path / "single.nii", tmp_path / "f", str(tmp_path / "f" / "b.nii.gz")])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "single.nii",
        "f/a.mha",
        "f/b.nii.gz",
        "f/c.nrrd",
    ]


def test_volumes_of_subfolders_are_scans_and_so_are_links_that_lead_nowhere(tmp_path, make_link):
    touch(*(tmp_path / name for name in ("sub-1/anat/t1.nii.gz", "sub-2/t1.nii", "film.png", ".old/x.nii")))
    lost = tmp_path / "lost.nii.gz"
    make_link(lost, tmp_path / "unmounted" / "lost.nii.gz")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path])]
    assert found == ["lost.nii.gz", "sub-1/anat/t1.nii.gz", "sub-2/t1.nii"]
    with pytest.raises(InputError, match=r"lost\.nii\.gz: no such file"):
        read_image(lost)
    lost.unlink()
    assert len(find_images([tmp_path])) == 3  # the film is no preview of theirs


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="there every name is Unicode")
def test_a_name_that_is_not_utf_8_is_told(tmp_path):
    path = tmp_path / os.fsdecode(b"n\xf6n.nii.gz")
    touch(path, tmp_path / "whole.nii.gz")
    assert find_images([tmp_path]) == sorted([path, tmp_path / "whole.nii.gz"])  # it does not stop the others
    with pytest.raises(InputError, match=r"n\\udcf6n\.nii\.gz': is no name in UTF-8"):
        read_image(path)


def test_pictures_beside_volumes_are_previews_and_alone_are_films(tmp_path):
    touch(tmp_path / "f" / "a.nii", tmp_path / "f" / "a.png", tmp_path / "g" / "a.PNG", tmp_path / "g" / "b.jpg")
    assert [path.name for path in find_images([tmp_path / "f"])] == ["a.nii"]
    assert [path.name for path in find_images([tmp_path / "g"])] == ["a.PNG", "b.jpg"]


def test_pair_is_one_scan_by_either_name_and_named_by_its_header(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    (tmp_path / "f").mkdir()
    for name in ("a", "b"):
        nibabel.save(nibabel.Nifti1Pair(VOLUME.data, VOLUME.grid.affine), tmp_path / "f" / f"{name}.hdr")
    names = [path.name for path in find_images([tmp_path / "f"])]
    assert names == ["a.hdr", "b.hdr"]
    both = [tmp_path / "f" / "a.img", tmp_path / "f" / "a.hdr"]
    assert find_images(both) == [tmp_path / "f" / "a.hdr"]
    for path in both:
        found = read_image(path)
        np.testing.assert_array_equal(found.data, VOLUME.data)
        np.testing.assert_array_equal(found.grid.affine, VOLUME.grid.affine)
    (tmp_path / "f" / "b.hdr").unlink()
    assert [path.name for path in find_images([tmp_path / "f"])] == ["a.hdr", "b.img"]
    with pytest.raises(InputError, match=r"b\.img: is one file of a pair; copy b\.hdr beside it, too"):
        read_image(tmp_path / "f" / "b.img")


def test_pipe_is_refused_and_not_waited_for(tmp_path, make_pipe):
    for name in ("a.nii", "b", "c.png", "d.zip"):
        make_pipe(tmp_path / name)
        with pytest.raises(InputError, match=f"{name}: is a pipe or a device, no file"):
            read_image(tmp_path / name)
    assert [path.name for path in find_images([tmp_path])] == ["a.nii"]
    assert not is_dicom(tmp_path / "b")


def test_nothing_to_find_is_an_error(tmp_path):
    touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"holds no images; give \.nii"):
        find_images([tmp_path])
    with pytest.raises(InputError, match="no such file or folder"):
        find_images([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no images were given"):
        find_images([])


def test_folder_of_one_series_is_one_scan(tmp_path, write_slice):
    for place in range(3):
        write_slice(tmp_path / f"{place}.dcm", z=place)
    assert find_images([tmp_path]) == [tmp_path]
    # What a shell makes of *.dcm is the same scan.
    assert find_images(sorted(tmp_path.iterdir())) == [tmp_path]
    assert find_images([tmp_path / "1.dcm"]) == [tmp_path / "1.dcm"]


def test_each_of_several_series_is_a_scan_that_can_be_read(tmp_path, write_slice):
    for series in (1, 2):
        for place in range(3):
            pixels = np.full((4, 5), series)
            write_slice(tmp_path / f"{place}{series}.dcm", z=place, pixels=pixels, SeriesInstanceUID=f"1.{series}")
    found = find_images([tmp_path])
    assert [path.name for path in found] == ["01.dcm", "02.dcm"]
    assert [read_image(path).data.mean() for path in found] == [1, 2]
    assert read_image(found[0]).data.shape == (5, 4, 3)


def test_each_dicom_film_is_a_scan_and_so_is_an_archive(tmp_path, write_slice):
    film = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    for number in range(2):
        write_slice(tmp_path / f"{number}.dcm", **film)
    assert [path.name for path in find_images([tmp_path])] == ["0.dcm", "1.dcm"]
    touch(tmp_path / "study.zip")
    assert find_images([tmp_path / "study.zip"]) == [tmp_path / "study.zip"]


def test_real_folder_is_found(real_files):
    names = [path.name for path in find_images([real_files])]
    assert "ct_example_3mm.nii.gz" in names
    assert sum(name == "dicom_ct_series" for name in names) == 1


def test_damaged_dicom_file_is_a_scan_of_its_own_and_the_others_are_found(tmp_path, write_series):
    write_series(tmp_path / "cohort" / "a")
    write_series(tmp_path / "cohort" / "b")
    damaged = tmp_path / "cohort" / "c.dcm"
    damaged.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 20)
    found = find_images([tmp_path / "cohort"])
    assert [path.relative_to(tmp_path / "cohort").as_posix() for path in found] == ["a", "b", "c.dcm"]
    assert find_images([damaged]) == [damaged]
    with pytest.raises(InputError, match=r"c\.dcm: is no DICOM file, or a damaged one"):
        read_image(damaged)


def test_scans_are_found_beside_what_is_none(tmp_path, write_series, write_slice):
    folder = write_series(tmp_path / "ct")
    dose = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2", "Modality": "RTDOSE", "SeriesInstanceUID": "1.9"}
    alone = write_slice(folder / "dose.dcm", NumberOfFrames=2, PixelData=bytes(80), **dose)
    assert find_images([folder]) == [folder]
    assert find_images(sorted(folder.iterdir())) == [folder]
    assert find_images([alone]) == [alone]  # reading it says what it is
    with pytest.raises(InputError, match=r"is a radiotherapy dose \(RTDOSE\), which is no scan"):
        read_image(alone)
    for path in folder.glob("[0-9].dcm"):
        path.unlink()
    with pytest.raises(InputError, match=r"ct: holds only a radiotherapy dose \(RTDOSE\) \(dose\.dcm\)"):
        find_images([folder])


def test_series_that_is_asked_for_leaves_out_the_others_of_its_study(tmp_path, write_slice):
    for study, numbers in (("1", (4, 5)), ("2", (5, 6)), ("3", (7,))):
        for number in numbers:
            uids = {"StudyInstanceUID": f"1.{study}", "SeriesInstanceUID": f"1.{study}.{number}"}
            (tmp_path / study).mkdir(exist_ok=True)
            for z in range(2):
                write_slice(tmp_path / study / f"{number}{z}.dcm", z=z, SeriesNumber=number, **uids)
    found = [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path], series="5")]
    assert found == ["1/50.dcm", "2/50.dcm", "3"]
    with pytest.raises(InputError, match="has no single series '5'"):
        read_image(tmp_path / "3", series="5")


def test_copies_of_a_series_in_several_folders_are_scans_of_their_own(tmp_path, write_slice):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for z in range(3):
            write_slice(tmp_path / name / f"{z}.dcm", z=z, pixels=np.full((4, 5), ord(name)))
    found = find_images([tmp_path])
    assert found == [tmp_path / "a", tmp_path / "b"]
    assert [read_image(path).data.max() for path in found] == [97, 98]


def test_series_that_is_spread_over_folders_is_one_scan(tmp_path, write_slice):
    for z in range(4):
        folder = tmp_path / f"{z // 2}"
        folder.mkdir(exist_ok=True)
        write_slice(folder / f"{z}.dcm", z=z)
    assert find_images([tmp_path]) == [tmp_path]
    assert read_image(tmp_path).data.shape == (5, 4, 4)


def test_file_under_the_name_of_another_format_is_one_line(tmp_path, write_slice):
    write_slice(tmp_path / "a.nii")
    write_image(VOLUME, tmp_path / "b.nii")
    (tmp_path / "b.nii").rename(tmp_path / "b.dcm")
    assert [path.name for path in find_images([tmp_path])] == ["a.nii", "b.dcm"]
    with pytest.raises(InputError, match=r"a\.nii: "):
        read_image(tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"b\.dcm: is no DICOM file, or a damaged one"):
        read_image(tmp_path / "b.dcm")


def test_many_files_that_are_no_images_take_no_time(tmp_path, write_series):
    write_series(tmp_path / "ct")
    for number in range(3000):
        (tmp_path / "ct" / f"{number}.txt").write_bytes(b"no image")
    begin = time.monotonic()
    assert find_images([tmp_path / "ct"]) == [tmp_path / "ct"]
    assert time.monotonic() - begin < 5


def test_each_archive_of_dicom_in_a_folder_is_a_scan_of_its_own(tmp_path, write_slice):
    for name in ("a", "b"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as opened:
            for z in range(2):
                opened.write(write_slice(tmp_path / "one", z=z), f"{z}.dcm")
        (tmp_path / "one").unlink()
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as opened:
        opened.writestr("readme.txt", "text")
    (tmp_path / "damaged.zip").write_bytes(b"PK")
    expected = [tmp_path / "a.zip", tmp_path / "b.zip", tmp_path / "damaged.zip"]
    assert find_images([tmp_path]) == expected
    write_slice(tmp_path / "0.dcm")
    assert find_images([tmp_path]) == [tmp_path / "0.dcm", *expected]
    assert read_image(expected[0]).data.shape == (5, 4, 2)


def test_dicom_files_may_be_called_img(tmp_path, write_slice):
    files = [write_slice(tmp_path / f"{z}.img", z=z, pixels=np.full((4, 5), z)) for z in range(3)]
    assert find_images([tmp_path]) == find_images(files) == [tmp_path]
    assert read_image(files[0]).data[0, 0].tolist() == [0, 1, 2]
    assert image_files(files[1]) == [files[1]]
