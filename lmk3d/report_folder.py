"""The folder that an evaluation leaves: tables, curves, pictures of the worst cases, and a page with all of it."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io import read_image
from lmk3d.report import RESULT, heading, write_errors, write_points_table, write_summary
from lmk3d.terminal import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.io import Case
    from lmk3d.metrics import PointError, Summary

__all__ = ["make_folder", "write_folder"]

_PICTURES = 6


def make_folder(output: Path) -> None:
    """Make a folder and see that it can be written to.

    Raises:
        InputError: if it cannot.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); choose another folder") from None


def write_folder(
    output: Path,
    summary: Summary,
    rows: Sequence[PointError],
    errors: Mapping[str, Mapping[str, NDArray[np.float64]]],
    cases: Mapping[str, Case],
) -> None:
    """Write all files of an evaluation; those of an earlier one are replaced.

    Args:
        output: the folder, which is there.
        summary: all figures.
        rows: every point of every case.
        errors: distances by set and landmark.
        cases: by name, for the pictures.
    Raises:
        InputError: if a file cannot be written.
    """
    from lmk3d.pages import write_report
    from lmk3d.plots import box_plot, cumulative_curve, save_figure

    write_points_table(rows, output / "points.csv", unit=summary.unit, radii=summary.radii is not None)
    write_errors(errors, output / "errors.csv", unit=summary.unit)
    write_summary(summary, output / "summary.csv", output / "summary.json")
    title = heading(summary).partition(";")[0]
    save_figure(box_plot(errors[RESULT], unit=summary.unit, title=title), output / "boxes.png")
    curves = {name: np.concatenate([*own.values(), np.empty(0)]) for name, own in errors.items()}
    save_figure(cumulative_curve(curves, unit=summary.unit, title=title), output / "cumulative.png")
    _write_worst(output, rows, cases, summary.unit)
    write_report([output], output / "index.html")
    say(f"written to {output}")


def _write_worst(output: Path, rows: Sequence[PointError], cases: Mapping[str, Case], unit: str) -> None:
    """The worst point of each of the worst cases: an image that failed as a whole is one picture, not all."""
    from lmk3d.plots import save_figure, worst_case

    worst: dict[str, PointError] = {}
    for row in rows:
        if row.status == "found" and (row.case not in worst or row.error_mm > worst[row.case].error_mm):
            worst[row.case] = row
    count = 0
    for row in sorted(worst.values(), key=lambda row: -row.error_mm)[:_PICTURES]:
        case = cases[row.case]
        try:
            volume = read_image(case.image, series=case.series, spacing_mm=case.spacing_mm)
        except InputError as error:  # points alone can be evaluated where the images are not at hand
            say(f"no picture of {row.case}: {error}")
            continue
        figure = worst_case(volume, row.truth_mm, row.predicted_mm, title=f"{row.case}   {row.name}", unit=unit)
        count += 1
        title = f"{row.case}, {row.name}: {row.error_mm:.2f} {unit} apart"
        save_figure(figure, output / f"worst-{count}.png", title=title)
    for number in range(count + 1, _PICTURES + 1):  # left by an earlier run, they would pass for this one's
        (output / f"worst-{number}.png").unlink(missing_ok=True)
