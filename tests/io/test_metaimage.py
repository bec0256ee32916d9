from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io import read_image, write_image

SEEDS = st.integers(0, 2**32 - 1)
HEADER = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "Offset": "1 2 3",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "ElementSpacing": "0.5 0.5 2",
    "DimSize": "2 3 4",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}
VOXELS = np.arange(24, dtype="<i2").tobytes()


def save(path, voxels=VOXELS, **fields):
    """A file with fields changed; None takes one away."""
    header = {name: value for name, value in {**HEADER, **fields}.items() if value is not None}
    local = header.pop("ElementDataFile")
    text = "".join(f"{name} = {value}\n" for name, value in {**header, "ElementDataFile": local}.items())
    path.write_bytes(text.encode() + voxels)
    return path


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_round_trip_is_exact_and_simpleitk_agrees(tmp_path_factory, random_volume, itk_points, seed):
    rng = np.random.default_rng(seed)
    dtype = rng.choice(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
    volume = random_volume(rng, dtype, sheared=bool(rng.random() < 0.3))
    path = tmp_path_factory.mktemp("meta") / "a.mha"
    write_image(volume, path)
    found = read_image(path)
    np.testing.assert_array_equal(found.data, volume.data)
    assert found.data.dtype == volume.data.dtype
    np.testing.assert_allclose(found.grid.affine, volume.grid.affine, rtol=1e-14, atol=1e-12)
    corners = rng.uniform(0, 6, (4, 3))
    np.testing.assert_allclose(volume.grid.to_mm(corners), itk_points(path, corners), atol=1e-6)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_files_of_simpleitk_are_read(tmp_path_factory, random_volume, itk_points, seed):
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(seed)
    volume = random_volume(rng)
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.T))
    lps = np.diag([-1, -1, 1, 1]) @ volume.grid.affine
    image.SetSpacing(volume.grid.spacing_mm.tolist())
    image.SetDirection((lps[:3, :3] / volume.grid.spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    path = tmp_path_factory.mktemp("meta") / rng.choice(["a.mha", "a.mhd"])
    sitk.WriteImage(image, str(path), useCompression=bool(rng.random() < 0.5))
    found = read_image(path)
    np.testing.assert_array_equal(found.data, volume.data)
    corners = rng.uniform(0, 6, (4, 3))
    np.testing.assert_allclose(found.grid.to_mm(corners), itk_points(path, corners), atol=1e-6)


def test_header_becomes_an_affine_by_hand(tmp_path):
    # The first axis runs to LPS y, so voxel (1, 0, 0) lies at LPS (1, 2.5, 3), which is RAS (-1, -2.5, 3).
    volume = read_image(save(tmp_path / "a.mha", TransformMatrix="0 1 0 1 0 0 0 0 1"))
    assert volume.grid.to_mm([1, 0, 0]).tolist() == [-1, -2.5, 3]
    assert volume.data[1, 2, 3] == 23
    assert volume.data[1, 0, 0] == 1


def test_big_endian_header_size_and_a_file_beside_are_read(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"12345" + np.arange(24, dtype=">i2").tobytes())
    common = {"ElementDataFile": "a.raw", "BinaryDataByteOrderMSB": "True", "voxels": b""}
    for size in ("5", "-1"):
        path = save(tmp_path / "a.mhd", HeaderSize=size, **common)
        assert read_image(path).data[1, 2, 3] == 23


def test_plane_has_depth_one_and_a_fourth_axis_of_one_is_none(tmp_path):
    plane = {"NDims": "2", "DimSize": "4 6", "Offset": "1 2", "TransformMatrix": None, "ElementSpacing": "0.5 0.25"}
    volume = read_image(save(tmp_path / "a.mha", **plane))
    assert volume.data.shape == (4, 6, 1)
    assert volume.grid.to_mm([1, 1, 0]).tolist() == [-1.5, -2.25, 0]
    four = {"NDims": "4", "DimSize": "2 3 4 1", "Offset": "1 2 3 0", "TransformMatrix": None}
    assert read_image(save(tmp_path / "b.mha", ElementSpacing="1 1 1 1", **four)).data.shape == (2, 3, 4)


def test_without_a_spacing_the_image_is_in_px_or_as_told(tmp_path):
    path = save(tmp_path / "a.mha", ElementSpacing=None)
    assert read_image(path).unit == "px"
    told = read_image(path, spacing_mm=0.4)
    assert told.unit == "mm"
    assert told.grid.spacing_mm.tolist() == [0.4] * 3


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"ElementSpacing": "0 1 1"}, r"spacing is \[0.0, 1.0, 1.0\]"),
        ({"ElementSpacing": "1 -1 1"}, r"spacing is \[1.0, -1.0, 1.0\]"),
        ({"ElementSpacing": "1 1"}, "elementspacing is '1 1'; it must be 3 numbers"),
        ({"Offset": "1 2 x"}, "offset is '1 2 x'"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "affine is singular"),
        ({"DimSize": "2 0 4"}, "is empty"),
        ({"DimSize": "1 1 1"}, "a single voxel"),
        ({"DimSize": None}, "has no DimSize"),
        ({"NDims": "x"}, "ndims is 'x'"),
        ({"NDims": None}, "NDims is None"),
        ({"NDims": "4", "DimSize": "2 3 2 2", "Offset": None, "TransformMatrix": None}, "is 4D"),
        ({"ElementNumberOfChannels": "3"}, "several values a voxel"),
        ({"ElementType": "MET_ASCII_CHAR"}, "'MET_ASCII_CHAR' is no plain number"),
        ({"BinaryData": "False"}, "its voxels are text"),
        ({"ElementDataFile": "LIST"}, "lie in many files"),
        ({"ElementDataFile": "nowhere.raw"}, r"its voxels lie in 'nowhere\.raw', which is no file"),
        ({"ElementDataFile": "../a.raw"}, "its voxels lie outside its folder"),
        ({"ElementDataFile": "a\0b"}, "which is no file"),
        ({"DimSize": "1.9 3 4"}, r"DimSize is '1\.9 3 4'; give whole numbers"),
        ({"DimSize": "2 3 1e300"}, "give whole numbers"),
        ({"DimSize": "2 3"}, "dimsize is '2 3'; it must be 3 numbers"),
        ({"NDims": "2.5", "DimSize": "2 3"}, "give whole numbers"),
        ({"HeaderSize": "1e300"}, r"HeaderSize is 1e\+300"),
        ({"Offset": "1_0 2 3"}, "offset is '1_0 2 3'; it must be 3 numbers"),
        ({"BinaryDataByteOrderMSB": "1e308"}, "binarydatabyteordermsb is '1e308'; it must be True or False"),
        ({"BinaryData": "OTrue"}, "binarydata is 'otrue'"),
        ({"Transform\0": "1"}, r"a\.mha, line \d+: is not a MetaImage header"),
        ({"HeaderSize": "1.5"}, r"HeaderSize is 1\.5"),
        ({"voxels": VOXELS[:-2]}, "holds less than the 48 bytes"),
        ({"CompressedData": "True"}, "compressed data is damaged"),
    ],
)
def test_header_that_makes_no_volume_is_refused(tmp_path, fields, match):
    with pytest.raises(InputError, match=match):
        read_image(save(tmp_path / "a.mha", **fields))


