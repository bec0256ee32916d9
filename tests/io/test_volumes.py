"""Images of other libraries as volumes: each voxel where its own library says, whatever its direction and order."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS, Grid, Volume
from lmk3d.io import as_volume, read_image, write_image

RAS = np.array([-1.0, -1.0, 1.0])
SEEDS = range(12)


def values_at(volume, places):
    return [volume.data[tuple(place)] for place in places]


def some_voxels(rng, shape):
    return np.stack([rng.integers(0, side, 5) for side in shape], axis=1)


def as_simpleitk(sitk, volume):
    """The volume as SimpleITK has it, made without this package's writer."""
    image = sitk.GetImageFromArray(np.transpose(volume.data, (2, 1, 0)))
    lps = LPS_TO_RAS @ volume.grid.affine
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(volume.grid.spacing_mm.tolist())
    image.SetDirection((lps[:3, :3] / volume.grid.spacing_mm).ravel().tolist())
    return image


@pytest.mark.parametrize("seed", SEEDS)
def test_voxels_of_simpleitk_lie_where_simpleitk_says(random_volume, seed):
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(seed)
    image = as_simpleitk(sitk, random_volume(rng))
    found = as_volume(image)
    assert found.grid.shape == image.GetSize()
    assert found.data.dtype == np.int16
    places = some_voxels(rng, found.grid.shape)
    own = np.array([image.TransformIndexToPhysicalPoint(place.tolist()) for place in places]) * RAS
    assert_allclose(found.grid.to_mm(places), own, atol=1e-9)
    assert values_at(found, places) == [image.GetPixel(place.tolist()) for place in places]


def test_a_flat_image_of_simpleitk_is_a_radiograph_of_rows_and_columns():
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.uint8).reshape(3, 4))  # three rows of four
    image.SetSpacing([0.5, 0.25])
    image.SetOrigin([7.0, -2.0])
    image.SetDirection([0.6, -0.8, 0.8, 0.6])
    found = as_volume(image)
    assert found.data[:, :, 0].tolist() == np.arange(12).reshape(3, 4).tolist()
    x, y = image.TransformIndexToPhysicalPoint([3, 1])  # column, row
    assert_allclose(found.grid.to_mm([1, 3, 0]), [-x, -y, 0.0], atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_voxels_of_nibabel_lie_where_nibabel_says(random_volume, seed):
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(seed)
    volume = random_volume(rng, sheared=True)
    image = nibabel.Nifti1Image(volume.data, volume.grid.affine)
    found = as_volume(image)
    places = some_voxels(rng, found.grid.shape)
    assert_allclose(found.grid.to_mm(places), nibabel.affines.apply_affine(image.affine, places), atol=1e-9)
    assert values_at(found, places) == [image.dataobj[tuple(place)] for place in places]
    assert found.data.dtype == np.int16


@pytest.mark.parametrize("unit", ["mm", "meter", "micron"])
def test_a_nibabel_image_of_a_file_is_read_as_the_file_is(tmp_path, unit):
    nibabel = pytest.importorskip("nibabel")
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1)
    image = nibabel.Nifti1Image(data, np.diag([0.5, -2.0, 3.0, 1.0]))
    image.header.set_xyzt_units(unit)
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(tmp_path / "image.nii")
    found, own = as_volume(nibabel.load(tmp_path / "image.nii")), read_image(tmp_path / "image.nii")
    assert_allclose(found.grid.affine, own.grid.affine)
    assert found.data.dtype == own.data.dtype == np.float32
    assert_array_equal(found.data, own.data)


@pytest.mark.parametrize("channels", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_voxels_of_a_metatensor_lie_where_its_affine_says(random_volume, seed, channels):
    torch = pytest.importorskip("torch")
    data = pytest.importorskip("monai.data")
    rng = np.random.default_rng(seed)
    volume = random_volume(rng)
    image = data.MetaTensor(torch.as_tensor(volume.data), affine=torch.as_tensor(volume.grid.affine.copy()))
    found = as_volume(image[None] if channels else image)
    assert_array_equal(found.data, volume.data)
    assert_allclose(found.grid.affine, volume.grid.affine)


@pytest.mark.parametrize("to_ras", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_what_monai_loads_lies_where_the_file_says(tmp_path, random_volume, seed, to_ras):
    """Read by ITK, of which MONAI keeps the world in LPS when it is told to, and says so."""
    transforms = pytest.importorskip("monai.transforms")
    pytest.importorskip("itk")
    volume = random_volume(np.random.default_rng(seed), np.float32)
    write_image(volume, tmp_path / "image.mha")
    load = transforms.LoadImage(reader="ITKReader", affine_lps_to_ras=to_ras, ensure_channel_first=True)
    found = as_volume(load(tmp_path / "image.mha"))
    assert_allclose(found.grid.affine, volume.grid.affine, atol=1e-4)
    assert_array_equal(found.data, volume.data)


def test_a_transform_that_waits_is_not_passed_over():
    torch = pytest.importorskip("torch")
    data, transforms = pytest.importorskip("monai.data"), pytest.importorskip("monai.transforms")
    image = data.MetaTensor(torch.zeros(1, 4, 5, 6), affine=torch.eye(4))
    with pytest.raises(InputError, match=r"transforms that wait to be done \(lazy\); apply them first"):
        as_volume(transforms.Spacing((2.0, 2.0, 2.0), lazy=True)(image))


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 2, 3, 4), (3, 4)])
def test_an_array_lies_where_the_given_affine_says(random_grid, shape):
    affine = random_grid(np.random.default_rng(0)).affine
    data = np.arange(np.prod(shape)).reshape(shape)
    found = as_volume(data, affine=affine)
    assert found.grid.shape == {(3, 4): (3, 4, 1)}.get(shape, (2, 3, 4))
    assert_array_equal(found.data.ravel(), data.ravel())
    assert_array_equal(found.grid.affine, affine)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
