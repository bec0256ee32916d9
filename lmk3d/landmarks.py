"""Landmarks: named points in world millimetres that may be missing or have several instances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray
    from pandas import DataFrame

    FloatArray = NDArray[np.float64]

__all__ = ["VERDICTS", "Assessment", "Landmarks", "channel_def"]

VERDICTS = ("trusted", "doubtful", "unlike the training data")
"""What an assessment may say: of all points, of some of them, of the whole scan."""


def channel_def(names: Iterable[str]) -> dict[str, str]:
    """What each number means in the label map that MONAI's programs get of points: 0 nothing, each name its own.

    >>> channel_def(["apex", "root", "apex"])
    {'0': 'background', '1': 'apex', '2': 'root'}
    """
    return {str(number): name for number, name in enumerate(["background", *dict.fromkeys(names)])}


@dataclass(frozen=True)
class Assessment:
    """How far a prediction can be trusted: how like the training data the scan is, and how plausible its points are.

    Args:
        reasons: why no point of the scan is trusted, one phrase each in the user's words; () where the scan is like
            those of the training.
        doubts: (N,) why a row's own point is not trusted; "" where nothing speaks against it.

    >>> Assessment(reasons=(), doubts=("", "far from where its neighbours expect it")).verdict
    'doubtful'
    """

    reasons: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """One of ``VERDICTS``."""
        return VERDICTS[2] if self.reasons else VERDICTS[1] if any(self.doubts) else VERDICTS[0]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Named points in world RAS mm.

    Args:
        names: one name for each row; a name that stands in several rows has several instances.
        points_mm: (N, 3) float64 world RAS mm; a row of NaN is a missing landmark.
        confidence: (N,) in [0, 1], or None where nobody said; NaN where nobody said for one row.
        error_mm: (N,) expected distance from the truth in mm, or None; NaN where unknown. With a ``coverage`` it is the
            radius round the point that holds the truth in that share of new patients.
        unit: "mm", or "px" for points of a film without spacing, whose distances are pixels and no millimetres.
        notes: what a user should know about how the points were read or found, one sentence each.
        assessment: how far the points can be trusted; None where nobody assessed them.
        coverage: share of new patients, in (0, 1), whose truth lies within ``error_mm``; None for a typical error.
        held_back: (N,) True where a point was found that is missing here since it is not trusted, see ``withheld``;
            None for nowhere. A row with a point is False whatever was given.
    Raises:
        ValueError: if lengths differ, or a row is only partly NaN or is infinite.

    >>> points = Landmarks(("apex", "root"), [[10.0, -4.0, 2.5], [np.nan] * 3], confidence=[0.9, 0.2])
    >>> points["apex"]
    array([[10. , -4. ,  2.5]])
    >>> points.present
    array([ True, False])
    >>> points.ordered(["root", "apex"]).names
    ('root', 'apex')
    """

    names: tuple[str, ...]
    points_mm: FloatArray
    confidence: FloatArray | None = None
    error_mm: FloatArray | None = None
    unit: str = "mm"
    notes: tuple[str, ...] = ()
    assessment: Assessment | None = None
    coverage: float | None = None
    held_back: NDArray[np.bool_] = None  # type: ignore[assignment]  # an array once it is made

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        points = np.array(self.points_mm, dtype=np.float64)
        if points.size and points.shape[-1] != 3:
            raise ValueError(f"points_mm must be (N, 3), got shape {points.shape}; give x, y and z of each point")
        points = points.reshape(-1, 3)
        if len(points) != len(self.names):
            raise ValueError(f"{len(self.names)} names came with {len(points)} points; give one name for each row")
        missing = np.isnan(points)
        broken = np.flatnonzero((missing.any(1) != missing.all(1)) | np.isinf(points).any(1))
        if len(broken):
            row = int(broken[0])
            raise ValueError(f"point {self.names[row]!r} is {points[row].tolist()}; give three numbers, or three NaN")
        if self.unit not in ("mm", "px"):
            raise ValueError(f"unit must be 'mm' or 'px', got {self.unit!r}")
        object.__setattr__(self, "points_mm", points)
        self._take("confidence", self.confidence, np.float64)
        self._take("error_mm", self.error_mm, np.float64)
        self._take("held_back", np.zeros(len(points)) if self.held_back is None else self.held_back, np.bool_)
        object.__setattr__(self, "held_back", self.held_back & ~self.present)
        if self.assessment is not None and len(self.assessment.doubts) != len(points):
            raise ValueError(f"{len(points)} points came with {len(self.assessment.doubts)} doubts; give one for each")
        if self.coverage is not None and not 0 < self.coverage < 1:
            raise ValueError(f"coverage must lie between 0 and 1, got {self.coverage}")

    def _take(self, field: str, values: ArrayLike | None, kind: type) -> None:
        """Keep a copy of what is known of each row."""
        if values is None:
            return
        if np.shape(values) != (len(self),):
            raise ValueError(f"{field} must have shape ({len(self)},), got {np.shape(values)}")
        object.__setattr__(self, field, np.array(values, dtype=kind))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> FloatArray:
        """(M, 3) world mm of the instances of ``name`` that are there; M is 0 where it is missing or unknown."""
        return self.points_mm[[own == name for own in self.names] & self.present]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(N,) True where a row is no missing landmark."""
        return np.asarray(~np.isnan(self.points_mm).any(axis=1))

    @property
    def trusted(self) -> NDArray[np.bool_]:
        """(N,) False where a row's point, or the whole scan, is not trusted; True where nobody assessed it."""
        if self.assessment is None:
            return np.ones(len(self), dtype=bool)
        return np.array([not self.assessment.reasons and not doubt for doubt in self.assessment.doubts], dtype=bool)

    @property
    def suspect(self) -> NDArray[np.bool_]:
        """(N,) True where a point was found that is not trusted, whether it is here or held back."""
        return np.asarray(~self.trusted & (self.present | self.held_back))

    def withheld(self, *, keep_points: bool = False) -> Landmarks:
        """The same rows without the points that are not trusted: held back, the assessment still says why.

        Args:
            keep_points: take only their expected errors away, which nobody should read.

        >>> assessment = Assessment((), ("", "far from where its neighbours expect it"))
        >>> points = Landmarks(("apex", "root"), [[1, 2, 3], [4, 5, 6]], assessment=assessment)
        >>> points.withheld().present
        array([ True, False])
        """
        error_mm = None if self.error_mm is None else np.where(self.trusted, self.error_mm, np.nan)
        shown = self.trusted | keep_points
        points_mm = np.where(shown[:, None], self.points_mm, np.nan)
        return replace(self, points_mm=points_mm, error_mm=error_mm, held_back=self.held_back | (self.present & ~shown))

    def rows(self, index: Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> Landmarks:
        """These rows, in this order, with everything that belongs to them."""
        chosen = np.arange(len(self))[np.asarray(index) if len(index) else []]
        names = tuple(self.names[row] for row in chosen)
        confidence, error_mm = (
            None if values is None else values[chosen] for values in (self.confidence, self.error_mm)
        )
        return replace(
            self,
            names=names,
            points_mm=self.points_mm[chosen],
            confidence=confidence,
            error_mm=error_mm,
            assessment=self._assessed(chosen),
            held_back=self.held_back[chosen],
        )

    def _assessed(self, chosen: Sequence[int] | NDArray[np.integer]) -> Assessment | None:
        """The assessment of these rows; -1 stands for a row that is not there."""
        if self.assessment is None:
            return None
        doubts = (*self.assessment.doubts, "")
        return replace(self.assessment, doubts=tuple(doubts[row] for row in chosen))

    def ordered(self, names: Iterable[str]) -> Landmarks:
        """One row for each of ``names``, in that order: its first present instance, else one held back or missing."""
        first = {}
        # Later ones overwrite earlier ones: the first of the present rows is the last to be noted.
        there = self.present
        for row in (*np.flatnonzero(~there)[::-1], *np.flatnonzero(self.held_back)[::-1], *np.flatnonzero(there)[::-1]):
            first[self.names[row]] = int(row)
        names = tuple(names)
        chosen = np.array([first.get(name, -1) for name in names], dtype=int)  # -1 is the row of NaN put behind
        points = np.concatenate([self.points_mm, np.full((1, 3), np.nan)])[chosen]
        confidence, error_mm = (
            None if values is None else np.append(values, np.nan)[chosen] for values in (self.confidence, self.error_mm)
        )
        return replace(
            self,
            names=names,
            points_mm=points,
            confidence=confidence,
            error_mm=error_mm,
            assessment=self._assessed(chosen),
            held_back=np.append(self.held_back, False)[chosen],
        )

    def to_dataframe(self) -> DataFrame:
        """A table for pandas: one row for each point, with the columns that ``write_points`` gives a CSV file.

        Returns:
            name; R, A, S, world coordinates in ``unit``, NaN where missing; unit, "mm" or "px"; confidence, error_mm
            and coverage, NaN where unknown; trusted.
        Raises:
            ImportError: if pandas, which this package does not require, is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ImportError(
                "to_dataframe needs pandas; install it (pip install pandas), or use write_points"
            ) from error
        columns: dict[str, Any] = {"name": list(self.names)}
        columns |= {axis: self.points_mm[:, number] for number, axis in enumerate("RAS")}
        columns["unit"] = self.unit
        for measure in ("confidence", "error_mm", "coverage"):
            columns[measure] = np.nan if getattr(self, measure) is None else getattr(self, measure)
        return DataFrame({**columns, "trusted": self.trusted})

    def deviation_mm(self, dims: int = 3) -> FloatArray:
        """(N,) standard deviation along each axis that ``error_mm`` stands for if errors are normal; NaN where unknown.

        Args:
            dims: 3, or 2 for points of a film, whose errors lie in its plane.
        """
        from scipy.special import gamma, gammaincinv

        if self.error_mm is None:
            return np.full(len(self), np.nan)
        if self.coverage is None:  # the mean length of a normal vector
            return self.error_mm / float(np.sqrt(2) * gamma((dims + 1) / 2) / gamma(dims / 2))
        return self.error_mm / float(np.sqrt(2 * gammaincinv(dims / 2, self.coverage)))
