"""The step behind a training that learns from its cases how far the bundle's predictions can be trusted."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.calibration import Calibration, read_calibration, write_calibration
from lmk3d.conformal import Radii, image_key
from lmk3d.geometry import Grid, Volume
from lmk3d.likeness import LEAST_CASES
from lmk3d.terminal import counted, say
from lmk3d.training.checkpoints import rank
from lmk3d.transforms import LoadCased
from lmk3d.trust import Trust
from lmk3d.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lmk3d.evidence import Evidence
    from lmk3d.inference import LandmarkDetector

    FloatArray = NDArray[np.float64]

__all__ = ["calibrate"]

_MOST_TRAINING = 64  # cases; of more the limits are nearly the same
_GROSS = 5.0  # times the median error of all points
_SAID_S = 30.0  # seconds between two lines of progress


@dataclass(frozen=True, eq=False)
class _Seen:
    """One case, as the trained detector saw it.

    ``errors`` (N,) are distances from the ground truth, infinite where a landmark was missed, NaN where nobody marked
    it; ``scales`` (N,) what the network claims for them, in the same unit; ``marked`` (N, 3) the ground truth along the
    image's upright axes in the detector's unit; ``image`` tells copies of one image,
    ``patient`` is "" where the data set names none.
    """

    image: str
    patient: str
    evidence: Evidence
    errors: FloatArray
    scales: FloatArray
    marked: FloatArray


def calibrate(
    detector: LandmarkDetector,
    training: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
    weights: Path | str,
    *,
    until: float | None = None,
) -> None:
    """Run a trained detector over its cases and write calibration.json beside its weights.

    Args:
        detector: of the bundle; it gets the weights.
        training, validation: the cases, as ``datalist`` gives them. Of many training cases some are taken, and
            validation cases whose image is one of training, too, are left out.
        weights: the bundle's model.pt. Radii that ``join_bundles`` gave it stay where they are of these training cases.
        until: when to stop, on the clock of ``time.monotonic``; what was seen by then counts.
    Raises:
        InputError: if the weights, or the file of a case, cannot be read, or the calibration cannot be written.
    """
    if rank():
        return
    path = Path(weights)
    load_weights(detector.network, path)
    detector.network.to(detector.device).eval()
    step = max(1, -(-len(training) // _MOST_TRAINING))
    chosen = training[::step]
    say(f"calibrating on {counted(len(validation), 'validation case')} and {len(chosen)} of training")
    # Validation first: where time is short, it is training cases that there can be fewer of.
    checks = {one.image: one for one in _seen(detector, validation, until)}
    known = {one.image: one for one in _seen(detector, chosen, until)}
    both = [image for image in checks if image in known]
    if both:
        say(f"left out: {counted(len(both), 'validation case')} whose image is one of training, too")
    held = [one for image, one in checks.items() if image not in known]
    made, before = _learnt(detector, list(known.values()), held), read_calibration(path, detector.names)[0]
    if before is not None and before.radii is not None and set(before.radii.patients) & set(known):
        made = replace(made, radii=before.radii)  # of folds: what one member was trained on, another was not
    write_calibration(made, path)
    detector.calibration = None


def _learnt(detector: LandmarkDetector, known: Sequence[_Seen], held: Sequence[_Seen]) -> Calibration:
    """What the cases say; prints how many of those held back would be trusted."""
    trust = None
    if len(known) >= LEAST_CASES:  # of fewer, whatever is shown would be called trusted
        trust = Trust.learn(
            detector.names,
            [one.evidence for one in known],
            _right(held),
            np.stack([one.marked for one in (*known, *held)]),
            turned=detector.pose == "any",
            joint=detector.network.has_steps,
        )
        trusted = sum(trust.assess(one.evidence).verdict == "trusted" for one in held)
        say(f"calibrated: {trusted} of {counted(len(held), 'validation case')} trusted")
    return Calibration({"training": len(known), "validation": len(held)}, trust, _radii(held))


def _right(held: Sequence[_Seen]) -> list[Evidence]:
    """What was noted of validation cases, without what is no example to follow.

    Left out are points that are grossly wrong, that were so after the first stage, or whose maps show another place
    more clearly; where half of a case's points are so, all of it. Such a case is right by what seldom has to help.
    """
    last, first = _gross([one.errors for one in held]), _gross([_first_errors(one) for one in held])
    return [_example(*case) for case in zip(held, last, first, strict=True)]


def _gross(errors: Sequence[FloatArray]) -> list[NDArray[np.bool_]]:
    """Which of some cases' errors are far larger than the median of all."""
    known = np.concatenate([np.zeros(0), *(own[np.isfinite(own)] for own in errors)])
    most = _GROSS * float(np.median(known)) if len(known) else np.inf
    return [own > most for own in errors]


