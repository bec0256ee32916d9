"""How far a prediction can be trusted: how like the training images the scan is, and how plausible its points are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.evidence import RANKS
from lmk3d.landmarks import Assessment
from lmk3d.likeness import LEAST_CASES, Arrangement, Likeness, finite, listed, upper_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lmk3d.evidence import Evidence

    FloatArray = NDArray[np.float64]

__all__ = ["Displacements", "Trust"]

_FALSE_ALARMS = 0.02  # of new scans like the training's, how many may be flagged by all signals together
# Appearance, intensities, arrangement, displacements of points and of scans, pose; the field of view has no tail.
_SIGNALS = 6
_LEAST_INTENSITY = 0.02  # of the window: no percentile is more certain than that
_FIELD_RATIO = 1.75  # times the largest field of view, or the smallest one over it, that training has shown
_LEAST_DISPLACEMENT = 0.05  # of a stage's usual displacement: shorter ones are all alike
_SAME = 0.95  # of the support of a pose: another one with more is as good
_MOST_DOUBTFUL = 0.5  # of the points found: where more are doubtful, the scan is


@dataclass(frozen=True, eq=False)
class Displacements:
    """How far each stage displaces each landmark in scans that the network has not learnt from.

    Args:
        stages: their names; of the first one it is how unsure it is, see ``Evidence.displacements``.
        usual: (S, N) geometric mean of a landmark's displacement by a stage, in the detector's unit.
        spread: (S,) standard deviation of its logarithm.
        limit: of the largest deviation among a scan's points.
        scan_limit: of a scan's ``typical`` deviation.
    """

    stages: tuple[str, ...]
    usual: FloatArray
    spread: FloatArray
    limit: float
    scan_limit: float

    @classmethod
    def learn(cls, cases: Sequence[Evidence], count: int, share: float) -> Displacements | None:
        """From validation cases: in scans that the network has learnt from the stages displace less.

        Args:
            cases: what was noted of them.
            count: N, how many landmarks there are.
            share: of new scans that may exceed either limit.
        Returns:
            None where there are fewer than ``LEAST_CASES``, or one stage alone.
        """
        cases = [case for case in cases if case.there.any()]
        stages = tuple(cases[0].displacements()) if cases else ()
        if len(cases) < LEAST_CASES or not stages:
            return None
        logs = np.full((len(cases), len(stages), count), np.nan)
        for row, case in enumerate(cases):
            for stage, move in enumerate(case.displacements().values()):
                logs[row, stage, case.numbers] = np.log(np.maximum(move, 1e-9))
        middle = np.nanmedian(logs, axis=(0, 2))
        logs = np.maximum(logs, middle[:, None] + np.log(_LEAST_DISPLACEMENT))
        known = np.isfinite(logs)
        # A landmark's own mean, drawn towards the stage's where few cases say what it is.
        overall = np.nanmean(logs, axis=(0, 2))
        sums, number = np.where(known, logs - overall[:, None], 0.0).sum(0), known.sum(0)
        usual = overall[:, None] + sums / (number + LEAST_CASES)
        spread = np.sqrt(np.nanmean((logs - usual) ** 2, axis=(0, 2)))
        own = cls(stages, np.exp(usual), np.maximum(spread, 0.1), np.inf, np.inf)
        scores = [own.deviations(case) for case in cases]
        worst = np.array([np.nanmax(one) for one in scores if np.isfinite(one).any()])
        typical = np.array([own.typical(one) for one in scores if np.isfinite(one).any()])
        if len(worst) < LEAST_CASES:
            return None
        limits = [max(upper_limit(one, share), one.max() + 0.5) for one in (worst, typical)]
        return cls(stages, own.usual, own.spread, *limits)

    def deviations(self, case: Evidence) -> FloatArray:
        """(S, R) how much farther than usual each stage has displaced each point, in standard deviations of the log."""
        found = np.full((len(self.stages), len(case.numbers)), np.nan)
        for stage, (name, usual) in enumerate(zip(self.stages, self.usual, strict=True)):
            if (own := case.displacements().get(name)) is not None:
                found[stage] = np.log(np.maximum(own, 1e-9) / usual[case.numbers]) / self.spread[stage]
        return found

    @staticmethod
    def typical(deviations: FloatArray) -> float:
        """The median over points, times the root of their number, of the stage where it is largest.

        The median of few points varies more than that of many. -inf where nothing is known.
        """
        known = [
            np.nanmedian(stage) * np.isfinite(stage).sum() ** 0.5 for stage in deviations if np.isfinite(stage).any()
        ]
        return float(max(known, default=-np.inf))

    def told(self, case: Evidence, stage: int, rows: Sequence[int] | NDArray[np.intp]) -> str:
        """How much a stage and the one before disagree about some points, beside what is usual."""
        name, names = self.stages[stage], list(case.stages)
        own = float(np.nanmedian(case.displacements()[name][rows]))
        usual = float(np.median(self.usual[stage, case.numbers[rows]]))
        if name == names[0]:
            where = "the place" if len(rows) == 1 else "its points' places"
            return f"the first stage is {100 * (1 - own):.0f} % sure of {where}, usually {100 * (1 - usual):.0f} %"
        own, usual = own / case.factor, usual / case.factor
        before = names[names.index(name) - 1]
        return f"the stages {before!r} and {name!r} disagree by {own:.2g} {case.unit}, usually by {usual:.2g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        numbers = {name: listed(getattr(self, name)) for name in ("usual", "spread", "limit", "scan_limit")}
        return {"stages": list(self.stages), **numbers}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Displacements:
        """What ``to_dict`` wrote."""
        stages, usual = tuple(map(str, content["stages"])), np.array(content["usual"], dtype=np.float64)
        spread = np.array(content["spread"], dtype=np.float64)
        if usual.ndim != 2 or len(usual) != len(stages) or spread.shape != (len(stages),):
            raise ValueError("usual and spread must have a row for each stage")
        return cls(stages, usual, spread, finite(content["limit"]), finite(content["scan_limit"]))


@dataclass(frozen=True, eq=False)
class Trust:
    """What is learnt of the training and validation cases, to tell whether a new scan and its points are like theirs.

    A signal that does not apply, or that too few cases were there for, is None and left out.

    Args:
        names: of the landmarks.
        features: of the first stage's encoder, layer by layer.
        intensities: of the images as the first stage sees them.
        fields: (2, 3) smallest and largest field of view along the upright axes; sorted if patients lie at any angle.
        arrangement: of the landmarks.
        displacements: by the stages.
        apart: limits of a searched pose's misfit, see ``Evidence``.
        joint: whether all landmarks are in a wrong place where one is, as in a column that is miscounted.
    """

    names: tuple[str, ...]
    features: tuple[Likeness, ...]
    intensities: Likeness | None
    fields: FloatArray | None
    arrangement: Arrangement | None
    displacements: Displacements | None
    apart: FloatArray | None = None
    joint: bool = False

    @classmethod
    def learn(
        cls,
        names: Sequence[str],
        training: Sequence[Evidence],
        validation: Sequence[Evidence],
        shapes: FloatArray,
        *,
        turned: bool,
        joint: bool = False,
    ) -> Trust:
        """Learn the limits, so that hardly any scan like the training's is flagged.

        Args:
            names: of the N landmarks.
            training, validation: what was noted of their cases.
            shapes: (n, N, 3) marked points of all cases along the upright axes, in the detector's unit; NaN if missing.
            turned: whether patients lie at any angle.
            joint: see ``Trust``.
        """
        share = _FALSE_ALARMS / _SIGNALS
        layers = len(training[0].image.features) if training else 0
        features = [
            Likeness.learn(
                [_views(case.image.features[layer])[0] for case in training],
                [_views(case.image.features[layer])[0] for case in validation],
                share / layers,
            )
            for layer in range(layers)
        ]
        intensities = Likeness.learn(
            [case.image.intensities for case in training],
            [case.image.intensities for case in validation],
            share,
            floor=_LEAST_INTENSITY,
        )
        sides = np.array([_sides(case, turned=turned) for case in (*training, *validation)])
        return cls(
            tuple(names),
            tuple(one for one in features if one is not None),
            intensities,
            np.stack([sides.min(0), sides.max(0)]) if len(sides) else None,
            Arrangement.learn(shapes, share, turned=turned),
            Displacements.learn(validation, len(names), share),
            _apart_limits([case.apart for case in (*training, *validation) if case.apart is not None], share / 2),
            joint,
        )

    def assess(self, case: Evidence) -> Assessment:
        """Compare a scan with the training's.

        Returns:
            Reasons where the whole scan is unlike them, and each reported row's own doubts.
        """
        points = case.points(len(self.names))
        doubts = [""] * len(case.numbers)
        far = self._implausible(case, points, doubts)
        displaced = self._displaced(case, doubts)
        none = "" if case.there.any() else "none of its landmarks was found"
        found = (none, self._unlike(case), self._brightness(case), self._size(case), self._posed(case), far, displaced)
        return Assessment(tuple(reason for reason in found if reason), tuple(doubts))

    def _unlike(self, case: Evidence) -> str:
        """Whether the encoder's features are far from all of the training's."""
        if len(case.image.features) != len(self.features):
            return ""
        ratios = [
            min(layer.distance(row) for row in _views(own)) / layer.limit
            for layer, own in zip(self.features, case.image.features, strict=True)
        ]
        if (worst := max(ratios, default=0.0)) <= 1:
            return ""
        return f"its appearance is unlike that of the training images ({worst:.1f} times the largest distance allowed)"

    def _brightness(self, case: Evidence) -> str:
        if self.intensities is None or self.intensities.distance(case.image.intensities) <= self.intensities.limit:
            return ""
        off = np.abs(self.intensities.deviations(case.image.intensities))
        number = int(off.argmax())
        usual = self.intensities.rows[:, number]
        low, high, own = float(usual.min()), float(usual.max()), float(case.image.intensities[number])
        said = "its intensities are unlike those of the training images"
        if number == len(RANKS):
            low, high, own = (100 * one for one in (low, high, own))
            return (
                f"{said} ({own:.0f} % of it is brighter than the window shows; in training {low:.0f} to {high:.0f} %)"
            )
        first, last = case.image.limits or (0.0, 1.0)
        low, high, own = (first + one * (last - first) for one in (low, high, own))
        of = "" if case.image.limits else " of its own range"
        return (
            f"{said} ({100 - RANKS[number]} % of what is not black is brighter than {own:.3g}{of}; in training"
            f" {low:.3g} to {high:.3g})"
        )

    def _size(self, case: Evidence) -> str:
        if self.fields is None:
            return ""
        turned = self.arrangement is not None and self.arrangement.turned
        sides = _sides(case, turned=turned)
        larger, smaller = float((sides / self.fields[1]).max()), float((self.fields[0] / sides).max())
        if max(larger, smaller) <= _FIELD_RATIO:
            return ""
        if larger >= smaller:
            return f"a side of its field of view is {larger:.1f} times as long as the longest in training"
        return f"a side of its field of view is {1 / smaller:.2f} times as long as the shortest in training"

    def _posed(self, case: Evidence) -> str:
        """Whether the searched pose explains too few landmarks, or another one as many."""
        if self.apart is None:
            return ""
        if case.apart is None:
            return "no pose of the training shapes fits what was found"
        if case.apart[0] > self.apart[0]:
            own, least = 100 * (1 - case.apart[0]), 100 * (1 - self.apart[0])
            return f"its best pose explains {own:.0f} % of the landmarks, in training {least:.0f} % or more"
        if case.apart[1] > self.apart[1]:
            own, most = 100 * case.apart[1], 100 * self.apart[1]
            return f"another pose has {own:.0f} % of the support of the one kept, in training at most {most:.0f} %"
        return ""

    def _implausible(self, case: Evidence, points: FloatArray, doubts: list[str]) -> str:
        """Note the doubts of points that lie to the others as in no training case; a reason where most do."""
        if self.arrangement is None or not np.isfinite(points).any():
            return ""
        scores = np.nan_to_num(self.arrangement.scores(points))
        doubtful = np.flatnonzero(scores > self.arrangement.limit)
        for landmark in doubtful:
            said = self._told(self.arrangement, case, points, int(landmark))
            for row in np.flatnonzero((case.numbers == landmark) & case.there):
                doubts[row] = said
        if len(doubtful) <= _MOST_DOUBTFUL * np.isfinite(points).all(1).sum():
            return ""
        worst = int(scores.argmax())
        return f"{self.names[worst]}: {self._told(self.arrangement, case, points, worst)}"

    def _told(self, arrangement: Arrangement, case: Evidence, points: FloatArray, landmark: int) -> str:
        """How one landmark lies to another, beside how it lies in training; who says it, names it."""
        other, known = arrangement.farthest(points, landmark)
        step = points[landmark] - points[other]
        apart, low, high = (float(one) / case.factor for one in (np.linalg.norm(step), known.min(), known.max()))
        if 0.95 * low <= apart <= 1.05 * high:
            return f"it lies in another direction from {self.names[other]} than in any training case"
        comparison = "farther" if apart > high else "nearer"
        return (
            f"{apart:.3g} {case.unit} from {self.names[other]}, {comparison} than in any training case"
            f" ({low:.3g} to {high:.3g} {case.unit})"
        )

    def _displaced(self, case: Evidence, doubts: list[str]) -> str:
        """Note the doubts of points that the stages disagree about; a reason where they do about most."""
        if self.displacements is None:
            return ""
        deviations = self.displacements.deviations(case)
        for row in np.flatnonzero(np.nan_to_num(deviations, nan=-np.inf).max(0) > self.displacements.limit):
            stage = int(np.nanargmax(deviations[:, row]))
            doubts[row] = doubts[row] or self.displacements.told(case, stage, [row])
            if self.joint and self.displacements.stages[stage] == next(iter(case.stages)):
                return f"{self.names[case.numbers[row]]}: {doubts[row]}; the others were counted with it"
        if self.displacements.typical(deviations) <= self.displacements.scan_limit:
            return ""
        medians = [np.nanmedian(one) if np.isfinite(one).any() else -np.inf for one in deviations]
        return self.displacements.told(case, int(np.argmax(medians)), np.flatnonzero(case.there))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        parts = {"intensities": self.intensities, "arrangement": self.arrangement, "moves": self.displacements}
        return {
            "names": list(self.names),
            "joint": self.joint,
            "features": [one.to_dict() for one in self.features],
            "fields": None if self.fields is None else listed(self.fields),
            "apart": None if self.apart is None else listed(self.apart),
            **{name: None if part is None else part.to_dict() for name, part in parts.items()},
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Trust:
        """What ``to_dict`` wrote.

        Raises:
            ValueError: if it is something else.
        """
        try:
            kinds: dict[str, Any] = {"intensities": Likeness, "arrangement": Arrangement, "moves": Displacements}
            parts = {
                name: None if content[name] is None else kind.from_dict(content[name]) for name, kind in kinds.items()
            }
            fields = _numbers(content["fields"], (2, 3))
            features = tuple(Likeness.from_dict(one) for one in content["features"])
            apart, joint = _numbers(content["apart"], (2,)), bool(content["joint"])
            own = cls(
                tuple(map(str, content["names"])),
                features,
                parts["intensities"],
                fields,
                parts["arrangement"],
                parts["moves"],
                apart,
                joint,
            )
            own._check_sizes()
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise ValueError(f"trust: {type(error).__name__}, {error}") from error
        return own

    def _check_sizes(self) -> None:
        """See that all parts are of the same landmarks and percentiles."""
        sizes = [
            *([self.arrangement.shapes.shape[1] - len(self.names)] if self.arrangement is not None else []),
            *([self.displacements.usual.shape[1] - len(self.names)] if self.displacements is not None else []),
            *([self.intensities.rows.shape[1] - len(RANKS) - 1] if self.intensities is not None else []),
        ]
        if any(sizes):
            raise ValueError("its tables are not of the same landmarks")


def _views(features: FloatArray) -> FloatArray:
    """(V, C) the image as a whole and, where the first stage saw it through windows, each of them.

    A scan is like the training's where one of these is: a longer one also shows what training did not.
    """
    return features[None] if features.ndim == 1 else np.concatenate([features.mean(0, keepdims=True), features])


def _numbers(values: Any, shape: tuple[int, ...]) -> FloatArray | None:
    """Finite numbers from a JSON file; None where it has none."""
    if values is None:
        return None
    numbers = np.array(values, dtype=np.float64).reshape(shape)
    return np.vectorize(finite, otypes=[np.float64])(numbers)


def _sides(case: Evidence, *, turned: bool) -> FloatArray:
    return np.sort(case.image.sides) if turned else case.image.sides


def _apart_limits(seen: Sequence[tuple[float, float]], share: float) -> FloatArray | None:
    """Limits of a searched pose's misfit: what known cases had at most and a margin, but never as much as any pose."""
    if len(seen) < LEAST_CASES:
        return None
    known = np.array(seen)
    limits = [max(upper_limit(own, share), own.max() + 0.02) for own in known.T]
    return np.minimum(limits, _SAME)
