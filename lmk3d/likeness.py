"""How far new numbers may lie from those of the training cases: limits learnt from few cases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["LEAST_CASES", "Arrangement", "Likeness", "finite", "listed", "upper_limit"]

LEAST_CASES = 4
"""Of fewer cases nothing is learnt: the limit that a tail of three numbers allows is none."""

_SHRINKAGE = 0.3  # of covariances towards their diagonal, for fewer cases than channels
_LEAST_SPREAD = 0.1  # of a layer's usual standard deviation: no channel is more certain than that
_MOST_PARTNERS = 20  # landmarks that each one is compared with
_LEAST_VARIATION = 0.02  # of a distance: no two landmarks keep it better than that


def upper_limit(values: ArrayLike, share: float) -> float:
    """What a share of new cases exceeds, judged by a few of a normal distribution.

    Args:
        values: (n,) of known cases.
        share: 0 to 1, of new ones.
    Returns:
        The upper end of the prediction interval; infinite for fewer than ``LEAST_CASES``.
    Source:
        Whitmore 1986: mean + t (n - 1 degrees of freedom) times s times sqrt(1 + 1/n).
    """
    from scipy.stats import t  # slow to import, and prediction needs none

    known = np.asarray(values, dtype=np.float64)
    if len(known) < LEAST_CASES:
        return float("inf")
    spread = known.std(ddof=1) * np.sqrt(1 + 1 / len(known))
    return float(known.mean() + t.ppf(1 - share, len(known) - 1) * spread)


def _limit(values: FloatArray, checks: FloatArray, share: float) -> float:
    """The limit of positive numbers that training cases gave, corrected by what validation cases gave.

    The network has seen the training cases: where those that it has not seen lie farther off in the mean, so will new
    ones. No validation case is beyond the limit, for they are like the training's by definition.
    """
    logs = np.log(np.maximum(values, 1e-9))
    seen = np.log(np.maximum(checks, 1e-9))
    if len(seen):
        logs = logs + max(0.0, float(seen.mean() - logs.mean()))
    limit = float(np.exp(upper_limit(logs, share)))
    return max(limit, 1.05 * float(checks.max())) if len(checks) else limit


@dataclass(frozen=True, eq=False)
class Likeness:
    """The training cases as points in a space of D numbers, and how far from them a case like them may lie.

    Args:
        rows: (n, D), one row for each training case.
        limit: distance that new cases of the training's kind hardly ever exceed.
        floor: least standard deviation of each number.
    Source:
        Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples": the Mahalanobis
        distance of pooled features; here of the images to their one class, with a covariance shrunk to its diagonal.
    """

    rows: FloatArray
    limit: float
    floor: float = 0.0

    @classmethod
    def learn(cls, rows: ArrayLike, checks: ArrayLike, share: float, *, floor: float = 0.0) -> Likeness | None:
        """From training cases, each judged by all others, and validation cases.

        Args:
            rows: (n, D) of training cases.
            checks: (m, D) of validation cases.
            share: of new cases that may exceed the limit.
            floor: see ``Likeness``.
        Returns:
            None for fewer than ``LEAST_CASES`` training cases.
        """
        known = np.asarray(rows, dtype=np.float64)
        if len(known) < LEAST_CASES:
            return None
        others = [cls(np.delete(known, row, axis=0), np.inf, floor) for row in range(len(known))]
        apart = np.array([other.distance(row) for other, row in zip(others, known, strict=True)])
        own = cls(known, np.inf, floor)
        seen = np.array([own.distance(row) for row in np.asarray(checks, dtype=np.float64)])
        return cls(known, _limit(apart, seen, share), floor)

    def distance(self, row: FloatArray) -> float:
        """Root mean square of (D,) numbers' deviations from the training's mean, in standard deviations."""
        off = row - self.mean
        return float(np.sqrt(max(0.0, float(off @ self._inverse @ off)) / len(off)))

    def deviations(self, row: FloatArray) -> FloatArray:
        """(D,) of each number by itself."""
        return np.asarray((row - self.mean) / self._spread)

    @cached_property
    def mean(self) -> FloatArray:
        """(D,) of the training cases."""
        return np.asarray(self.rows.mean(0))

    @cached_property
    def _spread(self) -> FloatArray:
        spread = self.rows.std(0, ddof=1)
        return np.asarray(np.maximum(spread, max(self.floor, _LEAST_SPREAD * float(np.median(spread)), 1e-9)))

    @cached_property
    def _inverse(self) -> FloatArray:
        off = (self.rows - self.mean) / np.sqrt(len(self.rows) - 1)
        shrunk = (1 - _SHRINKAGE) * off.T @ off
        shrunk[np.diag_indices_from(shrunk)] = self._spread**2
        return np.asarray(np.linalg.inv(shrunk))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"rows": listed(self.rows), "limit": listed(self.limit), "floor": self.floor}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Likeness:
        """What ``to_dict`` wrote."""
        rows = np.array(content["rows"], dtype=np.float64)
        if rows.ndim != 2 or len(rows) < LEAST_CASES or not np.isfinite(rows).all():
            raise ValueError("rows must be a table of numbers")
        return cls(rows, finite(content["limit"]), finite(content["floor"]))


@dataclass(frozen=True, eq=False)
class Arrangement:
    """How N landmarks lie to each other in the cases that people have marked.

    Args:
        shapes: (n, N, 3) their points along the images' upright axes; NaN where missing.
        turned: whether patients lie at any angle: then only distances tell something, else the directions, too.
        limit: of a landmark's score that hardly any case like these has, whatever the landmark.
    """

    shapes: FloatArray
    turned: bool
    limit: float

    @classmethod
    def learn(cls, shapes: ArrayLike, share: float, *, turned: bool) -> Arrangement | None:
        """From the shapes of all marked cases, each judged by all others.

        Returns:
            None where fewer than ``LEAST_CASES`` have two landmarks or more that enough others have, too.
        """
        known = np.asarray(shapes, dtype=np.float64)
        known = known[np.isfinite(known).all(2).sum(1) >= 2]
        if len(known) < LEAST_CASES:
            return None
        worst = []
        for row, shape in enumerate(known):
            scores = cls(np.delete(known, row, axis=0), turned, np.inf).scores(shape)
            if np.isfinite(scores).any():
                worst.append(np.nanmax(scores))
        if len(worst) < LEAST_CASES:
            return None
        return cls(known, turned, float(np.exp(upper_limit(np.log(np.maximum(worst, 1e-9)), share))))

    def scores(self, points: FloatArray) -> FloatArray:
        """(N,) how unusual each of (N, 3) points lies to the others, in standard deviations.

        The median over the other landmarks, so that one in a wrong place does not make all others look wrong; NaN where
        nothing is known.
        """
        apart = self._deviations(points)
        count = np.isfinite(apart).sum(1)
        middle = np.sort(np.where(np.isfinite(apart), apart, np.inf), axis=1)[
            np.arange(len(apart)), np.maximum(count - 1, 0) // 2
        ]
        return np.where(count > 0, middle, np.nan)

    def farthest(self, points: FloatArray, landmark: int) -> tuple[int, FloatArray]:
        """The other landmark that a landmark lies to most unusually, and (n,) their distances in the known cases."""
        partner = self._partners[landmark, np.nanargmax(self._deviations(points)[landmark])]
        apart = np.linalg.norm(self.shapes[:, partner] - self.shapes[:, landmark], axis=1)
        return int(partner), apart[np.isfinite(apart)]

    @cached_property
    def _partners(self) -> NDArray[np.intp]:
        """(N, P) the others that each landmark is compared with, evenly chosen of many."""
        count = self.shapes.shape[1]
        steps = np.unique(np.linspace(1, count - 1, min(count - 1, _MOST_PARTNERS)).round().astype(int))
        return np.asarray((np.arange(count)[:, None] + steps) % count)

    @cached_property
    def _steps(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (N, P, D) of the known cases' steps, the doubt of few cases included."""
        steps = self._measured(self.shapes)
        there = np.isfinite(steps)
        count = there.sum(0)
        filled = np.where(there, steps, 0.0)
        mean = filled.sum(0) / np.maximum(count, 1)
        square = np.where(there, steps - mean, 0.0) ** 2
        least = _LEAST_VARIATION * (1.0 if self.turned else np.linalg.norm(mean, axis=-1, keepdims=True))
        spread = np.sqrt((square.sum(0) / np.maximum(count - 1, 1) + least**2) * (1 + 1 / np.maximum(count, 1)))
        enough = count >= LEAST_CASES - 1
        return np.where(enough, mean, np.nan), np.where(enough, np.maximum(spread, 1e-9), np.nan)

    def _measured(self, points: FloatArray) -> FloatArray:
        """(..., N, P, D) what is compared: steps to the partners, or the logarithms of their lengths."""
        steps = points[..., self._partners, :] - points[..., :, None, :]
        if not self.turned:
            return np.asarray(steps)
        return np.asarray(np.log(np.maximum(np.linalg.norm(steps, axis=-1, keepdims=True), 1e-9)))

    def _deviations(self, points: FloatArray) -> FloatArray:
        """(N, P) of each landmark's steps, in standard deviations."""
        mean, spread = self._steps
        return np.asarray(np.sqrt((((self._measured(points) - mean) / spread) ** 2).mean(-1)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"shapes": listed(self.shapes), "turned": self.turned, "limit": listed(self.limit)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Arrangement:
        """What ``to_dict`` wrote."""
        shapes = np.array(content["shapes"], dtype=np.float64)
        if shapes.ndim != 3 or shapes.shape[2] != 3:
            raise ValueError("shapes must be a table of points")
        return cls(shapes, bool(content["turned"]), finite(content["limit"]))


def finite(value: Any) -> float:
    """A number from a JSON file.

    Raises:
        ValueError: for NaN and infinity, with which every comparison would come out the same.
    """
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"a limit is {number}")
    return number


def listed(values: Any) -> Any:
    """Numbers as JSON has them: five digits of each are plenty, None where one is NaN.

    >>> listed([1.23456789, float("nan")])
    [1.2346, None]
    """
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list):
        return [listed(one) for one in values]
    return None if np.isnan(values) else float(f"{values:.5g}")
