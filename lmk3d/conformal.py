"""Radii that hold the ground truth in a given share of new patients: split conformal prediction for each landmark."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from lmk3d.geometry import Volume

    FloatArray = NDArray[np.float64]

__all__ = ["COVERAGE", "Radii", "image_key"]

COVERAGE = 0.9
"""Share of new patients for which a radius is given where nobody asks for another."""

_MISSED = "missed"  # how a file says that a landmark was there and not found; JSON has no infinity
_ROUNDING = 1e-9  # of a sum of up to thousands of patients' weights


def image_key(volume: Volume) -> str:
    """Sixteen hex digits of the digest of an image's voxels: the same for a copy of another name or stored type."""
    data = np.asarray(volume.data, dtype=np.float32, order="C")
    return hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Radii:
    """How large errors were beside what the network claimed, in patients that it had not learnt from.

    The score of a point is its error divided by the scale that the network claims for it, so that a radius grows and
    shrinks with each image. The radius of a landmark is its claimed scale times the score of rank
    k = ceil(coverage (n + 1)) among the n patients in whom the landmark was marked. If a new patient is drawn as they
    were, his point lies within it with probability k / (n + 1) where no two scores are equal, whatever their
    distribution and however his landmarks depend on each other: patients are exchangeable, points are not. n patients
    give no more than n / (n + 1), fewer where a landmark was missed in some, so that less than what is asked for may be
    all that can be said (``given``).

    Scores are not pooled over landmarks. Only patients count in the guarantee, so pooling does not raise n / (n + 1),
    and with few patients it needs the largest scores of all landmarks: of 8 simulated patients with 20 landmarks the
    radii at 8/9 are 2.8 times as large, of 14 at 90 % 1.03 times, of 39 1.06 times.

    Three things break the exchangeability a little: weights that were chosen among several by their error in the same
    validation cases; ensembles, whose members' scores are pooled (``pooled``); images unlike those of the training,
    which ``lmk3d.trust`` looks for. That a landmark is where it was found in 90 % of patients says nothing of all of
    them being so in one patient.

    Args:
        scores: (R, N) error divided by claimed scale for R cases and N landmarks, no unit; infinite where the landmark
            was there and not found, NaN where nothing is known.
        patients: (R,) a key for each case; cases of one patient share it, and together weigh as much as one case.
    Raises:
        ValueError: if shapes differ, or a score is negative.
    Source:
        Papadopoulos et al. 2002 and Lei et al. 2018, sec. 5.2 (split conformal, normalised); Lee, Barber and Willett
        2023 (several cases of a patient). Dunn, Wasserman and Ramdas 2022 compare the ways of pooling groups.

    >>> errors = np.arange(1.0, 20)[:, None]  # of one landmark in 19 patients, for each of whom 2 mm was claimed
    >>> radii = Radii.fit(errors, np.full((19, 1), 2.0))
    >>> radii.given(0.9), radii.factors(0.9)  # 18 of 20: the 18th error of 19
    (0.9, array([9.]))
    """

    scores: FloatArray
    patients: tuple[str, ...]

    def __post_init__(self) -> None:
        scores = np.array(self.scores, dtype=np.float64)
        if scores.ndim != 2 or len(scores) != len(self.patients):
            raise ValueError(f"scores must be ({len(self.patients)}, N), one row for each patient, got {scores.shape}")
        if (scores < 0).any():
            raise ValueError(f"scores must not be negative, got {np.nanmin(scores):g}")
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "patients", tuple(self.patients))

    @classmethod
    def fit(cls, errors: ArrayLike, scales: ArrayLike, patients: Sequence[str] | None = None) -> Radii:
        """Learn from validation cases.

        Args:
            errors: (R, N) distance from the ground truth in any unit, a gross failure's with no upper bound; infinite
                where the landmark was there and not found, NaN where nobody marked it.
            scales: (R, N) error that the network claims for the same points, in the same unit; any number where
                ``errors`` are infinite or NaN.
            patients: (R,) see ``Radii``; every case is a patient of his own when None.
        Raises:
            ValueError: if shapes differ, or a found point claims no scale above 0.
        """
        error, scale = np.asarray(errors, dtype=np.float64), np.asarray(scales, dtype=np.float64)
        if error.shape != scale.shape or error.ndim != 2:
            raise ValueError(f"errors and scales must be (R, N) both, got {error.shape} and {scale.shape}")
        found = np.isfinite(error)
        if not (scale[found] > 0).all():
            raise ValueError("scales must be above 0 where errors are finite")
        scores = np.where(found, error / np.where(found, scale, 1.0), error)
        return cls(scores, tuple(patients if patients is not None else map(str, range(len(scores)))))

    @classmethod
    def pooled(cls, parts: Sequence[Radii]) -> Radii:
        """The scores of several trainings together, such as folds that validate on different patients.

        A patient in whom several of them were validated keeps the weight of one. What comes out holds for one of the
        trainings at random; folds make it cross-conformal, where 1 - 2 (1 - coverage) is guaranteed and about
        ``coverage`` is what comes out. An ensemble is not what the scores were measured on; as the mean of its members
        it usually errs less than one of them and claims about the same scale, so that the radii are rather too large.

        Args:
            parts: of the trainings, with the same landmarks.
        Raises:
            ValueError: if there is none, or the numbers of landmarks differ.
        Source:
            Vovk 2015 (cross-conformal); Barber et al. 2021, theorem 4 (CV+).
        """
        if len({part.scores.shape[1] for part in parts}) != 1:
            raise ValueError(f"parts must have the same landmarks, got {[part.scores.shape[1] for part in parts]}")
        return cls(np.concatenate([part.scores for part in parts]), sum((part.patients for part in parts), ()))

    def __len__(self) -> int:
        """How many patients there are."""
        return len(set(self.patients))

    def given(self, coverage: float) -> float | None:
        """What share of new patients radii can be given for: the one asked for, or the most that the sample allows.

        The most that half of the landmarks allow counts; those that were marked, or found, in too few patients for it
        have no radius.

        Args:
            coverage: share asked for, in (0, 1).
        Returns:
            At most ``coverage``; None where nothing is known.
        Raises:
            ValueError: if ``coverage`` does not lie between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must lie between 0 and 1, got {coverage}")
        weights, found = self._weights(), np.isfinite(self.scores)
        marked = (weights > 0).any(0)
        most = np.sort(((weights * found).sum(0) / (weights.sum(0) + 1))[marked])
        if not len(most) or not most[(len(most) - 1) // 2]:
            return None
        return float(min(coverage, most[(len(most) - 1) // 2]))

    def factors(self, coverage: float) -> FloatArray:
        """(N,) what a landmark's claimed scale is multiplied with to be the radius of ``given(coverage)``.

        NaN where a landmark was marked, or found, in too few patients.
        """
        given = self.given(coverage)
        factors = np.full(self.scores.shape[1], np.nan)
        if given is None:
            return factors
        weights = self._weights()
        for row in range(len(factors)):
            order = np.argsort(self.scores[:, row])  # NaN comes last, with a weight of 0
            reached = np.cumsum(weights[order, row]) >= given * (weights[:, row].sum() + 1) - _ROUNDING
            score = self.scores[order[reached.argmax()], row] if reached.any() else np.inf
            factors[row] = score if np.isfinite(score) else np.nan
        return factors

    def described(self, coverage: float) -> str:
        """One sentence on what the radii promise, and from how many patients."""
        given, sample = self.given(coverage), counted(len(self), "validation patient")
        if given is None:
            return f"no radius can be given from {sample}: most landmarks were missed or not marked"
        if given < coverage:
            return (
                f"each radius holds the ground truth in {100 * given:.4g} % of new patients, not in {100 * coverage:g}"
                f" %: {sample} allow no more"
            )
        return f"each radius holds the ground truth in {100 * coverage:g} % of new patients (from {sample})"

    def _weights(self) -> FloatArray:
        """(R, N) weight of each score: those of one patient and landmark sum to 1; 0 where nothing is known."""
        known = ~np.isnan(self.scores)
        weights = np.zeros(self.scores.shape)
        rows: dict[str, list[int]] = {}
        for row, patient in enumerate(self.patients):
            rows.setdefault(patient, []).append(row)
        for own in rows.values():
            weights[own] = known[own] / np.maximum(known[own].sum(0), 1)
        return weights

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file; four digits of each score are plenty."""
        scores = [
            [None if np.isnan(one) else _MISSED if np.isinf(one) else float(f"{one:.4g}") for one in row]
            for row in self.scores.tolist()
        ]
        return {"patients": list(self.patients), "scores": scores}

    @classmethod
    def from_dict(cls, content: Any) -> Radii:
        """What ``to_dict`` wrote.

        Raises:
            ValueError: if it is something else.
        """
        try:
            patients, rows = [str(one) for one in content["patients"]], content["scores"]
            scores = [[{None: np.nan, _MISSED: np.inf}.get(one, one) for one in row] for row in rows]
            return cls(np.array(scores, dtype=np.float64).reshape(len(rows), -1), tuple(patients))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"radii: {type(error).__name__}, {error}") from None
