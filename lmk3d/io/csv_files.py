"""Tables as CSV, written so that no spreadsheet takes a text for a formula, whatever separates its cells."""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING

from lmk3d.io.atomic import atomic_path
from lmk3d.io.text import csv_cell

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["csv_line", "write_csv"]

# Every separator, since a spreadsheet takes that of its country; csv.writer would also leave a lone \r without quotes.
_QUOTED = set(',;\t"\r\n')


def csv_line(cells: Iterable[object], delimiter: str = ",") -> str:
    r"""One line without its end; numbers in the shortest form that reads back, NaN and None as empty cells.

    >>> csv_line(["apex; left", "=1+1", -0.5, float("nan"), 3])
    '"apex; left",\'=1+1,-0.5,,3'
    """
    return delimiter.join(_cell(cell) for cell in cells)


def write_csv(rows: Iterable[Iterable[object]], path: Path) -> None:
    """Write rows of texts and numbers, the heads first; an existing file is replaced at the end.

    Raises:
        InputError: if the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(csv_line(row) + "\r\n" for row in rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if isinstance(value, numbers.Integral):
            return str(int(value))
        return "" if math.isnan(value) else repr(float(value))
    text = csv_cell(str(value))
    return '"' + text.replace('"', '""') + '"' if set(text) & _QUOTED else text
