"""What the terminal says of how far points can be trusted, and the exit code that follows from it."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from lmk3d.terminal import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from lmk3d.landmarks import Landmarks

__all__ = ["UNTRUSTED", "add_keep_untrusted_argument", "error_head", "trust_lines", "verdict_counts"]

UNTRUSTED = 3
"""Exit code where all scans could be used, but the points of one at least are not all trusted."""

_COLUMNS = 80
_MOST_DOUBTS = 12  # of lines: a scan with more doubtful landmarks is said to have them


def add_keep_untrusted_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --keep-untrusted.

    Args:
        parser: of a command.
        what: it does with points that are not trusted.
    """
    parser.add_argument("--keep-untrusted", action="store_true", help=what)


def trust_lines(landmarks: Landmarks) -> list[str]:
    """The verdict on a scan's points, then the reasons, in lines of 80 columns."""
    assessment = landmarks.assessment
    if assessment is None:
        return ["not assessed: this bundle cannot tell how like its training data a scan is"]
    if assessment.reasons:
        lines = ["NOT TRUSTED: the scan is unlike the training data"]
        return lines + [line for reason in assessment.reasons for line in _item(reason)]
    doubts: dict[str, list[str]] = {}
    for name, doubt in zip(landmarks.names, assessment.doubts, strict=True):
        if doubt:
            doubts.setdefault(doubt, []).append(name)
    if not doubts:
        return ["trusted: the scan is like the training data, and nothing speaks against a point"]
    rows = sum(len(names) for names in doubts.values())
    found = int((landmarks.present | landmarks.held_back).sum())
    lines = [f"DOUBTFUL: {rows} of {counted(found, 'point')} found not to be trusted"]
    shown = [line for doubt, names in doubts.items() for line in _item(f"{', '.join(names)}: {doubt}")]
    more = [f"  and {len(shown) - _MOST_DOUBTS} lines more; the files have all reasons"]
    return lines + (shown if len(shown) <= _MOST_DOUBTS else shown[:_MOST_DOUBTS] + more)


def error_head(landmarks: Landmarks) -> str:
    """What the column of errors is: a radius that holds the truth in a share of new patients, or a typical distance."""
    if landmarks.coverage is None:
        return "expected error"
    return f"{100 * landmarks.coverage:.4g} % radius"


def verdict_counts(verdicts: Iterable[str]) -> str:
    """How many scans each verdict has, in a line; "" where nobody assessed any.

    >>> verdict_counts(["trusted", "trusted", "", "unlike the training data"])
    '2 trusted, 0 doubtful, 1 unlike the training data, 1 not assessed'
    """
    from lmk3d.landmarks import VERDICTS

    count = Counter(verdicts)
    if set(count) <= {""}:
        return ""
    unknown = [f"{count['']} not assessed"] if count[""] else []
    return ", ".join([*(f"{count[verdict]} {verdict}" for verdict in VERDICTS), *unknown])


def _item(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, initial_indent="  - ", subsequent_indent="    ")
