"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["atomic_path", "refuse_existing"]

# Not every platform knows a disk quota.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the folder of ``path``, renamed to it when the block ends well.

    After any error or Ctrl-C what was written is removed and ``path`` is as it was before. The temporary path has the
    file name of ``path`` (in a folder of its own), since writers choose the format by the name.

    Args:
        path: the file to write; one that exists is replaced at the end. Its folder must exist.
    Yields:
        The path to write to.
    Raises:
        InputError: if the folder does not exist or cannot be written, if ``path`` is a folder, or if the disk is full.
    """
    path = Path(path)
    target = (
        Path(os.path.realpath(path)) if path.is_symlink() else path
    )  # what a link leads to is replaced, not the link
    try:
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=target.parent))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose a folder you may write to") from None
    try:
        yield folder / path.name
        _rename(folder / path.name, target)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise InputError(f"{path}: cannot be written ({error.strerror}); free some space or write elsewhere") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_existing(paths: Iterable[Path], *, overwrite: bool) -> None:
    """See that nothing is replaced that nobody said may be, before anything is computed.

    Raises:
        InputError: naming the first of the paths that exists, unless ``overwrite``.
    """
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already; choose another place, or --overwrite to replace it")


def _rename(temporary: Path, path: Path) -> None:
    if not temporary.exists():
        raise FileNotFoundError(f"the block that should have written {path} wrote nothing")
    try:
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be replaced ({error.strerror}); remove it or choose another name") from None
