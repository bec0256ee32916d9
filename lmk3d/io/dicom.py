"""DICOM series: found in a folder, a zip archive or round one file, told apart, and one of them read."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lmk3d.errors import InputError
from lmk3d.io.dicom_frames import Entry, Frame, frames_of, pydicom_dataset
from lmk3d.io.dicom_stack import read_radiograph, stack_slices
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path, PurePath

    from lmk3d.geometry import Volume

__all__ = ["BAD_ARCHIVE", "Series", "choose_series", "entries_in", "find_series", "hidden", "is_dicom", "read_dicom"]

# What telling apart, ordering and choosing need; pixels are read later, and only those of the chosen series.
_TAGS = [
    *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SOPInstanceUID", "Rows", "Columns", "NumberOfFrames"),
    "SOPClassUID",
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("NominalScannedPixelSpacing", "SliceThickness", "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
# What zipfile raises for a damaged or odd archive: it is no zip or a checksum is wrong; it cannot be read; a member has
# a password, is cut short, or is packed in a way it does not know. Whoever catches them names the file in one line.
BAD_ARCHIVE = (zipfile.BadZipFile, OSError, RuntimeError, EOFError, NotImplementedError)
"""What reading a zip archive raises: no archive, a damaged or encrypted member, a compression nobody here knows."""

_ENDINGS = (".dcm", ".dicom", ".ima")
# A one-line error can list a few series.
_LISTED = 8


@dataclass(frozen=True)
class Series:
    """The images that share a series UID.

    Args:
        uid: SeriesInstanceUID.
        number, description: SeriesNumber and SeriesDescription; "" where not given.
        frames: its images, in the order of their files.
    """

    uid: str
    number: str
    description: str
    frames: list[Frame] = field(default_factory=list)

    @property
    def is_volume(self) -> bool:
        """Whether its images are slices with a place in space, and not radiographs."""
        return all(frame.position is not None for frame in self.frames)

    @property
    def paths(self) -> list[Path]:
        """Its files."""
        return list(dict.fromkeys(frame.entry.path for frame in self.frames))

    def __str__(self) -> str:
        images = counted(len(self.frames), "image")
        return f"{self.number or 'without number'} {self.description!r} ({images}, UID {self.uid})"


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes or, for files without the preamble, by its ending."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM" or path.suffix.lower() in _ENDINGS
    except OSError:
        return False


def find_series(entries: Iterable[Entry], *, damaged: list[Entry] | None = None) -> list[Series]:
    """The series among these files, by number; files that hold no image are passed over.

    Args:
        entries: the files.
        damaged: gets the files whose header cannot be read, or does not even say what they are; without it the
            first one that cannot be read is an error.
    Raises:
        InputError: for a damaged file.
    """
    found: dict[str, Series] = {}
    for entry in entries:
        try:
            dataset = pydicom_dataset(entry, tags=_TAGS)
            frames = frames_of(dataset, entry)
        except InputError:
            if damaged is None:
                raise
            damaged.append(entry)
            continue
        if damaged is not None and not (frames or dataset.get("SOPClassUID") or dataset.file_meta):
            damaged.append(entry)
        uid = str(dataset.get("SeriesInstanceUID") or "")
        if frames:
            number = dataset.get("SeriesNumber")
            names = "" if number is None else str(number), str(dataset.get("SeriesDescription") or "")
            found.setdefault(uid, Series(uid, *names)).frames.extend(frames)
    return sorted(found.values(), key=lambda series: (len(series.number), series.number, series.uid))


def entries_in(folder: Path, *, deep: bool = True) -> list[Entry]:
    """The DICOM files of a folder and, if ``deep``, of its subfolders; sorted, hidden files and folders left out."""
    files = folder.rglob("*") if deep else folder.glob("*")
    shown = [path for path in sorted(files) if not hidden(path.relative_to(folder))]
    return [Entry(path) for path in shown if path.is_file() and is_dicom(path)]


def hidden(path: PurePath) -> bool:
    """Whether a file, or a folder that it lies in, is hidden, as what a Mac leaves behind."""
    return any(part.startswith(".") for part in path.parts)


def read_dicom(path: Path, *, series: str | None = None, spacing_mm: float | None = None) -> Volume:
    """Read a series as a volume (columns, rows, slices), or a radiograph as (rows, columns, 1).

    One file of a series of slices stands for the whole series in its folder. Slices stacked at a slant (gantry tilt)
    give a sheared affine, which is exact. Rescale slope and intercept are applied.

    Args:
        path: a folder (with its subfolders), a zip archive, or a file.
        series: which one, if there are several: its UID, number or description.
        spacing_mm: pixel spacing of a radiograph; goes before what the file says, without either it is in px.
    Raises:
        InputError: if there is no series, several without a choice, or one that is no uniform stack of slices.
    """
    with ExitStack() as stack:
        chosen, single = choose_series(path, series, stack)
        if chosen.is_volume:
            if spacing_mm is not None:
                raise InputError(f"{path}: says its own spacing; give none")
            return stack_slices(chosen.frames, path)
        if any(frame.position is not None for frame in chosen.frames):
            raise InputError(f"{path}: series {chosen} mixes slices and images without a place; give the slices alone")
        frames = [frame for frame in chosen.frames if frame.entry.path == path] if single else chosen.frames
        if len(frames) > 1:
            raise InputError(f"{path}: series {chosen} are several radiographs; give one file")
        return read_radiograph(frames[0], path, spacing_mm=spacing_mm)


def choose_series(path: Path, series: str | None, stack: ExitStack) -> tuple[Series, bool]:
    """The series that ``read_dicom`` reads, and whether ``path`` is a single DICOM file.

    Args:
        path, series: as ``read_dicom`` has them.
        stack: keeps an archive open.
    Raises:
        InputError: if there is no series, or several without a choice.
    """
    found, single = _find(path, stack)
    if not found:
        raise InputError(f"{path}: holds no DICOM images; give a folder, zip or file with a series")
    return _choose(found, series, path), single


def _find(path: Path, stack: ExitStack) -> tuple[list[Series], bool]:
    """The series at ``path``, and whether it is a single DICOM file."""
    if path.is_dir():
        return find_series(entries_in(path)), False
    if zipfile.is_zipfile(path) or path.suffix.lower() == ".zip":
        return find_series(_members(path, stack)), False
    own = find_series([Entry(path)])
    if not own or not own[0].is_volume or len(own[0].frames) > 1:
        return own, True
    near = find_series(entries_in(path.parent, deep=False))
    return [series for series in near if path in series.paths], True


def _members(path: Path, stack: ExitStack) -> list[Entry]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        if damaged := archive.testzip():
            raise InputError(f"{path}: {damaged} in it is damaged; copy the archive again")
        names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
        names = [name for name in names if not hidden(PurePosixPath(name))]
        members = []
        for name in names:
            with archive.open(name) as file:
                if file.read(132)[128:] == b"DICM" or name.lower().endswith(_ENDINGS):
                    members.append(Entry(path, name, archive))
    except BAD_ARCHIVE as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); give a zip archive without password") from None
    return members


def _choose(found: list[Series], series: str | None, path: Path) -> Series:
    if series is None and len(found) == 1:
        return found[0]
    wanted = [one for one in found if series in (one.uid, one.number, one.description)]
    if series is not None and len(wanted) == 1:
        return wanted[0]
    listed = "; ".join(str(one) for one in found[:_LISTED]) + ("; ..." if len(found) > _LISTED else "")
    what = f"holds {len(found)} series" if series is None else f"has no single series {series!r}"
    raise InputError(f"{path}: {what}; choose one (--series) by UID, number or description: {listed}")
