"""Images that are unlike the others of their data set: in size, in spacing, in intensities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lmk3d.io.fingerprint import ImageFacts

    FloatArray = NDArray[np.float64]

__all__ = ["find_outliers"]

# With fewer images nobody can say what is usual.
_FEWEST = 4
# Scanners, protocols and patients differ by less than this factor from the median; a wrong unit is a factor of ten.
_FACTOR = 5.0
# Nor is it told where so many of the others come half as far: the set is then a mixed one.
_MOST = 0.1
# A median of the intensities is elsewhere beyond this part of the usual span and this multiple of the usual distance.
_SHIFT, _USUAL = 0.7, 8.0
# Of few images the usual distance is not known well enough.
_FEWEST_SHIFTED = 10


def find_outliers(facts: Sequence[ImageFacts]) -> list[list[str]]:
    """What is unlike the others about each image.

    Args:
        facts: of all images of a data set; radiographs and volumes, mm and px are compared among themselves.
    Returns:
        For each image some lines, mostly none; none at all for fewer than four alike.
    """
    lines: list[list[str]] = [[] for _ in facts]
    kinds = [(fact.unit, fact.shape[2] == 1) for fact in facts]
    for kind in dict.fromkeys(kinds):
        rows = [row for row, own in enumerate(kinds) if own == kind]
        if len(rows) >= _FEWEST:
            alike = [facts[row] for row in rows]
            for row, size, values in zip(rows, _sizes(alike), _intensities(alike), strict=True):
                lines[row] = [*size, *values]
    return lines


def _sizes(facts: Sequence[ImageFacts]) -> list[list[str]]:
    unit = facts[0].unit
    longest = np.array([max(fact.size_mm) for fact in facts])
    count = np.array([max(fact.shape) for fact in facts], float)
    sides = 2 if facts[0].shape[2] == 1 else 3  # the depth of a radiograph says nothing
    finest, widest = (np.array([pick(fact.spacing_mm[:sides]) for fact in facts]) for pick in (min, max))
    lines = []
    for row in range(len(facts)):
        parts = []
        if (usual := _usual(longest, row)) is not None:
            parts.append(f"measures {longest[row]:.4g} {unit} along its longest side, the others {usual:.4g}")
        if (usual := _usual(count, row)) is not None:
            parts.append(f"has {count[row]:.0f} voxels along its longest side, the others {usual:.0f}")
        if (usual := _usual(finest, row)) is not None or (usual := _usual(widest, row)) is not None:
            steps = " x ".join(f"{step:.3g}" for step in facts[row].spacing_mm[:sides])
            parts.append(f"has a spacing of {steps} {unit}, the others about {usual:.3g}")
        lines.append([f"{' and '.join(parts)}; is its spacing right?"] if parts else [])
    return lines


def _usual(values: FloatArray, row: int) -> float | None:
    """The median of the other values where this one is far from it and from nearly all of them; else None."""
    others = np.delete(values, row)
    middle, (low, high) = float(np.median(others)), np.quantile(others, (_MOST, 1 - _MOST))
    above = values[row] > _FACTOR * middle and values[row] > _FACTOR / 2 * high
    below = values[row] < middle / _FACTOR and values[row] < low / (_FACTOR / 2)
    return middle if above or below else None


def _intensities(facts: Sequence[ImageFacts]) -> list[list[str]]:
    """By the spans and the medians of the foreground."""
    low, middle, high = np.array([fact.percentiles for fact in facts]).T
    spans = high - low
    lines: list[list[str]] = [[] for _ in facts]
    for row, fact in enumerate(facts):
        others = np.delete(middle, row)
        usual = np.median(others)
        apart = abs(middle[row] - usual)
        spread = 1.4826 * np.median(np.abs(others - usual))  # as a standard deviation
        shifted = apart > max(_SHIFT * np.median(np.delete(spans, row)), _USUAL * spread)
        shifted = shifted and len(facts) >= _FEWEST_SHIFTED
        if shifted or _usual(spans, row) is not None:
            ends = [
                np.median([getattr(own, end) for own in facts if own is not fact]) for end in ("minimum", "maximum")
            ]
            line = (
                f"its values, {fact.minimum:.6g} to {fact.maximum:.6g}, are far from the others' "
                f"({ends[0]:.6g} to {ends[1]:.6g}, medians); is it stored in another scale, or inverted?"
            )
            lines[row].append(line)
    return lines
