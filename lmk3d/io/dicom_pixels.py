"""The pixels of a DICOM file as they are stored, whatever they are packed with."""

from __future__ import annotations

import os
import re
import struct
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.dicom_frames import naming, pydicom_dataset
from lmk3d.io.films import grey
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lmk3d.io.dicom_frames import Entry

__all__ = ["read_pixels"]

# RLE is unpacked by pydicom itself, everything else that is packed by GDCM within SimpleITK: whatever pydicom has
# installed beside it, the values are the same.
_RLE = "1.2.840.10008.1.2.5"
# What is written for GDCM to unpack: pixels without a rescale, which it would apply.
_PLAIN = "1.2.840.10008.5.1.4.1.1.7"
_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.3"
_STDERR = 2
# A constant image of 512 x 512 shrinks to a 4000th; one that is larger than a real constant image, or many of them, are
# not all constant.
_SMALL_BYTES, _MOST_RATIO, _MOST_RATIO_OF_MANY = 256 << 20, 1000, 5000
# How lines of libjpeg and OpenJPEG begin, or what they name: GDCM tries decoders until one can read the data.
_CHATTER = re.compile(
    "(Application|Bogus|Corrupt|Empty|Error|Expected|Failed|Inconsistent|Insufficient|Invalid|Missing|Not|"
    "Premature|Requested|read:|Scan|Sorry|Stream|Tile|Too|Unexpected|Unknown|Unsupported|Warning|Wrong) |"
    ".*(JPEG|JFIF|Huffman|marker)"
)
# Those of them after which pixels are made up.
_DAMAGE = re.compile(
    "Corrupt JPEG data|Premature end of JPEG|Stream too short|Tile part length|Failed to|read: segment"
)
_PIXEL_TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)


def read_pixels(entry: Entry) -> tuple[NDArray[Any], bool]:
    """The stored numbers of one file, and whether high ones are dark (MONOCHROME1).

    A modality look-up table, where there is one in the place of slope and intercept, is applied.

    Returns:
        (frames, rows, columns).
    Raises:
        InputError: if the file is damaged, in colour, or packed in a way that cannot be unpacked.
    """
    dataset = pydicom_dataset(entry)
    with naming(entry):
        kind = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
        if kind == "PALETTE COLOR":
            raise InputError(f"{entry}: is in colour (palette); give a grey image")
        syntax = _syntax(dataset)
        packed = syntax.is_compressed and syntax != _RLE and not syntax.is_deflated
        if syntax == _RLE:
            _check_ratio(dataset, entry)
        pixels = _unpack(dataset, entry) if packed else dataset.pixel_array
        frames = pixels if int(dataset.get("NumberOfFrames") or 1) > 1 or packed else pixels[None]
        if int(dataset.get("SamplesPerPixel") or 1) > 1:
            frames = np.stack([grey(frame, entry.path) for frame in frames])
        shape = int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns)
        if frames.shape != shape:  # pydicom takes pixels beyond the last for more images
            raise InputError(f"{entry}: holds other pixels than the {shape[0]} x {shape[1]} x {shape[2]} of its header")
        if dataset.get("ModalityLUTSequence"):
            frames = _through_table(frames, dataset)
        return frames, kind == "MONOCHROME1"


def _syntax(dataset: Any) -> Any:
    """The transfer syntax; of files that say none, such as those without a preamble, that which pydicom has guessed."""
    from pydicom import uid

    if dataset.file_meta.get("TransferSyntaxUID") is None:
        known = hasattr(dataset, "original_encoding")  # not in pydicom 2
        implicit, little = dataset.original_encoding if known else (dataset.is_implicit_VR, dataset.is_little_endian)
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
    return dataset.file_meta.TransferSyntaxUID


def _through_table(frames: NDArray[Any], dataset: Any) -> NDArray[Any]:
    try:
        from pydicom.pixels import apply_modality_lut
    except ImportError:  # pydicom 2
        from pydicom.pixel_data_handlers.util import apply_modality_lut
    return np.asarray(apply_modality_lut(frames, dataset))


def _unpack(dataset: Any, entry: Entry) -> NDArray[Any]:
    """(frames, rows, columns) or (frames, rows, columns, samples), unpacked by GDCM."""
    count = int(dataset.get("NumberOfFrames") or 1)
    _check_sizes(dataset, count, entry)
    _check_ratio(dataset, entry)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.dcm"
        _write_plain(dataset, path, count)
        try:
            pixels = _read_with_gdcm(path)
        except RuntimeError:
            name = dataset.file_meta.TransferSyntaxUID.name
            raise InputError(
                f"{entry}: its pixels are packed as {name}, which cannot be unpacked here, or are damaged; copy it "
                "again, or save it uncompressed"
            ) from None
    shape = count, int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if pixels.size != np.prod(shape) * samples:
        raise InputError(f"{entry}: its packed pixels do not fill {shape[2]} x {shape[1]} x {shape[0]}; copy it again")
    pixels = pixels.reshape(*shape, samples) if samples > 1 else pixels.reshape(shape)
    return _of_declared_type(pixels, dataset)


