"""Tables on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lmk3d.cli.trust import error_head

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lmk3d.landmarks import Landmarks

__all__ = ["landmark_table"]


def landmark_table(landmarks: Landmarks, *, errors_mm: ArrayLike | None = None) -> list[str]:
    """One line for each landmark: name, world position, confidence, expected error or radius.

    Args:
        landmarks: as predicted. A missing one is said to be missing; its confidence is the presence score, which says
            nothing of a scan unlike the training's. One that is not trusted has neither confidence nor error, and its
            verdict in their place; where its point is withheld, the line says so.
        errors_mm: (N,) true distances, where they are known; NaN where not.
    """
    from lmk3d.report import aligned

    unlike = landmarks.assessment is not None and bool(landmarks.assessment.reasons)
    heads = ["landmark", "R", "A", "S", "confidence", error_head(landmarks)]
    if errors_mm is not None:
        heads.append(f"error {landmarks.unit}")
    rows = []
    for row, name in enumerate(landmarks.names):
        if landmarks.present[row]:
            position = [f"{value:.2f}" for value in landmarks.points_mm[row]]
        else:
            position = ["withheld" if landmarks.held_back[row] else "missing", "-", "-"]
        sure = [_cell(landmarks.confidence, row, 2), _cell(landmarks.error_mm, row, 1)]
        if landmarks.suspect[row]:
            sure = ["-", "unlike" if unlike else "doubtful"]
        elif unlike:
            sure = ["-", "-"]
        rows.append([name, *position, *sure, *([] if errors_mm is None else [_cell(errors_mm, row, 2)])])
    return aligned([heads, *rows])


def _cell(values: Any, row: int, digits: int) -> str:
    value = math.nan if values is None else float(values[row])
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
