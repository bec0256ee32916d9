"""Files that appear whole or not at all, and what killed runs leave of them."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["atomic_path", "clear_parts", "part_folder", "refuse_existing"]

# Not every platform knows a disk quota.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_PART = re.compile(r"\.(?P<host>[A-Za-z0-9]+)-(?P<process>\d+)-[a-z0-9_]{8}\.part")
# No file takes so long to write.
_GIVEN_UP_S = 24 * 3600


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
    # What a link leads to is replaced, not the link.
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        folder = part_folder(target.parent)
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


def part_folder(parent: Path) -> Path:
    """A new hidden folder for files that are not whole yet; its name tells ``clear_parts`` which run made it."""
    return Path(tempfile.mkdtemp(prefix=f".{_host()}-{os.getpid()}-", suffix=".part", dir=parent))


def clear_parts(parent: Path) -> None:
    """Remove what ``part_folder`` made in a folder for runs that were killed.

    A run is known to be gone when no process of this machine has its number; of other machines, and where nothing can
    be told, when nothing was written for a day.
    """
    for left in parent.glob(".*.part"):
        made_by = _PART.fullmatch(left.name)
        if made_by and _is_gone(made_by["host"], int(made_by["process"]), left):
            shutil.rmtree(left, ignore_errors=True)


def _is_gone(host: str, process: int, left: Path) -> bool:
    if host == _host() and os.name == "posix":  # elsewhere the question ends the process
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
    try:
        return time.time() - left.stat().st_mtime > _GIVEN_UP_S
    except OSError:
        return False


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:32] or "here"


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
