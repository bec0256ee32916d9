"""DICOM series: found in a folder, a zip archive or round one file, told apart, and one of them read."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lmk3d.errors import InputError
from lmk3d.io.dicom_archive import ENDINGS, hidden, members
from lmk3d.io.dicom_frames import Entry, Frame, frames_of, naming, pydicom_dataset
from lmk3d.io.dicom_kinds import kind_of, lacks_pixels
from lmk3d.io.dicom_marks import MARKED, place_of, plain_text
from lmk3d.io.dicom_radiograph import read_radiograph
from lmk3d.io.dicom_split import split_frames
from lmk3d.io.dicom_stack import stack_slices
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lmk3d.geometry import Volume

__all__ = ["Found", "Series", "choose_series", "dicom_files", "entries_in", "find_series", "is_dicom", "read_dicom"]

# What telling apart, ordering and choosing need; pixels are read later, and only those of the chosen series.
_TAGS = [
    *("StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SOPInstanceUID", "SOPClassUID"),
    *("Modality", "Rows", "Columns", "NumberOfFrames", "DirectoryRecordSequence", "ModalityLUTSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID", "PatientID"),
    *("SliceThickness", "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber"),
    *MARKED,
]
# Series of one UID which differ in these are several: numbers in mm of two frames of reference cannot be compared.
_OWNERS = {"FrameOfReferenceUID": "space", "StudyInstanceUID": "study", "PatientID": "patient"}
# A one-line error can list a few series.
_LISTED = 8


@dataclass(frozen=True)
class Series:
    """The images that share a series UID, or those of them that form one stack.

    Args:
        uid: SeriesInstanceUID.
        number, description: SeriesNumber and SeriesDescription; "" where not given.
        frames: its images, in the order of their files.
        study: StudyInstanceUID.
        part: what tells this stack from the others of the series, such as "EchoTime=4.6"; "" where it is the only one.
        patient: PatientID.
        space: FrameOfReferenceUID.
    """

    uid: str
    number: str
    description: str
    frames: list[Frame] = field(default_factory=list)
    study: str = ""
    part: str = ""
    patient: str = ""
    space: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The same for all images of one series."""
        return self.uid, self.study, self.patient, self.space

    @property
    def is_volume(self) -> bool:
        """Whether its images are slices with a place in space, and not radiographs."""
        return all(frame.position is not None for frame in self.frames)

    @property
    def paths(self) -> list[Path]:
        """Its files."""
        return list(dict.fromkeys(frame.entry.path for frame in self.frames))

    def is_called(self, name: str) -> bool:
        """Whether a user may mean it: by its UID, number or description, by its part, or by both."""
        names = (self.uid, self.number, self.description)
        return name in names or (bool(self.part) and name in (self.part, *(f"{one} {self.part}" for one in names)))

    def parts(self) -> list[Series]:
        """The stacks that it consists of, one each; itself where it is one or cannot be told apart."""
        if not (self.is_volume and len(self.frames) > 1):
            return [self]
        found = split_frames(self.frames)
        return [
            replace(self, frames=own, part=",".join(filter(None, (self.part, part)))) for part, own in found.items()
        ]

    def by_folder(self) -> list[Series]:
        """Itself where its folders hold different places of one stack; where they hold the same ones each is a series.

        Copies of a series, such as a processed one beside the original, may have the same UIDs.
        """
        folders: dict[Path, list[Frame]] = {}
        for frame in self.frames:
            folders.setdefault(frame.entry.path.parent, []).append(frame)
        places = [{place_of(frame) for frame in frames} for frames in folders.values()]
        if sum(map(len, places)) == len(set().union(*places)):
            return [self]
        return [replace(self, frames=frames) for frames in folders.values()]

    def __str__(self) -> str:
        part = f" {self.part!r}" if self.part else ""
        number, uid = plain_text(self.number) or "without number", plain_text(self.uid)
        return f"{number} {self.description!r}{part} ({counted(len(self.frames), 'image')}, UID {uid})"


