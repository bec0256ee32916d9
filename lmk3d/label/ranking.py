"""Which image to mark next: the one that a bundle is to be trusted least in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from lmk3d.landmarks import VERDICTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lmk3d.landmarks import Landmarks

__all__ = ["UNFIT", "Score", "score_of", "urgency"]


class Score(NamedTuple):
    """What a bundle said of an image.

    Args:
        error: mean expected error (or radius) of the points it found, infinite where it found none.
        verdict: one of ``lmk3d.landmarks.VERDICTS``; "" where nobody assessed the points.
    """

    error: float
    verdict: str = ""


UNFIT = Score(-1.0)
"""Of an image that the bundle cannot be used on."""


def score_of(landmarks: Landmarks) -> Score:
    """The score of an image in which a bundle found these points."""
    errors: NDArray[np.float64] | list[float] = [] if landmarks.error_mm is None else landmarks.error_mm
    known = [float(error) for error in errors if math.isfinite(error)]
    verdict = "" if landmarks.assessment is None else landmarks.assessment.verdict
    return Score(sum(known) / len(known) if known else math.inf, verdict)


def urgency(score: Score | None) -> tuple[int, float]:
    """What to sort images by, the one to be marked next last.

    Images unlike the training data come before doubtful ones, then those with the largest expected error, then images
    that have no score yet, and last those the bundle cannot be used on.

    >>> sorted([Score(0.5, "doubtful"), None, Score(9.0, "trusted"), UNFIT], key=urgency)[-1]
    Score(error=0.5, verdict='doubtful')
    """
    if score is None:
        return 0, 0.0
    if score == UNFIT:
        return -1, 0.0
    return 1 + (VERDICTS.index(score.verdict) if score.verdict in VERDICTS else 0), score.error
