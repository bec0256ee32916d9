"""The one way to the terminal: names, paths and texts of files are printed so that they cannot command it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["printable", "say"]

# Control characters (ESC begins a command of the terminal), what turns the direction of writing, other line ends,
# and halves of surrogate pairs, which stand for bytes of a file name that are no text.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: object) -> str:
    r"""A text as one line, what a terminal would obey written as in Python.

    >>> printable("apex\x1b[2J of\nthe heart")
    'apex\\x1b[2J of\\nthe heart'
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def say(*lines: object, end: str = "\n", file: TextIO | None = None) -> None:
    """Print each argument as one line, at once, see ``printable``; nothing where there is none.

    Args:
        lines: texts; a table comes as its lines, made of cells that are printable.
        end: what follows the last one.
        file: the stream; stdout when None.
    """
    if lines:
        print(*map(printable, lines), sep="\n", end=end, file=file or sys.stdout, flush=True)
