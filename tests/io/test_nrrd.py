from __future__ import annotations

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
    path = tmp_path_factory.mktemp("nrrd") / rng.choice(["a.nrrd", "a.nhdr"])
    sitk.WriteImage(image, str(path), useCompression=bool(rng.random() < 0.5))
    found = read_image(path)
    np.testing.assert_array_equal(found.data, volume.data)
    corners = rng.uniform(0, 6, (4, 3))
    np.testing.assert_allclose(found.grid.to_mm(corners), itk_points(path, corners), atol=1e-6)


SPACES = [
    ("left-posterior-superior", [-1.5, -2.5, 5]),
    ("LPS", [-1.5, -2.5, 5]),
    ("Right-Anterior-Superior", [1.5, 2.5, 5]),
    ("ras", [1.5, 2.5, 5]),
    ("left-anterior-superior", [-1.5, 2.5, 5]),
    ("LAS", [-1.5, 2.5, 5]),
]


@pytest.mark.parametrize(("space", "expected"), SPACES)
def test_space_of_the_file_becomes_ras(tmp_path, itk_points, space, expected):
    path = save(tmp_path / "a.nrrd", space=space)
    volume = read_image(path)
    np.testing.assert_allclose(volume.grid.to_mm([1, 1, 1]), expected, atol=1e-12)
    np.testing.assert_allclose(itk_points(path, [[1, 1, 1]]), [expected], atol=1e-12)
    assert volume.notes == ()


@pytest.mark.parametrize("space", ["3D-right-handed", "3D-left-handed", "scanner-xyz"])
def test_space_without_left_and_right_is_lps_as_in_itk_and_noted(tmp_path, itk_points, space):
    path = save(tmp_path / "a.nrrd", space=space)
    volume = read_image(path)
    np.testing.assert_allclose(volume.grid.to_mm([[1, 2, 3]]), itk_points(path, [[1, 2, 3]]), atol=1e-12)
    assert volume.notes == (
        f"its header says space '{space}', which tells no left from right; it is read as LPS, as by 3D Slicer",
    )


@pytest.mark.parametrize(
    "space", ["nonsense", "RPS", "RAI", "right-up", "", "RAST", "LAST", "LPST", "scanner-xyz-time"]
)
def test_space_that_simpleitk_refuses_is_refused(tmp_path, itk_points, space):
    path = save(tmp_path / "a.nrrd", space=space)
    with pytest.raises(RuntimeError):
        itk_points(path, [[0, 0, 0]])
    with pytest.raises(InputError, match=r"a\.nrrd: (is damaged, or cannot be read|its space '(R|L)AST' has)"):
        read_image(path)


@pytest.mark.parametrize("space", ["RAST", "right-anterior-superior-time", "LAST", "left-anterior-superior-time"])
def test_space_whose_signs_itk_loses_is_refused(tmp_path, space):
    axes = "(0.5,0,0,0) (0,0.5,0,0) (0,0,2,0) (0,0,0,1)"
    four = {"dimension": "4", "sizes": "2 3 4 1", "kinds": None, "space_origin": "(1,2,3,0)"}
    with pytest.raises(InputError, match=f"its space '{space}' has an axis of time"):
        read_image(save(tmp_path / "a.nrrd", space=space, space_directions=axes, **four))


