from __future__ import annotations

import bz2
import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io import read_image, write_image

SEEDS = st.integers(0, 2**32 - 1)
HEADER = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "2 3 4",
    "space directions": "(0.5,0,0) (0,0.5,0) (0,0,2)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}
VOXELS = np.arange(24, dtype="<i2").tobytes()


def save(path, voxels=VOXELS, **fields):
    """A file with fields changed (_ for a space); None takes one away."""
    fields = {name.replace("_", " "): value for name, value in fields.items()}
    header = {name: value for name, value in {**HEADER, **fields}.items() if value is not None}
    text = "NRRD0004\n# comment\nscanner:=none\n" + "".join(f"{name}: {value}\n" for name, value in header.items())
    path.write_bytes(text.encode() + b"\n" + voxels)
    return path


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_round_trip_is_exact_and_simpleitk_agrees(tmp_path_factory, random_volume, itk_points, seed):
    rng = np.random.default_rng(seed)
    dtype = rng.choice(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
    volume = random_volume(rng, dtype, sheared=bool(rng.random() < 0.3))
    path = tmp_path_factory.mktemp("nrrd") / "a.nrrd"
    write_image(volume, path)
    found = read_image(path)
    np.testing.assert_array_equal(found.data, volume.data)
    assert found.data.dtype == volume.data.dtype
    np.testing.assert_array_equal(found.grid.affine, volume.grid.affine)
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
    path = tmp_path_factory.mktemp("nrrd") / rng.choice(["a.nrrd", "a.nhdr"])
    sitk.WriteImage(image, str(path), useCompression=bool(rng.random() < 0.5))
    found = read_image(path)
    np.testing.assert_array_equal(found.data, volume.data)
    corners = rng.uniform(0, 6, (4, 3))
    np.testing.assert_allclose(found.grid.to_mm(corners), itk_points(path, corners), atol=1e-6)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("left-posterior-superior", [-1.5, -2.5, 5]),
        ("LPS", [-1.5, -2.5, 5]),
        ("right-anterior-superior", [1.5, 2.5, 5]),
        ("RAS", [1.5, 2.5, 5]),
        ("left-anterior-superior", [-1.5, 2.5, 5]),
        (None, [-1.5, -2.5, 5]),
    ],
)
def test_space_of_the_file_becomes_ras(tmp_path, space, expected):
    path = save(tmp_path / "a.nrrd", space=space)
    assert read_image(path).grid.to_mm([1, 1, 1]).tolist() == expected


@pytest.mark.parametrize("space", ["right-anterior-superior", "left-anterior-superior", "left-posterior-superior"])
def test_simpleitk_agrees_on_the_spaces(tmp_path, itk_points, space):
    path = save(tmp_path / "a.nrrd", space=space)
    np.testing.assert_allclose(read_image(path).grid.to_mm([[1, 2, 3]]), itk_points(path, [[1, 2, 3]]), atol=1e-6)


def test_packings_skips_and_files_beside_are_read(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"line\n12345" + np.arange(24, dtype=">i2").tobytes())
    beside = {"data_file": "a.raw", "endian": "big", "voxels": b"", "line_skip": "1"}
    for skip in ("5", "-1"):
        assert read_image(save(tmp_path / "a.nhdr", byte_skip=skip, **beside)).data[1, 2, 3] == 23
    assert read_image(save(tmp_path / "b.nrrd", gzip.compress(VOXELS), encoding="gzip")).data[1, 2, 3] == 23
    assert read_image(save(tmp_path / "c.nrrd", bz2.compress(VOXELS), encoding="bzip2")).data[1, 2, 3] == 23


def test_axis_without_a_place_in_space_may_have_length_one_only(tmp_path):
    four = {"dimension": "4", "kinds": "domain domain domain list"}
    directions = HEADER["space directions"] + " none"
    path = save(tmp_path / "a.nrrd", sizes="2 3 4 1", space_directions=directions, **four)
    assert read_image(path).data.shape == (2, 3, 4)
    with pytest.raises(InputError, match="several values a voxel"):
        read_image(save(tmp_path / "b.nrrd", sizes="2 3 2 2", space_directions=directions, **four))


