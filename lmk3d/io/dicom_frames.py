"""The single images in DICOM files: where each lies, what its numbers mean, and their pixels."""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.films import grey
from lmk3d.terminal import counted

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Entry", "Frame", "frames_of", "pydicom_dataset", "read_pixels"]


@dataclass(frozen=True)
class Entry:
    """One DICOM file, on the disk or in an archive.

    Args:
        path: the file, or the archive.
        member: its name in the archive.
        archive: the open archive.
    """

    path: Path
    member: str = ""
    archive: zipfile.ZipFile | None = field(default=None, compare=False, repr=False)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes of the file."""
        if self.archive is not None:
            yield io.BytesIO(self.archive.read(self.member))
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
        spacing: distance of rows and of columns in mm, or None.
        thickness: mm to the next slice by the header, 0 where it does not say.
        scale: rescale slope and intercept.
        uid: SOPInstanceUID.
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


def pydicom_dataset(entry: Entry, *, tags: list[str] | None = None) -> Any:
    """The pydicom data set of one file; with ``tags`` only these, without pixels.

    Raises:
        InputError: if it is no DICOM file or is damaged.
    """
    pydicom = _pydicom(entry)
    with _naming(entry), entry.open() as file:
        # force: files without the preamble exist, and what is no DICOM at all has no Rows and is found out by that.
        return pydicom.dcmread(file, force=True, stop_before_pixels=tags is not None, specific_tags=tags)


def frames_of(dataset: Any, entry: Entry) -> list[Frame]:
    """The images of one file; none where it holds something else (a report, a directory, a structure set).

    Raises:
        InputError: if its geometry cannot be understood.
    """
    with _naming(entry):
        rows, columns = dataset.get("Rows"), dataset.get("Columns")
        if not rows or not columns:
            return []
        count = int(dataset.get("NumberOfFrames") or 1)
        shared = _first(dataset, "SharedFunctionalGroupsSequence")
        own = dataset.get("PerFrameFunctionalGroupsSequence") or []
        if count > 1 and len(own) != count:
            raise InputError(
                f"{entry}: has {counted(count, 'image')} without positions (a film clip?); give a volume or one image"
            )
        groups = [[group, shared, dataset] for group in own] if own else [[dataset]]
        return [
            _frame(places, entry, index, (int(rows), int(columns)), str(dataset.get("SOPInstanceUID", "")))
            for index, places in enumerate(groups)
        ]


def _frame(places: list[Any], entry: Entry, index: int, shape: tuple[int, int], uid: str) -> Frame:
    position = _find(places, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = _find(places, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _find(places, "PixelMeasuresSequence", "PixelSpacing", 2)
    for tag in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        # On the detector or the scanned film: near to, but not in the patient.
        spacing = _find(places, "", tag, 2) if spacing is None else spacing
    if spacing is not None and not (np.isfinite(spacing) & (spacing > 0)).all():
        raise InputError(f"{entry}: its pixel spacing is {spacing.tolist()}; each must be above 0")
    slope = _find(places, "PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = _find(places, "PixelValueTransformationSequence", "RescaleIntercept", 1)
    between = _find(places, "PixelMeasuresSequence", "SpacingBetweenSlices", 1)
    thickness = _find(places, "PixelMeasuresSequence", "SliceThickness", 1) if between is None else between
    placed = position is not None and orientation is not None and spacing is not None
    return Frame(
        entry=entry,
        index=index,
        shape=shape,
        position=position if placed else None,
        orientation=orientation.reshape(2, 3) if placed and orientation is not None else None,
        spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        thickness=0.0 if thickness is None else abs(float(thickness[0])),
        scale=(1.0 if slope is None else float(slope[0]), 0.0 if intercept is None else float(intercept[0])),
        uid=uid,
    )


def _find(places: list[Any], sequence: str, tag: str, count: int) -> FloatArray | None:
    """The numbers of a tag, in a functional group or in the data set itself; None where it is nowhere."""
    for place in places:
        for group in (place, _first(place, sequence) if sequence else None):
            value = None if group is None else group.get(tag)
            if value is not None and value != "":
                numbers = np.atleast_1d(np.array(value, dtype=np.float64))
                return numbers if len(numbers) == count else None
    return None


def _first(dataset: Any, sequence: str) -> Any:
    items = None if dataset is None else dataset.get(sequence)
    return items[0] if items else None


def read_pixels(entry: Entry) -> tuple[NDArray[Any], bool]:
    """The stored numbers of one file, and whether high ones are dark (MONOCHROME1).

    Returns:
        (frames, rows, columns).
    Raises:
        InputError: if the file is damaged, in colour, or packed in a way that no installed package can unpack.
    """
    dataset = pydicom_dataset(entry)
    with _naming(entry):
        kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
        if kind == "PALETTE COLOR":
            raise InputError(f"{entry}: is in colour (palette); give a grey image")
        try:
            pixels = dataset.pixel_array
        except (RuntimeError, NotImplementedError) as error:
            name = dataset.file_meta.TransferSyntaxUID.name
            raise InputError(
                f"{entry}: its pixels are packed as {name}, which cannot be unpacked here ({_line(error)}); "
                "install python-gdcm or pylibjpeg"
            ) from None
        frames = pixels if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels[None]
        if int(dataset.get("SamplesPerPixel", 1)) > 1:
            frames = np.stack([grey(frame, entry.path) for frame in frames])
        return frames, kind == "MONOCHROME1"


@contextmanager
def _naming(entry: Entry) -> Iterator[None]:
    """Turn whatever pydicom raises over a damaged file into one line that names it; its warnings are not the user's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{entry}: no such file; check the path") from None
    except Exception as error:
        raise InputError(f"{entry}: is no DICOM file, or a damaged one ({_line(error)}); copy it again") from None


def _line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _pydicom(entry: Entry) -> Any:
    try:
        import pydicom
    except ImportError:
        raise InputError(f"{entry}: DICOM needs pydicom; install it with `pip install pydicom`") from None
    return pydicom
