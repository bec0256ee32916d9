"""How good predictions are on a data set: figures, tables and pictures, beside the mean shape and the second rater."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from lmk3d import metrics
from lmk3d.components import read_config
from lmk3d.conformal import COVERAGE, image_key
from lmk3d.errors import InputError
from lmk3d.io import POINT_FORMATS, read_dataset, read_image, read_points
from lmk3d.io.datasets import bare_name, case_points
from lmk3d.io.findings import Finding, summed_up
from lmk3d.manifest import versions
from lmk3d.overlap import compare_masks
from lmk3d.reliability import radius_summary
from lmk3d.report import ALIGNED, RESULT, TRUSTED, summary_lines, undertrained
from lmk3d.report_folder import make_folder, write_folder
from lmk3d.terminal import counted, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.calibration import Calibration
    from lmk3d.geometry import Grid, Volume
    from lmk3d.io import Case, Dataset
    from lmk3d.landmarks import Landmarks
    from lmk3d.metrics import Summary

    Errors = dict[str, NDArray[np.float64]]

__all__ = [
    "SDR_MM",
    "Detector",
    "OutliningDetector",
    "StagedDetector",
    "evaluate",
    "evaluate_detector",
    "evaluate_points",
]

SDR_MM = (0.5, 1.0, 2.0, 3.0, 4.0)
"""Distances of the success rates where none are given; pixels where the images have no spacing."""


class Detector(Protocol):
    """What can be evaluated."""

    @property
    def names(self) -> tuple[str, ...]:
        """The landmarks it knows."""

    def detect(self, volume: Volume) -> Landmarks:
        """One row for each name, NaN where missing."""


@runtime_checkable
class StagedDetector(Protocol):
    """A detector that also says what it thought on the way."""

    def detect_stages(self, volume: Volume) -> dict[str, Landmarks]:
        """The landmarks after each stage, in order; the last is what ``detect`` returns."""


@runtime_checkable
class OutliningDetector(Protocol):
    """A detector that also says which pixels each structure covers."""

    def compare_masks(self, volume: Volume, truth: Landmarks) -> dict[str, dict[str, float]]:
        """For each structure whose contour the truth holds its "dice" and its surface distance "asd" in world units."""


@dataclass(frozen=True, eq=False)
class _Compared:
    """One case: its truth and what was predicted, in the end and stage by stage where that is known.

    ``overlaps`` has each structure's Dice and surface distance, where the detector outlines any; ``image_key`` tells
    the image from others.
    """

    case: Case
    truth: Landmarks
    predicted: Landmarks
    stages: dict[str, Landmarks] = field(default_factory=dict)
    overlaps: dict[str, dict[str, float]] = field(default_factory=dict)
    image_key: str = ""


@dataclass(frozen=True)
class _Task:
    """What an evaluation was asked for; see ``evaluate``."""

    dataset: Dataset
    section: str
    output: Path | None
    sdr_mm: tuple[float, ...]
    limit_mm: float = np.inf

    def cases(self) -> list[Case]:
        """The cases with points.

        Raises:
            InputError: if there is none, or the output cannot be written: better now than after an hour.
        """
        cases = [case for case in self.dataset.cases(self.section) if case.points is not None]
        if not cases:
            raise InputError(f"data set {self.dataset.name!r}, {self.section}: no case has points to compare with")
        names = [case.name for case in cases]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise InputError(f"data set {self.dataset.name!r}: several cases are called {_listed(twice)}; rename them")
        found = []
        for case in cases:  # a slip in the last file is told before the first case is predicted
            for second, path in enumerate(filter(None, (case.points, case.second_points))):
                notes = case_points(case, second=bool(second)).notes
                found += [Finding(f"{path}: {note}", self.section, case.name, str(path)) for note in notes]
        say(*(f"note: {line}" for line in summed_up(found, len(cases))))
        if self.output is not None:
            make_folder(self.output)
        return cases


def evaluate(  # noqa: PLR0913 - each is an option of the command or of a training
    bundle: Path,
    dataset_path: Path,
    output: Path | None = None,
    *,
    section: str = "validation",
    sdr_mm: Sequence[float] | None = None,
    device: str = "cpu",
    coverage: float = COVERAGE,
    until: float | None = None,
) -> Summary:
    """Run a bundle's detector over a section of a data set and say how far its points lie from the truth.

    Prints a table. With ``output`` it also writes points.csv (a line for each case and landmark), errors.csv,
    summary.csv, summary.json, boxes.png, cumulative.png, worst-1.png to worst-6.png (the worst point of each of the
    worst cases) and index.html, which has all of it on one page; files of these names are replaced. Beside the result
    stand each stage of the detector, the mean shape of the training section, where it lies and after the best rigid
    alignment with the truth, and the second rater.

    Args:
        bundle: folder of a trained bundle.
        dataset_path: the data set's JSON file.
        output: folder to write to, made where it is not there; nothing is written when None.
        section: whose cases to use; those without points are left out, and the notes say so. For "validation" see
            ``Dataset.with_validation``.
        sdr_mm: distances of the success rates; pixels where the images have no spacing. The bundle's own when None, or
            ``SDR_MM``.
        device: "cpu", "cuda", "cuda:1".
        coverage: share of new patients, in (0, 1), that the radii are to hold for.
        until: when to stop, on the clock of ``time.monotonic``; the cases so far are measured then, one at least.
    Returns:
        All figures, in mm, or in px where the images have no spacing.
    Raises:
        InputError: if the bundle, the data set, one of its files or the output cannot be used.
    """
    own_mm, limit_mm = _reported(bundle)
    distances = own_mm if sdr_mm is None else tuple(sdr_mm)
    task = _Task(read_dataset(dataset_path).with_validation(), section, output, distances, limit_mm)
    cases = task.cases()  # before the network is loaded, which takes seconds
    from lmk3d.inference import LandmarkDetector

    detector = LandmarkDetector.from_bundle(bundle, device=device)
    detector.coverage = coverage
    return _run(detector, task, cases, bundle.resolve().name, until=until)


def _reported(bundle: Path) -> tuple[tuple[float, ...], float]:
    """The distances of the success rates that a bundle wants shown, and its longest one of a match."""
    path, config = read_config(bundle, "inference.json")
    report = config.get("report") or {}
    try:
        distances = tuple(float(one) for one in report.get("sdr_mm", SDR_MM))
        limit = float(report.get("limit_mm", np.inf))
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: report must be numbers: sdr_mm, a list, and limit_mm ({error})") from error
    if not all(0 < one < np.inf for one in distances) or not limit > 0:
        raise InputError(f"{path}: report: distances must be above 0")
    return distances, limit


def evaluate_detector(
    detector: Detector,
    dataset_path: Path,
    output: Path | None = None,
    *,
    section: str = "validation",
    sdr_mm: Sequence[float] = SDR_MM,
    limit_mm: float = np.inf,
) -> Summary:
    """``evaluate`` for a detector that is loaded already.

    Args:
        detector: see ``Detector``.
        dataset_path, output, section, sdr_mm: as in ``evaluate``.
        limit_mm: longest distance at which two points are the same landmark, for names with several instances.
    Raises:
        InputError: see ``evaluate``.
    """
    task = _Task(read_dataset(dataset_path).with_validation(), section, output, tuple(sdr_mm), limit_mm)
    return _run(detector, task, task.cases(), "")


def evaluate_points(
    predictions: Path,
    dataset_path: Path,
    output: Path | None = None,
    *,
    section: str = "validation",
    sdr_mm: Sequence[float] = SDR_MM,
    limit_mm: float = np.inf,
) -> Summary:
    """``evaluate`` for points that lie in files; a landmark that a file does not name counts as reported missing.

    Args:
        predictions: folder with a file of points for each case, called as the case or as its image, in any format
            that ``read_points`` knows.
        dataset_path, output, section, sdr_mm: as in ``evaluate``.
        limit_mm: longest distance at which two points are the same landmark, for names with several instances.
    Raises:
        InputError: if a case has no file or one in another unit, or see ``evaluate``.
    """
    task = _Task(read_dataset(dataset_path).with_validation(), section, output, tuple(sdr_mm), limit_mm)
    results, found, known = [], [], set(task.dataset.landmark_names)
    for case in task.cases():
        path = _file_of(case, predictions)
        truth, points = case_points(case), read_points(path)
        found += [Finding(f"{path}: {note}", section, case.name, str(path)) for note in points.notes]
        if truth.unit != points.unit:
            raise InputError(f"{path}: is in {points.unit}, but {case.points} in {truth.unit}; bring both to one unit")
        if len(points) and not known & set(points.names):
            raise InputError(
                f"{path}: names no landmark of the data set, but {_listed(points.names)}; rename its points"
            )
        results.append(_Compared(case, truth, points))
    say(*(f"note: {line}" for line in summed_up(found, len(results))))
    return _summed_up(task, results, task.dataset.landmark_names, predictions.resolve().name)


def _run(detector: Detector, task: _Task, cases: Sequence[Case], name: str, *, until: float | None = None) -> Summary:
    """Detect and compare case by case, with a line for each."""
    names = tuple(name for name in task.dataset.landmark_names if name in detector.names)
    if not names:
        raise InputError(
            f"data set {task.dataset.name!r}: the detector knows none of its landmarks, but {_listed(detector.names)}; "
            "choose another bundle or data set"
        )
    results: list[_Compared] = []
    begun = time.monotonic()
    for number, case in enumerate(cases, start=1):
        if results and until is not None and 2 * time.monotonic() - begun > until:  # another would take as long
            break
        begun = time.monotonic()
        result = _detected(detector, case, task.dataset.structures)
        results.append(result)
        errors = metrics.errors_by_name(
            metrics.compare(result.truth, result.predicted, names, limit_mm=task.limit_mm), names
        )
        own = metrics.summarise(errors).overall
        said = f"mean error {own.mean:.2f} {result.truth.unit}" if own.n else "no point found"
        missed = f", {own.missed} missed" if own.missed else ""
        say(f"{number} of {len(cases)}: {case.name}: {said}{missed}, {time.monotonic() - begun:.1f} s")
    told = " ".join(filter(None, (name, getattr(detector, "version", ""))))
    notes = [note for note in getattr(detector, "notes", ()) if not note.startswith("Undertrained")]  # seen here anew
    notes += _about_radii(getattr(detector, "calibration", None), getattr(detector, "coverage", COVERAGE), results)
    return _summed_up(task, results, names, told, about_bundle=notes, learnt=True)


def _about_radii(calibration: Calibration | None, coverage: float, results: Sequence[_Compared]) -> list[str]:
    """What the radii promise, and whether these cases can test it."""
    if calibration is None or (radii := calibration.radii) is None:
        return []
    known = sum(own.image_key in radii.patients for own in results)
    seen = f"{known} of these {counted(len(results), 'case')} are among those: their coverage is no test of the radii"
    return [radii.described(coverage), *[seen] * bool(known)]


def _detected(detector: Detector, case: Case, structures: Mapping[str, Sequence[str]]) -> _Compared:
    volume = read_image(case.image, series=case.series, spacing_mm=case.spacing_mm)
    truth = case_points(case)
    if truth.unit == "px" and volume.unit == "mm":
        raise InputError(f"{case.points}: is in px, but {case.image} has a spacing; write the points in mm")
    try:
        stages = detector.detect_stages(volume) if isinstance(detector, StagedDetector) else {}
        predicted = list(stages.values())[-1] if stages else detector.detect(volume)
    except InputError as error:
        raise InputError(f"{case.image}: {error}") from error
    # Points beside an image without spacing are in its pixels, also where their file does not say so.
    earlier = {name: replace(points, unit=volume.unit) for name, points in list(stages.items())[:-1]}
    truth, predicted = replace(truth, unit=volume.unit), replace(predicted, unit=volume.unit)
    overlaps = detector.compare_masks(volume, truth) if isinstance(detector, OutliningDetector) else {}
    overlaps = overlaps or _outlined(volume.grid, truth, predicted, structures)
    return _Compared(
        case, truth, predicted, earlier, overlaps, image_key(volume) if getattr(detector, "calibration", None) else ""
    )


def _outlined(
    grid: Grid, truth: Landmarks, predicted: Landmarks, structures: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """How well the contours through found points cover the true ones, where the detector outlines nothing itself."""
    if grid.shape[2] != 1:
        return {}
    from lmk3d.codecs import contour_masks  # which imports torch, and points alone need none

    drawn, found = (
        contour_masks(
            {name: grid.to_vox(points.ordered(rows).points_mm) for name, rows in structures.items()}, grid.shape
        )
        for points in (truth, predicted)
    )
    return compare_masks(drawn, found, grid.spacing_mm)


def _summed_up(
    task: _Task,
    results: Sequence[_Compared],
    names: tuple[str, ...],
    detector: str,
    *,
    about_bundle: Sequence[str] = (),
    learnt: bool = False,
) -> Summary:
    """All figures of the results; prints them, and writes them where an output is asked for."""
    unit = results[0].truth.unit
    if others := [own.case.name for own in results if own.truth.unit != unit]:
        first = results[0].case.name
        raise InputError(
            f"case {others[0]!r} is in {'px' if unit == 'mm' else 'mm'}, but {first!r} in {unit}; part them"
        )
    rows = [
        row
        for own in results
        for row in metrics.compare(own.truth, own.predicted, names, case=own.case.name, limit_mm=task.limit_mm)
    ]
    errors = {RESULT: metrics.errors_by_name(rows, names)}
    if any(own.predicted.assessment is not None for own in results):
        errors[TRUSTED] = metrics.errors_by_name([row for row in rows if row.has_prediction and row.trusted], names)
    for stage in results[0].stages:
        errors[f"stage {stage}"] = _stage_errors(results, stage, names, task.limit_mm)
    shape, notes = _shape_errors(task, results, names)
    errors.update(shape | _rater_errors(results, names, task.limit_mm))
    breakdowns = {name: metrics.summarise(own, task.sdr_mm) for name, own in errors.items()}
    result, said = breakdowns.pop(RESULT), [f"The bundle says: {note.rstrip('.')}." for note in about_bundle]
    summary = metrics.Summary(
        unit,
        len(results),
        result,
        metrics.missing_score(rows),
        breakdowns,
        (*said, *_gaps(task, names, len(results)), *notes),
        _about(task, detector),
        metrics.patient_rates(rows, names, task.sdr_mm),
        _structures(results),
        None if (promised := _promised(results)) is None else radius_summary(rows, names, promised),
    )
    if learnt and (note := undertrained(summary)):
        summary = replace(summary, notes=(note, *summary.notes))
    say("", *summary_lines(summary))
    if task.output is not None:
        write_folder(task.output, summary, rows, errors, {own.case.name: own.case for own in results})
    return summary


def _promised(results: Sequence[_Compared]) -> float | None:
    """The coverage of the predictions' radii; None where they have none."""
    return next((own.predicted.coverage for own in results if own.predicted.coverage is not None), None)


