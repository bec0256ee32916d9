from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_image
from lmk3d.io.films import grey, read_film

Image = pytest.importorskip("PIL.Image")
GREY = np.arange(35, dtype=np.uint8).reshape(5, 7)


def save(path, pixels=GREY, **options):
    """A picture of these pixels."""
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "tif", "tiff", "bmp", "jpg", "jpeg"])
def test_rows_and_columns_lie_where_itk_says(tmp_path, ending):
    path = save(tmp_path / f"a.{ending}", np.full((5, 7), 80, np.uint8))
    volume = read_image(path, spacing_mm=0.5)
    assert volume.data.shape == (5, 7, 1)
    assert volume.data.dtype == np.uint8
    assert volume.unit == "mm"
    # Row 2, column 3 lies at LPS (1.5, 1, 0).
    assert volume.grid.to_mm([2, 3, 0]).tolist() == [-1.5, -1.0, 0.0]


def test_simpleitk_agrees_on_pixels_and_places(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path = save(tmp_path / "a.tif", dpi=(254, 127))
    volume, image = read_image(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.data[..., 0], sitk.GetArrayFromImage(image))
    expected = [*(-np.array(image.TransformIndexToPhysicalPoint([6, 4]))), 0]
    np.testing.assert_allclose(volume.grid.to_mm([4, 6, 0]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("ending", "dpi", "spacing"),
    [
        ("png", (254, 254), 0.1),
        ("tif", (127, 127), 0.2),
        ("jpg", (254, 254), 0.1),
        ("bmp", (254, 254), 0.1),
        ("png", (72, 72), None),
        ("bmp", (96, 96), None),
        ("jpg", (1, 1), None),
        ("tif", (10, 10), None),
        ("tif", (5000, 5000), None),
        ("png", None, None),
    ],
)
def test_resolution_is_believed_where_it_can_be_meant(tmp_path, ending, dpi, spacing):
    path = save(tmp_path / f"a.{ending}", **({} if dpi is None else {"dpi": dpi}))
    volume = read_image(path)
    assert volume.unit == ("px" if spacing is None else "mm")
    np.testing.assert_allclose(volume.grid.spacing_mm[:2], spacing or 1.0, rtol=1e-4)


def test_argument_goes_before_the_resolution(tmp_path):
    assert read_image(save(tmp_path / "a.png", dpi=(254, 254)), spacing_mm=0.3).grid.spacing_mm[0] == 0.3


def test_resolution_of_a_camera_is_not_believed(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Camera maker"
    assert read_image(save(tmp_path / "a.jpg", dpi=(300, 300), exif=exif)).unit == "px"


def test_rows_and_columns_may_differ_in_spacing(tmp_path):
    volume = read_image(save(tmp_path / "a.tif", dpi=(254, 127)))
    np.testing.assert_allclose(volume.grid.spacing_mm, [0.2, 0.1, 1.0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_grey_of_any_depth_keeps_its_type(tmp_path, dtype):
    pixels = (np.arange(35).reshape(5, 7) * (1 if dtype == np.uint8 else 900)).astype(dtype)
    volume = read_image(save(tmp_path / "a.tif", pixels))
    np.testing.assert_array_equal(volume.data[..., 0], pixels)
    assert volume.data.dtype == dtype
    assert volume.data.flags.writeable


def test_sixteen_bit_png_keeps_its_values(tmp_path):
    pixels = (GREY * np.uint16(1000)).astype(np.uint16)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", pixels)).data[..., 0], pixels)


def test_three_equal_channels_are_grey_and_so_are_palettes_and_opaque_alpha(tmp_path):
    picture = Image.fromarray(GREY)
    for mode in ("RGB", "RGBA", "LA", "P"):
        picture.convert(mode).save(tmp_path / f"{mode}.png")
        np.testing.assert_array_equal(read_image(tmp_path / f"{mode}.png").data[..., 0], GREY)
    Image.fromarray(GREY > 9).save(tmp_path / "1.png")
    np.testing.assert_array_equal(read_image(tmp_path / "1.png").data[..., 0], GREY > 9)


def test_true_colour_is_refused_in_one_line(tmp_path):
    pixels = np.stack([GREY, GREY, GREY + 1], axis=-1)
    with pytest.raises(InputError, match=r"^.*a\.png: is in colour \(RGB\); give a grey image$"):
        read_image(save(tmp_path / "a.png", pixels))


def test_transparent_parts_are_refused(tmp_path):
    pixels = np.stack([GREY, GREY, GREY, GREY], axis=-1)
    with pytest.raises(InputError, match="has transparent parts"):
        read_image(save(tmp_path / "a.png", pixels))


def test_several_pages_are_refused(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(GREY)])
    with pytest.raises(InputError, match="has 2 pages"):
        read_image(tmp_path / "a.tif")


def test_single_pixel_is_refused(tmp_path):
    with pytest.raises(InputError, match="has a single voxel"):
        read_image(save(tmp_path / "a.png", GREY[:1, :1]))


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "bmp"])
def test_damaged_pictures_are_named_in_one_line(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
    path = save(tmp_path / f"a.{ending}", noise)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"this is text\n" * 30, b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"a\.{ending}: is no picture, or a damaged one") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


def test_missing_pillow_and_missing_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"a\.png: no such file"):
        read_film(tmp_path / "a.png")
    path = save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"a\.png: pictures need Pillow; install it"):
        read_image(path)


def test_grey_by_hand():
    assert grey(np.zeros((2, 3, 3)), Path("a")).shape == (2, 3)
    with pytest.raises(InputError, match="a: is in colour"):
        grey(np.zeros((2, 3, 4)), Path("a"))
