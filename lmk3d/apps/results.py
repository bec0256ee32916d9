"""Results of a measurement as a file: JSON with everything, or CSV with one line for each number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lmk3d.errors import InputError
from lmk3d.io import atomic_path
from lmk3d.io.csv_files import write_csv

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["Result", "write_result"]

_ENDINGS = (".json", ".csv")


class Result(Protocol):
    """What can be written."""

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""

    def rows(self) -> list[dict[str, Any]]:
        """Its lines as a table, all with the same keys; at least one."""


def write_result(result: Result, path: str | os.PathLike[str], *, untrusted: Sequence[str] = ()) -> None:
    """Write a result in the format of the file's name; an existing file is replaced.

    Args:
        result: what was measured.
        path: the file.
        untrusted: names of points among those measured that are not trusted; the file says them where there are any.
    Raises:
        InputError: if the ending is unknown or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _ENDINGS:
        raise InputError(f"{path}: results are written as {' or '.join(_ENDINGS)}; end the name so")
    if path.suffix.lower() == ".csv":
        marks = {"untrusted": " ".join(untrusted)} if untrusted else {}
        rows = [{**row, **marks} for row in result.rows()]
        write_csv([list(rows[0]), *([row[key] for key in rows[0]] for row in rows)], path)
        return
    with atomic_path(path) as temporary:
        content = result.as_dict() | ({"untrusted": list(untrusted)} if untrusted else {})
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
