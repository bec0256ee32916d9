"""What the terminal shows of a batch: a bar that moves, and a line for each scan."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Progress", "duration"]

_BAR = 24  # characters


class Progress:
    """A bar in the last line of a terminal; nothing where the stream is a file or a pipe.

    Args:
        stream: what the bar is drawn on, stderr when None.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.shown = self.stream.isatty()
        self._start = time.monotonic()
        self._quick = 0

    def clear(self) -> None:
        """Take the bar away, so that a line can be printed in its place."""
        if self.shown:
            print("\r\033[K", end="", file=self.stream, flush=True)

    def draw(self, finished: int, total: int, failed: int, *, quick: bool = False) -> None:
        """Draw the bar, with the time that is left if the rest goes on as it has gone.

        Args:
            finished, total, failed: scans.
            quick: this one took no time, since an earlier run had done it.
        """
        self._quick += quick
        if not self.shown or finished == total:
            return
        full = _BAR * finished // total
        text = f"[{'#' * full}{'.' * (_BAR - full)}] {finished} of {total}"
        if failed:
            text += f", {failed} failed"
        if measured := finished - self._quick:
            left_s = (time.monotonic() - self._start) / measured * (total - finished)
            text += f", {duration(left_s)} left"
        columns = shutil.get_terminal_size().columns
        print(f"\r\033[K{text[: columns - 1]}", end="", file=self.stream, flush=True)


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
