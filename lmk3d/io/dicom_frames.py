"""The single images in DICOM files: where each lies, how it differs from its neighbours, what its numbers mean."""

from __future__ import annotations

import io
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.dicom_kinds import is_projection
from lmk3d.io.dicom_marks import first_item, marks_of
from lmk3d.terminal import counted

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Entry", "Frame", "find_numbers", "frames_of", "naming", "pydicom_dataset"]

# No header is longer; the pixels behind it are not unpacked to tell series apart.
_HEADER_BYTES = 64 << 20
# A deflated data set may say anything of its size; real ones are single images.
_MOST_DEFLATED = 1 << 30
# Pixels shrink to a third or, where most is air, to a twentieth; small ones may be constant.
_MOST_RATIO, _SMALL_BYTES = 300, 256 << 20
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_BLOCK = 1 << 20
# Tags: of the pixels, behind which nothing counts, and of the first group that a data set has; zeros are none.
_PIXELS, _FIRST = 0x7FE00010, 0x00020000
# No scanner is a kilometre long.
_FARTHEST_MM = 1e6


@dataclass(frozen=True)
class Entry:
    """One DICOM file, on the disk or in an archive.

    Args:
        path: the file, or the archive.
        member: its name in the archive.
        archive: the open archive.
        info: its place in the archive, where several members may have one name.
    """

    path: Path
    member: str = ""
    archive: zipfile.ZipFile | None = field(default=None, compare=False, repr=False)
    info: zipfile.ZipInfo | None = field(default=None, repr=False)

    @contextmanager
    def open(self, *, most: int = -1) -> Iterator[IO[bytes]]:
        """The bytes of the file; of one in an archive no more than ``most``, if that is not negative."""
        if self.archive is not None:
            with self.archive.open(self.info or self.member) as packed:
                content = packed.read() if most < 0 else packed.read(most)
            yield io.BytesIO(content)
        else:
            with self.path.open("rb") as file:
                yield file

    def __str__(self) -> str:
        return f"{self.path} ({self.member})" if self.member else str(self.path)


@dataclass(frozen=True)
class Frame:
    """One image: a slice with its place in space, or a radiograph without one.

    Args:
        entry: its file.
        index: which image of a file with several.
        shape: (rows, columns).
        position: (3,) LPS mm of the first pixel's centre, or None.
        orientation: (2, 3) unit directions in LPS along a row and down a column, or None.
        spacing: distance of rows and of columns in mm by PixelSpacing, or None.
        thickness: mm to the next slice by the header, 0 where it does not say.
        scale: rescale slope and intercept; 1 and 0 where a modality look-up table stands in their place.
        uid: SOPInstanceUID.
        marks: what else its header says that images at the same place may differ in, by the tag.
        is_scaled: whether its header says a slope, an intercept or a table.
        concatenation: of a scan in several files its UID, the number of this file and how many there are (0: unknown).
    """

    entry: Entry
    index: int
    shape: tuple[int, int]
    position: FloatArray | None
    orientation: FloatArray | None
    spacing: tuple[float, float] | None
    thickness: float
    scale: tuple[float, float]
    uid: str
    marks: dict[str, str] = field(default_factory=dict)
    is_scaled: bool = True
    concatenation: tuple[str, int, int] | None = None


@contextmanager
def naming(entry: Entry) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one line that names it; its warnings are not the user's.

    Within it stand calls of pydicom, zipfile and SimpleITK and what reads the values they give, since pydicom converts
    these only when they are asked for.

    Raises:
        InputError: in the place of any other exception.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{entry}: no such file; check the path") from None
    except Exception as error:
        lines = str(error).splitlines()
        line = lines[0][:200] if lines else type(error).__name__
        raise InputError(f"{entry}: is no DICOM file, or a damaged one ({line}); copy it again") from None


def pydicom_dataset(entry: Entry, *, tags: list[str] | None = None) -> Any:
    """The pydicom data set of one file; with ``tags`` only these, without pixels.

    Raises:
        InputError: if it is no DICOM file or is damaged.
    """
    pydicom = _pydicom(entry)
    with naming(entry), entry.open(most=-1 if tags is None else _HEADER_BYTES) as file:
        _check_start(file, entry)
        last = _PIXELS if tags is None else _PIXELS - 0x10
        wanted = None if tags is None else [pydicom.tag.Tag(tag) for tag in tags]
        # force: files without the preamble exist, and what is no DICOM at all has no Rows and is found out by that.
        return pydicom.filereader.read_partial(
            file, lambda tag, _vr, _length: tag > last or tag < _FIRST, force=True, specific_tags=wanted
        )


