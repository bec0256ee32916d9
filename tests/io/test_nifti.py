from __future__ import annotations

import gzip
import struct
import tracemalloc

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io import read_image, write_image
from lmk3d.io.nifti import read_nifti

SEEDS = st.integers(0, 2**32 - 1)


def save(path, data=None, affine=None, **fields):
    """A NIfTI file of nibabel's with header fields changed by hand."""
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4) if data is None else data
    image = nibabel.Nifti1Image(data, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine)
    blob = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(blob[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    blob[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(blob)) if path.suffix == ".gz" else bytes(blob))
    return path


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_what_was_written_is_read_as_nibabel_reads_it(tmp_path_factory, random_volume, seed):
    rng = np.random.default_rng(seed)
    dtype = rng.choice(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
    volume = random_volume(rng, dtype, sheared=bool(rng.random() < 0.3))
    path = tmp_path_factory.mktemp("nifti") / rng.choice(["a.nii", "a.nii.gz"])
    write_image(volume, path)
    found = read_image(path)
    np.testing.assert_array_equal(found.data, volume.data)
    assert found.data.dtype == volume.data.dtype
    np.testing.assert_allclose(found.grid.affine, volume.grid.affine, rtol=1e-6)  # the format keeps float32
    np.testing.assert_array_equal(found.grid.affine, nibabel.load(path).affine)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_simpleitk_puts_the_voxels_where_we_do(tmp_path_factory, random_volume, itk_points, seed):
    rng = np.random.default_rng(seed)
    volume = random_volume(rng)
    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    write_image(volume, path)
    corners = rng.uniform(0, 6, (4, 3))
    # ITK takes the spacing from pixdim and sets the directions at right angles again, both in float32.
    np.testing.assert_allclose(read_image(path).grid.to_mm(corners), itk_points(path, corners), atol=3e-4)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_orientation_follows_nibabel_for_every_choice_of_sform_and_qform(tmp_path_factory, random_grid, seed):
    rng = np.random.default_rng(seed)
    sform, qform = random_grid(rng, sheared=True), random_grid(rng)
    image = nibabel.Nifti1Image(np.zeros(sform.shape, np.uint8), None)
    image.set_qform(qform.affine, code=int(rng.integers(0, 3)))
    image.set_sform(sform.affine, code=int(rng.integers(0, 3)))
    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    path.write_bytes(image.to_bytes())
    if max(sform.shape) == 1:
        return
    np.testing.assert_array_equal(read_nifti(path).grid.affine, nibabel.load(path).affine)


def test_file_without_orientation_has_nibabels_default(tmp_path):
    path = save(tmp_path / "a.nii", sform_code=0, qform_code=0)
    # 2 x 3 x 4 voxels of 2, 3 and 4 mm: x runs to the left, the middle lies at the origin.
    np.testing.assert_array_equal(
        read_image(path).grid.affine, [[-2, 0, 0, 1], [0, 3, 0, -3], [0, 0, 4, -6], [0, 0, 0, 1]]
    )


def test_sheared_affine_is_exact(tmp_path):
    affine = np.array([[1.0, 0.25, 0, 5], [0, 2, 0, 6], [0, 0.5, 3, 7], [0, 0, 0, 1]])
    assert np.array_equal(read_image(save(tmp_path / "a.nii", affine=affine)).grid.affine, affine)


def test_last_axis_of_length_one_is_no_dimension(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1))
    assert read_image(path).data.shape == (2, 3, 4)


def test_slice_of_two_dimensions_has_depth_one(tmp_path):
    assert read_image(save(tmp_path / "a.nii", np.ones((5, 4), np.uint8))).data.shape == (5, 4, 1)


def test_big_endian_file_comes_in_native_order(tmp_path):
    data = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    path = tmp_path / "a.nii"
    path.write_bytes(nibabel.Nifti1Image(data, np.eye(4), nibabel.Nifti1Header(endianness=">")).to_bytes())
    volume = read_image(path)
    assert volume.data.dtype.isnative
    np.testing.assert_array_equal(volume.data, data)


def test_nifti_2_is_read(tmp_path):
    affine = np.diag([1 / 3, 1 / 7, 1, 1])
    image = nibabel.Nifti2Image(np.ones((2, 3, 4), np.float32), affine)
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    assert np.array_equal(read_image(tmp_path / "a.nii").grid.affine, affine)


@pytest.mark.parametrize(
    "names", [("p.hdr", "p.img"), ("P.HDR", "P.IMG"), ("p.hdr.gz", "p.img.gz"), ("p.hdr", "p.img.gz")]
)
def test_pair_is_read_by_either_of_its_names(tmp_path, names):
    data = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    header = nibabel.nifti1.Nifti1PairHeader(endianness=">")
    header.set_data_dtype(">i2")
    image = nibabel.Nifti1Pair(data, np.diag([-2.0, 3, 4, 1]), header)
    image.header["vox_offset"] = 16
    for name, content in zip(names, (image.header.binaryblock, bytes(16) + data.tobytes("F")), strict=True):
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for name in names:
        volume = read_image(tmp_path / name)
        np.testing.assert_array_equal(volume.data, data)
        assert volume.grid.to_mm([1, 1, 1]).tolist() == [-2, 3, 4]


def test_analyze_and_pairs_under_another_name_are_refused(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        with pytest.raises(InputError, match=r"a\.hdr: is an Analyze 7\.5 image, which tells no left from right"):
            read_image(tmp_path / name)
    save(tmp_path / "b.nii").rename(tmp_path / "b.hdr")
    (tmp_path / "b.img").touch()
    with pytest.raises(InputError, match=r"b\.hdr: its name and its header differ on whether it is a pair"):
        read_image(tmp_path / "b.hdr")


def test_damaged_offset_is_passed_over_without_memory(tmp_path):
    path = save(tmp_path / "a.nii.gz", vox_offset=9e7)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"holds 0 of 48 bytes|holds less"):
        read_image(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_gzip_inside_a_plain_name_and_plain_inside_gz_are_read(tmp_path):
    plain = save(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii").write_bytes(gzip.compress(plain))
    (tmp_path / "c.nii.gz").write_bytes(plain)
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(plain[:400]) + gzip.compress(plain[400:]) + bytes(3))
    for name in ("b.nii", "c.nii.gz", "d.nii.gz"):
        assert read_image(tmp_path / name).data[1, 2, 3] == 23


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype", "value"),
    [(0, 5, "i2", 23), (1, 0, "i2", 23), (1, -1024, "i2", -1001), (2, 1, "i2", 47), (0.5, 1, "f4", 12.5)],
)
def test_integers_stay_integers_unless_scaled_to_fractions(tmp_path, slope, intercept, dtype, value):
    path = save(tmp_path / "a.nii", scl_slope=slope, scl_inter=intercept)
    volume = read_image(path)
    assert volume.data.dtype == dtype
    assert volume.data[1, 2, 3] == value
    np.testing.assert_array_equal(volume.data, nibabel.load(path).get_fdata())


def test_rescaled_values_that_leave_their_type_widen_it(tmp_path):
    path = save(tmp_path / "a.nii", np.full((2, 2, 2), 60000, np.uint16), scl_slope=1, scl_inter=10000)
    data = read_image(path).data
    assert data.dtype == np.int32
    assert (data == 70000).all()


def test_reading_takes_the_memory_of_one_copy(tmp_path):
    data = np.random.default_rng(0).integers(-900, 900, (128, 128, 128)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", data)
    tracemalloc.start()
    volume = read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * volume.data.nbytes


def damaged(name, path):
    """Damage ``path`` in the way that ``name`` says."""
    blob = bytearray(path.read_bytes())
    if name == "cut off":
        path.write_bytes(blob[: len(blob) // 2])
    elif name == "flipped bits":
        blob[len(blob) // 2] ^= 0xFF
        path.write_bytes(blob)
    elif name == "no checksum":
        path.write_bytes(blob[:-4])
    elif name == "text":
        path.write_text("this is no image\n" * 50, encoding="utf-8")
    elif name == "nothing":
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("cut off", r"a\.nii\.gz: (ends in the middle|its compressed data)"),
        ("flipped bits", r"a\.nii\.gz: (its compressed data is damaged|is not a NIfTI|ends in the middle)"),
        ("no checksum", r"a\.nii\.gz: ends in the middle of its compressed data"),
        ("text", r"a\.nii\.gz: is not a NIfTI image"),
        ("nothing", r"a\.nii\.gz: is not a NIfTI image"),
    ],
)
def test_damaged_gzip_is_named(tmp_path, name, match):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 99, (9, 8, 7)).astype(np.int16))
    damaged(name, path)
    with pytest.raises(InputError, match=match) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_plain_file_that_is_cut_off_is_named(tmp_path):
    path = save(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"a\.nii: holds less than the 48 bytes of voxels"):
        read_image(path)


def test_wild_size_is_refused_before_memory_is_asked_for(tmp_path):
    path = save(tmp_path / "a.nii.gz", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    with pytest.raises(InputError, match="holds less than"):
        read_image(path)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"dim": [3, 2, 0, 4, 1, 1, 1, 1]}, r"is empty \(2 x 0 x 4\)"),
        ({"dim": [3, 1, 1, 1, 1, 1, 1, 1]}, "has a single voxel"),
        ({"dim": [4, 2, 2, 2, 3, 1, 1, 1]}, r"is 4D \(2 x 2 x 2 x 3\)"),
        ({"dim": [0, 2, 2, 2, 1, 1, 1, 1]}, "says it has 0 dimensions"),
        ({"pixdim": [1, 0, 1, 1, 1, 1, 1, 1]}, r"spacing is \[0.0, 1.0, 1.0\]"),
        ({"pixdim": [1, 1, -1, 1, 1, 1, 1, 1]}, r"spacing is \[1.0, -1.0, 1.0\]"),
        ({"srow_x": [0, 0, 0, 0]}, "affine is singular"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "affine must be a finite"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 2.0}, "affine must be a finite"),
        ({"datatype": 128, "bitpix": 24}, r"is in colour \(RGB\)"),
        ({"datatype": 32}, "its voxels are complex64"),
        ({"datatype": 77}, "voxels of unknown type 77"),
        ({"intent_code": 1007}, "several values a voxel"),
        ({"scl_slope": 1.0, "scl_inter": np.inf}, "its intensity scale cannot be used"),
        ({"vox_offset": 2e8}, "voxels begin at byte 2e\\+08"),
        ({"vox_offset": -7.0}, "voxels begin at byte -7"),
        ({"magic": b"ni1"}, "whether it is a pair .hdr/.img"),
        ({"magic": b"n+1x"}, "is not a NIfTI image"),
        ({"magic": b"xyz"}, "is not a NIfTI image"),
    ],
)
def test_header_that_makes_no_volume_is_refused(tmp_path, fields, match):
    with pytest.raises(InputError, match=match):
        read_image(save(tmp_path / "a.nii", **fields))