def _first_errors(one: _Seen) -> FloatArray:
    """(R,) distance of the first stage's points from the ground truth, in the detector's unit."""
    points = next(iter(one.evidence.stages.values()))
    return np.asarray(np.linalg.norm(points - one.marked[one.evidence.numbers], axis=1), dtype=np.float64)


def _example(one: _Seen, last: NDArray[np.bool_], first: NDArray[np.bool_]) -> Evidence:
    """A case without what is no example; (N,) gross last errors, those of missed landmarks too, and (R,) first ones."""
    case = one.evidence
    wrong = last[case.numbers] | first | (False if case.outvoted is None else case.outvoted)
    mostly = 2 * last.sum() >= (~np.isnan(one.errors)).sum() or 2 * (wrong & case.there).sum() >= case.there.sum()
    return replace(case, there=case.there & ~wrong & (not mostly))


def _radii(held: Sequence[_Seen]) -> Radii | None:
    """The radii that the errors of validation cases give; None where none of them has a marked landmark."""
    if not any((~np.isnan(one.errors)).any() for one in held):
        return None
    first: dict[str, str] = {}  # the key of a patient's first image stands for the patient, and tells no name
    patients = [first.setdefault(one.patient or one.image, one.image) for one in held]
    return Radii.fit([one.errors for one in held], [one.scales for one in held], patients)


def _seen(detector: LandmarkDetector, cases: Sequence[Mapping[str, Any]], until: float | None) -> Iterator[_Seen]:
    """The cases one after another, as long as there is time."""
    instances = detector.codec.instances
    load: Any = LoadCased(detector.names, instances=instances, side_px=detector.side_px)
    begun = said = time.monotonic()
    for number, case in enumerate(cases):
        now = time.monotonic()
        if until is not None and now + (now - begun) / max(number, 1) > until:
            say(f"stopped by the time limit after {number} of {counted(len(cases), 'case')}")
            return
        if now - said > _SAID_S:
            say(f"calibrating: {number} of {counted(len(cases), 'case')}")
            said = now
        yield _examined(detector, load(case))


def _examined(detector: LandmarkDetector, case: Mapping[Any, Any]) -> _Seen:
    grid = Grid.of(case["image"])
    volume = Volume(case["image"][0].numpy(), grid)
    evidence = detector.examine(volume)[1]
    marked = _single(np.asarray(case["label"], dtype=np.float64))
    count, upright = len(detector.names), grid.upright
    found = evidence.points(count) @ upright.T / evidence.factor
    errors = np.linalg.norm(found - marked, axis=1)
    errors[np.isnan(found).any(1) & grid.contains(marked)] = np.inf
    scales = np.full(count, np.nan)
    scales[evidence.numbers] = evidence.scale / evidence.factor
    patient = str(case.get("patient", ""))
    return _Seen(image_key(volume), patient, evidence, errors, scales, marked @ upright * evidence.factor)


def _single(points: FloatArray) -> FloatArray:
    """(N, 3) of (N, 3) or (N, M, 3) points, NaN where a landmark has several."""
    if points.ndim == 2:
        return points
    alone = np.isfinite(points).all(2).sum(1) == 1
    return np.where(alone[:, None], points[:, 0], np.nan)
