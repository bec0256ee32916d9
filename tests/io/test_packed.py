from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io.packed import (
    ByteSource,
    check_shape,
    check_spacing,
    itk_affine,
    make_volume,
    open_source,
    rescaled,
)

PATH = Path("a.nii")
PACKERS = {"raw": bytes, "zlib": zlib.compress, "gzip": gzip.compress}


@pytest.mark.parametrize("packing", PACKERS)
def test_bytes_come_in_order_whatever_their_packing(packing):
    content = np.random.default_rng(0).integers(0, 255, 100_000).astype(np.uint8).tobytes()
    source = ByteSource(io.BytesIO(PACKERS[packing](content)), PATH, "raw" if packing == "raw" else "zlib")
    assert source.take(0) == b""
    assert source.take(7) == content[:7]
    assert source.take(50_000) == content[7:50_007]
    np.testing.assert_array_equal(
        source.array((3, 5), np.dtype("<u2")).ravel("F"), np.frombuffer(content[50_007:50_037], "<u2")
    )


def test_taking_more_than_there_is_gives_less():
    assert ByteSource(io.BytesIO(b"abc"), PATH).take(9) == b"abc"
    assert ByteSource(io.BytesIO(gzip.compress(b"abc")), PATH, "zlib").take(9) == b"abc"


def test_first_axis_runs_fastest_and_bytes_come_in_native_order():
    array = ByteSource(io.BytesIO(np.arange(6, dtype=">i4").tobytes()), PATH).array((2, 3), np.dtype(">i4"))
    assert array.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert array.dtype.isnative


def test_damage_behind_the_voxels_is_found_by_the_checksum():
    packed = bytearray(gzip.compress(bytes(1000)))
    packed[-8] ^= 1
    with pytest.raises(
        InputError, match=r"(?i)a\.nii: its compressed data is damaged \(.*incorrect (data check|checksum)"
    ):
        ByteSource(io.BytesIO(packed), PATH, "zlib").array((10,), np.dtype("u1"))


def test_packed_file_that_holds_less_is_named():
    with pytest.raises(InputError, match=r"a\.nii: holds 1000 of 1001 bytes"):
        ByteSource(io.BytesIO(gzip.compress(bytes(1000))), PATH, "zlib").array((1001,), np.dtype("u1"))


def test_padding_behind_the_end_is_passed_over():
    source = ByteSource(io.BytesIO(gzip.compress(b"ab") + gzip.compress(b"cd") + bytes(9)), PATH, "zlib")
    assert source.array((4,), np.dtype("u1")).tobytes() == b"abcd"


@pytest.mark.parametrize("unpacker", ["isal", "zlib"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 19, 1 << 16])
def test_members_and_padding_are_told_apart_wherever_a_chunk_ends(monkeypatch, unpacker, chunk):
    monkeypatch.setattr("lmk3d.io.packed._CHUNK", chunk)
    monkeypatch.setattr("lmk3d.io.packed._PIECE", 7)
    if unpacker == "zlib":
        monkeypatch.setattr("lmk3d.io.packed.zlib", zlib)
    content = np.random.default_rng(1).integers(0, 4, 300).astype(np.uint8).tobytes() + bytes(3000)
    packed = gzip.compress(content[:100]) + gzip.compress(content[100:]) + b"padding"
    source = ByteSource(io.BytesIO(packed), PATH, "zlib")
    assert source.array((3300,), np.dtype("u1")).tobytes() == content
    with pytest.raises(InputError, match="ends in the middle"):
        ByteSource(io.BytesIO(packed[:-20]), PATH, "zlib").array((3300,), np.dtype("u1"))


def test_stream_that_goes_on_behind_its_voxels_is_not_followed(monkeypatch):
    monkeypatch.setattr("lmk3d.io.packed._MOST_BEHIND", 100_000)
    packed = gzip.compress(bytes(200_000))
    assert ByteSource(io.BytesIO(packed), PATH, "zlib").array((150_000,), np.dtype("u1")).sum() == 0
    with pytest.raises(InputError, match=r"a\.nii: goes on behind its voxels"):
        ByteSource(io.BytesIO(packed), PATH, "zlib").array((50_000,), np.dtype("u1"))