@dataclass(frozen=True)
class Found:
    """What some DICOM files hold.

    Args:
        series: of images, by number.
        damaged: the files whose header cannot be read, or does not even say what they are, and why.
        others: the files that hold no scan, and what they hold.
    """

    series: list[Series] = field(default_factory=list)
    damaged: dict[Entry, InputError] = field(default_factory=dict)
    others: dict[Entry, str] = field(default_factory=dict)

    def notes(self) -> tuple[str, ...]:
        """What a user should know of damaged files beside a series."""
        if not self.damaged:
            return ()
        names = [_short(entry) for entry in self.damaged]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return (f"{names[0]}{more} beside it cannot be read; if the scan lacks slices, these may be among them",)

    def check(self, path: Path) -> None:
        """See that there is a series, and nothing that cannot be read.

        Raises:
            InputError: for the first damaged file, or where there is none that may be a scan.
        """
        for error in self.damaged.values():
            raise error
        if self.series:
            return
        if not self.others:
            raise InputError(f"{path}: holds no DICOM images; give a folder, zip or file with a series")
        entry, kind = next(iter(self.others.items()))
        holds = f"is {kind}" if entry.path == path and not entry.member else f"holds only {kind} ({_short(entry)})"
        raise InputError(f"{path}: {holds}, which is no scan; give the images of a CT, MR or radiograph")


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes or, for files without the preamble, by its ending."""
    try:
        if not path.is_file():  # a pipe would never end
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM" or path.suffix.lower() in ENDINGS
    except OSError:
        return False


def find_series(entries: Iterable[Entry]) -> Found:
    """The series among these files, and what else there is."""
    series: dict[tuple[str, ...], Series] = {}
    found = Found()
    for entry in entries:
        try:
            kind, one = _read_header(entry)
        except InputError as error:
            found.damaged[entry] = error
            continue
        if kind:
            found.others[entry] = kind
        else:
            # Anonymisers may empty the UIDs: then a folder is a series.
            key = one.key if one.uid else (str((entry.path / entry.member).parent), *one.key)
            series.setdefault(key, replace(one, frames=[])).frames.extend(one.frames)
    found.series.extend(_told_apart(sorted(series.values(), key=lambda one: (len(one.number), one.number, one.uid))))
    return found


def _told_apart(series: list[Series]) -> list[Series]:
    """Those of one UID with what tells them apart as their part."""
    found = []
    for one in series:
        same = [other for other in series if one.uid and other.uid == one.uid]
        differ = {tag: len({getattr(other, name) for other in same}) for tag, name in _OWNERS.items()}
        tags = [tag for tag, count in differ.items() if 1 < count == len(same)][:1]
        tags = tags or [tag for tag, count in differ.items() if count > 1]
        part = ",".join(f"{tag}={plain_text(getattr(one, _OWNERS[tag]))}" for tag in tags)
        found.append(replace(one, part=part))
    return found


def _read_header(entry: Entry) -> tuple[str, Series]:
    """What a file is if it is no scan, and the series that it belongs to, with its own images."""
    dataset = pydicom_dataset(entry, tags=_TAGS)
    with naming(entry):
        if kind := kind_of(dataset):
            return kind, Series("", "", "")
        frames = frames_of(dataset, entry)
        if lacks_pixels(dataset) or not (frames or dataset.get("SOPClassUID") or dataset.file_meta):
            raise InputError(f"{entry}: is no DICOM file, or a damaged one (without rows and columns); copy it again")
        number = dataset.get("SeriesNumber")
        uid = str(dataset.get("SeriesInstanceUID") or "")
        names = "" if number is None else str(number), str(dataset.get("SeriesDescription") or "")
        owners = {name: str(dataset.get(tag) or "") for tag, name in _OWNERS.items()}
        return "" if frames else "a DICOM file without pixels", Series(uid, *names, frames, **owners)


def entries_in(folder: Path, *, deep: bool = True) -> list[Entry]:
    """The DICOM files of a folder and, if ``deep``, of its subfolders; sorted, hidden files and folders left out."""
    files = folder.rglob("*") if deep else folder.glob("*")
    shown = [path for path in sorted(files) if not hidden(path.relative_to(folder))]
    return [Entry(path) for path in shown if path.is_file() and is_dicom(path)]


def read_dicom(path: Path, *, series: str | None = None, spacing_mm: float | None = None) -> Volume:
    """Read a series as a volume (columns, rows, slices), or a radiograph as (rows, columns, 1).

    One file of a series of slices, or of a concatenation, stands for the whole of it in its folder. Slices stacked at a
    slant (gantry tilt) give a sheared affine, which is exact. Rescale slope and intercept, or the modality look-up
    table, are applied.
    Segmentations, doses, reports, clips and the like beside the images are left out.

    Args:
        path: a folder (with its subfolders), a zip archive, or a file.
        series: which one, if there are several: its UID, number or description; of several stacks in one series also
            what tells them apart, such as "EchoTime=4.6".
        spacing_mm: pixel spacing of a radiograph; goes before what the file says, without either it is in px.
    Raises:
        InputError: if there is no series, several without a choice, or one that is no uniform stack of slices.
    """
    with ExitStack() as stack:
        found, single = _find(path, stack)
        chosen = _choose(found.series, series, path)
        if chosen.is_volume:
            if spacing_mm is not None:
                raise InputError(f"{path}: says its own spacing; give none")
            notes = *found.notes(), *_check_whole(chosen, found.series, path)
            try:
                return stack_slices(chosen.frames, path, notes=notes)
            except InputError as error:
                raise InputError("; ".join([str(error), *notes])) from None
        if any(frame.position is not None for frame in chosen.frames):
            raise InputError(f"{path}: series {chosen} mixes slices and images without a place; give the slices alone")
        frames = [frame for frame in chosen.frames if frame.entry.path == path] if single else chosen.frames
        if len(frames) > 1:
            raise InputError(f"{path}: series {chosen} are several radiographs; give one file")
        return read_radiograph(frames[0], path, spacing_mm=spacing_mm)


def dicom_files(path: Path, series: str | None = None) -> list[Path]:
    """The files that ``read_dicom`` reads an image from, in the order of their names.

    Raises:
        InputError: if there is no series, or several without a choice.
    """
    with ExitStack() as stack:
        return sorted(choose_series(path, series, stack).paths)


def choose_series(path: Path, series: str | None, stack: ExitStack) -> Series:
    """The series that ``read_dicom`` reads, without its pixels.

    Args:
        path, series: as ``read_dicom`` has them.
        stack: keeps an archive open.
    Raises:
        InputError: if there is no series, or several without a choice.
    """
    found, _ = _find(path, stack)
    return _choose(found.series, series, path)


def _find(path: Path, stack: ExitStack) -> tuple[Found, bool]:
    """What is at ``path``, with a series at least, and whether it is a single DICOM file."""
    if path.is_dir() or zipfile.is_zipfile(path) or path.suffix.lower() == ".zip":
        found = find_series(entries_in(path) if path.is_dir() else members(path, stack))
        found.check(path)
        return found, False
    found = find_series([Entry(path)])
    found.check(path)
    first = found.series[0].frames[0]
    if not found.series[0].is_volume or (len(found.series[0].frames) > 1 and first.concatenation is None):
        return found, True
    near = find_series(entries_in(path.parent, deep=False))
    series = [one for one in near.series if path in one.paths]
    if first.concatenation is not None:
        uid = first.concatenation[0]
        series = [replace(one, frames=[own for own in one.frames if _uid_of(own) == uid]) for one in series]
    return replace(near, series=series), True


def _uid_of(frame: Frame) -> str:
    return "" if frame.concatenation is None else frame.concatenation[0]


def _check_whole(chosen: Series, found: list[Series], path: Path) -> tuple[str, ...]:
    """See that every file of a concatenation is there; what should be known where its header doesn't say how many."""
    parts: dict[str, set[tuple[int, int]]] = {}
    uids = {_uid_of(frame) for frame in chosen.frames} - {""}
    for frame in (frame for one in found for frame in one.frames):
        if frame.concatenation is not None and frame.concatenation[0] in uids:
            parts.setdefault(frame.concatenation[0], set()).add(frame.concatenation[1:])
    notes = []
    for known in parts.values():
        numbers, total = {number for number, _ in known}, max(total for _, total in known)
        if len(numbers) < max(total, *numbers, 1):
            raise InputError(
                f"{path}: holds {counted(len(numbers), 'file')} of the {max(total, *numbers)} of a concatenation; "
                "give the folder with all of them"
            )
        if not total:
            notes.append(
                f"it is a concatenation of {counted(len(numbers), 'file')}, and its header does not say of how many"
            )
    return tuple(notes)


def _choose(found: list[Series], series: str | None, path: Path) -> Series:
    parts = [part for one in found for part in one.parts()]
    wanted = parts if series is None else [one for one in parts if one.is_called(series)]
    if len(wanted) == 1:
        return wanted[0]
    more = "; ..." if len(parts) > _LISTED else ""
    listed = "; ".join(str(one) for one in parts[:_LISTED]) + more
    if series is None and len(found) == 1:
        tags = ", ".join(pair.partition("=")[0] for pair in parts[0].part.split(","))
        slices = f"{len(found[0].frames)} slices at {len(set(map(place_of, found[0].frames)))} places"
        named = "; ".join(f"{one.part!r} ({counted(len(one.frames), 'image')})" for one in parts[:_LISTED]) + more
        raise InputError(f"{path}: has {slices}, which differ in {tags}; choose one stack (--series): {named}")
    what = f"holds {len(found)} series" if series is None else f"has no single series {series!r}"
    raise InputError(f"{path}: {what}; choose one (--series) by UID, number or description: {listed}")


def _short(entry: Entry) -> str:
    return entry.member or entry.path.name
