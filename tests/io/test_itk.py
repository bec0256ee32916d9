from __future__ import annotations

import gc

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io.itk import read_itk, write_itk

SHEARED = np.array([[0.5, 0.1, 0.0, 7.0], [0.0, -0.8, 0.3, 8.0], [0.2, 0.0, 2.0, -9.0], [0, 0, 0, 1]])
VOLUME = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), Grid((2, 3, 4), SHEARED))


@pytest.mark.parametrize(("name", "image_io"), [("a.nrrd", "NrrdImageIO"), ("a.mha", "MetaImageIO")])
def test_voxels_and_sheared_axes_come_back_in_ras(tmp_path, name, image_io):
    write_itk(VOLUME, tmp_path / name)
    data, affine = read_itk(tmp_path / name, image_io, most=24)
    np.testing.assert_array_equal(data, VOLUME.data)
    np.testing.assert_allclose(affine, SHEARED, rtol=1e-14, atol=1e-14)


def test_voxels_live_on_and_can_be_written_without_a_copy(tmp_path):
    write_itk(VOLUME, tmp_path / "a.nrrd")
    data, _ = read_itk(tmp_path / "a.nrrd", "NrrdImageIO", most=24)
    gc.collect()
    data += 1
    np.testing.assert_array_equal(data, VOLUME.data + 1)
    assert data.flags.f_contiguous
    assert not data.flags.owndata


def test_more_voxels_than_the_file_can_hold_are_refused_before_they_are_read(tmp_path):
    write_itk(VOLUME, tmp_path / "a.nrrd")
    with pytest.raises(InputError, match=r"a\.nrrd: holds less than the 24 voxels its header says"):
        read_itk(tmp_path / "a.nrrd", "NrrdImageIO", most=23)


def test_reason_is_one_line_of_itks(tmp_path):
    (tmp_path / "a.nrrd").write_text("NRRD0004\ntype: nonsense\n\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.nrrd: is damaged, or cannot be read \(.*nonsense.*\); save it again$"):
        read_itk(tmp_path / "a.nrrd", "NrrdImageIO", most=9)


def test_folder_that_is_not_there_cannot_be_written_to(tmp_path):
    with pytest.raises(InputError, match=r"a\.mha: cannot be written \("):
        write_itk(VOLUME, tmp_path / "nowhere" / "a.mha")