def test_units_that_are_no_mm_are_noted(tmp_path):
    note = "its header says units of 'um'; they are read as mm, as by 3D Slicer"
    assert read_image(save(tmp_path / "a.mha", DistanceUnits="um")).notes == (note,)
    assert read_image(save(tmp_path / "b.mha", DistanceUnits="mm")).notes == ()


def test_damaged_packed_voxels_are_found_where_itk_finds_nothing(tmp_path):
    packed = bytearray(zlib.compress(np.random.default_rng(0).bytes(48)))
    packed[-1] ^= 1
    size = str(len(packed))
    with pytest.raises(InputError, match="compressed data is damaged"):
        read_image(save(tmp_path / "a.mha", bytes(packed), CompressedData="True", CompressedDataSize=size))


def test_text_is_no_metaimage(tmp_path):
    (tmp_path / "a.mha").write_text("hello\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.mha, line 1: is not a MetaImage header"):
        read_image(tmp_path / "a.mha")


def test_spacing_that_contradicts_the_header_is_refused(tmp_path):
    with pytest.raises(InputError, match="says its own spacing"):
        read_image(save(tmp_path / "a.mha"), spacing_mm=0.4)


def test_type_that_the_format_lacks_is_refused(tmp_path):
    volume = Volume(np.zeros((2, 2, 2), np.float16), Grid((2, 2, 2), np.eye(4)))
    with pytest.raises(InputError, match=r"float16 cannot be written as \.mha"):
        write_image(volume, tmp_path / "a.mha")
    assert not list(tmp_path.iterdir())


def test_real_scan_is_that_which_simpleitk_reads(real_files):
    sitk = pytest.importorskip("SimpleITK")
    path = real_files / "example_input_dummy_cta.mha"
    np.testing.assert_array_equal(
        read_image(path).data, sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0)
    )