def test_slice_lies_where_its_two_directions_say(tmp_path):
    plane = {"dimension": "2", "sizes": "4 6", "kinds": "domain domain"}
    volume = read_image(save(tmp_path / "a.nrrd", space_directions="(0,0.5,0) (0,0,0.25)", **plane))
    assert volume.data.shape == (4, 6, 1)
    assert volume.grid.to_mm([2, 4, 0]).tolist() == [-1, -3, 4]
    assert volume.grid.spacing_mm.tolist() == [0.5, 0.25, 1]


def test_without_directions_spacings_count_and_without_those_px(tmp_path):
    bare = {"space_directions": None, "space_origin": None, "space": None}
    assert read_image(save(tmp_path / "a.nrrd", spacings="1 2 3", **bare)).grid.spacing_mm.tolist() == [1, 2, 3]
    path = save(tmp_path / "b.nrrd", **bare)
    assert read_image(path).unit == "px"
    assert read_image(path, spacing_mm=0.4).grid.spacing_mm.tolist() == [0.4] * 3


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"type": "block"}, "type 'block' is no plain number"),
        ({"sizes": "2 3"}, "sizes '2 3' do not fit dimension"),
        ({"sizes": "2 x 3"}, "sizes '2 x 3' do not fit"),
        ({"sizes": "2 0 3"}, "is empty"),
        ({"sizes": "1 1 1"}, "a single voxel"),
        ({"dimension": "4", "sizes": "2 3 2 2", "kinds": None}, "is 4D"),
        ({"kinds": "vector domain domain"}, "several values a voxel"),
        ({"encoding": "ascii"}, "encoding 'ascii' cannot be read"),
        ({"space_directions": "(0,0,0) (0,1,0) (0,0,1)"}, r"spacing is \[0.0, 1.0, 1.0\]"),
        ({"space_directions": "(0,1,0) (0,1,0) (0,0,1)"}, "affine is singular"),
        ({"space_directions": "none (0,1,0) (0,0,1)"}, "axis 0 has no place in space"),
        ({"space_directions": "(a,1,0) (0,1,0) (0,0,1)"}, "space directions is"),
        ({"space_directions": None, "spacings": "1 -2 1"}, r"spacing is \[1.0, -2.0, 1.0\]"),
        ({"space_directions": None, "spacings": "1 x 1"}, "spacing is"),
        ({"byte_skip": "x"}, "line skip or byte skip is no number"),
        ({"data_file": "LIST"}, "lie in many files"),
        ({"data_file": "nowhere.raw"}, r"nowhere\.raw: no such file"),
        ({"voxels": VOXELS[:-2]}, "holds less than the 48 bytes"),
        ({"encoding": "gzip"}, "compressed data is damaged"),
        ({"encoding": "bzip2"}, "compressed data is damaged"),
    ],
)
def test_header_that_makes_no_volume_is_refused(tmp_path, fields, match):
    with pytest.raises(InputError, match=match):
        read_image(save(tmp_path / "a.nrrd", **fields))


def test_text_and_broken_lines_are_no_nrrd(tmp_path):
    (tmp_path / "a.nrrd").write_text("hello\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.nrrd: is no NRRD image"):
        read_image(tmp_path / "a.nrrd")
    (tmp_path / "b.nrrd").write_text("NRRD0004\ntype short\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"b\.nrrd, line 2: is no line of an NRRD header"):
        read_image(tmp_path / "b.nrrd")


def test_spacing_that_contradicts_the_header_is_refused(tmp_path):
    with pytest.raises(InputError, match="says its own spacing"):
        read_image(save(tmp_path / "a.nrrd"), spacing_mm=0.4)


def test_type_that_the_format_lacks_is_refused(tmp_path):
    volume = Volume(np.zeros((2, 2, 2), np.float16), Grid((2, 2, 2), np.eye(4)))
    with pytest.raises(InputError, match=r"float16 cannot be written as \.nrrd"):
        write_image(volume, tmp_path / "a.nrrd")
