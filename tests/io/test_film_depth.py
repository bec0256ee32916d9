from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_image

pytest.importorskip("PIL")
# Their low bytes differ, too.
WIDE = np.array([[0, 257, 515], [1000, 40000, 65535]], np.uint16)
OPAQUE = np.full_like(WIDE, 65535)


def save_png(path, *channels):
    """A PNG of 16 bits: grey, grey and alpha, RGB, or RGB and alpha, as many channels as come."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = np.stack(channels, -1).astype(">u2")
    head = struct.pack(
        ">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, {1: 0, 2: 4, 3: 2, 4: 6}[len(channels)], 0, 0, 0
    )
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def save_tiff(path, pixels, *, order="<", pages=1, **tags):
    """A TIFF of one strip with these tags beside its own; t262=0 is white zero, t339 the numbers' kind."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    values = {256: pixels.shape[1], 257: pixels.shape[0], 258: 8 * pixels.dtype.itemsize, 259: 1, 262: 1, 273: 8}
    values |= {277: 1, 278: pixels.shape[0], 279: len(data)} | {int(name[1:]): value for name, value in tags.items()}
    at = 8 + len(data) + len(data) % 2
    blob = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at) + data.ljust(at - 8, b"\0")
    for page in range(pages):
        entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, values[tag]) for tag in sorted(values))
        following = len(blob) + 2 + len(entries) + 4 if page + 1 < pages else 0
        blob += struct.pack(order + "H", len(values)) + entries + struct.pack(order + "I", following)
    path.write_bytes(blob)
    return path


def read(path):
    return read_image(path).data[..., 0]


@pytest.mark.parametrize("channels", [(WIDE,), (WIDE,) * 3, (WIDE, WIDE, WIDE, OPAQUE)])
def test_png_of_16_bits_keeps_them_in_grey_and_in_colour(tmp_path, channels):
    found = read(save_png(tmp_path / "a.png", *channels))
    np.testing.assert_array_equal(found, WIDE)
    assert found.dtype == np.uint16


def test_png_whose_channels_differ_in_the_low_byte_is_in_colour(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: is in colour \(RGB\); give a grey image"):
        read(save_png(tmp_path / "a.png", WIDE, WIDE ^ 1, WIDE))


def test_png_of_16_bits_with_transparency_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: has 16 bits and transparency; save it without transparency"):
        read(save_png(tmp_path / "a.png", WIDE, OPAQUE))
    with pytest.raises(InputError, match=r"b\.png: has transparent parts"):
        read(save_png(tmp_path / "b.png", WIDE, WIDE, WIDE, WIDE))


def test_cut_png_of_16_bits_is_damaged(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65535, (40, 40)).astype(np.uint16)
    path = save_png(tmp_path / "a.png", noise, noise, noise)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"a\.png: is not a picture, or is damaged"):
        read(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "kind"), [("u1", 1), ("u2", 1), ("u4", 1), ("i1", 2), ("i2", 2), ("i4", 2), ("f4", 3)]
)
def test_tiff_of_any_kind_reads_as_itk_reads_it(tmp_path, order, dtype, kind):
    sitk = pytest.importorskip("SimpleITK")
    limits = np.finfo(dtype) if kind == 3 else np.iinfo(dtype)
    pixels = np.array([[limits.min, limits.max, 5], [7, 11, 100]], dtype)
    path = save_tiff(tmp_path / "a.tif", pixels, order=order, t339=kind)
    np.testing.assert_array_equal(read(path), pixels)
    np.testing.assert_array_equal(read(path), sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_zero_that_is_white_is_inverted_in_either_order_of_bytes(tmp_path, order, dtype):
    pixels = np.array([[0, 1, 200], [3, 4, 255]], dtype)
    found = read(save_tiff(tmp_path / "a.tif", pixels, order=order, t262=0))
    np.testing.assert_array_equal(found, np.iinfo(dtype).max - pixels)
    assert found.dtype == dtype


def test_tiff_that_pillow_does_not_know_is_one_upright_whole_picture(tmp_path):
    path = save_tiff(tmp_path / "a.tif", WIDE, order=">", t262=0, pages=2)
    with pytest.raises(InputError, match=r"a\.tif: has several pages; give one picture"):
        read(path)
    path = save_tiff(tmp_path / "b.tif", WIDE, order=">", t262=0, t274=3)
    with pytest.raises(InputError, match=r"b\.tif: has an orientation tag \(3\); save it upright"):
        read(path)
    path = save_tiff(tmp_path / "c.tif", WIDE, order=">", t262=0, t279=9000)
    with pytest.raises(InputError, match=r"c\.tif: is not a picture, or is damaged \(it ends too early\)"):
        read(path)
    path = save_tiff(tmp_path / "d.tif", WIDE.astype(np.int16), t262=0, t339=2)
    with pytest.raises(InputError, match=r"d\.tif: its zero is white, in int16 voxels; save it with black as zero"):
        read(path)
    path = save_tiff(tmp_path / "e.tif", WIDE.astype(np.float64), t339=3)
    with pytest.raises(InputError, match=r"e\.tif: is not a picture, .*of a known kind\); save it as PNG"):
        read(path)


def test_colours_of_16_bits_in_tiff_are_refused(tmp_path):
    path = save_tiff(tmp_path / "a.tif", np.stack([WIDE] * 3, -1), t262=2, t277=3)
    blob = path.read_bytes()
    short = struct.pack("<HHII", 258, 4, 1, 16)
    assert blob.count(short) == 1
    path.write_bytes(blob.replace(short, struct.pack("<HHII", 258, 3, 3, len(blob))) + struct.pack("<3H", 16, 16, 16))
    with pytest.raises(InputError, match=r"a\.tif: has colours of 16 bits; save it as a grey picture"):
        read(path)
