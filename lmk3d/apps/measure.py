"""Measures of a plan on files of points: values, what the points' expected errors make of them, tables and pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.apps.plan import Scene, read_plan
from lmk3d.apps.sides import read_side
from lmk3d.errors import InputError, did_you_mean
from lmk3d.io import atomic_path, refuse_existing
from lmk3d.io.csv_files import write_csv

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.apps.plan import MeasurePlan
    from lmk3d.apps.sides import Side
    from lmk3d.landmarks import Landmarks
    from lmk3d.plots.measures import MeasureDrawing

    FloatArray = NDArray[np.float64]

__all__ = ["Measure", "lacks", "measure_files", "measure_points", "text_of"]

# Draws of each point about its place: a standard deviation from so many is right to about 1 %.
_DRAWS = 10_000
# Mean length of a normal vector over the standard deviation of each of its parts: in space and in a plane.


@dataclass(frozen=True)
class Measure:
    """One value.

    Args:
        name: as the plan calls it.
        kind: distance, height, angle or ratio.
        value: NaN where a landmark is missing.
        unit: "mm" (or "px"), "deg", or "" for a ratio.
        sd: standard deviation that the points' expected errors give it; NaN where one of them is unknown.
        low, high: 95 % of the values that the expected errors allow lie between them.
        missing: the landmarks it lacks.
        untrusted: those of its landmarks that are not trusted; it has no value of them unless that was asked for.
    """

    name: str
    kind: str
    value: float
    unit: str
    sd: float
    low: float
    high: float
    missing: tuple[str, ...] = ()
    untrusted: tuple[str, ...] = ()


def measure_points(
    plan: MeasurePlan,
    landmarks: Landmarks,
    *,
    error_mm: float | None = None,
    keep_untrusted: bool = False,
    seed: int = 0,
) -> list[Measure]:
    """Measure what the plan says.

    The expected error of a point is the mean of its distance from the truth, or, with a coverage, the distance that is
    exceeded in the rest of the patients; the point is drawn about its place with normal errors of which that is true,
    the same in all directions (of a film: in its plane), and independent of the other points. The value itself is that
    of the points as they are.

    Args:
        plan: what to measure.
        landmarks: world RAS; missing points make the measures that need them NaN.
        error_mm: expected error of points that have none.
        keep_untrusted: measure also points that are not trusted, without a deviation.
        seed: of the draws.
    Returns:
        One value for each measure of the plan, in its order.
    Raises:
        InputError: if the plan speaks of names that the points do not have, or that stand several times, if units
            differ, or if points coincide or lie on a line where that leaves a measure open.
    Source:
        Propagation of distributions: JCGM 101:2008 (GUM, supplement 1).
    """
    _check_names(plan, landmarks)
    _check_unit(plan, landmarks)
    own = landmarks.withheld(keep_points=keep_untrusted).ordered(plan.landmarks)
    flat = bool(own.present.any()) and not own.points_mm[own.present, 2].any()
    dims = 2 if flat else 3
    noise = np.random.default_rng(seed).normal(size=(_DRAWS, len(own), 3)) * (np.arange(3) < dims)
    given = replace(own, error_mm=np.full(len(own), np.nan if error_mm is None else error_mm), coverage=None)
    sigma = np.where(np.isnan(own.deviation_mm(dims)), given.deviation_mm(dims), own.deviation_mm(dims))
    drawn = own.points_mm + np.concatenate([np.zeros((1, len(own), 3)), noise * np.nan_to_num(sigma)[:, None]])
    places = {name: drawn[:, row] for row, name in enumerate(own.names)}
    known = dict(zip(own.names, ~np.isnan(sigma) & own.trusted, strict=True))
    scene = Scene(plan, places)
    measures = [_measure(plan, name, scene, known, landmarks.unit) for name in plan.measures]
    suspect = {own.names[row] for row in np.flatnonzero(own.suspect)}
    return [replace(one, untrusted=tuple(n for n in plan.needs(one.name) if n in suspect)) for one in measures]


def measure_files(
    plan_path: Path,
    sides: Sequence[Side],
    output: Path | None = None,
    *,
    error_mm: float | None = None,
    keep_untrusted: bool = False,
    overwrite: bool = False,
) -> tuple[dict[str, list[Measure]], list[Path]]:
    """Measure files of points and write measures.csv, measures.json and a picture for each file.

    Args:
        plan_path: the plan's JSON file.
        sides: files of points; an image of theirs is the background of the picture.
        output: folder for the files, made where it is not there; nothing is written when None.
        error_mm: expected error of points that have none.
        keep_untrusted: measure also points that are not trusted, and say so.
        overwrite: replace files that exist.
    Returns:
        The measures by file, and the files written.
    Raises:
        InputError: as ``measure_points``, naming the file, and where a file cannot be read or written.
    """
    plan = read_plan(plan_path)
    pictures = [f"{_stem(side.points)}.measures.png" for side in sides]
    if len(set(pictures)) < len(sides):
        raise InputError("two files of points have one name; measure them into different folders")
    files = ["measures.csv", "measures.json", *pictures]
    written = [] if output is None else [output / name for name in files]
    refuse_existing(written, overwrite=overwrite)
    results, figures = {}, []
    for side in sides:
        landmarks, volume = read_side(side)
        try:
            measures = measure_points(plan, landmarks, error_mm=error_mm, keep_untrusted=keep_untrusted)
        except InputError as error:
            raise InputError(f"{side.points}: {error}") from None
        results[str(side.points)] = measures
        if output is not None:
            from lmk3d.plots.measures import measure_sheet

            shown = landmarks.withheld(keep_points=keep_untrusted)
            figures.append(measure_sheet(_drawing(plan, shown, measures), volume))
    if output is not None:
        from lmk3d.plots import save_figure

        output.mkdir(parents=True, exist_ok=True)
        _write_tables(plan, results, output)
        for figure, name in zip(figures, pictures, strict=True):
            save_figure(figure, output / name)
    return results, written


def _check_names(plan: MeasurePlan, landmarks: Landmarks) -> None:
    for name in plan.landmarks:
        if name not in landmarks.names:
            hint = did_you_mean(name, landmarks.names, "a missing one needs an empty row")
            raise InputError(f"{plan.where} measures {name!r}, which is not among the points; {hint}")
        if len(landmarks[name]) > 1:
            raise InputError(
                f"{plan.where} measures {name!r}, which stands {len(landmarks[name])} times; number the names"
            )
    twice = [name for part in (plan.points, plan.lines, plan.planes) for name in part if name in landmarks.names]
    if twice:
        raise InputError(f"{plan.where} makes {twice[0]!r}, which is a landmark already; give it another name")


def _check_unit(plan: MeasurePlan, landmarks: Landmarks) -> None:
    """Angles and ratios are the same in pixels; lengths are not."""
    lengths = [name for name in plan.measures if plan.kind(name) in ("distance", "height")]
    if lengths and plan.unit != landmarks.unit:
        what = "pixels, since their film has no spacing" if landmarks.unit == "px" else "mm"
        raise InputError(
            f"{plan.where} measures {lengths[0]!r} in {plan.unit}, but the points are in {what}; predict them with "
            f'--spacing, or write "unit": "{landmarks.unit}" in the plan'
        )


def _measure(plan: MeasurePlan, name: str, scene: Scene, known: dict[str, bool], unit: str) -> Measure:
    kind, needed = plan.kind(name), plan.needs(name)
    unit = {"angle": "deg", "ratio": ""}.get(kind, unit)
    missing = tuple(own for own in needed if np.isnan(scene.places[own][0]).any())
    gone = float("nan")
    if missing:
        return Measure(name, kind, gone, unit, gone, gone, gone, missing)
    values = scene.measure(name)
    value, draws = float(values[0]), values[1:]
    if not all(known[own] for own in needed):
        return Measure(name, kind, value, unit, gone, gone, gone)
    if "in" in plan.measures[name]:  # a signed angle near 180 degrees goes on beyond it, and does not turn negative
        draws = value + (draws - value + 180.0) % 360.0 - 180.0
    low, high = np.percentile(draws, [2.5, 97.5])
    return Measure(name, kind, value, unit, float(draws.std()), float(low), float(high))


def _drawing(plan: MeasurePlan, landmarks: Landmarks, measures: list[Measure]) -> MeasureDrawing:
    """What a picture needs: points, outlines of planes, lines and labels of measures."""
    from lmk3d.plots.measures import MeasureDrawing, MeasureLine

    own = landmarks.ordered(plan.landmarks)
    scene = Scene(plan, {name: own.points_mm[None, row] for row, name in enumerate(own.names)})
    there = {name for row, name in enumerate(own.names) if own.present[row]}
    lines = []
    for number, measure in enumerate(measures):
        segments = () if measure.missing else scene.segments(measure.name)
        lines.append(MeasureLine(number + 1, measure.name, text_of(measure), segments))
    outlines = [
        np.stack([scene.point(name)[0] for name in entry["through"]])
        for entry in plan.planes.values()
        if "normal" not in entry and all(set(plan.needs(name)) <= there for name in entry["through"])
    ]
    return MeasureDrawing(plan.name, own, tuple(lines), tuple(outlines))


def text_of(measure: Measure) -> str:
    """A value with its unit and deviation, or what it lacks, and which of its points are not trusted."""
    if measure.missing:
        return lacks(measure)
    digits = {"angle": 1, "ratio": 3}.get(measure.kind, 2)
    sign = "\N{DEGREE SIGN}" if measure.unit == "deg" else f" {measure.unit}".rstrip()
    spread = "" if np.isnan(measure.sd) else f" \N{PLUS-MINUS SIGN} {measure.sd:.{digits}f}"
    return f"{measure.value:.{digits}f}{spread}{sign}{' (not trusted)' if measure.untrusted else ''}"


def lacks(measure: Measure) -> str:
    """What to say of a measure without a value."""
    gone = [name for name in measure.missing if name not in measure.untrusted]
    said = {"lacks": gone, "not trusted:": measure.untrusted}
    return ", ".join(f"{what} {', '.join(names)}" for what, names in said.items() if names)


def _write_tables(plan: MeasurePlan, results: dict[str, list[Measure]], folder: Path) -> None:
    lines: list[list[object]] = [
        ["points", "measure", "kind", "value", "unit", "sd", "low_95", "high_95", "missing", "untrusted"],
        *(
            [
                *(path, own.name, own.kind, own.value, own.unit, own.sd, own.low, own.high),
                *(" ".join(own.missing), " ".join(own.untrusted)),
            ]
            for path, measures in results.items()
            for own in measures
        ),
    ]
    write_csv(lines, folder / "measures.csv")
    content = {
        "plan": plan.name,
        "files": [{"points": path, "measures": [_plain(own) for own in own_all]} for path, own_all in results.items()],
    }
    with atomic_path(folder / "measures.json") as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(measure: Measure) -> dict[str, Any]:
    return {key: None if isinstance(x, float) and np.isnan(x) else x for key, x in asdict(measure).items()}


def _stem(path: Path) -> str:
    name = path.name
    return name[: -len(".mrk.json")] if name.endswith(".mrk.json") else path.stem