@pytest.mark.parametrize(
    "directions",
    ["(0.5,0,0) (0.1,0.5,0) (0.2,-0.3,2)", "(-0.3,0.4,0) (0.4,0.3,0) (0,0,2)", "(0,0,3) (0.5,0,0) (0,1,0)"],
)
def test_sheared_oblique_and_swapped_axes_are_exact(tmp_path, directions):
    volume = read_image(save(tmp_path / "a.nrrd", space="RAS", space_directions=directions))
    columns = [[float(part) for part in vector.strip("()").split(",")] for vector in directions.split()]
    np.testing.assert_allclose(volume.grid.affine[:3, :3], np.transpose(columns), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(volume.grid.affine[:3, 3], [1, 2, 3], rtol=1e-14)


def test_packings_skips_and_files_beside_are_read(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"line\n12345" + np.arange(24, dtype=">i2").tobytes())
    beside = {"data_file": "a.raw", "endian": "big", "voxels": b"", "line_skip": "1"}
    for skip in ("5", "-1"):
        assert read_image(save(tmp_path / "a.nhdr", byte_skip=skip, **beside)).data[1, 2, 3] == 23
    assert read_image(save(tmp_path / "b.nrrd", gzip.compress(VOXELS), encoding="gzip")).data[1, 2, 3] == 23
    text = " ".join(str(value) for value in range(24)).encode()
    assert read_image(save(tmp_path / "c.nrrd", text, encoding="ascii")).data[1, 2, 3] == 23
    packed = gzip.compress(VOXELS[:20]) + gzip.compress(VOXELS[20:]) + b"behind the end"
    assert read_image(save(tmp_path / "d.nrrd", packed, encoding="gzip")).data[1, 2, 3] == 23


@pytest.mark.parametrize("place", [0, 1, 3])
def test_list_of_one_is_no_axis_wherever_it_stands(tmp_path, place):
    sizes, kinds, axes = ["2", "3", "4"], ["domain"] * 3, HEADER["space directions"].split()
    for words, word in ((sizes, "1"), (kinds, "list"), (axes, "none")):
        words.insert(place, word)
    four = {"dimension": "4", "sizes": " ".join(sizes), "kinds": " ".join(kinds), "space_directions": " ".join(axes)}
    volume = read_image(save(tmp_path / "a.nrrd", **four))
    assert volume.data.shape == (2, 3, 4)
    assert volume.data[1, 2, 3] == 23
    np.testing.assert_allclose(volume.grid.to_mm([1, 1, 1]), [-1.5, -2.5, 5], atol=1e-12)


def test_slice_in_two_dimensions_is_a_radiograph(tmp_path):
    plane = {"dimension": "2", "sizes": "4 6", "kinds": "domain domain", "space": None, "space_origin": None}
    volume = read_image(save(tmp_path / "a.nrrd", space_directions=None, spacings="0.5 0.25", **plane))
    assert volume.data.shape == (4, 6, 1)
    assert volume.grid.to_mm([2, 4, 0]).tolist() == [-1, -1, 0]
    assert volume.notes == ()


BARE = {"space_directions": None, "space_origin": None, "space": None}


def test_without_directions_spacings_count_and_without_those_px(tmp_path):
    volume = read_image(save(tmp_path / "a.nrrd", spacings="1 2 3", **BARE))
    assert volume.grid.spacing_mm.tolist() == [1, 2, 3]
    assert volume.notes == (
        "its header names no space, which tells no left from right; it is read as LPS, as by 3D Slicer",
    )
    path = save(tmp_path / "b.nrrd", **BARE)
    assert read_image(path).unit == "px"
    assert read_image(path).notes == ()
    told = read_image(path, spacing_mm=0.4)
    assert told.unit == "mm"
    assert told.grid.spacing_mm.tolist() == [0.4] * 3


@pytest.mark.parametrize(
    ("centers", "corner"),
    [
        ({}, [1.25, 2.25, 4]),
        ({"centers": "cell cell cell"}, [1.25, 2.25, 4]),
        ({"centers": "node node node"}, [1, 2, 3]),
    ],
)
def test_axis_mins_are_edges_of_cells_or_centres_of_nodes(tmp_path, itk_points, centers, corner):
    path = save(tmp_path / "a.nrrd", spacings="0.5 0.5 2", axis_mins="1 2 3", **centers, **BARE)
    found = read_image(path).grid.to_mm([0, 0, 0])
    np.testing.assert_allclose(found, np.multiply(corner, [-1, -1, 1]), atol=1e-12)
    np.testing.assert_allclose([found], itk_points(path, [[0, 0, 0]]), atol=1e-12)


def test_units_that_are_no_mm_are_noted(tmp_path):
    note = "its header says units of m, um; they are read as mm, as by 3D Slicer"
    assert read_image(save(tmp_path / "a.nrrd", space_units='"um" "um" "m"')).notes == (note,)
    assert read_image(save(tmp_path / "b.nrrd", space_units='"mm" "" "Millimeter"')).notes == ()


def test_voxels_may_be_written(tmp_path):
    data = read_image(save(tmp_path / "a.nrrd")).data
    data[0, 0, 0] = 77
    assert data[0, 0, 0] == 77
    assert data.flags.f_contiguous


def test_damaged_packed_voxels_are_found_by_their_checksum(tmp_path):
    packed = bytearray(gzip.compress(np.random.default_rng(0).bytes(48)))
    packed[20] ^= 1
    with pytest.raises(InputError, match=r"data read error|expected 48 bytes"):
        read_image(save(tmp_path / "a.nrrd", bytes(packed), encoding="gzip"))


@pytest.mark.parametrize(
    "name", ["../a.raw", "/etc/hosts", "sub/../../a.raw", "sub/../b.raw", "sub", ".", "pipe", "a\0b"]
)
def test_voxels_lie_in_a_regular_file_in_the_folder(tmp_path, make_pipe, name):
    (tmp_path / "a.raw").write_bytes(VOXELS)
    (tmp_path / "f" / "sub").mkdir(parents=True)
    (tmp_path / "f" / "sub" / "a.raw").write_bytes(VOXELS)
    make_pipe(tmp_path / "f" / "pipe")
    assert read_image(save(tmp_path / "f" / "a.nhdr", b"", data_file="sub/a.raw")).data[1, 2, 3] == 23
    with pytest.raises(InputError, match=r"b\.nhdr: its voxels lie (outside its folder|in .*, which is no file)"):
        read_image(save(tmp_path / "f" / "b.nhdr", b"", data_file=name))


def test_axis_without_a_place_in_space_is_refused_if_it_is_long(tmp_path):
    path = save(tmp_path / "a.nrrd", space_directions="none (0,0.5,0) (0,0,2)")
    with pytest.raises(InputError, match="axis 0 of 2 has no place in space"):
        read_image(path)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"type": "block"}, "type is block"),
        ({"type": None}, r"a\.nrrd: is damaged, or cannot be read"),
        ({"sizes": "2 3"}, "parsed 2 values, but dimension is 3"),
        ({"sizes": "2 x 3"}, "axis 1 size is zero"),
        ({"sizes": "1 1 1"}, "a single voxel"),
        ({"sizes": "9999 9999 9999"}, "holds less than the 999700029999 voxels"),
        ({"dimension": "4", "sizes": "2 3 2 2", "kinds": None, **BARE}, "is 4D"),
        ({"kinds": "vector domain domain", **BARE}, "several values a voxel"),
        ({"encoding": "bzip2"}, "encoding 'bzip2' cannot be read; save it as raw or gzip"),
        ({"space_directions": "(0,0,0) (0,1,0) (0,0,1)"}, "Zero-valued spacing"),
        ({"space_directions": "(0,1,0) (0,1,0) (0,0,1)"}, r"\(Bad direction, determinant is 0\)"),
        ({"space_directions": "(a,1,0) (0,1,0) (0,0,1)"}, "parsed 0 values, but space dimension is 3"),
        ({"space_origin": "(1,2)"}, "parsed 2 values, but space dimension is 3"),
        ({"space_directions": None, "spacings": "1 -2 1"}, r"spacing is \[1.0, -2.0, 1.0\]"),
        ({"space_directions": None, "spacings": "1 x nan"}, r"spacing is \[1.0, nan, nan\]"),
        ({"axis_mins": "0 0 0", "axis_maxs": "1 1 8", **BARE}, "says its extent but no spacing"),
        ({"spacings": "1 1 1", "axis_mins": "1 nan 1", **BARE}, "affine must be a finite"),
        ({"byte_skip": "x"}, "byteskip is 'x', no whole number"),
        ({"byte_skip": "1_0"}, "byteskip is '1_0', no whole number"),
        ({"byte_skip": "99999999999"}, "line skip 0 or byte skip 99999999999 leads out of the file"),
        ({"line_skip": "99999999999"}, "line skip 99999999999 or byte skip 0 leads out"),
        ({"byte_skip": "-2"}, "byte skip -2 leads out"),
        ({"byte_skip": "-1", "encoding": "gzip"}, "byte skip -1 leads out"),
        ({"data_file": "LIST\na.raw\nb.raw"}, "lie in many files"),
        ({"data_file": "a%03d.raw 1 4 1"}, "lie in many files"),
        ({"data_file": "nowhere.raw"}, r"its voxels lie in 'nowhere\.raw', which is no file"),
        ({"voxels": VOXELS[:-2]}, "fread got only 23 2-sized things"),
        ({"encoding": "gzip", "voxels": gzip.compress(VOXELS)[:-14]}, "expected 48 bytes but received"),
        ({"space": "\x1b[31m"}, r'parse space "\??\[31m"'),
    ],
)
def test_header_that_makes_no_volume_is_refused(tmp_path, fields, match):
    with pytest.raises(InputError, match=match):
        read_image(save(tmp_path / "a.nrrd", **fields))


