"""Files of an evaluation: tables of points and errors, a summary as CSV and JSON, and a table for the terminal."""

from __future__ import annotations

import csv
import itertools
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io import atomic_path
from lmk3d.io.csv_files import write_csv
from lmk3d.io.text import plain_cell
from lmk3d.metrics import Breakdown, MissingScore, Statistics, Summary
from lmk3d.reliability import RadiusFigures, RadiusSummary
from lmk3d.terminal import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.metrics import PointError

__all__ = [
    "ALIGNED",
    "RESULT",
    "TRUSTED",
    "aligned",
    "heading",
    "read_errors",
    "read_summary",
    "remarks",
    "summary_lines",
    "summary_table",
    "undertrained",
    "write_errors",
    "write_points_table",
    "write_summary",
]

RESULT = "result"
"""What tables call the predictions, beside the stages, the mean shape and the second rater."""

TRUSTED = "trusted points"
"""What tables call those of the predictions that are trusted; no point of them counts as missed."""

ALIGNED = "mean shape, aligned"
"""What tables call the training shapes' mean, laid over each case's ground truth."""


def write_points_table(rows: Iterable[PointError], path: Path, *, unit: str = "mm", radii: bool = False) -> None:
    """One line for each case and landmark (and instance): both points in world RAS, their distance, what was expected.

    Numbers that are not there are empty fields. ``status`` is found, missed, false or absent; ``trusted`` yes or no, or
    empty where nothing was predicted.

    Args:
        rows: of all cases.
        path: of the file.
        unit: of the points.
        radii: what was expected are radii with a coverage, not typical errors.
    Raises:
        InputError: if the file cannot be written.
    """
    heads = ["case", "landmark", "instance", "status", f"error_{unit}", "confidence"]
    heads.append(f"radius_{unit}" if radii else f"expected_error_{unit}")
    heads += [f"{side}_{axis}_{unit}" for side in ("truth", "predicted") for axis in "ras"] + ["trusted"]
    lines = (
        [
            *(row.case, row.name, row.instance, row.status, row.error_mm, row.confidence, row.expected_mm),
            *(*row.truth_mm, *row.predicted_mm),
            ("yes" if row.trusted else "no") if row.has_prediction else "",
        ]
        for row in rows
    )
    write_csv(itertools.chain([heads], lines), path)


