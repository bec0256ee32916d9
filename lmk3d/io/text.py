"""Text and JSON files, read with errors that name file and line; the two frames that points may be written in."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError, did_you_mean
from lmk3d.geometry import LPS_TO_RAS, apply_affine

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["check_keys", "convert_frame", "parse_frame", "parse_number", "read_json", "read_text"]


def read_text(path: Path) -> str:
    """The whole of a UTF-8 file (with or without a byte order mark).

    Raises:
        InputError: if it cannot be opened or is no text.
    """
    try:
        # Line ends stay as they are: they may stand inside a quoted name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no text in UTF-8; give a text file or save it again as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file you may read") from None


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: if it cannot be read, where it stops being JSON, or if an object names a key twice.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: is no valid JSON ({error.msg}); correct the file") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply to be a file of this package") from None
    except KeyError as error:
        raise InputError(f"{path}: key {error} stands twice in one object; keep one of them") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys all differ: of two alike JSON would drop one without a word."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise KeyError(next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number])))
    return content


def parse_frame(value: object, where: str) -> str:
    """The frame, "RAS" or "LPS", from what a file or an argument says, in any case of letters.

    Args:
        value: the text found.
        where: file and line, for the error.
    Raises:
        InputError: for anything else.
    """
    name = str(value).strip().upper()
    if name not in ("RAS", "LPS"):
        raise InputError(f"{where}: frame {value!r} is unknown; write RAS or LPS")
    return name


def parse_number(value: object, what: str, where: str) -> float:
    """A finite number, or NaN for nothing, ``null`` or "nan".

    Args:
        value: text or a number.
        what: its name, for the error.
        where: file and line, for the error.
    Raises:
        InputError: for text that is no number, and for infinity.
    """
    text = "" if value is None else str(value).strip()
    if text == "":
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if math.isinf(number) or isinstance(value, bool):
        raise InputError(f"{where}: {what} is {value!r}; write a finite number")
    return number


def convert_frame(points: ArrayLike, frame: str) -> FloatArray:
    """(N, 3) points between ``frame`` and world RAS, either way; NaN stays NaN.

    Args:
        points: mm (or pixels) in RAS or in ``frame``.
        frame: "RAS" (nothing changes) or "LPS" (the first two axes change sign).
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    # Adding zero turns the -0.0 that a change of sign makes of 0.0 back into 0.0.
    return apply_affine(LPS_TO_RAS, points) + 0.0 if frame == "LPS" else points


def check_keys(entry: dict[str, Any], known: set[str], where: str) -> None:
    """Refuse a key that is not ``known``, naming the nearest one that is.

    Raises:
        InputError: for the first unknown key.
    """
    for key in entry:
        if key not in known:
            hint = did_you_mean(key, known, f"known are {', '.join(sorted(known))}")
            raise InputError(f"{where}: key {key!r} is unknown; {hint}")
