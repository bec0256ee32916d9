"""How far predicted landmarks lie from the truth, and what that distance is worth beside simple guesses.

Everything is NumPy on world coordinates. Distances are in the unit of the points ("mm" here), so those of films without
spacing are in pixels. Three kinds of row come out of a comparison, and NaN tells them apart everywhere:

* both points there: a distance;
* truth there, nothing predicted: a *missed* point. Its distance is NaN. Means and percentiles leave it out, since there
  is nothing to measure; success rates count it as a failure, since it was not found;
* prediction there, no truth: a *false* point. It has no distance and counts only in the missing-point scores.

A landmark that is truly absent and reported missing is right, and is the true positive of "missing".
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.geometry import apply_affine, fit_similarity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from lmk3d.landmarks import Landmarks
    from lmk3d.reliability import RadiusSummary

    FloatArray = NDArray[np.float64]

__all__ = [
    "Breakdown",
    "MissingScore",
    "PointError",
    "Statistics",
    "Summary",
    "aligned_mean_shape",
    "compare",
    "errors_by_name",
    "match_points",
    "mean_shape",
    "mean_shape_errors",
    "missing_score",
    "patient_rates",
    "rater_errors",
    "statistics",
    "summarise",
    "unique_points",
]


@dataclass(frozen=True, eq=False)
class PointError:
    """One landmark of one case: truth, prediction and their distance, NaN where one of the two is not there.

    ``instance`` counts the rows of one name in one case from 0; it is always 0 where names are unique. ``expected_mm``
    is the expected error, or the radius of a prediction with a ``coverage``. ``trusted``: whether the prediction is.
    """

    case: str
    name: str
    instance: int
    truth_mm: FloatArray
    predicted_mm: FloatArray
    error_mm: float
    confidence: float
    expected_mm: float
    trusted: bool = True

    @property
    def has_truth(self) -> bool:
        """Whether the landmark is really there."""
        return not np.isnan(self.truth_mm).any()

    @property
    def has_prediction(self) -> bool:
        """Whether the landmark was reported as there."""
        return not np.isnan(self.predicted_mm).any()

    @property
    def status(self) -> str:
        """One of found, missed (truth only), false (prediction only), absent (neither, which is right)."""
        if self.has_truth:
            return "found" if self.has_prediction else "missed"
        return "false" if self.has_prediction else "absent"


@dataclass(frozen=True)
class Statistics:
    """What a set of distances comes to, in the unit of the points.

    Args:
        n: measured points.
        missed: true points without a prediction; they count in ``sdr`` alone.
        mean, median, std, p95, max: over the measured points; NaN where there are none. ``std`` divides by n; ``p95``
            interpolates linearly between the two nearest values.
        sdr: success detection rate: the part of the n + missed true points found within each distance, or at it but
            for rounding (1e-9).
    """

    n: int
    missed: int
    mean: float
    median: float
    std: float
    p95: float
    max: float
    sdr: dict[float, float]


@dataclass(frozen=True)
class Breakdown:
    """Statistics of all points together and of each landmark alone."""

    overall: Statistics
    landmarks: dict[str, Statistics]


@dataclass(frozen=True)
class MissingScore:
    """How well absent landmarks are told from present ones, counted once for each name in each case.

    Args:
        both: truly absent and reported missing: the true positives of "missing".
        reported: reported missing, rightly or not.
        absent: truly absent, noticed or not.

    >>> score = MissingScore(both=3, reported=4, absent=6)
    >>> score.precision, score.recall
    (0.75, 0.5)
    """

    both: int
    reported: int
    absent: int

    @property
    def precision(self) -> float:
        """Part of the landmarks reported missing that are truly absent; NaN where none was reported missing."""
        return self.both / self.reported if self.reported else float("nan")

    @property
    def recall(self) -> float:
        """Part of the truly absent landmarks that were reported missing; NaN where none is absent."""
        return self.both / self.absent if self.absent else float("nan")


@dataclass(frozen=True)
class Summary:
    """The figures of one evaluation.

    Args:
        unit: "mm", or "px" for images without spacing.
        cases: how many cases were compared.
        result: the predictions against the truth.
        missing: how well absent landmarks were recognised.
        beside: the same figures of what the result is to be measured by: stages, mean shape, second rater.
        notes: what a reader must know about these figures, a sentence each.
        about: where they come from: "detector", "dataset", "section".
        patients: for each landmark of which a case shows several, the part of the cases with a right one; see
            ``patient_rates``.
        structures: for each outlined structure, the mean "dice" and surface distance ("asd") over the cases.
        radii: what the predictions' radii hold; None where they have none.
    """

    unit: str
    cases: int
    result: Breakdown
    missing: MissingScore
    beside: dict[str, Breakdown]
    notes: tuple[str, ...] = ()
    about: dict[str, str] = field(default_factory=dict)
    patients: dict[str, dict[float, float]] = field(default_factory=dict)
    structures: dict[str, dict[str, float]] = field(default_factory=dict)
    radii: RadiusSummary | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and texts for a JSON file; NaN becomes None, rates are parts of 1."""
        scores = asdict(self.missing) | {"precision": self.missing.precision, "recall": self.missing.recall}
        plain: dict[str, Any] = _plain(asdict(self) | {"missing": scores})
        return plain