def write_summary(summary: Summary, csv_path: Path, json_path: Path) -> None:
    """The summary as a table (a line for each set and landmark, rates as parts of 1) and as JSON.

    Raises:
        InputError: if a file cannot be written.
    """
    unit, rates = summary.unit, list(summary.result.overall.sdr)
    measures = [f"{name}_{unit}" for name in ("mean", "median", "std", "p95", "max")]
    heads = ["set", "landmark", "n", "missed", *measures, *(f"sdr_{at:g}_{unit}" for at in rates)]
    heads += ["within_radius", f"median_radius_{unit}"] if summary.radii else []
    lines = (
        [
            *(which, name, own.n, own.missed, own.mean, own.median, own.std, own.p95, own.max),
            *(*map(own.sdr.get, rates), *_radius_of(summary, which, name)),
        ]
        for which, name, own in _lines(summary)
    )
    write_csv(itertools.chain([heads], lines), csv_path)
    with atomic_path(json_path) as temporary:
        text = json.dumps(summary.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def write_errors(errors: Mapping[str, Mapping[str, NDArray[np.float64]]], path: Path, *, unit: str = "mm") -> None:
    """Every distance of every set (result, stages, mean shape, second rater), one a line; empty for a missed point.

    Raises:
        InputError: if the file cannot be written.
    """
    lines = ([which, name, value] for which, own in errors.items() for name, values in own.items() for value in values)
    write_csv(itertools.chain([["set", "landmark", f"error_{unit}"]], lines), path)


def read_errors(path: Path) -> dict[str, dict[str, NDArray[np.float64]]]:
    """What ``write_errors`` wrote; a landmark without a distance is left out.

    Raises:
        InputError: if the file cannot be read, or is another one.
    """
    found: dict[str, dict[str, list[float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for which, name, value in [*csv.reader(file)][1:]:
                own = found.setdefault(plain_cell(which), {})
                own.setdefault(plain_cell(name), []).append(float(value) if value else math.nan)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); run lmk3d evaluate again") from None
    return {which: {name: np.array(values) for name, values in own.items()} for which, own in found.items()}


def read_summary(path: Path) -> Summary:
    """The figures of a summary.json that ``write_summary`` wrote.

    Raises:
        InputError: if the file cannot be read, or is another one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = MissingScore(*(content["missing"][key] for key in ("both", "reported", "absent")))
        return Summary(
            unit=content["unit"],
            cases=content["cases"],
            result=_breakdown(content["result"]),
            missing=missing,
            beside={name: _breakdown(own) for name, own in content["beside"].items()},
            notes=tuple(content["notes"]),
            about=content["about"],
            patients={name: _rates(own) for name, own in content["patients"].items()},
            structures={name: _numbers(own) for name, own in content["structures"].items()},
            radii=None if content["radii"] is None else _radii(content["radii"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no summary of lmk3d evaluate ({error!r}); evaluate again") from None


def _breakdown(content: dict[str, Any]) -> Breakdown:
    return Breakdown(
        _statistics(content["overall"]), {name: _statistics(own) for name, own in content["landmarks"].items()}
    )


def _statistics(content: dict[str, Any]) -> Statistics:
    measures = _numbers({key: content[key] for key in ("mean", "median", "std", "p95", "max")})
    return Statistics(n=content["n"], missed=content["missed"], sdr=_rates(content["sdr"]), **measures)


def _radii(content: dict[str, Any]) -> RadiusSummary:
    overall, *own = (
        RadiusFigures(some["n"], **_numbers({key: some[key] for key in ("within", "median")}))
        for some in (content["overall"], *content["landmarks"].values())
    )
    return RadiusSummary(content["coverage"], overall, dict(zip(content["landmarks"], own, strict=True)))


def _rates(content: dict[str, Any]) -> dict[float, float]:
    return {float(at): rate for at, rate in _numbers(content).items()}


def _numbers(content: dict[str, Any]) -> dict[str, float]:
    return {key: math.nan if value is None else float(value) for key, value in content.items()}


def summary_lines(summary: Summary) -> list[str]:
    """The summary for a terminal: each landmark, all together, what it is measured by, missing points, notes."""
    return [heading(summary), *aligned(summary_table(summary)), *remarks(summary)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines for the terminal: the first column to the left, the others to the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def heading(summary: Summary) -> str:
    """What was evaluated on what, how many cases, and in which unit."""
    about = [value for key in ("detector", "dataset", "section") if (value := summary.about.get(key))]
    about.append(counted(summary.cases, "case"))
    unit = "mm" if summary.unit == "mm" else "pixels, since the images have no spacing"
    return f"{', '.join(about)}; errors in {unit}"


def summary_table(summary: Summary) -> list[list[str]]:
    """The summary as cells under their heads: each landmark, all together, and what the result is measured by."""
    overall = summary.result.overall
    digits = 3 if overall.n and overall.mean < 1 else 2  # tenths of a millimetre matter where errors are below one
    rates = [f"<={at:g}" for at in overall.sdr]
    rows = [["landmark", "n", "missed", "mean", "median", "sd", "p95", "max", *rates]]
    rows += [_cells(name, own, digits) for name, own in summary.result.landmarks.items()]
    rows.append(_cells("ALL", overall, digits))
    rows += [_cells(name, own.overall, digits) for name, own in summary.beside.items()]
    if summary.radii is None:
        return rows
    figures = [*summary.radii.landmarks.values(), summary.radii.overall]
    more = [["radius", "within"], *([_text(own.median, digits), _percent(own.within)] for own in figures)]
    more += [["-", "-"]] * (len(rows) - len(more))
    return [[*row, *cells] for row, cells in zip(rows, more, strict=True)]


def _cells(name: str, own: Statistics, digits: int) -> list[str]:
    measures = (own.mean, own.median, own.std, own.p95, own.max)
    numbers, rates = [_text(value, digits) for value in measures], [_percent(rate) for rate in own.sdr.values()]
    return [name, str(own.n), str(own.missed), *numbers, *rates]


def _text(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _percent(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{100 * rate:.1f}%"


def remarks(summary: Summary) -> list[str]:
    """What stands below the table, a sentence each: missing points, patients, outlines, notes."""
    score = summary.missing
    if not score.absent and not score.reported:
        missing = "No landmark is absent and none was reported missing."
    else:
        precision, recall = ("-" if math.isnan(v) else f"{v:.3f}" for v in (score.precision, score.recall))
        missing = (
            f"Missing landmarks: {score.absent} truly absent, {score.reported} reported missing, {score.both} of them "
            f"rightly; precision {precision}, recall {recall}."
        )
    return [missing, *_reliability(summary), *_patients(summary), *_structures(summary), *summary.notes]


def _reliability(summary: Summary) -> list[str]:
    """What the radii hold, and what trust is worth."""
    lines, radii, trusted = [], summary.radii, summary.beside.get(TRUSTED)
    if radii is not None:
        share = f"{_percent(radii.overall.within)} of {counted(radii.overall.n, 'found point')} with a radius"
        promised = f"{100 * radii.coverage:.4g}%"
        held = not radii.overall.within < radii.coverage
        told = f"{promised} were promised" if held else f"fewer than the {promised} promised"
        lines.append(f"Radii: {share} lie within it, {told}.")
    if trusted is not None:
        found, own = summary.result.overall.n, trusted.overall
        line = f"Trust: {found - own.n} of {counted(found, 'found point')} are not trusted"
        if own.sdr and own.n:
            limit = max(own.sdr)
            gross = round((1 - own.sdr[limit]) * own.n)
            line += f"; of the {own.n} trusted ones {gross} lie more than {limit:g} {summary.unit} off"
        lines.append(f"{line}.")
    return lines


def _patients(summary: Summary) -> list[str]:
    lines = []
    for name, rates in summary.patients.items():
        said = ", ".join(f"{100 * rate:.1f}% within {at:g} {summary.unit}" for at, rate in rates.items())
        lines.append(f"Cases with one {name} at least that is right: {said}.")
    return lines


def _structures(summary: Summary) -> list[str]:
    lines = [
        f"Outline of {name}: Dice {100 * own['dice']:.1f}%, surface distance {own['asd']:.2f} {summary.unit}."
        for name, own in summary.structures.items()
    ]
    if len(lines) > 1:
        means = {kind: sum(own[kind] for own in summary.structures.values()) / len(lines) for kind in ("dice", "asd")}
        lines.append(
            f"All outlines: Dice {100 * means['dice']:.1f}%, surface distance {means['asd']:.2f} {summary.unit}."
        )
    return lines


def _lines(summary: Summary) -> Iterator[tuple[str, str, Statistics]]:
    sets: dict[str, Breakdown] = {RESULT: summary.result, **summary.beside}
    for which, own in sets.items():
        yield which, "ALL", own.overall
        for name, statistics in own.landmarks.items():
            yield which, name, statistics


def _radius_of(summary: Summary, which: str, name: str) -> list[float | None]:
    """Cells of the share within the radius and the median radius: none where no radii are, empty for other sets."""
    if summary.radii is None:
        return []
    own = summary.radii.overall if name == "ALL" else summary.radii.landmarks.get(name)
    return [None, None] if which != RESULT or own is None else [own.within, own.median]


def undertrained(summary: Summary) -> str | None:
    """What to say of a detector that knows no more than where the mean shape lies once its pose is known.

    Returns:
        None where it is better than the training shapes' mean, aligned with the ground truth, or there is no such mean.
    """
    result, aligned, unit = summary.result.overall, summary.beside.get(ALIGNED), summary.unit
    if aligned is None or not aligned.overall.n or (result.n and result.mean < aligned.overall.mean):
        return None
    said = f"mean error {result.mean:.2f} {unit}" if result.n else "no point found"
    return (
        f"Undertrained: {said}, no better than the aligned mean shape ({aligned.overall.mean:.2f} {unit}). Train "
        "longer or on more cases; on images unlike those of the training, use another bundle."
    )
