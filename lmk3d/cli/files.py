"""``lmk3d convert`` and ``lmk3d check``: files of points, and data sets before they are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.errors import InputError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the shell."""
    convert = subparsers.add_parser(
        "convert",
        help="convert files of points",
        description="Convert a file of points; the endings say the formats: .mrk.json, .fcsv, .csv, .tsv, .txt, .json.",
    )
    convert.add_argument("source", type=Path, metavar="FROM", help="the file to read")
    convert.add_argument("target", type=Path, metavar="TO", help="the file to write")
    convert.add_argument(
        "--frame",
        type=str.upper,
        choices=("RAS", "LPS"),
        help="frame of a table or .json that does not say its own (default: RAS)",
    )
    convert.add_argument("--overwrite", action="store_true", help="replace TO if it exists (default: refuse to)")
    convert.set_defaults(run=_convert)

    check = subparsers.add_parser(
        "check",
        help="find all problems of a data set",
        description="Find all problems of a data set at once, and show what its images and points are like.",
    )
    check.add_argument("dataset", type=Path, metavar="DATASET", help="the data set's JSON file")
    check.add_argument("--json", type=Path, metavar="FILE", help="also write the result to a JSON file")
    check.set_defaults(run=_check)


def _convert(arguments: argparse.Namespace) -> int:
    from lmk3d.io import read_points, write_points

    landmarks = read_points(arguments.source, frame=arguments.frame)
    if arguments.target.exists() and not arguments.overwrite:
        raise InputError(f"{arguments.target}: exists already; choose another name, or --overwrite to replace it")
    write_points(landmarks, arguments.target)
    missing = len(landmarks) - int(landmarks.present.sum())
    print(f"wrote {arguments.target}: {len(landmarks)} points{f', {missing} of them missing' if missing else ''}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from lmk3d.io import check_dataset

    result = check_dataset(arguments.dataset)
    print(result)
    if result.problems:
        raise InputError(f"{arguments.dataset}: has {len(result.problems)} problems, listed above; correct them")
    return 0
