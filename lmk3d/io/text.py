"""Text and JSON files, read with errors that name file and line; the two frames that points may be written in."""

from __future__ import annotations

import json
import math
import re
from reprlib import Repr
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError, did_you_mean
from lmk3d.geometry import LPS_TO_RAS, apply_affine

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = [
    "brief",
    "check_keys",
    "convert_frame",
    "csv_cell",
    "parse_frame",
    "parse_number",
    "plain_cell",
    "read_json",
    "read_text",
]

# Usual mistakes: what stands where a text stops being JSON, or what Python says of it, and what to do.
_MISTAKES = (
    (r"'", "uses single quotes; write double quotes"),
    (r"[\u201c\u201d\u201e\u2018\u2019]", "uses typographic quotes; write plain double quotes"),
    (r"//|/\*|#", "has a comment, which JSON cannot hold; remove it"),
    (r"(True|False|None)\b", "is written as in Python; write true, false or null"),
    (r"[A-Za-z_]\w*\s*:", "has a key without quotes; put it in double quotes"),
    (r"[+-]?(?i:nan|inf)", "has no number; write null, or a finite number"),
    (r"[+.]\.?\d", "has a number as JSON does not write it (such as .5 or +1); write 0.5 or 1"),
)
_SAID = (
    ("Unterminated string", "has a text without its closing quote; add the quote"),
    ("Invalid control character", "has a line break or tab inside a text; write \\n or \\t"),
    ("Invalid \\", "has a single backslash; write / in paths, or two backslashes"),
    ("Extra data", "goes on after its end; remove what follows, or the bracket too many before it"),
)
# A spreadsheet takes a cell that begins so (or in full width) for a formula; an apostrophe before it says that it is
# text. One whose separator is another begins cells within a text, too: quotes in the middle of its cells are letters.
_STARTS = r"(?<![^,;\t\r\n])"
_FORMULA = r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_UNMARKED, _MARKED = re.compile(f"{_STARTS}(?={_FORMULA})"), re.compile(f"{_STARTS}'(?={_FORMULA})")
_LONGEST = 120
# Of a text; a million points have half of it.
_MOST_BYTES = 128 << 20
_BRIEF = Repr()
_BRIEF.maxstring, _BRIEF.maxother, _BRIEF.maxlong, _BRIEF.maxlevel = 80, 80, 40, 2


def read_text(path: Path) -> str:
    """The whole of a UTF-8 file (with or without a byte order mark).

    Raises:
        InputError: if it cannot be opened or is no text.
    """
    if "\0" in str(path):
        raise InputError(f"{path}: has a NUL character, which no file's name has; correct the path")
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe would be waited for, a device has no end
        raise InputError(f"{path}: is a pipe or a device, no file; give a file")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(
                f"{path}: has more than {_MOST_BYTES >> 20} MB, far too much for a text; give the right file"
            )
        # Line ends stay as they are: they may stand inside a quoted name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except UnicodeDecodeError as error:
        if error.object[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{path}: is text in UTF-16; save it again as UTF-8") from None
        raise InputError(f"{path}: is no text in UTF-8; give a text file or save it again as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file you may read") from None
    if "\0" in text:
        raise InputError(f"{path}: has NUL characters, so it is UTF-16 or no text; save it again as UTF-8")
    return text


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: if it cannot be read, where it stops being JSON and how to correct the usual mistakes, or if an
            object names a key twice.
    """
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=_unique)
        if "\\ud" in text.lower():
            json.dumps(content, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        place, said = _mistake(text, error)
        line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
        raise InputError(f"{path}, line {line}, column {column}: is no valid JSON: {said}") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply to be a file of this package") from None
    except KeyError as error:
        raise InputError(f"{path}: key {brief(error.args[0])} stands twice in one object; keep one of them") from None
    except UnicodeEncodeError:
        raise InputError(f"{path}: has half of a surrogate pair (\\ud800 to \\udfff), no letter; remove it") from None
    except ValueError:  # the number of digits that Python converts is limited
        raise InputError(f"{path}: has a number of thousands of digits; correct it") from None
    return content


def _mistake(text: str, error: json.JSONDecodeError) -> tuple[int, str]:
    """Where a text stops being JSON, and what to do there."""
    at = error.pos
    ahead, before = text[at : at + 100], len(text[:at].rstrip()) - 1
    comma = at if ahead.startswith(",") else before
    if text[comma : comma + 1] == "," and text[comma + 1 :].lstrip()[:1] in ("]", "}"):
        return comma, "has a comma before the closing bracket; remove the comma"
    if not text.strip():
        return 0, "the file is empty; write the object {...} that belongs there"
    for start, said in _SAID:
        if error.msg.startswith(start):
            return at, said
    if not ahead.strip():
        return at, "ends too early; close its brackets, or copy the whole file again"
    for pattern, said in _MISTAKES:
        if re.match(pattern, ahead):
            return at, said
    return at, f"{error.msg}; correct the file"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys all differ: of two alike JSON would drop one without a word."""
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise KeyError(key)
            seen.add(key)
    return content


def brief(value: object) -> str:
    """What an error quotes of a file: as ``repr``, cut where it is long or nested."""
    text = _BRIEF.repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def csv_cell(text: str) -> str:
    """A text for a table, marked with an apostrophe wherever a spreadsheet would take it for a formula.

    >>> csv_cell("=1+1"), csv_cell("apex"), plain_cell("'=1+1")
    ("'=1+1", 'apex', '=1+1')
    """
    return _UNMARKED.sub("'", text)


def plain_cell(text: str) -> str:
    """Undoes ``csv_cell``, so that every text comes back as it was."""
    return _MARKED.sub("", text)


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
        raise InputError(f"{where}: frame {brief(value)} is unknown; write RAS or LPS")
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
    if type(value) is float and math.isfinite(value):
        return value
    text = "" if value is None else str(value).strip() if isinstance(value, (str, int, float)) else brief(value)
    if text == "":
        return math.nan
    try:
        # Python would read 1_000 and other scripts' digits, which nobody writes on purpose.
        number = math.inf if "_" in text or not text.isascii() else float(text)
    except ValueError:
        number = math.inf
    if math.isinf(number) or isinstance(value, bool):
        raise InputError(f"{where}: {what} is {brief(value)}; write a finite number")
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
            raise InputError(f"{where}: key {brief(key)} is unknown; {hint}")
