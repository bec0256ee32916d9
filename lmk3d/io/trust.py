"""How files of points say how far each point can be trusted: a word and the reasons, the same in every format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from lmk3d.errors import InputError
from lmk3d.io.text import brief
from lmk3d.landmarks import VERDICTS, Assessment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmk3d.landmarks import Landmarks

__all__ = ["Said", "assessment_of", "parse_trust", "trust_of"]

_BETWEEN = " | "
# Stands before what speaks against one point, where the whole scan has reasons of its own.
_ITSELF = "itself doubtful: "
_UNSAID = "no reason is given"

Trust = tuple[tuple[str, ...], str]


class Said(NamedTuple):
    """What a file says of a point beside its place; None or an empty text where it says nothing.

    Args:
        confidence, error_mm: numbers, as texts or parsed.
        coverage: share of new patients for which ``error_mm`` holds.
        trust: one of ``VERDICTS``.
        why: the reasons, as ``trust_of`` writes them.
    """

    confidence: object = None
    error_mm: object = None
    coverage: object = None
    trust: object = None
    why: object = None


def trust_of(landmarks: Landmarks, row: int) -> tuple[str, str]:
    """The verdict on one point and the reasons for it in one line; empty texts where nobody assessed it.

    >>> import numpy as np
    >>> from lmk3d.landmarks import Landmarks
    >>> assessment = Assessment(("no CT", "too small"), ("", "far off"))
    >>> trust_of(Landmarks(("a", "b"), np.zeros((2, 3)), assessment=assessment), 1)
    ('unlike the training data', 'no CT | too small | itself doubtful: far off')
    """
    if landmarks.assessment is None:
        return "", ""
    reasons, doubt = landmarks.assessment.reasons, landmarks.assessment.doubts[row]
    own = [f"{_ITSELF}{doubt}" if reasons else doubt] if doubt else []
    said = _BETWEEN.join(" ".join(part.replace("|", "/").split()) for part in (*reasons, *own))
    return Assessment(reasons, (doubt,)).verdict, said


def parse_trust(said: Said, where: str) -> Trust | None:
    """What ``trust_of`` wrote of one point: the scan's reasons and its own doubt; None where nobody assessed it.

    Args:
        said: of the point.
        where: file and line, for the error.
    Raises:
        InputError: for a word that is none of ``VERDICTS``.
    """
    word, why = ("" if value is None else value for value in (said.trust, said.why))
    if word == "":
        return None
    if word not in VERDICTS or not isinstance(why, str):
        raise InputError(f"{where}: trust is {brief(word)}, {brief(why)}; write {', '.join(VERDICTS)}, and why as text")
    parts = [part.strip() for part in re.split(r"\|", why) if part.strip()]
    if word == VERDICTS[0]:
        return (), ""
    if word == VERDICTS[1]:
        return (), _BETWEEN.join(parts) or _UNSAID
    own = parts.pop().removeprefix(_ITSELF) if parts and parts[-1].startswith(_ITSELF) else ""
    return tuple(parts) or (_UNSAID,), own


def assessment_of(rows: Sequence[Trust | None]) -> Assessment | None:
    """The assessment of a file from what it says of each point; None where it says nothing of any.

    Reasons that stand with every point are the scan's. A point of which nothing is said, say one that was placed by
    hand, is not touched by them: there they are doubts of the others.
    """
    if all(row is None for row in rows):
        return None
    if all(row is not None and row[0] for row in rows):
        reasons = dict.fromkeys(reason for row in rows if row is not None for reason in row[0])
        return Assessment(tuple(reasons), tuple("" if row is None else row[1] for row in rows))
    return Assessment((), tuple("" if row is None else _BETWEEN.join(filter(None, (*row[0], row[1]))) for row in rows))
