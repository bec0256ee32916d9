"""The DICOM files in a zip archive, found without unpacking more of it than a study can hold."""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lmk3d.errors import InputError
from lmk3d.io.dicom_frames import Entry, naming

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path, PurePath

__all__ = ["ENDINGS", "hidden", "members"]

ENDINGS = (".dcm", ".dicom", ".ima")
"""Names of DICOM files that lack the preamble end so."""

# More than the longest study has; each costs a tenth of a millisecond to see what it is.
_MOST_MEMBERS = 20_000
# One image is in memory at a time, and so is all of its file.
_MOST_BYTES = 2 << 30
# Pixels that are not packed shrink to a third or, where most is air, to a twentieth; bombs to a thousandth.
_MOST_RATIO, _SMALL_BYTES = 300, 256 << 20


def members(path: Path, stack: ExitStack) -> Iterator[Entry]:
    """The DICOM files in an archive, by their first bytes or their ending, sorted; what is hidden is left out.

    Args:
        path: the archive.
        stack: keeps it open.
    Raises:
        InputError: if it is no archive or damaged, is encrypted, or unpacks to more than a study.
    """
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        infos = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename)
    except MemoryError:
        raise
    except Exception as error:  # zipfile raises whatever a damaged directory leads it to
        raise InputError(f"{path}: cannot be unpacked ({error}); give a zip archive without password") from None
    if len(infos) > _MOST_MEMBERS:
        raise InputError(f"{path}: holds {len(infos)} files, more than a study has ({_MOST_MEMBERS}); give one study")
    for info in infos:
        if hidden(PurePosixPath(info.filename)):
            continue
        entry = Entry(path, info.filename, archive, info)
        with naming(entry), archive.open(info) as file:
            if file.read(132)[128:] != b"DICM" and not info.filename.lower().endswith(ENDINGS):
                continue
        small = info.file_size <= max(_SMALL_BYTES, info.compress_size * _MOST_RATIO)
        if info.file_size > _MOST_BYTES or not small:
            size = info.file_size / 2**30
            raise InputError(f"{entry}: unpacks to {size:.1f} GiB, which no image needs; unpack and check the archive")
        yield entry


def hidden(path: PurePath) -> bool:
    """Whether a file, or a folder that it lies in, is hidden, as what a Mac leaves behind."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