def test_a_tensor_is_an_array(dtype):
    torch = pytest.importorskip("torch")
    data = torch.arange(24).reshape(2, 3, 4).to(getattr(torch, dtype))
    found = as_volume(data, affine=torch.eye(4))
    assert_array_equal(found.data, data.float().numpy())
    assert found.data.dtype == (np.uint8 if dtype == "bool" else np.float32)


def test_numbers_are_brought_to_the_byte_order_of_the_machine():
    found = as_volume(np.arange(24, dtype=">i2").reshape(2, 3, 4), affine=np.eye(4))
    assert found.data.dtype.isnative
    assert found.data.ravel().tolist() == list(range(24))


def test_a_path_is_read_and_a_volume_is_itself(tmp_path, bright_volume):
    write_image(bright_volume, tmp_path / "scan.nii.gz")
    for path in (tmp_path / "scan.nii.gz", str(tmp_path / "scan.nii.gz")):
        assert_array_equal(as_volume(path).data, bright_volume.data)
    assert as_volume(bright_volume) is bright_volume
    with pytest.raises(InputError, match=r"scan\.nii\.gz: says its own spacing; give none"):
        as_volume(tmp_path / "scan.nii.gz", spacing_mm=2.0)


def test_an_array_without_an_affine_says_what_to_give():
    with pytest.raises(InputError, match=r"an array \(2 x 3 x 4\) does not say where .* give affine=, the \(4, 4\)"):
        as_volume(np.zeros((2, 3, 4)))


@pytest.mark.parametrize(
    ("shape", "said"),
    [((2, 3, 4, 5), "is 4D"), ((1, 1, 3, 4, 5), "is 5D"), ((3, 0, 2), "is empty"), ((1, 1, 1), "single voxel")],
)
def test_an_array_that_is_no_volume_is_refused(shape, said):
    with pytest.raises(InputError, match=f"argument image: .*{said}"):
        as_volume(np.zeros(shape), affine=np.eye(4))


def test_wrong_affines_and_colours_are_refused():
    data = np.zeros((2, 3, 4))
    with pytest.raises(
        InputError, match=r"argument image: affine must be a finite \(4, 4\) matrix, got shape \(3, 3\)"
    ):
        as_volume(data, affine=np.eye(3))
    with pytest.raises(InputError, match="no plain numbers"):
        as_volume(data.astype(complex), affine=np.eye(4))
    sitk = pytest.importorskip("SimpleITK")
    with pytest.raises(InputError, match=r"several values a voxel \(colour\?\)"):
        as_volume(sitk.GetImageFromArray(np.zeros((2, 3, 4)), isVector=True))


def test_what_an_image_does_not_take_is_told(tmp_path, bright_volume):
    for image in (tmp_path / "scan.nii", bright_volume):
        with pytest.raises(TypeError, match="has its own affine; leave affine out"):
            as_volume(image, affine=np.eye(4))
    with pytest.raises(TypeError, match="belong to a file"):
        as_volume(bright_volume, spacing_mm=1.0)
    with pytest.raises(TypeError, match="image is a list; give a path, a Volume"):
        as_volume([[1, 2]])


def test_no_library_is_imported_for_an_array(monkeypatch):
    for name in ("torch", "nibabel.spatialimages", "SimpleITK", "monai.data.meta_tensor"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    volume = as_volume(np.zeros((2, 3, 4)), affine=np.eye(4))
    assert isinstance(volume, Volume)
    assert isinstance(volume.grid, Grid)
    assert not {"torch", "SimpleITK"} & sys.modules.keys()
