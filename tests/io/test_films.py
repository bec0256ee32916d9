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
    path = save(tmp_path / "a.tif", dpi=(254, 254))
    volume, image = read_image(path, spacing_mm=0.1), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.data[..., 0], sitk.GetArrayFromImage(image))
    expected = [*(-np.array(image.TransformIndexToPhysicalPoint([6, 4]))), 0]
    np.testing.assert_allclose(volume.grid.to_mm([4, 6, 0]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("ending", "dpi", "said"),
    [
        ("png", 300, "300 dpi, 0.0847 mm"),
        ("jpg", 150, "150 dpi, 0.169 mm"),
        ("tif", 100, "100 dpi, 0.254 mm"),
        ("bmp", 254, "254 dpi, 0.1 mm"),
        ("tif", 10, "10 dpi, 2.54 mm"),
    ],
)
def test_resolution_of_a_picture_is_no_spacing_but_a_note(tmp_path, ending, dpi, said):
    path = save(tmp_path / f"a.{ending}", dpi=(dpi, dpi))
    volume = read_image(path)
    assert volume.unit == "px"
    assert volume.grid.spacing_mm.tolist() == [1, 1, 1]
    step = said.split()[-2]
    assert volume.notes == (
        f"the file says {said} a pixel, which is seldom the detector's; if it is, give --spacing {step}",
    )
    told = read_image(path, spacing_mm=0.3)
    assert (told.unit, told.notes) == ("mm", ())
    assert told.grid.spacing_mm.tolist() == [0.3, 0.3, 1]


@pytest.mark.parametrize(("ending", "dpi"), [("png", 72), ("bmp", 96), ("jpg", 1), ("png", None)])
def test_resolution_that_programs_write_by_default_is_no_news(tmp_path, ending, dpi):
    volume = read_image(save(tmp_path / f"a.{ending}", **({} if dpi is None else {"dpi": (dpi, dpi)})))
    assert (volume.unit, volume.notes) == ("px", ())


def test_pixels_that_are_not_square_are_told(tmp_path):
    (note,) = read_image(save(tmp_path / "a.tif", dpi=(254, 127))).notes
    assert note.startswith("the file says 254 x 127 dpi, 0.1 x 0.2 mm a pixel; --spacing takes square")


def save_tiff(path, pixels, **tags):
    """A TIFF with tags that Pillow does not write by itself; t262 is photometric."""
    directory = pytest.importorskip("PIL.TiffImagePlugin").ImageFileDirectory_v2()
    for name, value in tags.items():
        directory[int(name[1:])] = value
    Image.fromarray(pixels).save(path, tiffinfo=directory)
    return path


@pytest.mark.parametrize(
    ("unit", "per_unit", "step"),
    [("mm", 10.0, "0.1"), ("cm", 50.0, "0.2"), ("\\u00B5m", 0.01, "0.1"), ("inch", 254.0, "0.1")],
)
def test_scale_of_imagej_is_a_note(tmp_path, unit, per_unit, step):
    path = save_tiff(tmp_path / "a.tif", GREY, t270=f"ImageJ=1.53\nunit={unit}\n", t282=per_unit, t283=per_unit, t296=1)
    volume = read_image(path)
    assert volume.unit == "px"
    assert volume.notes[0].startswith(f"the file says a scale in {unit} (ImageJ), {step} mm a pixel")
    plain = save_tiff(tmp_path / "b.tif", GREY, t270="ImageJ=1.53\nunit=pixel\n", t282=10.0, t283=10.0, t296=1)
    assert read_image(plain).notes == ()


def test_zero_that_is_white_is_inverted_at_any_depth(tmp_path):
    for name, pixels, most in (("8.tif", GREY, 255), ("16.tif", GREY * np.uint16(1000), 65535)):
        path = save_tiff(tmp_path / name, pixels)
        blob = path.read_bytes()
        tag = (262).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
        assert blob.count(tag + b"\1\0") == 1
        path.write_bytes(blob.replace(tag + b"\1\0", tag + b"\0\0"))
        found = read_image(path).data[..., 0]
        np.testing.assert_array_equal(found, most - pixels)
        assert found.dtype == pixels.dtype
    path = save_tiff(tmp_path / "f.tif", GREY.astype(np.float32))
    path.write_bytes(path.read_bytes().replace(tag + b"\1\0", tag + b"\0\0"))
    with pytest.raises(InputError, match=r"f\.tif: its zero is white, in float32 voxels; save it with black as zero"):
        read_image(path)


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_exif_turns_nothing_and_a_note_says_so(tmp_path, ending):
    sitk = pytest.importorskip("SimpleITK")
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / f"a.{ending}", GREY, exif=exif)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.data[..., 0], sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    assert volume.notes == (
        "viewers turn or mirror it (EXIF orientation 6); rows and columns are those stored, as in 3D Slicer",
    )


def test_tiff_is_mirrored_by_its_tag_or_refused_where_it_lies_on_its_side(tmp_path):
    for code, expected in ((2, GREY[:, ::-1]), (3, GREY[::-1, ::-1]), (4, GREY[::-1])):
        volume = read_image(save_tiff(tmp_path / "a.tif", GREY, t274=code))
        np.testing.assert_array_equal(volume.data[..., 0], expected)
        assert volume.notes == (f"it is mirrored as its orientation tag ({code}) says, as in 3D Slicer",)
    for code in (5, 6, 7, 8):
        with pytest.raises(InputError, match=rf"a\.tif: its orientation tag \({code}\) turns it on its side"):
            read_image(save_tiff(tmp_path / "a.tif", GREY, t274=code))


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
        with pytest.raises(InputError, match=rf"a\.{ending}: is not a picture, or is damaged") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


def test_other_formats_under_a_pictures_name_are_refused_and_start_no_program(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.check_call", fail)
    monkeypatch.setattr("subprocess.Popen", fail)
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.jpg").write_bytes(postscript)
    save(tmp_path / "b.gif").rename(tmp_path / "b.png")
    for name in ("a.jpg", "b.png"):
        with pytest.raises(InputError, match=rf"{name}: is not a picture, .*TIFF or BMP of a known kind\); save it"):
            read_image(tmp_path / name)


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