def _check_start(file: IO[bytes], entry: Entry) -> None:
    """Refuse what pydicom would parse for minutes: blocks of zeros, and a data set that is deflated without end."""
    start = file.read(4096)
    body = start[132:] if start[128:132] == b"DICM" else start
    if body and not any(body[:8]):
        raise InputError(f"{entry}: is no DICOM file, or a damaged one (it begins with zeros); copy it again")
    if _DEFLATED in start and body[:4] == b"\2\0\0\0":
        file.seek(len(start) - len(body) + 12 + int.from_bytes(body[8:12], "little"))
        here, packed = file.tell(), file.seek(0, io.SEEK_END)
        file.seek(here)
        most = min(_MOST_DEFLATED, max(_SMALL_BYTES, _MOST_RATIO * packed))
        unpacker, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while (block := unpacker.unconsumed_tail or file.read(_BLOCK)) and not unpacker.eof:
            total += len(unpacker.decompress(block, _BLOCK))
            if total > most:
                raise InputError(f"{entry}: unpacks to more than {most >> 20} MiB; give a file of one image")
    file.seek(0)


def frames_of(dataset: Any, entry: Entry) -> list[Frame]:
    """The images of one file; none where it has no pixels.

    Raises:
        InputError: if its geometry cannot be understood, or it has another number of images than it says.
    """
    with naming(entry):
        rows, columns = dataset.get("Rows"), dataset.get("Columns")
        if not rows or not columns:
            return []
        count = int(dataset.get("NumberOfFrames") or 1)
        shared = first_item(dataset, "SharedFunctionalGroupsSequence")
        own = dataset.get("PerFrameFunctionalGroupsSequence") or []
        if (own or count > 1) and len(own) != count:
            raise InputError(
                f"{entry}: says NumberOfFrames {count} and describes {counted(len(own), 'image')}; correct its header"
            )
        groups = [[group, shared, dataset] for group in own] if own else [[dataset]]
        return [
            _frame(places, entry, index, (int(rows), int(columns)), str(dataset.get("SOPInstanceUID") or ""))
            for index, places in enumerate(groups)
        ]


def _frame(places: list[Any], entry: Entry, index: int, shape: tuple[int, int], uid: str) -> Frame:
    position = find_numbers(places, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = find_numbers(places, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    for what, numbers in (("position", position), ("orientation", orientation)):
        if numbers is not None and not (np.abs(numbers) < _FARTHEST_MM).all():
            raise InputError(f"{entry}: its {what} is {numbers.tolist()}; correct its header")
    spacing = find_numbers(places, "PixelMeasuresSequence", "PixelSpacing", 2)
    if spacing is not None and not (np.isfinite(spacing) & (spacing > 0)).all():
        raise InputError(f"{entry}: its pixel spacing is {spacing.tolist()}; each must be above 0")
    slope = find_numbers(places, "PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = find_numbers(places, "PixelValueTransformationSequence", "RescaleIntercept", 1)
    has_table = bool(places[-1].get("ModalityLUTSequence"))
    if has_table:
        slope = intercept = None
    scale = 1.0 if slope is None else float(slope[0]), 0.0 if intercept is None else float(intercept[0])
    if not np.isfinite(scale).all() or scale[0] == 0:
        raise InputError(f"{entry}: its rescale slope and intercept are {scale}; correct its header")
    between = find_numbers(places, "PixelMeasuresSequence", "SpacingBetweenSlices", 1)
    thickness = find_numbers(places, "PixelMeasuresSequence", "SliceThickness", 1) if between is None else between
    placed = position is not None and orientation is not None and spacing is not None
    placed = placed and (len(places) > 1 or not is_projection(places[-1]))
    return Frame(
        entry=entry,
        index=index,
        shape=shape,
        position=position if placed else None,
        orientation=orientation.reshape(2, 3) if placed and orientation is not None else None,
        spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        thickness=0.0 if thickness is None else abs(float(thickness[0])),
        scale=scale,
        uid=uid,
        marks=marks_of(places),
        is_scaled=has_table or slope is not None or intercept is not None,
        concatenation=_concatenation(places[-1]),
    )


def _concatenation(dataset: Any) -> tuple[str, int, int] | None:
    uid = str(dataset.get("ConcatenationUID") or "")
    number, total = (int(dataset.get(f"InConcatenation{name}") or 0) for name in ("Number", "TotalNumber"))
    return (uid, number, total) if uid and total != 1 else None


def find_numbers(places: list[Any], sequence: str, tag: str, count: int) -> FloatArray | None:
    """The numbers of a tag, in a functional group or in the data set itself; None where it is nowhere.

    Args:
        places: data sets, the first that has the tag counts.
        sequence: of the functional group; "" for none.
        tag: its keyword.
        count: how many numbers it has; another count is none.
    """
    for place in places:
        for group in (place, first_item(place, sequence) if sequence else None):
            value = None if group is None else group.get(tag)
            if value is not None and value != "":
                numbers = np.atleast_1d(np.array(value, dtype=np.float64))
                return numbers if len(numbers) == count else None
    return None


def _pydicom(entry: Entry) -> Any:
    try:
        import pydicom.filereader
    except ImportError:
        raise InputError(f"{entry}: DICOM needs pydicom; install it with `pip install pydicom`") from None
    return pydicom