def test_wrong_header_size_is_no_nifti(tmp_path):
    path = save(tmp_path / "a.nii")
    path.write_bytes(struct.pack("<i", 349) + path.read_bytes()[4:])
    with pytest.raises(InputError, match="is not a NIfTI image"):
        read_image(path)


def test_type_that_nifti_lacks_is_refused_and_half_floats_are_widened(tmp_path):
    grid = Grid((2, 2, 2), np.eye(4))
    with pytest.raises(InputError, match="complex128 cannot be written as NIfTI"):
        write_image(Volume(np.zeros((2, 2, 2), complex), grid), tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())
    write_image(Volume(np.ones((2, 2, 2), np.float16), grid), tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").data.dtype == np.float32


@pytest.mark.parametrize("name", ["cta_aorta_totalseg.nii.gz", "ct_example_3mm.nii.gz", "mra_tof_oblique.nii.gz"])
def test_real_scans_are_those_that_simpleitk_reads(real_files, itk_points, name):
    sitk = pytest.importorskip("SimpleITK")
    volume = read_image(real_files / name)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(real_files / name)))
    np.testing.assert_array_equal(volume.data, expected.transpose(2, 1, 0))
    ends = np.array([[0, 0, 0], np.array(volume.data.shape) - 1.0])
    np.testing.assert_allclose(volume.grid.to_mm(ends), itk_points(real_files / name, ends), atol=3e-4)
