"""Points that are not where other cases have them: exchanged names, slips of the hand, a case in the wrong frame."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.geometry import apply_affine, fit_similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["find_strays"]

# With fewer cases nobody can say what is usual.
_FEWEST_CASES = 5
# A point is expected by so many of its neighbours, or by all where there are fewer.
_NEIGHBOURS = 8
# Of the points that are off the most, how many may be those that were exchanged.
_SUSPECTS = 12
# How often its usual distance, and which part of its neighbours' spread, a point must be off to be told.
_FAR, _PART = 8.0, 0.3
# Degrees that hardly any patient is turned against the others where all lie alike, and that a wrong frame turns them.
_ALIKE, _TURNED = 45.0, 135.0


def find_strays(
    shapes: Sequence[FloatArray], names: Sequence[str], pairs: Sequence[tuple[str, str]], *, unit: str = "mm"
) -> list[list[str]]:
    """What looks wrong about the points of each case, beside those of all others.

    Each point is expected where its neighbours of the median shape, laid over those of the case by a similarity, have
    it; so neither pose nor size nor a bent spine is a mistake. It is told when it is off far more than it is in other
    cases, the worst one of a case first, which then no longer sways what is expected of the others.

    Args:
        shapes: (N, D) points of each case, in the world or within films; NaN where one is missing.
        names: of the N landmarks.
        pairs: (left, right) names.
        unit: of the points.
    Returns:
        For each case some lines, mostly none; none at all for fewer than five cases.
    """
    if len(shapes) < _FEWEST_CASES:
        return [[] for _ in shapes]
    points = np.array(shapes, dtype=float)
    there = np.isfinite(points).all(2)
    known = there.sum(0) >= _FEWEST_CASES
    usable = (there & known).sum(1) > points.shape[2] + 1
    if usable.sum() < _FEWEST_CASES:
        return [[] for _ in shapes]
    rows = [(names.index(left), names.index(right)) for left, right in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # medians of nothing: of landmarks that no two cases share
        found = iter(_Strays(np.where(known[:, None], points, np.nan)[usable], names, rows, unit).lines())
    return [next(found) if use else [] for use in usable.tolist()]


class _Strays:
    """The cases that can be compared, and their median shape."""

    def __init__(self, points: FloatArray, names: Sequence[str], pairs: Sequence[tuple[int, int]], unit: str) -> None:
        self.points, self.names, self.pairs, self.unit = points, names, pairs, unit
        self.median = _median_shape(points)
        apart = np.nan_to_num(np.linalg.norm(self.median[:, None] - self.median, axis=2), nan=np.inf)
        self.near = np.argsort(apart, axis=1, kind="stable")[:, 1 : _NEIGHBOURS + 1]
        self.spread = np.nanmedian(np.take_along_axis(apart, self.near, axis=1), axis=1)
        self.usual = np.nanmedian([self.off(case)[0] for case in points], axis=0)

    def lines(self) -> list[list[str]]:
        """Of each case."""
        turns = _degrees(np.array([_fit(case, self.median)[:-1, :-1] for case in self.points]))
        alike = np.mean(turns[np.isfinite(turns)] < _ALIKE) > 0.8
        return [self._of(case, turn if alike else 0.0) for case, turn in zip(self.points, turns, strict=True)]

    def _of(self, case: FloatArray, turn: float) -> list[str]:
        if len(self.pairs) > 1 and self._mirrored(case):
            return ["left and right look exchanged"]
        if turn > _TURNED:
            return [f"lies turned by {turn:.0f} degrees against the others; is its frame right (LPS for RAS)?"]
        return self._single(case)

    def _mirrored(self, case: FloatArray) -> bool:
        """Whether exchanging all pairs makes the shape usual, and exchanging a single one does not."""
        best = 2 * self._misfit(_exchanged(case, self.pairs))
        return best < self._misfit(case) and all(best < self._misfit(_exchanged(case, [pair])) for pair in self.pairs)

    def _misfit(self, case: FloatArray) -> float:
        """The median distance of a case's points from the median shape laid over them, in its size."""
        laid = apply_affine(_fit(case, self.median), case)
        return float(np.nanmedian(np.linalg.norm(laid - self.median, axis=1)))

    def off(self, case: FloatArray, clean: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """How far each of a case's points is from where its neighbours expect it, in the median's size, and that place.

        Args:
            case: (N, D).
            clean: the same without the points that others shall not be expected by.
        """
        clean = case if clean is None else clean
        start, end = self.median[self.near], clean[self.near]
        rows = np.flatnonzero(np.isfinite(start + end).all(2).sum(1) > case.shape[1])
        place, off = np.full(case.shape, np.nan), np.full(len(case), np.nan)
        if len(rows):
            fits = fit_similarity(start[rows], end[rows])
            place[rows] = np.einsum("nij,nj->ni", fits[:, :-1, :-1], self.median[rows]) + fits[:, :-1, -1]
            size = np.abs(np.linalg.det(fits[:, :-1, :-1])) ** (1 / case.shape[1])
            off[rows] = np.linalg.norm(case - place, axis=1)[rows] / np.maximum(size, 1e-12)
        return off, place

    def _single(self, case: FloatArray) -> list[str]:
        """Names that look exchanged, or points far from where their neighbours expect them, the worst ones first."""
        clean, taken = case.copy(), list[int]()
        off, place = self.off(case)
        suspects = np.argsort(-self._beyond(off), kind="stable")[: (self._beyond(off) > 0).sum()].tolist()
        for pair in [*(self.pairs if suspects else []), *combinations(suspects[:_SUSPECTS], 2)]:
            if not self._beyond(self.off(_exchanged(case, [pair]))[0]).any():
                return [f"{' and '.join(self.names[row] for row in sorted(pair))} look exchanged"]
        while (beyond := self._beyond(off))[row := int(beyond.argmax())] > 0 and len(taken) < len(case) // 3:
            taken.append(row)
            clean[row] = np.nan
            off, place = self.off(case, clean)
            off[taken] = np.nan
        left = sorted(np.array(taken, int)[self._beyond(self.off(case, clean)[0])[taken] > 0].tolist())
        if not left:
            return []
        lie, them = ("lies", "it") if len(left) == 1 else ("lie up to", "them")
        way = float(f"{np.linalg.norm(case - place, axis=1)[left].max():.3g}")
        some = ", ".join(self.names[row] for row in left)
        return [f"{some} {lie} {way:g} {self.unit} from where the points round {them} lie in other cases"]

    def _beyond(self, off: FloatArray) -> FloatArray:
        """(N,) how often its usual distance each point is off that is too far off, 0 for the others."""
        with np.errstate(invalid="ignore"):
            far = (off > _FAR * self.usual) & (off > _PART * self.spread)
        return np.where(far, off / np.maximum(self.usual, 1e-12), 0.0)


def _exchanged(case: FloatArray, pairs: Sequence[tuple[int, int]]) -> FloatArray:
    case = case.copy()
    for pair in pairs:
        case[list(pair)] = case[list(pair[::-1])]
    return case


def _fit(shape: FloatArray, onto: FloatArray) -> FloatArray:
    """(D + 1, D + 1) similarity between two shapes; NaN where they share too few points."""
    dims = shape.shape[1]
    if np.isfinite(shape + onto).all(1).sum() <= dims:
        return np.full((dims + 1, dims + 1), np.nan)
    return fit_similarity(shape, onto)


def _median_shape(points: FloatArray) -> FloatArray:
    """The median of (C, N, D) shapes laid over the one of them that suits the others best."""
    complete = np.isfinite(points).all(2).sum(1)
    tried = points[np.argsort(-complete, kind="stable")[:10]]
    laid = [np.array([apply_affine(_fit(shape, one), shape) for shape in points]) for one in tried]
    worth = [np.nanmedian(np.linalg.norm(all_laid - one, axis=2)) for all_laid, one in zip(laid, tried, strict=True)]
    median = np.nanmedian(laid[int(np.argmin(worth))], axis=0)
    for _ in range(3):
        median = np.nanmedian([apply_affine(_fit(shape, median), shape) for shape in points], axis=0)
    return median


def _degrees(matrices: FloatArray) -> FloatArray:
    """(C,) angles of (C, D, D) turns with a scale against the one that most are near to; NaN for a NaN."""
    dims = matrices.shape[1]
    turns = matrices / np.maximum(np.abs(np.linalg.det(matrices)), 1e-300)[:, None, None] ** (1 / dims)
    cosine = np.einsum("aij,bij->ab", turns, turns)
    angles = np.degrees(np.arccos(np.clip((cosine - 1) / 2 if dims == 3 else cosine / 2, -1, 1)))
    return angles[int(np.nanargmin(np.nanmedian(angles, axis=1)))]
