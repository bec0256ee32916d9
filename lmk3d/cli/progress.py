"""What the terminal shows of a batch: a bar that moves, and a line for each scan."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lmk3d.terminal import StatusLine, bar, duration

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Progress"]


class Progress:
    """A bar in the last line of a terminal; nothing where the stream is a file or a pipe.

    Args:
        stream: what the bar is drawn on, stderr when None.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._line = StatusLine(stream)
        self._start = time.monotonic()
        self._quick = 0

    def clear(self) -> None:
        """Take the bar away, so that a line can be printed in its place."""
        self._line.clear()

    def draw(self, finished: int, total: int, failed: int, *, quick: bool = False) -> None:
        """Draw the bar, with the time that is left if the rest goes on as it has gone.

        Args:
            finished, total, failed: scans.
            quick: this one took no time, since an earlier run had done it.
        """
        self._quick += quick
        if finished == total:
            return
        text = f"{bar(finished / total)} {finished} of {total}"
        if failed:
            text += f", {failed} failed"
        if measured := finished - self._quick:
            left_s = (time.monotonic() - self._start) / measured * (total - finished)
            text += f", {duration(left_s)} left"
        self._line.show(text)