def test_zlib_itself_reads_where_isal_is_missing(monkeypatch):
    monkeypatch.setattr("lmk3d.io.packed.zlib", zlib)
    assert ByteSource(io.BytesIO(gzip.compress(b"abc") + gzip.compress(b"d")), PATH, "zlib").take(9) == b"abcd"
    with pytest.raises(InputError, match="compressed data is damaged"):
        ByteSource(io.BytesIO(b"no gzip"), PATH, "zlib").take(9)


def test_image_beyond_the_memory_is_refused(monkeypatch):
    def empty(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr(np, "empty", empty)
    with pytest.raises(InputError, match=r"needs 0\.0 GiB, more than the memory has"):
        ByteSource(io.BytesIO(bytes(9)), PATH).array((9,), np.dtype("u1"))


def test_missing_files_and_what_is_no_file_are_named(tmp_path, make_pipe):
    with pytest.raises(InputError, match="no such file"), open_source(tmp_path / "a"):
        pass
    make_pipe(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError, match="is no regular file"), open_source(path):
            pass
    with pytest.raises(InputError, match="cannot be read"), open_source(tmp_path / ("a" * 999)):
        pass


def test_itk_affine_by_hand():
    affine = itk_affine([2, 3], [[0, 1], [1, 0]], [5, 7])
    # Index (1, 0) lies 2 mm along LPS y: LPS (5, 9), RAS (-5, -9).
    assert (affine @ [1, 0, 0, 1]).tolist() == [-5, -9, 0, 1]


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "dtype", "value"),
    [
        ("u1", 1, 0, "u1", 200),
        ("u1", 1, 10, "u1", 210),
        ("u1", 1, -1000, "i2", -800),
        ("u2", 1, -1024, "i2", -824),
        ("i2", 300, 0, "i4", 60_000),
        ("u1", 1e12, 0, "f4", 2e14),
        ("i2", 0.5, 0, "f4", 100),
        ("f4", 2, 1, "f4", 401),
        ("f8", 0.1, 0, "f8", 200 * 0.1),
    ],
)
def test_rescaled_keeps_integers_where_it_can(stored, slope, intercept, dtype, value):
    data = np.full((2, 3, 4), 200, stored, order="F")
    found = rescaled(data, slope, intercept)
    assert found.dtype == dtype
    assert (found == np.dtype(dtype).type(value)).all()


def test_rescaling_to_a_type_of_the_same_size_takes_no_memory():
    data = np.full((2, 3, 4), 200, np.uint16, order="F")
    assert np.shares_memory(rescaled(data, 1, -1024), data)


def test_make_volume_fills_up_axes_and_drops_those_of_length_one():
    assert make_volume(np.zeros((2, 3)), np.eye(4), PATH).data.shape == (2, 3, 1)
    assert make_volume(np.zeros((2, 3, 4, 1, 1)), np.eye(4), PATH, unit="px").unit == "px"
    assert make_volume(np.zeros((2, 3, 4), bool), np.eye(4), PATH).data.dtype == np.uint8


def test_make_volume_says_why_it_is_none():
    with pytest.raises(InputError, match="voxels are complex128, no plain numbers"):
        make_volume(np.zeros((2, 3, 4), complex), np.eye(4), PATH)
    with pytest.raises(InputError, match=r"a\.nii: affine is singular"):
        make_volume(np.zeros((2, 3, 4)), np.diag([1.0, 0, 1, 1]), PATH)


@pytest.mark.parametrize(
    ("shape", "match"),
    [((2, 3, 4, 5), r"is 4D \(2 x 3 x 4 x 5\)"), ((2, 0), "is empty"), ((), "is empty"), ((1, 1), "a single voxel")],
)
def test_shape_that_is_no_volume_is_refused(shape, match):
    with pytest.raises(InputError, match=match):
        check_shape(shape, PATH)


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan, np.inf])
def test_spacing_that_is_no_distance_is_refused(spacing):
    with pytest.raises(InputError, match=r"a\.nii: its spacing is \[1\.0, "):
        check_spacing([1.0, spacing], PATH)
