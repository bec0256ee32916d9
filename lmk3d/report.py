"""Files of an evaluation: a table of points, a summary as CSV and JSON, one HTML page, and a table for the terminal."""

from __future__ import annotations

import csv
import html
import json
import math
from typing import TYPE_CHECKING, Any

from lmk3d.io import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from lmk3d.metrics import Breakdown, PointError, Statistics, Summary

__all__ = ["RESULT", "heading", "summary_lines", "write_page", "write_points_table", "write_summary"]

RESULT = "result"
"""What tables call the predictions, beside the stages, the mean shape and the second rater."""


def write_points_table(rows: Iterable[PointError], path: Path, *, unit: str = "mm") -> None:
    """One line for each case and landmark (and instance): both points in world RAS, their distance, what was expected.

    Numbers that are not there are empty fields. ``status`` is found, missed, false or absent.

    Raises:
        InputError: if the file cannot be written.
    """
    heads = ["case", "landmark", "instance", "status", f"error_{unit}", "confidence", f"expected_error_{unit}"]
    heads += [f"{side}_{axis}_{unit}" for side in ("truth", "predicted") for axis in "ras"]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        for row in rows:
            numbers = [row.error_mm, row.confidence, row.expected_mm, *row.truth_mm, *row.predicted_mm]
            writer.writerow([row.case, row.name, row.instance, row.status, *map(_field, numbers)])


def write_summary(summary: Summary, csv_path: Path, json_path: Path) -> None:
    """The summary as a table (a line for each set and landmark, rates as parts of 1) and as JSON.

    Raises:
        InputError: if a file cannot be written.
    """
    unit, rates = summary.unit, list(summary.result.overall.sdr)
    measures = [f"{name}_{unit}" for name in ("mean", "median", "std", "p95", "max")]
    with atomic_path(csv_path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["set", "landmark", "n", "missed", *measures, *(f"sdr_{at:g}_{unit}" for at in rates)])
        for which, name, own in _lines(summary):
            numbers = [own.mean, own.median, own.std, own.p95, own.max, *(own.sdr[at] for at in rates)]
            writer.writerow([which, name, own.n, own.missed, *map(_field, numbers)])
    with atomic_path(json_path) as temporary:
        text = json.dumps(summary.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def summary_lines(summary: Summary) -> list[str]:
    """The summary for a terminal: each landmark, all together, what it is measured by, missing points, notes."""
    rows = _table(summary)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return [heading(summary), *lines, *_remarks(summary)]


def write_page(summary: Summary, pictures: Sequence[str], path: Path) -> None:
    """One HTML page with the table and the pictures, which lie in the same folder.

    Args:
        summary: the figures.
        pictures: file names of PNGs, in order.
        path: the page to write.
    Raises:
        InputError: if the file cannot be written.
    """
    heads, *rows = _table(summary)
    table = [_html_row(heads, "th"), *(_html_row(row, "td") for row in rows)]
    remarks = [f"<p>{html.escape(line)}</p>" for line in _remarks(summary)]
    sources = [html.escape(name, quote=True) for name in pictures]
    images = [f'<p><img src="{source}" alt="{source}"></p>' for source in sources]
    title = html.escape(heading(summary))
    head = ['<html lang="en"><head><meta charset="utf-8">', f"<title>{title}</title>", _STYLE, "</head><body>"]
    body = [f"<h1>{title}</h1>", "<table>", *table, "</table>", *remarks, *images, "</body></html>", ""]
    text = "\n".join(["<!DOCTYPE html>", *head, *body])
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def heading(summary: Summary) -> str:
    """What was evaluated on what, how many cases, and in which unit."""
    about = [value for key in ("detector", "dataset", "section") if (value := summary.about.get(key))]
    about.append(f"{summary.cases} case{'' if summary.cases == 1 else 's'}")
    unit = "mm" if summary.unit == "mm" else "pixels, since the images have no spacing"
    return f"{', '.join(about)}; errors in {unit}"


_STYLE = (
    "<style>body{font:15px/1.4 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#1c1c1c;background:#fff}"
    "h1{font-size:1.3em}table{border-collapse:collapse}th,td{padding:.15em .8em;text-align:right}"
    "th:first-child,td:first-child{text-align:left}th{border-bottom:1px solid #888}img{max-width:100%}</style>"
)


def _table(summary: Summary) -> list[list[str]]:
    overall = summary.result.overall
    digits = 3 if overall.n and overall.mean < 1 else 2  # tenths of a millimetre matter where errors are below one
    rates = [f"<={at:g}" for at in overall.sdr]
    rows = [["landmark", "n", "missed", "mean", "median", "sd", "p95", "max", *rates]]
    rows += [_cells(name, own, digits) for name, own in summary.result.landmarks.items()]
    rows.append(_cells("ALL", overall, digits))
    return rows + [_cells(name, own.overall, digits) for name, own in summary.beside.items()]


def _cells(name: str, own: Statistics, digits: int) -> list[str]:
    measures = (own.mean, own.median, own.std, own.p95, own.max)
    numbers = ["-" if math.isnan(value) else f"{value:.{digits}f}" for value in measures]
    rates = ["-" if math.isnan(rate) else f"{100 * rate:.1f}%" for rate in own.sdr.values()]
    return [name, str(own.n), str(own.missed), *numbers, *rates]


def _remarks(summary: Summary) -> list[str]:
    score = summary.missing
    if not score.absent and not score.reported:
        missing = "No landmark is absent and none was reported missing."
    else:
        precision, recall = ("-" if math.isnan(v) else f"{v:.3f}" for v in (score.precision, score.recall))
        missing = (
            f"Missing landmarks: {score.absent} truly absent, {score.reported} reported missing, {score.both} of them "
            f"rightly; precision {precision}, recall {recall}."
        )
    return [missing, *_patients(summary), *_structures(summary), *summary.notes]


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


def _field(value: Any) -> str:
    """Shortest text that reads back as the same number; empty for NaN."""
    return "" if math.isnan(value) else repr(float(value))


def _html_row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