def match_points(truth_mm: ArrayLike, predicted_mm: ArrayLike, *, limit_mm: float = np.inf) -> list[tuple[int, int]]:
    """Pair true and predicted instances of one landmark so that the total distance is least.

    Each point has at most one partner. A pair beyond the limit is worth the limit and then dropped, so that one pair
    that fits well is never torn apart to bring two bad ones under the limit.

    Args:
        truth_mm: (T, 3), no NaN.
        predicted_mm: (P, 3), no NaN.
        limit_mm: longest distance of a pair; every one of the min(T, P) pairs is kept when infinite.
    Returns:
        (row of truth, row of prediction), by row of truth.
    Source:
        Hungarian method on the cut-off distance, as in Rahmathullah et al. 2017 (GOSPA with p = 1, alpha = 2).

    >>> match_points([[0, 0, 0], [10, 0, 0]], [[9, 0, 0], [0, 1, 0]])
    [(0, 1), (1, 0)]
    """
    from scipy.optimize import linear_sum_assignment

    truth, predicted = np.asarray(truth_mm, float).reshape(-1, 3), np.asarray(predicted_mm, float).reshape(-1, 3)
    distance = np.linalg.norm(truth[:, None] - predicted[None], axis=-1)
    rows, columns = linear_sum_assignment(np.minimum(distance, limit_mm))
    return [(int(t), int(p)) for t, p in zip(rows, columns, strict=True) if distance[t, p] <= limit_mm]


def compare(
    truth: Landmarks, predicted: Landmarks, names: Iterable[str], *, case: str = "", limit_mm: float = np.inf
) -> list[PointError]:
    """One row for each true or predicted point of ``names``, and one for each name that both sides lack.

    A name counts as absent where its row is NaN and where it has no row; other names of either side are left out.
    Where a name has several instances they are matched by ``match_points``; what finds no partner becomes a missed or
    a false row.

    Args:
        truth: world RAS mm.
        predicted: world RAS mm, same unit as ``truth``.
        names: the landmarks to compare.
        case: what the rows are called.
        limit_mm: longest distance at which two points are the same landmark. Leave it infinite where names are unique:
            with a limit a gross error is a missed and a false point and no longer part of the mean.
    Raises:
        ValueError: if one side counts millimetres and the other pixels.

    >>> from lmk3d.landmarks import Landmarks
    >>> truth = Landmarks(("apex", "root"), [[0, 0, 0], [np.nan] * 3])
    >>> rows = compare(truth, Landmarks(("apex", "root"), [[3, 4, 0], [1, 1, 1]]), truth.names)
    >>> [(row.name, row.status, row.error_mm) for row in rows]
    [('apex', 'found', 5.0), ('root', 'false', nan)]
    """
    if truth.unit != predicted.unit:
        raise ValueError(f"truth is in {truth.unit}, the prediction in {predicted.unit}; compare points of one unit")
    rows = []
    for name in names:
        true_rows, predicted_rows = _present_rows(truth, name), _present_rows(predicted, name)
        true_mm, predicted_mm = truth.points_mm[true_rows], predicted.points_mm[predicted_rows]
        pairs = match_points(true_mm, predicted_mm, limit_mm=limit_mm)
        partner = dict(pairs)
        joined: list[tuple[int | None, int | None]] = [(row, partner.get(row)) for row in range(len(true_mm))]
        joined += [(None, row) for row in range(len(predicted_mm)) if row not in set(partner.values())]
        for instance, (t, p) in enumerate(joined or [(None, None)]):
            row = None if p is None else predicted_rows[p]
            one, other = _point(truth, None if t is None else true_rows[t]), _point(predicted, row)
            said = _presence_row(predicted, name) if row is None and len(joined) < 2 else row
            confidence, expected = _value(predicted.confidence, said), _value(predicted.error_mm, row)
            distance, trusted = float(np.linalg.norm(one - other)), row is None or bool(predicted.trusted[row])
            rows.append(PointError(case, name, instance, one, other, distance, confidence, expected, trusted))
    return rows


