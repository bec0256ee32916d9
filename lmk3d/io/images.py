"""Images of any format this package reads, found and read by their file's name; volumes written."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.errors import InputError
from lmk3d.io.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lmk3d.geometry import Volume
    from lmk3d.io.dicom import Series

__all__ = ["find_images", "image_files", "read_image", "write_image"]

_PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")
_NIFTI = (".nii", ".nii.gz", *_PAIRS)
_NRRD = (".nrrd", ".nhdr")
_METAIMAGE = (".mha", ".mhd")
_VOLUMES = (*_NIFTI, *_NRRD, *_METAIMAGE)
_FILMS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_WRITTEN = (".nii", ".nii.gz", ".nrrd", ".mha")


def read_image(path: str | os.PathLike[str], *, series: str | None = None, spacing_mm: float | None = None) -> Volume:
    """Read NIfTI, NRRD, MetaImage, DICOM (folder, file or zip) or a grey picture.

    Stored integers stay integers. A radiograph has the shape (rows, columns, 1).

    Args:
        path: file or folder.
        series: which DICOM series, if there are several: its UID, number or description.
        spacing_mm: pixel spacing of a radiograph (or an image that says none); a picture's resolution tag is none.
    Returns:
        The image; its unit is "px" where no spacing is known.
    Raises:
        InputError: in one line, naming the file, what is wrong and what to do.
    """
    path = Path(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!a}: is no name in UTF-8, which outputs have; rename it") from None
    if spacing_mm is not None and not 0 < spacing_mm < float("inf"):
        raise InputError(f"argument spacing_mm is {spacing_mm}; it must be above 0")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: is a pipe or a device, no file; give an image or a folder")
    name = path.name.lower()
    if path.is_file() and _named_by_format(path):
        if series is not None:
            raise InputError(f"{path}: is no DICOM series; choose none")
        try:
            return _read_file(path, name, spacing_mm)
        except MemoryError:
            raise InputError(f"{path}: does not fit into memory; crop it, or close other programs") from None
    from lmk3d.io.dicom import is_dicom, read_dicom

    if path.is_file() and not name.endswith(".zip") and not is_dicom(path):
        raise InputError(f"{path}: is no image of a known kind; give {', '.join(_VOLUMES + _FILMS)} or DICOM")
    return read_dicom(path, series=series, spacing_mm=spacing_mm)


def _named_by_format(path: Path) -> bool:
    """Whether the ending of a file is its format; DICOM files, too, are called .img."""
    name = path.name.lower()
    if name.endswith(".img"):
        from lmk3d.io.dicom import is_dicom

        return not is_dicom(path)
    return name.endswith(_VOLUMES + _FILMS)


def _read_file(path: Path, name: str, spacing_mm: float | None) -> Volume:
    if name.endswith(_FILMS):
        from lmk3d.io.films import read_film

        return read_film(path, spacing_mm=spacing_mm)
    if name.endswith(_METAIMAGE):
        from lmk3d.io.metaimage import read_metaimage

        return read_metaimage(path, spacing_mm=spacing_mm)
    if name.endswith(_NRRD):
        from lmk3d.io.nrrd import read_nrrd

        return read_nrrd(path, spacing_mm=spacing_mm)
    if spacing_mm is not None:
        raise InputError(f"{path}: says its own spacing; give none")
    from lmk3d.io.nifti import read_nifti

    return read_nifti(path)


def image_files(path: Path) -> list[Path]:
    """The files that an image other than DICOM is read from: the header first, then what holds the voxels.

    Where the header cannot be read, only ``path``: reading the image says why.
    """
    name = path.name.lower()
    voxels = path
    if not _named_by_format(path):
        return [path]
    try:
        if name.endswith(_PAIRS):
            from lmk3d.io.nifti import nifti_files

            path, voxels = nifti_files(path)
        elif name.endswith(_NRRD):
            from lmk3d.io.nrrd import nrrd_voxels

            voxels = nrrd_voxels(path)
        elif name.endswith(_METAIMAGE):
            from lmk3d.io.metaimage import metaimage_voxels

            voxels = metaimage_voxels(path)
    except (InputError, OSError):
        pass
    return list(dict.fromkeys((path, voxels)))


def write_image(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write .nii, .nii.gz, .nrrd or .mha in the volume's own type; an existing file is replaced.

    NIfTI keeps its affine in float32, the other two keep all digits. The unit px is kept by none of them.

    Raises:
        InputError: if no format has this ending, the type cannot be stored, or the file cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from lmk3d.geometry import Grid, Volume
    >>> volume = Volume(np.zeros((4, 3, 2), np.int16), Grid((4, 3, 2), np.diag([1, 1, 3, 1])))
    >>> with TemporaryDirectory() as folder:
    ...     write_image(volume, f"{folder}/scan.nii.gz")
    ...     read_image(f"{folder}/scan.nii.gz").grid.spacing_mm
    array([1., 1., 3.])
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(_WRITTEN):
        raise InputError(f"{path}: an image cannot be written under this name; end it in {', '.join(_WRITTEN)}")
    with atomic_path(path) as temporary:
        if name.endswith((".mha", ".nrrd")):
            from lmk3d.io.itk import write_itk

            write_itk(volume, temporary)
        else:
            from lmk3d.io.nifti import write_nifti

            write_nifti(volume, temporary)


def find_images(inputs: Iterable[str | os.PathLike[str]], *, series: str | None = None) -> list[Path]:
    """The scans that these files and folders hold, each as a path for ``read_image``.

    Volumes in a folder and its subfolders are one scan each (a pair .hdr/.img is its .hdr), and so are the folder's own
    pictures, which are taken for previews beside volumes and left out. DICOM files, also those in subfolders, are one
    scan a series: the folder that holds it alone stands for a series, else its first file. A damaged DICOM file, and a
    link that leads nowhere, are scans of their own, which cannot be read. Hidden files are left out, and so is what
    DICOM holds beside scans: segmentations, doses, reports, clips.

    Args:
        inputs: files and folders; a file is taken as it is if it exists.
        series: which DICOM series of a study, if there are several: the others of a study that has it are left out.
    Returns:
        The paths, sorted within each folder, each once.
    Raises:
        InputError: if something does not exist, a folder holds no images, or nothing was given.
    """
    found: dict[Path, None] = {}
    for item in inputs:
        path = Path(item)
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
        found.update(dict.fromkeys(_in_folder(path, series) if path.is_dir() else [image_files(path)[0]]))
    if not found:
        raise InputError("no images were given; name at least one file or folder")
    return _once_a_series(list(found), series)


def _in_folder(folder: Path, series: str | None) -> list[Path]:
    from lmk3d.io.dicom import entries_in, find_series
    from lmk3d.io.dicom_archive import hidden

    # A link that leads nowhere is a scan that cannot be read, and told as one.
    files = [path for path in sorted(folder.rglob("*")) if not hidden(path.relative_to(folder)) and not path.is_dir()]
    names = {path: path.name.lower() for path in files}
    named = {path for path in files if _named_by_format(path)}
    volumes = [path for path in named if names[path].endswith(_VOLUMES) and image_files(path)[0] == path]
    films = [path for path, name in names.items() if path.parent == folder and name.endswith(_FILMS)]
    images = volumes + ([] if any(path.parent == folder for path in volumes) else films)
    found = find_series(entry for entry in entries_in(folder) if entry.path not in named)
    stacks = [one for one in found.series if one.is_volume]
    archives = [path for path, name in names.items() if name.endswith(".zip") and _holds_dicom(path)]
    if (
        not (images or archives or found.damaged)
        and len(found.series) == len(stacks) == 1
        and len(stacks[0].by_folder()) == 1
    ):
        return [folder]
    scans = [path for one in found.series if not one.is_volume for path in one.paths]
    # A damaged file is an error of its own when it is read.
    damaged = [entry.path for entry in found.damaged] + archives
    scans += _homes(stacks, [*scans, *damaged], _asked_for(stacks, series)) + damaged
    if not images and not scans:
        if found.others:
            found.check(folder)
        raise InputError(f"{folder}: holds no images; give {', '.join(_VOLUMES + _FILMS)} or DICOM files")
    return sorted({*images, *scans})


def _holds_dicom(archive: Path) -> bool:
    """Whether a zip archive is a scan: also one that cannot be unpacked, which is told when it is read."""
    from lmk3d.io.dicom_archive import members

    with ExitStack() as stack:
        try:
            return archive.is_file() and next(members(archive, stack), None) is not None
        except InputError:
            return True


def _asked_for(stacks: list[Series], name: str | None) -> list[Series]:
    """The series that are meant; of a study that has none of this name all, so that each is told to lack it."""
    if name is None:
        return stacks
    called = [any(part.is_called(name) for part in one.parts()) for one in stacks]
    having = {one.study for one, meant in zip(stacks, called, strict=True) if meant}
    return [one for one, meant in zip(stacks, called, strict=True) if meant or one.study not in having]


def _homes(series: list[Series], others: list[Path], wanted: list[Series]) -> list[Path]:
    """What stands for each wanted series of slices: a folder that holds its files and no others, or its first file."""
    owners = defaultdict(set)
    for number, paths in enumerate([*(one.paths for one in series), others]):
        for parent in {path.parent for path in paths}:
            for folder in (parent, *parent.parents):
                owners[folder].add(number)
    found = []
    for number, one in enumerate(series):
        for part in one.by_folder() if one in wanted else []:
            parents = {path.parent for path in part.paths}
            home = Path(os.path.commonpath(parents))
            if len(part.paths) > 1 and owners[home] == {number}:
                found.append(home)
            else:
                found += [min(path for path in part.paths if path.parent == parent) for parent in parents]
    return found


def _once_a_series(paths: list[Path], series: str | None) -> list[Path]:
    """Let one path stand for all files of a DICOM series of slices: as in a folder of theirs.

    What is no scan, such as a report, is left out beside others, as in a folder; alone it is told to be none.
    """
    from lmk3d.io.dicom import find_series, is_dicom
    from lmk3d.io.dicom_frames import Entry

    kept: dict[Path | tuple[Path | str, ...], list[Path]] = {}
    for path in paths:
        key: Path | tuple[Path | str, ...] = path
        if path.is_file() and not _named_by_format(path) and path.suffix.lower() != ".zip" and is_dicom(path):
            found = find_series([Entry(path)])
            if found.others:
                continue
            for one in found.series:
                if one.is_volume and (len(one.frames) == 1 or one.frames[0].concatenation):
                    key = path.parent, *one.key
        kept.setdefault(key, []).append(path)
    homes = {path.parent for same in kept.values() if len(same) > 1 for path in same}
    alone = {home for home in homes if _in_folder(home, series) == [home]}
    once = [same[0].parent if len(same) > 1 and same[0].parent in alone else same[0] for same in kept.values()]
    return once or paths