def _write_plain(dataset: Any, path: Path, count: int) -> None:
    """Write the pixels alone, as they are packed."""
    import pydicom

    plain = pydicom.Dataset()
    for tag in _PIXEL_TAGS:
        if tag in dataset:
            plain[tag] = dataset[tag]
    if plain.get("PhotometricInterpretation") == "MONOCHROME1":
        plain.PhotometricInterpretation = "MONOCHROME2"
    plain.SOPClassUID = _MULTI_FRAME if count > 1 else _PLAIN
    plain.SOPInstanceUID = pydicom.uid.generate_uid()
    plain.file_meta = pydicom.dataset.FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    plain["PixelData"].is_undefined_length = True
    if int(pydicom.__version__.partition(".")[0]) < 3:
        plain.is_little_endian, plain.is_implicit_VR = True, False
        plain.save_as(path, write_like_original=False)
    else:
        plain.save_as(path, enforce_file_format=True)


def _read_with_gdcm(path: Path) -> NDArray[Any]:
    """The pixels, or a RuntimeError: also where GDCM makes up what is damaged, and only says so in the terminal."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003 - SimpleITK takes no keyword
    with _overheard() as complaints:
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    if complaints:
        raise RuntimeError(complaints[0])
    return np.asarray(sitk.GetArrayFromImage(image))


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """Keep from the terminal what GDCM's decoders, which are C, write there; lines of others are passed on."""
    complaints: list[str] = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as heard:
        terminal = os.dup(_STDERR)
        os.dup2(heard.fileno(), _STDERR)
        try:
            yield complaints
        finally:
            os.dup2(terminal, _STDERR)
            os.close(terminal)
            heard.seek(0)
            for line in heard.read().decode(errors="replace").splitlines(keepends=True):
                if _DAMAGE.match(line):
                    complaints.append(line.strip())
                elif line.strip() and not _CHATTER.match(line):
                    os.write(_STDERR, line.encode())


def _of_declared_type(pixels: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """In the type and with the sign that the header declares, which a codec need not know."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.get("BitsStored") or dataset.BitsAllocated)
    signed = bool(dataset.get("PixelRepresentation"))
    dtype = np.dtype(f"{'i' if signed else 'u'}{max(1, allocated // 8)}")
    mask, top = (1 << stored) - 1, 1 << (stored - 1)
    wide = pixels.astype(np.int64) & mask
    return ((wide ^ top) - top if signed else wide).astype(dtype)


def _check_ratio(dataset: Any, entry: Entry) -> None:
    """Refuse a small file that says to unpack to more than memory holds, before memory is asked for."""
    count, samples = (int(dataset.get(tag) or 1) for tag in ("NumberOfFrames", "SamplesPerPixel"))
    needed = count * samples * int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    ratio = _MOST_RATIO if count == 1 else _MOST_RATIO_OF_MANY
    if needed > max(_SMALL_BYTES, ratio * len(dataset.PixelData)):
        raise InputError(
            f"{entry}: says that {len(dataset.PixelData)} packed bytes hold {needed / 2**30:.2g} GiB of pixels, which "
            "no image does; copy it again, or save it uncompressed"
        )


def _check_sizes(dataset: Any, count: int, entry: Entry) -> None:
    """See that the packed images are as many and as large as the header says, before memory is asked for."""
    fragments = list(_fragments(dataset.PixelData))
    size = _coded_size(fragments[0]) if fragments else None
    said = int(dataset.Rows), int(dataset.Columns)
    if len(fragments) < count or (size is not None and size != said):
        held = f"{len(fragments)} of {size[1]} x {size[0]}" if size else str(len(fragments))
        raise InputError(
            f"{entry}: says {counted(count, 'image')} of {said[1]} x {said[0]} and holds {held}; copy it again"
        )


def _fragments(data: bytes) -> Iterator[bytes]:
    """The items of encapsulated pixels behind the table of offsets."""
    place, first = 0, True
    while place + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHI", data, place)
        if (group, element) != (0xFFFE, 0xE000) or length > len(data) - place - 8:
            raise ValueError("its packed pixels are cut off or damaged")
        if not first:
            yield data[place + 8 : place + 8 + length]
        first, place = False, place + 8 + length


def _coded_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream says of itself; None where it says none."""
    if stream[:4] == b"\xff\x4f\xff\x51" and len(stream) >= 24:
        right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
        return bottom - top, right - left
    place = 2
    while stream[:2] == b"\xff\xd8" and place + 9 <= len(stream) and stream[place] == 0xFF:
        marker, length = stream[place + 1], int.from_bytes(stream[place + 2 : place + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack_from(">2H", stream, place + 5)
            return rows, columns
        place += 1 if marker == 0xFF else 2 + length
    return None
