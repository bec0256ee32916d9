"""``lmk3d measure``: numbers from points; this module has its group and ``measure plan``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.cli import clinic
from lmk3d.cli.options import positive
from lmk3d.cli.trust import add_keep_untrusted_argument
from lmk3d.errors import InputError
from lmk3d.terminal import say

if TYPE_CHECKING:
    import argparse

    from lmk3d.apps.measure import Measure

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group to the shell, and to it each module's commands."""
    group = subparsers.add_parser(
        "measure", help="measure distances and angles between points", description="Measure between landmarks."
    )
    measures = group.add_subparsers(dest="measure", metavar="WHAT", title="what to measure", required=True)
    for add in (_add_plan, clinic.add_measures):
        add(measures)


def _add_plan(measures: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = measures.add_parser(
        "plan",
        help="distances, heights, angles and ratios that a plan names",
        description="Measure the distances, heights above planes, angles and ratios that a JSON file names.",
        epilog="docs/measures.rst says what a plan may hold. Deviations come from the points' expected errors.",
    )
    parser.add_argument("plan", type=Path, metavar="PLAN", help="the plan's JSON file")
    parser.add_argument("points", type=Path, nargs="+", metavar="POINTS", help="files of points")
    parser.add_argument("--image", type=Path, metavar="FILE", help="the image of the points, for the picture")
    parser.add_argument("--spacing", type=positive, metavar="MM", help="pixel spacing of a film that does not say it")
    parser.add_argument("--error", type=positive, metavar="MM", help="expected error of points whose file says none")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for measures.csv, measures.json and pictures"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist (default: refuse to)")
    add_keep_untrusted_argument(parser, "measure also points that are not trusted, and say so (default: no value)")
    parser.set_defaults(run=_measure_plan)


def _measure_plan(arguments: argparse.Namespace) -> int:
    if arguments.image is not None and len(arguments.points) > 1:
        raise InputError(f"{arguments.image}: one image belongs to one file of points; measure the others apart")
    from lmk3d.apps.measure import measure_files
    from lmk3d.apps.sides import Side

    results, paths = measure_files(
        arguments.plan,
        [Side(path, arguments.image, arguments.spacing) for path in arguments.points],
        arguments.output,
        error_mm=arguments.error,
        keep_untrusted=arguments.keep_untrusted,
        overwrite=arguments.overwrite,
    )
    for path, measures in results.items():
        say(f"{path}:", *_table(measures))
    if paths:
        say(f"wrote {', '.join(str(path) for path in paths)}")
    return 0


def _table(measures: list[Measure]) -> list[str]:
    from lmk3d.apps.measure import lacks
    from lmk3d.report import aligned

    rows = [["measure", "value", "sd", "95 % from", "to", "unit"]]
    for own in measures:
        digits = {"angle": 2, "ratio": 4}.get(own.kind, 3)
        cells = ["-" if math.isnan(x) else f"{x:.{digits}f}" for x in (own.value, own.sd, own.low, own.high)]
        rows.append([own.name, *cells, lacks(own) if own.missing else own.unit])
        if own.untrusted and not own.missing:
            rows[-1][-1] += f", not trusted: {', '.join(own.untrusted)}"
    return aligned(rows)