def errors_by_name(rows: Iterable[PointError], names: Iterable[str]) -> dict[str, FloatArray]:
    """The distances of each landmark's true points over all cases; NaN is a missed one, false rows are left out."""
    found = defaultdict(list)
    for row in rows:
        if row.has_truth:
            found[row.name].append(row.error_mm)
    return {name: np.array(found[name], dtype=np.float64) for name in names}


def statistics(errors: ArrayLike, sdr_mm: Sequence[float] = ()) -> Statistics:
    """Count, centre, spread and success rates of distances.

    Args:
        errors: any shape; NaN is a missed point.
        sdr_mm: distances of the success rates.

    >>> found = statistics([0.5, 1.5, float("nan")], sdr_mm=[1, 2])  # the third point was missed
    >>> found.mean, found.missed, found.sdr[2.0]
    (1.0, 1, 0.6666666666666666)
    """
    values = np.asarray(errors, dtype=np.float64).ravel()
    measured = values[~np.isnan(values)]
    mean = median = std = p95 = largest = float("nan")
    if len(measured):
        mean, median, std = float(measured.mean()), float(np.median(measured)), float(measured.std())
        p95, largest = float(np.percentile(measured, 95)), float(measured.max())
    rates = {
        float(at): float((measured <= at + 1e-9).sum() / len(values)) if len(values) else float("nan") for at in sdr_mm
    }
    return Statistics(len(measured), len(values) - len(measured), mean, median, std, p95, largest, rates)


def summarise(errors: Mapping[str, ArrayLike], sdr_mm: Sequence[float] = ()) -> Breakdown:
    """Statistics of each landmark and of all points together (each point weighs the same, not each landmark)."""
    arrays = {name: np.asarray(values, dtype=np.float64).ravel() for name, values in errors.items()}
    everything = np.concatenate([*arrays.values(), np.empty(0)])
    return Breakdown(statistics(everything, sdr_mm), {n: statistics(v, sdr_mm) for n, v in arrays.items()})


def missing_score(rows: Iterable[PointError]) -> MissingScore:
    """Count absent and reported-missing landmarks over all cases, once for each case and name.

    A name is absent (or reported missing) where no instance of it is there (or was predicted).
    """
    there: dict[tuple[str, str], list[bool]] = defaultdict(lambda: [False, False])
    for row in rows:
        entry = there[row.case, row.name]
        entry[:] = entry[0] or row.has_truth, entry[1] or row.has_prediction
    absent = np.array([not truth for truth, _ in there.values()], dtype=bool)
    reported = np.array([not predicted for _, predicted in there.values()], dtype=bool)
    return MissingScore(int((absent & reported).sum()), int(reported.sum()), int(absent.sum()))


def patient_rates(
    rows: Iterable[PointError], names: Iterable[str], sdr_mm: Sequence[float]
) -> dict[str, dict[float, float]]:
    """PCK per patient: the part of the cases that show a landmark in which one of its points at least is right.

    Args:
        rows: of all cases.
        names: the landmarks; only those with several instances in some case are counted, as for the others it is the
            success rate.
        sdr_mm: distances within which a point is right, or at it but for rounding (1e-9).
    Source:
        LandmarkNet 2020: "as long as one of the landmarks is within the error range, we hold this result is accurate".
    """
    best: dict[str, dict[str, float]] = defaultdict(dict)
    several = set()
    for row in rows:
        if row.has_truth:
            error = row.error_mm if row.has_prediction else np.inf
            best[row.name][row.case] = min(error, best[row.name].get(row.case, np.inf))
            several |= {row.name} if row.instance else set()
    return {
        name: {float(at): float(np.mean([error <= at + 1e-9 for error in best[name].values()])) for at in sdr_mm}
        for name in names
        if name in several
    }


def rater_errors(
    truth: Landmarks, second: Landmarks, names: Iterable[str], *, limit_mm: float = np.inf
) -> dict[str, FloatArray]:
    """Distances between two raters where both set the point: one rater's gap is no mistake of the other."""
    found = errors_by_name(compare(truth, second, names, limit_mm=limit_mm), names := tuple(names))
    return {name: values[~np.isnan(values)] for name, values in found.items()}


