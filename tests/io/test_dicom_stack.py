from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk3d.errors import InputError
from lmk3d.geometry import random_rotation
from lmk3d.io import read_image
from lmk3d.io.dicom_frames import Entry, Frame
from lmk3d.io.dicom_stack import stack_slices

pytest.importorskip("pydicom")
SERIES = Path("series")


def frame(z=0.0, *, shape=(4, 5), position=None, axes=((1, 0, 0), (0, 1, 0)), spacing=(0.5, 0.25), uid=""):
    """A slice on paper: what is wrong with a stack shows before any pixel is read."""
    place = np.array([0.0, 0.0, z] if position is None else position)
    return Frame(Entry(SERIES / f"{z}-{uid}"), 0, shape, place, np.array(axes, float), spacing, 2.0, (1.0, 0.0), uid)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_oblique_stacks_lie_where_simpleitk_puts_them(tmp_path_factory, write_slice, seed):
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(seed)
    axes = random_rotation(rng)
    first, step = rng.uniform(-300, 300, 3), axes[:, 2] * rng.uniform(0.3, 4.0)
    down, across = rng.uniform(0.2, 2.0, 2)
    folder = tmp_path_factory.mktemp("series")
    pixels = rng.integers(0, 4000, (3, 4, 5))
    for number in rng.permutation(3):
        write_slice(
            folder / f"{rng.integers(1e9)}.dcm",
            pixels=pixels[number],
            ImagePositionPatient=[f"{value:.10g}"[:16] for value in first + number * step],
            ImageOrientationPatient=[f"{value:.10f}"[:16] for value in axes[:, :2].T.ravel()],
            PixelSpacing=[f"{down:.10g}", f"{across:.10g}"],
            RescaleIntercept=-1024,
        )
    volume = read_image(folder)
    assert volume.data.dtype == np.int16
    np.testing.assert_array_equal(volume.data, pixels.transpose(2, 1, 0) - 1024)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_array_equal(volume.data, sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    for point in ([0, 0, 0], [4, 3, 0], [4, 0, 2]):
        expected = np.array(image.TransformIndexToPhysicalPoint(point)) * [-1, -1, 1]
        np.testing.assert_allclose(volume.grid.to_mm(point), expected, atol=1e-6)


def test_tilted_gantry_gives_a_sheared_affine(tmp_path, write_slice):
    for number in range(3):
        write_slice(tmp_path / f"{number}.dcm", ImagePositionPatient=[0, 0.5 * number, 2.0 * number])
    affine = read_image(tmp_path).grid.affine
    # From slice to slice 0.5 mm to the back and 2 mm up.
    assert affine[:3, 2].tolist() == [0, -0.5, 2]


def test_single_slice_is_as_thick_as_it_says(tmp_path, write_slice):
    path = write_slice(tmp_path / "a.dcm", SliceThickness=3, SpacingBetweenSlices=None)
    assert read_image(path).grid.spacing_mm.tolist() == [1, 1, 3]


def test_slices_with_scales_of_their_own_become_float32(tmp_path, write_slice):
    for number, slope in enumerate((0.5, 2.0)):
        write_slice(tmp_path / f"{number}.dcm", z=number, pixels=np.full((4, 5), 10), RescaleSlope=slope)
    volume = read_image(tmp_path)
    assert volume.data.dtype == np.float32
    assert volume.data[0, 0].tolist() == [5, 20]


def test_frames_of_one_file_are_put_in_order(tmp_path, write_frames):
    volume = read_image(write_frames(tmp_path / "a.dcm", places=[5.0, 2.0, 3.5]))
    assert volume.grid.spacing_mm.tolist() == [0.25, 0.5, 1.5]
    # Frame 1, of stored value 1, is the lowest: 1 * 2 - 7.
    assert volume.data[0, 0].tolist() == [-5, -3, -7]


def test_file_that_comes_twice_counts_once(tmp_path, write_slice):
    for number in range(3):
        path = write_slice(tmp_path / f"{number}.dcm", z=number)
        (tmp_path / f"copy {number}.dcm").write_bytes(path.read_bytes())
    assert read_image(tmp_path).data.shape == (5, 4, 3)


def test_what_has_the_uid_and_the_place_of_another_and_other_pixels_is_no_copy(tmp_path, write_slice):
    for number in range(3):
        write_slice(tmp_path / f"{number}.dcm", z=number, SOPInstanceUID=f"1.2.{number}")
    write_slice(tmp_path / "9.dcm", z=1, pixels=np.ones((4, 5)), SOPInstanceUID="1.2.1")
    with pytest.raises(InputError, match=r"9\.dcm: has the UID and the place of .*1\.dcm and other pixels; give one"):
        read_image(tmp_path)
    write_slice(tmp_path / "9.dcm", z=1, RescaleIntercept=5, SOPInstanceUID="1.2.1")
    with pytest.raises(InputError, match="other pixels"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("frames", "match"),
    [
        ([frame(0), frame(1), frame(2, shape=(8, 8))], r"mixes image sizes 5 x 4 \(2\), 8 x 8 \(1\)"),
        ([frame(0), frame(1, axes=((0, 1, 0), (0, 0, 1)))], "mixes slices of different orientation"),
        ([frame(0), frame(1, spacing=(0.5, 0.3))], "mixes slices of different spacing"),
        ([frame(0), frame(1), frame(3), frame(4)], "1 to 2 mm apart"),
        ([frame(0), frame(1, position=[3, 0, 1]), frame(2)], "are some missing"),
        (
            [frame(0), frame(1), frame(0, uid="b"), frame(1, uid="b")],
            "has 4 slices at 2 places, and their headers do not say",
        ),
        ([frame(0, axes=((2, 0, 0), (0, 1, 0)))] * 2, "no unit vectors at right angles"),
        ([frame(0, shape=(1, 1))], "has a single voxel"),
    ],
)
def test_slices_that_make_no_stack_are_refused(frames, match):
    with pytest.raises(InputError, match=f"^series: .*{match}"):
        stack_slices(frames, SERIES)


def test_slices_that_share_a_uid_but_not_a_place_are_all_kept(tmp_path, write_slice):
    for number in range(3):
        write_slice(tmp_path / f"{number}.dcm", z=number, SOPInstanceUID="1.2.3.4")
    assert read_image(tmp_path).data.shape == (5, 4, 3)


def test_slices_of_different_types_are_refused(tmp_path, write_slice):
    write_slice(tmp_path / "0.dcm", z=0)
    write_slice(tmp_path / "1.dcm", z=1, PixelRepresentation=1)
    with pytest.raises(InputError, match="mixes uint16 and int16 pixels"):
        read_image(tmp_path)


def test_slices_of_which_some_are_inverted_are_refused(tmp_path, write_slice):
    for z in range(4):
        write_slice(tmp_path / str(z), z=z, PhotometricInterpretation=f"MONOCHROME{1 + z // 2}")
    with pytest.raises(InputError, match="mixes MONOCHROME1 and MONOCHROME2 slices; give the files of one stack"):
        read_image(tmp_path)


def test_slices_of_which_some_lack_the_scale_of_others_are_refused(tmp_path, write_slice):
    scale = {"RescaleSlope": 1, "RescaleIntercept": 0}
    for z in range(4):
        write_slice(tmp_path / str(z), z=z, **(scale if z else {}))
    assert read_image(tmp_path).data.shape == (5, 4, 4)  # what the others say is what is meant without
    for z in range(1, 4):
        write_slice(tmp_path / str(z), z=z, **scale | {"RescaleIntercept": -1000})
    with pytest.raises(InputError, match="1 of its 4 slices say no rescale slope and intercept, the others do"):
        read_image(tmp_path)
