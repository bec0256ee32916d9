"""``lmk3d convert``, ``check`` and ``split``: files of points, and data sets before they are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.errors import InputError
from lmk3d.terminal import counted, say

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the shell."""
    _add_convert(subparsers)
    check = subparsers.add_parser(
        "check",
        help="find all problems of a data set",
        description="Find all problems of a data set at once, and show what its images and points are like.",
    )
    check.add_argument("dataset", type=Path, metavar="DATASET", help="the data set's JSON file")
    check.add_argument("--json", type=Path, metavar="FILE", help="also write the result to a JSON file")
    check.add_argument("--overwrite", action="store_true", help="replace that file if it exists (default: refuse to)")
    check.set_defaults(run=_check)

    split = subparsers.add_parser(
        "split",
        help="deal a data set into folds",
        description="Write a data set as fold1.json, fold2.json, ...; each is trained on like any data set, and each "
        "marked case is kept for validation in one of them.",
    )
    split.add_argument("dataset", type=Path, metavar="DATASET", help="the data set's JSON file")
    split.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    split.add_argument("--folds", type=int, default=5, metavar="N", help="how many (default: 5)")
    split.add_argument("--overwrite", action="store_true", help="replace files that exist (default: refuse to)")
    split.set_defaults(run=_split)


def _add_convert(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    convert = subparsers.add_parser(
        "convert",
        help="convert files of points",
        description="Convert a file of points; the endings say the formats: .mrk.json, .fcsv, .csv, .tsv, .txt, .json, "
        ".dcm (DICOM structured report).",
    )
    convert.add_argument("source", type=Path, metavar="FROM", help="the file to read")
    convert.add_argument("target", type=Path, metavar="TO", help="the file to write")
    convert.add_argument(
        "--frame",
        type=str.upper,
        choices=("RAS", "LPS"),
        help="frame of a table or .json that does not say its own (default: RAS)",
    )
    convert.add_argument(
        "--image",
        type=Path,
        metavar="IMAGE",
        help="the image the points lie in: a table of column,row needs it, and a structured report its DICOM images",
    )
    convert.add_argument("--series", metavar="WHICH", help="UID, number or description of the series")
    convert.add_argument("--overwrite", action="store_true", help="replace TO if it exists (default: refuse to)")
    convert.set_defaults(run=_convert)


def _convert(arguments: argparse.Namespace) -> int:
    from lmk3d.io import read_image, read_points, refuse_existing, write_points

    image = None if arguments.image is None else lambda: read_image(arguments.image, series=arguments.series)
    landmarks = read_points(arguments.source, frame=arguments.frame, image=image)
    refuse_existing([arguments.target], overwrite=arguments.overwrite)
    write_points(landmarks, arguments.target, image=arguments.image, series=arguments.series)
    missing = len(landmarks) - int(landmarks.present.sum())
    for note in landmarks.notes:
        say(f"note: {note}")
    lacking = f", {missing} of them missing" if missing else ""
    suspect = f", {untrusted} not trusted" if (untrusted := int(landmarks.suspect.sum())) else ""
    say(f"wrote {arguments.target}: {counted(len(landmarks), 'point')}{lacking}{suspect}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    import json

    from lmk3d.io import atomic_path, check_dataset, refuse_existing

    if arguments.json is not None:
        refuse_existing([arguments.json], overwrite=arguments.overwrite)
    result = check_dataset(arguments.dataset)
    if arguments.json is not None:
        content = {"problems": result.problems, "notes": result.notes, "fingerprint": result.fingerprint.to_dict()}
        with atomic_path(arguments.json) as path:
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    say(*result.fingerprint.table().split("\n"))
    for note in result.notes:
        say(f"note        {note}")
    for problem in result.problems:
        say(f"problem     {problem}")
    if result.problems:
        count = counted(len(result.problems), "problem")
        raise InputError(f"{arguments.dataset}: {count}, listed above; correct them and check again")
    say("no problems")
    return 0


def _split(arguments: argparse.Namespace) -> int:
    from lmk3d.io import write_folds

    for path in write_folds(arguments.dataset, arguments.output, arguments.folds, overwrite=arguments.overwrite):
        say(f"wrote {path}")
    return 0