def unique_points(landmarks: Landmarks, names: Sequence[str]) -> FloatArray:
    """(N, 3) points of ``names``; NaN where a name is missing or has several instances, which no shape can hold."""
    points = [landmarks[name] for name in names]
    return np.array([own[0] if len(own) == 1 else np.full(3, np.nan) for own in points]).reshape(-1, 3)


def mean_shape(shapes_mm: ArrayLike) -> FloatArray:
    """(N, 3) mean of (S, N, 3) training points where they lie in the world; a point missing in some uses the others."""
    shapes = np.asarray(shapes_mm, dtype=np.float64)
    there = np.isfinite(shapes).all(-1, keepdims=True)
    count = there.sum(0)
    total = np.where(there, shapes, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def aligned_mean_shape(shapes_mm: ArrayLike, *, max_rounds: int = 100, tolerance_mm: float = 1e-9) -> FloatArray:
    """Mean of the training shapes after each is brought rigidly (no scaling) onto that mean.

    Args:
        shapes_mm: (S, N, 3); NaN is a missing point. Shapes with fewer than three points in common with the mean so
            far say nothing about the pose and are left out.
        max_rounds: alignments at most; a handful is enough for anatomy.
        tolerance_mm: stop when no point of the mean moves further than this.
    Returns:
        (N, 3) in the pose of the most complete training shape; NaN where no aligned shape has the point.
    Source:
        Generalised Procrustes analysis, Gower 1975, without scaling.
    """
    shapes = np.asarray(shapes_mm, dtype=np.float64)
    if not len(shapes):
        return np.full(shapes.shape[1:], np.nan)
    mean = shapes[np.isfinite(shapes).all(-1).sum(1).argmax()]
    for _ in range(max_rounds):
        placed = [aligned for shape in shapes if (aligned := _align(shape, mean)) is not None]
        if not placed:
            return mean
        new = mean_shape(placed)
        back = _align(new, mean)  # rounds must not let the pose drift
        new = new if back is None else back
        gained, moved = np.isfinite(new) & np.isnan(mean), np.abs(new - mean)
        mean = new
        if not gained.any() and moved[np.isfinite(moved)].max(initial=0.0) <= tolerance_mm:
            break
    return mean


def mean_shape_errors(training_mm: ArrayLike, truth_mm: ArrayLike, *, align: bool = False) -> FloatArray:
    """How far the mean training shape lies from each true shape: what can be had without looking at the image.

    Args:
        training_mm: (S, N, 3) training points; NaN is missing.
        truth_mm: (C, N, 3) points to compare with; NaN is missing.
        align: bring the Procrustes mean of the training shapes rigidly onto each truth first. That uses the truth, so
            it is no prediction but the error that remains once the pose is perfectly known.
    Returns:
        (C, N) distances; NaN where the truth or the mean has no point, or fewer than three points fix the pose.
    """
    truths = np.asarray(truth_mm, dtype=np.float64)
    if not align:
        return np.asarray(np.linalg.norm(truths - mean_shape(training_mm), axis=-1))
    mean = aligned_mean_shape(training_mm)
    placed = [_align(mean, truth) for truth in truths]
    nowhere = np.full(mean.shape, np.nan)
    guesses = np.array([nowhere if guess is None else guess for guess in placed]).reshape(truths.shape)
    return np.asarray(np.linalg.norm(truths - guesses, axis=-1))


def _align(moving_mm: FloatArray, fixed_mm: FloatArray) -> FloatArray | None:
    """``moving_mm`` brought rigidly onto ``fixed_mm``; None where fewer than three pairs are there."""
    if (np.isfinite(moving_mm) & np.isfinite(fixed_mm)).all(-1).sum() < 3:
        return None
    return apply_affine(fit_similarity(moving_mm, fixed_mm, scale=False), moving_mm)


def _present_rows(landmarks: Landmarks, name: str) -> NDArray[np.intp]:
    return np.flatnonzero(np.array([own == name for own in landmarks.names], dtype=bool) & landmarks.present)


def _presence_row(landmarks: Landmarks, name: str) -> int | None:
    """The row that says how sure a missing landmark is missing: a NaN row still has a confidence."""
    return landmarks.names.index(name) if name in landmarks.names else None


def _point(landmarks: Landmarks, row: int | np.integer[Any] | None) -> FloatArray:
    return np.full(3, np.nan) if row is None else landmarks.points_mm[row]


def _value(values: FloatArray | None, row: int | np.integer[Any] | None) -> float:
    return float("nan") if values is None or row is None else float(values[row])


def _plain(value: Any) -> Any:
    """NaN to None and numbers as keys to text, all the way down."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else f"{key:g}": _plain(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and np.isnan(value) else value