def _about(task: _Task, detector: str) -> dict[str, str]:
    """Where figures come from."""
    return {
        "detector": detector,
        "dataset": task.dataset.name,
        "section": task.section,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": ", ".join(f"{package} {own}" for package, own in versions().items()),
    }


def _structures(results: Sequence[_Compared]) -> dict[str, dict[str, float]]:
    """Mean Dice and surface distance of each structure over the cases that have it."""
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(name for own in results for name in own.overlaps):
        known = [own.overlaps[name] for own in results if name in own.overlaps]
        found[name] = {}
        for kind in ("dice", "asd"):
            values = np.array([one[kind] for one in known])
            found[name][kind] = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    return found


def _stage_errors(results: Sequence[_Compared], stage: str, names: Sequence[str], limit_mm: float) -> Errors:
    rows = [
        row
        for own in results
        if stage in own.stages
        for row in metrics.compare(own.truth, own.stages[stage], names, case=own.case.name, limit_mm=limit_mm)
    ]
    return metrics.errors_by_name(rows, names)


def _shape_errors(
    task: _Task, results: Sequence[_Compared], names: Sequence[str]
) -> tuple[dict[str, Errors], tuple[str, ...]]:
    """Errors of the mean training shape where it lies and once aligned, and what to know about them."""
    training = [case_points(case) for case in task.dataset.sections.get("training", []) if case.points]
    if not training:
        return {}, ("There are no training cases with points, so there is no mean shape to compare with.",)
    shapes = np.array([metrics.unique_points(points, names) for points in training])
    truths = np.array([metrics.unique_points(own.truth, names) for own in results])
    found = {}
    for name, align in (("mean shape", False), (ALIGNED, True)):
        distances = metrics.mean_shape_errors(shapes, truths, align=align)
        if np.isfinite(distances).any():
            found[name] = {own: column[np.isfinite(column)] for own, column in zip(names, distances.T, strict=True)}
    notes = (f"Mean shape: of {len(training)} training cases; aligned: laid rigidly over the true points.",)
    return found, notes if found else ()