def test_text_and_broken_lines_are_no_nrrd(tmp_path):
    (tmp_path / "a.nrrd").write_text("hello\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.nrrd: is not an NRRD image"):
        read_image(tmp_path / "a.nrrd")
    (tmp_path / "b.nrrd").write_text("NRRD0004\ntype short\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"b\.nrrd, line 2: is not a line of an NRRD header"):
        read_image(tmp_path / "b.nrrd")


def test_spacing_that_contradicts_the_header_is_refused(tmp_path):
    with pytest.raises(InputError, match="says its own spacing"):
        read_image(save(tmp_path / "a.nrrd"), spacing_mm=0.4)


def test_type_that_the_format_lacks_is_refused(tmp_path):
    volume = Volume(np.zeros((2, 2, 2), np.float16), Grid((2, 2, 2), np.eye(4)))
    with pytest.raises(InputError, match=r"float16 cannot be written as \.nrrd"):
        write_image(volume, tmp_path / "a.nrrd")


@pytest.mark.parametrize("origin", ["(nan,nan,nan)", "(1,2,inf)", "none"])
def test_origin_that_is_no_place_is_refused(tmp_path, origin):
    with pytest.raises(InputError, match=r"a\.nrrd: its space origin is .*; write the first voxel's place"):
        read_image(save(tmp_path / "a.nrrd", space_origin=origin))


def test_origin_that_is_missing_is_noted(tmp_path):
    volume = read_image(save(tmp_path / "a.nrrd", space_origin=None))
    assert volume.grid.affine[:3, 3].tolist() == [0, 0, 0]
    assert volume.notes == (
        "its header names no space origin; its first voxel is taken to lie at 0,0,0, as by 3D Slicer",
    )
    assert read_image(save(tmp_path / "a.nrrd")).notes == ()
