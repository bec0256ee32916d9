"""The one way to the terminal: lines that cannot command it, a last line that is written anew, counts and times."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["StatusLine", "bar", "counted", "duration", "printable", "say"]

_BAR = 24  # characters
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


class StatusLine:
    """The last line of a terminal, which each text replaces; nothing where the stream is a file or a pipe.

    Args:
        stream: what it is written to, stderr when None.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.shown = self.stream.isatty()

    def show(self, text: str) -> None:
        """Write the text, cut to the terminal's width, in place of the last one."""
        if self.shown:
            columns = shutil.get_terminal_size().columns
            print(f"\r\033[K{printable(text)[: columns - 1]}", end="", file=self.stream, flush=True)

    def clear(self) -> None:
        """Take the text away, so that a line can be printed in its place."""
        if self.shown:
            print("\r\033[K", end="", file=self.stream, flush=True)


def bar(done: float) -> str:
    """A bar, filled as far as the part that is done.

    >>> bar(0.25)
    '[######..................]'
    """
    full = int(_BAR * min(max(done, 0.0), 1.0))
    return f"[{'#' * full}{'.' * (_BAR - full)}]"


def duration(seconds: float) -> str:
    """A time as one reads it.

    >>> duration(7.34), duration(200), duration(7300)
    ('7.3 s', '3 min 20 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, what: str) -> str:
    """A number of things, in the singular where it is one.

    >>> counted(1, "case"), counted(0, "case"), counted(12, "epoch")
    ('1 case', '0 cases', '12 epochs')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"
