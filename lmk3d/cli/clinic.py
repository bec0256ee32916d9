"""``lmk3d measure ceph``, ``cobb`` and ``age``: measures that the clinic knows, from points on a film."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmk3d.cli.options import positive
from lmk3d.cli.trust import add_keep_untrusted_argument
from lmk3d.errors import InputError
from lmk3d.terminal import printable, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from matplotlib.figure import Figure

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

__all__ = ["add_measures"]


def add_measures(measures: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the group ``measure``."""
    ceph = measures.add_parser(
        "ceph",
        help="eight cephalometric measures and their classes",
        description="Measure ANB, SNB, SNA, ODI, APDI, FHI, FMA and MW on a lateral skull film, with their classes.",
    )
    _add_arguments(ceph)
    ceph.set_defaults(run=_ceph)
    cobb = measures.add_parser(
        "cobb",
        help="three Cobb angles of a spine",
        description="Measure the Cobb angles of a frontal spine film from four corners of each of 17 vertebrae.",
    )
    _add_arguments(cobb)
    cobb.set_defaults(run=_cobb)
    age = measures.add_parser(
        "age",
        help="bone age of a hand",
        description="Read the bone age of a hand from the outlines of its bones, with a model of one's own training.",
        epilog="docs/bone_age.rst says how to train one; none is shipped.",
    )
    _add_arguments(age)
    age.add_argument("--model", type=Path, required=True, metavar="FILE", help="bone_age.pt of a training")
    age.set_defaults(run=_age)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("points", type=Path, metavar="POINTS", help="file of points: .mrk.json, .fcsv, .csv, .json")
    parser.add_argument("--image", type=Path, metavar="FILE", help="the film that the points were placed on")
    parser.add_argument("--spacing", type=positive, metavar="MM", help="pixel spacing, where points or film are in px")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for the result as .json and .csv, and a picture"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist (default: refuse to)")
    add_keep_untrusted_argument(parser, "measure also points that are not trusted, and say so (default: refuse to)")


def _ceph(arguments: argparse.Namespace) -> int:
    from lmk3d.apps.cephalometry import ceph_picture, cephalometry

    return _measure(arguments, cephalometry, ceph_picture)


def _cobb(arguments: argparse.Namespace) -> int:
    from lmk3d.apps.scoliosis import measure_cobb, spine_picture

    if arguments.image is None:
        say("no --image: the spine's middle stands for the film's, which decides what the third curve is")
    return _measure(arguments, measure_cobb, spine_picture)


def _age(arguments: argparse.Namespace) -> int:
    from lmk3d.apps.bone_age import BoneAgeModel, age_picture

    return _measure(arguments, BoneAgeModel.load(arguments.model).read, age_picture)


def _measure(arguments: argparse.Namespace, measure: Callable[..., Any], draw: Callable[..., Figure]) -> int:
    """Read points and film, measure, print the table, and write NAME.WHAT.json, .csv and .png where asked to."""
    outputs = _outputs(arguments)
    landmarks, film = _read(arguments)
    untrusted: list[str] = []
    if arguments.keep_untrusted:
        suspect = landmarks.present & ~landmarks.trusted
        untrusted = [landmarks.names[row] for row in suspect.nonzero()[0]]
        landmarks = replace(landmarks, assessment=None)
    with _naming(arguments.points):
        result = measure(landmarks, film=film)
    say(*_table(result.rows()))
    if untrusted:
        say(f"NOT TRUSTED: made of points that are not trusted: {', '.join(untrusted)}")
    if outputs:
        from lmk3d.apps.results import write_result
        from lmk3d.plots import save_figure

        arguments.output.mkdir(parents=True, exist_ok=True)
        *tables, picture = outputs
        for path in tables:
            write_result(result, path, untrusted=untrusted)
        title = f"NOT TRUSTED: {arguments.points.name}" if untrusted else arguments.points.name
        save_figure(draw(landmarks, result, film=film, title=title), picture)
        say(f"wrote {', '.join(str(path) for path in outputs)}")
    return 0


def _outputs(arguments: argparse.Namespace) -> list[Path]:
    """The files to write; none without ``--output``."""
    if arguments.output is None:
        return []
    name = arguments.points.name.removesuffix(".json").removesuffix(".mrk")
    name = Path(name).stem if name == arguments.points.name else name
    paths = [arguments.output / f"{name}.{arguments.measure}.{ending}" for ending in ("json", "csv", "png")]
    from lmk3d.io import refuse_existing

    refuse_existing(paths, overwrite=arguments.overwrite)
    return paths


def _read(arguments: argparse.Namespace) -> tuple[Landmarks, Volume | None]:
    """The points, in mm where a spacing is given, and their film."""
    from lmk3d.io import read_image, read_points

    spacing = arguments.spacing
    film = None if arguments.image is None else read_image(arguments.image, spacing_mm=spacing)
    landmarks = read_points(arguments.points, image=None if film is None else lambda: film)
    say(*(f"note: {note}" for own in (landmarks, film) if own is not None for note in own.notes))
    if spacing is not None and landmarks.unit == "px":
        landmarks = replace(landmarks, points_mm=landmarks.points_mm * spacing, unit="mm", error_mm=None)
    elif spacing is not None and film is None:
        raise InputError(f"{arguments.points}: is in mm already; leave --spacing out, or correct the file's unit")
    return landmarks, film


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its points."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows under their keys, columns aligned."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else printable(value)