def _rater_errors(results: Sequence[_Compared], names: Sequence[str], limit_mm: float) -> dict[str, Errors]:
    parts = []
    for own in results:
        if own.case.second_points is not None:
            second = replace(case_points(own.case, second=True), unit=own.truth.unit)
            parts.append(metrics.rater_errors(own.truth, second, names, limit_mm=limit_mm))
    return {"second rater": {name: np.concatenate([part[name] for part in parts]) for name in names}} if parts else {}


def _gaps(task: _Task, names: Sequence[str], measured: int) -> list[str]:
    """What was left out."""
    notes, cases = [], task.dataset.cases(task.section)
    unmarked = [case.name for case in cases if case.points is None]
    if measured < len(cases) - len(unmarked):
        of = f"{measured} of {len(cases) - len(unmarked)} cases"
        notes.append(f"Stopped by the time limit after {of}; lmk3d evaluate measures all.")
    if unmarked:
        notes.append(f"Left out, since they have no points: {_listed(unmarked)}.")
    if unknown := [name for name in task.dataset.landmark_names if name not in names]:
        notes.append(f"Left out, since the detector does not know them: {_listed(unknown)}.")
    return notes


def _file_of(case: Case, folder: Path) -> Path:
    """The file of predicted points of a case."""
    stems = dict.fromkeys((case.name, bare_name(case.image)))
    for stem in stems:
        for ending in POINT_FORMATS:
            if (path := folder / f"{stem}{ending}").is_file():
                return path
    wanted = f"{' or '.join(stems)} with one of {', '.join(POINT_FORMATS)}"
    raise InputError(f"{folder}: has no points for case {case.name!r}; add {wanted}")


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
