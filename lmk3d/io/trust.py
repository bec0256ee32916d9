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

__all__ = ["WORDS", "PointTrust", "Said", "assessment_of", "parse_trust", "trust_of"]

WORDS = (*VERDICTS, "missing")
"""What a file may say of a point's trust. "missing" is one that was never found: there is no point to trust or not."""

_BETWEEN = " | "
# Stands before what speaks against one point, where the whole scan has reasons of its own.
_ITSELF = "itself doubtful: "
_UNSAID = "no reason is given"


class Said(NamedTuple):
    """What a file says of a point beside its place; None or an empty text where it says nothing.

    Args:
        confidence, error_mm: numbers, as texts or parsed.
        coverage: share of new patients for which ``error_mm`` holds.
        trust: one of ``WORDS``.
        why: the reasons, as ``trust_of`` writes them.
    """

    confidence: object = None
    error_mm: object = None
    coverage: object = None
    trust: object = None
    why: object = None


class PointTrust(NamedTuple):
    """What ``Said.trust`` and ``Said.why`` mean.

    Args:
        reasons: why no point of the scan is trusted; () where the scan is like those of the training.
        doubt: why the point itself is not trusted; "" where nothing speaks against it.
        missing: whether no point was found.
    """

    reasons: tuple[str, ...] = ()
    doubt: str = ""
    missing: bool = False

    @property
    def suspect(self) -> bool:
        """Whether a point was found that is not trusted."""
        return not self.missing and bool(self.reasons or self.doubt)


def trust_of(landmarks: Landmarks, row: int) -> tuple[str, str]:
    """One of ``WORDS`` for one point and the reasons for it in one line; empty texts where nobody assessed it.

    >>> import numpy as np
    >>> from lmk3d.landmarks import Landmarks
    >>> assessment = Assessment(("no CT", "too small"), ("", "far off"))
    >>> trust_of(Landmarks(("a", "b"), np.zeros((2, 3)), assessment=assessment), 1)
    ('unlike the training data', 'no CT | too small | itself doubtful: far off')
    >>> trust_of(Landmarks(("a", "b"), [[0, 0, 0], [np.nan] * 3], assessment=Assessment(("no CT",), ("", ""))), 1)
    ('missing', 'no CT')
    """
    if landmarks.assessment is None:
        return "", ""
    reasons, doubt = landmarks.assessment.reasons, landmarks.assessment.doubts[row]
    own = [f"{_ITSELF}{doubt}" if reasons else doubt] if doubt else []
    said = _BETWEEN.join(" ".join(part.replace("|", "/").split()) for part in (*reasons, *own))
    missing = not landmarks.present[row] and not landmarks.held_back[row]
    return WORDS[-1] if missing else Assessment(reasons, (doubt,)).verdict, said


def parse_trust(said: Said, where: str) -> PointTrust | None:
    """What ``trust_of`` wrote of one point; None where nobody assessed it.

    Args:
        said: of the point.
        where: file and line, for the error.
    Raises:
        InputError: for a word that is none of ``WORDS``.
    """
    word, why = ("" if value is None else value for value in (said.trust, said.why))
    if word == "":
        return None
    if word not in WORDS or not isinstance(why, str):
        raise InputError(f"{where}: trust is {brief(word)}, {brief(why)}; write {', '.join(WORDS)}, and why as text")
    parts = [part.strip() for part in re.split(r"\|", why) if part.strip()]
    if word == VERDICTS[0]:
        return PointTrust()
    if word == VERDICTS[1]:
        return PointTrust(doubt=_BETWEEN.join(parts) or _UNSAID)
    if word == WORDS[-1]:
        return PointTrust(tuple(parts), missing=True)
    own = parts.pop().removeprefix(_ITSELF) if parts and parts[-1].startswith(_ITSELF) else ""
    return PointTrust(tuple(parts) or (_UNSAID,), own)


def assessment_of(rows: Sequence[PointTrust | None]) -> Assessment | None:
    """The assessment of a file from what it says of each point; None where it says nothing of any.

    Reasons that stand with every point are the scan's. A point of which nothing is said, say one that was placed by
    hand, is not touched by them: there they are doubts of the others. Nothing but "missing" is no assessment: other
    programs write the word, too.
    """
    told = [row for row in rows if row is not None]
    if not any(row.reasons or not row.missing for row in told):
        return None
    if len(told) == len(rows) and all(row.reasons for row in told):
        reasons = dict.fromkeys(reason for row in told for reason in row.reasons)
        return Assessment(tuple(reasons), tuple(row.doubt for row in told))
    return Assessment((), tuple("" if row is None or row.missing else _joined(row) for row in rows))


def _joined(row: PointTrust) -> str:
    return _BETWEEN.join(filter(None, (*row.reasons, row.doubt)))
