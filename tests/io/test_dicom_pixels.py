from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_image
from lmk3d.io.dicom_frames import Entry
from lmk3d.io.dicom_pixels import read_pixels

pydicom = pytest.importorskip("pydicom")
sitk = pytest.importorskip("SimpleITK")


def itk_stream(pixels, compressor, tmp_path):
    """The packed pixels that ITK's own writer makes, and their transfer syntax."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.SetFileName(str(tmp_path / "packed_by_itk.dcm"))
    writer.Execute(sitk.GetImageFromArray(pixels))
    packed = pydicom.dcmread(tmp_path / "packed_by_itk.dcm")
    return packed.PixelData, packed.file_meta.TransferSyntaxUID


def pack(path, data, syntax):
    """Put packed pixels into a file in the place of its own."""
    dataset = pydicom.dcmread(path)
    dataset.PixelData = data
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    return path


PIXELS = np.random.default_rng(5).integers(0, 4096, (16, 20))
SIZE = {"Rows": 16, "Columns": 20}


def test_pixels_come_as_stored(write_slice, tmp_path):
    pixels, dark = read_pixels(Entry(write_slice(tmp_path / "a.dcm", pixels=np.arange(20).reshape(4, 5))))
    assert pixels.shape == (1, 4, 5)
    assert pixels[0, 1, 2] == 7
    assert not dark


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000", "JPEGLS"])
@pytest.mark.parametrize(("signed", "bits"), [(0, 16), (1, 16), (0, 12), (1, 12)])
def test_packed_pixels_are_those_that_were_stored(compressor, signed, bits, write_slice, tmp_path):
    pixels = PIXELS - 2048 if signed else PIXELS
    kind = {"PixelRepresentation": signed, "BitsStored": bits, "HighBit": bits - 1, "RescaleIntercept": -1024}
    path = write_slice(tmp_path / "a.dcm", pixels=pixels, **SIZE, **kind)
    plain, plain_volume = read_pixels(Entry(path))[0], read_image(path)
    np.testing.assert_array_equal(plain[0], pixels)
    pack(path, *itk_stream(pixels.astype(np.int16 if signed else np.uint16), compressor, tmp_path))
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    packed, _ = read_pixels(Entry(path))
    assert packed.dtype == plain.dtype
    np.testing.assert_array_equal(packed, plain)
    (tmp_path / "packed_by_itk.dcm").unlink()
    np.testing.assert_array_equal(read_image(path).data, plain_volume.data)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "folder/a")
    np.testing.assert_array_equal(read_image(tmp_path / "a.zip").data, plain_volume.data)


@pytest.mark.parametrize("syntax", [pydicom.uid.RLELossless, pydicom.uid.DeflatedExplicitVRLittleEndian])
def test_what_pydicom_unpacks_by_itself_is_what_was_stored(syntax, write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm", pixels=PIXELS, **SIZE)
    dataset = pydicom.dcmread(path)
    if syntax == pydicom.uid.RLELossless:
        dataset.compress(syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    np.testing.assert_array_equal(read_pixels(Entry(path))[0][0], PIXELS)


def test_packed_frames_of_one_file_are_told_apart(write_frames, tmp_path):
    path = write_frames(tmp_path / "a.dcm", [0.0, 1.0, 2.0])
    streams = [itk_stream(np.full((4, 5), value, np.uint16), "JPEG", tmp_path) for value in (7, 8, 9)]
    frames = [next(pydicom.encaps.generate_frames(data, number_of_frames=1)) for data, _ in streams]
    pack(path, pydicom.encaps.encapsulate(frames), streams[0][1])
    assert read_pixels(Entry(path))[0][:, 3, 4].tolist() == [7, 8, 9]
    assert read_image(path).data[0, 0].tolist() == [7, 9, 11]  # 2 x - 7


def test_lossy_picture_and_its_inverse_are_read_as_they_look(write_slice, tmp_path):
    pil = pytest.importorskip("PIL.Image")
    pixels = np.add.outer(np.arange(16), np.arange(20)).astype(np.uint8) * 6
    file = io.BytesIO()
    pil.fromarray(pixels).save(file, "JPEG", quality=98)
    film = {"ImagePositionPatient": None, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    for kind in ("MONOCHROME2", "MONOCHROME1"):
        path = write_slice(tmp_path / "a.dcm", **SIZE, **film, PhotometricInterpretation=kind)
        pack(path, pydicom.encaps.encapsulate([file.getvalue()]), pydicom.uid.JPEGBaseline8Bit)
        found, dark = read_pixels(Entry(path))
        assert dark == (kind == "MONOCHROME1")
        assert np.abs(found[0].astype(int) - pixels).max() <= 4


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "ExplicitVRBigEndian"])
def test_file_that_does_not_say_how_it_is_written_is_read(syntax, write_slice, tmp_path):
    dataset = pydicom.dcmread(write_slice(tmp_path / "a.dcm", pixels=PIXELS, **SIZE))
    if syntax == "ExplicitVRBigEndian":
        dataset.PixelData = PIXELS.astype(">u2").tobytes()
    bare = io.BytesIO()
    pydicom.Dataset(dataset).save_as(bare, implicit_vr=syntax.startswith("Implicit"), little_endian="Little" in syntax)
    (tmp_path / "b.dcm").write_bytes(bare.getvalue())
    assert bare.getvalue()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_pixels(Entry(tmp_path / "b.dcm"))[0][0], PIXELS)


def test_precision_that_one_decoder_refuses_and_the_next_reads_is_no_damage():
    real = pytest.importorskip("pydicom.data").get_testdata_file("JPGExtended.dcm", download=False)  # 12 bits, lossy
    if real is None:
        pytest.skip("this pydicom brings no such file")
    found = read_pixels(Entry(Path(real)))[0]
    direct = sitk.GetArrayFromImage(sitk.ReadImage(real, imageIO="GDCMImageIO"))
    np.testing.assert_array_equal(found, direct)
    assert found.max() > 255


def test_damaged_or_wrong_packed_pixels_are_named_in_one_line(write_slice, tmp_path, capfd):
    path = write_slice(tmp_path / "a.dcm", pixels=PIXELS, **SIZE)
    data, syntax = itk_stream(PIXELS.astype(np.uint16), "JPEG", tmp_path)
    capfd.readouterr()
    cut = next(pydicom.encaps.generate_frames(data, number_of_frames=1))[:-200]
    for wrong, match in (
        (pydicom.encaps.encapsulate([cut]), "or are damaged; copy it again"),
        (data[:-40], "packed pixels are cut off or damaged"),
        (data[:8] + bytes(int.from_bytes(data[4:8], "little")), "says 1 image of 20 x 16 and holds 0; copy it again"),
    ):
        pack(path, wrong, syntax)
        with pytest.raises(InputError, match=rf"a\.dcm: .*{match}"):
            read_pixels(Entry(path))
    assert capfd.readouterr().err == ""  # libjpeg says there what it makes up


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000", "JPEGLS"])
def test_size_of_the_packed_image_must_be_that_of_the_header(compressor, write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm", Rows=60000, Columns=60000)  # before memory for it is asked for
    pack(path, *itk_stream(PIXELS.astype(np.uint16), compressor, tmp_path))
    with pytest.raises(InputError, match=r"says 1 image of 60000 x 60000 and holds 1 of 20 x 16"):
        read_pixels(Entry(path))


def table(entries, first=0):
    """A modality look-up table of 16 bits."""
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, 16])
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return [item]


def test_modality_table_stands_in_the_place_of_slope_and_intercept(write_slice, tmp_path):
    pixels = np.arange(20).reshape(4, 5)
    entries = 1000 - 10 * np.arange(18)  # the last entry holds for all beyond it
    path = write_slice(tmp_path / "a.dcm", pixels=pixels, RescaleSlope=3, ModalityLUTSequence=table(entries, 1))
    expected = entries[np.clip(pixels - 1, 0, 17)]
    np.testing.assert_array_equal(read_image(path).data[:, :, 0].T, expected)
    film = {"ImagePositionPatient": None, "PhotometricInterpretation": "MONOCHROME1"}
    path = write_slice(tmp_path / "b.dcm", pixels=pixels, ModalityLUTSequence=table(entries, 1), **film)
    np.testing.assert_array_equal(read_image(path).data[:, :, 0], 1830 - expected)  # 1000 + 830


def test_colour_is_refused_and_equal_channels_are_grey(write_slice, tmp_path):
    colours = np.stack([np.arange(20).reshape(4, 5)] * 3, axis=-1).astype(np.uint8)
    settings = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsStored": 8}
    settings |= {"BitsAllocated": 8, "HighBit": 7}
    path = write_slice(tmp_path / "a.dcm", PixelData=colours.tobytes(), **settings)
    assert read_pixels(Entry(path))[0][0, 1, 2] == 7
    colours[0, 0, 1] = 99
    write_slice(path, PixelData=colours.tobytes(), **settings)
    with pytest.raises(InputError, match=r"a\.dcm: is in colour \(RGB\)"):
        read_pixels(Entry(path))
    write_slice(path, PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError, match=r"is in colour \(palette\)"):
        read_pixels(Entry(path))


def test_truncated_and_foreign_files_are_named_in_one_line(write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm")
    whole = path.read_bytes()
    for content in (whole[:-9], whole[:300], b"text\n" * 100, b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.dcm: is no DICOM file, or a damaged one") as caught:
            read_pixels(Entry(path))
        assert "\n" not in str(caught.value)


def test_packing_that_nothing_can_unpack_is_named(write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(40)])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    with pytest.raises(
        InputError,
        match=r"packed as MPEG2 .*, which cannot be unpacked here, .* save it uncompressed",
    ):
        read_pixels(Entry(path))


@pytest.mark.parametrize("times", [2, 3])
def test_more_pixels_than_the_header_says_are_no_further_images(times, write_slice, tmp_path):
    dataset = pydicom.dcmread(write_slice(tmp_path / "a.dcm", pixels=np.arange(20).reshape(4, 5)))
    dataset.PixelData = dataset.PixelData * times + bytes(4)
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"a\.dcm: holds other pixels than the 1 x 4 x 5 of its header"):
        read_pixels(Entry(tmp_path / "a.dcm"))


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000", "JPEGLS"])
def test_constant_image_may_be_packed_as_small_as_it_gets(compressor, write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm", Rows=512, Columns=512)
    pack(path, *itk_stream(np.full((512, 512), 7, np.uint16), compressor, tmp_path))
    found = read_pixels(Entry(path))[0]
    assert found.shape == (1, 512, 512)
    assert (found == 7).all()


@pytest.mark.parametrize("syntax", [pydicom.uid.RLELossless, pydicom.uid.JPEGLSLossless])
@pytest.mark.parametrize(("count", "size"), [(1, "3"), (16, "48")])
def test_small_file_that_says_to_hold_gigabytes_is_refused(syntax, count, size, write_slice, tmp_path):
    path = write_slice(tmp_path / "a.dcm", Rows=40000, Columns=40000, NumberOfFrames=count)
    pack(path, pydicom.encaps.encapsulate([bytes(1000)] * count), syntax)
    with pytest.raises(InputError, match=rf"a\.dcm: says that \d+ packed bytes hold {size} GiB of pixels, .*; copy it"):
        read_pixels(Entry(path))
