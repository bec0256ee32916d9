"""``lmk3d register``: one image's points brought onto another's, and with them the images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.cli.options import positive
from lmk3d.errors import InputError
from lmk3d.terminal import say

if TYPE_CHECKING:
    import argparse

    from lmk3d.apps.registration import Registration

__all__ = ["add_commands"]

_KINDS = ("rigid", "similarity", "affine", "tps")


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the shell."""
    parser = subparsers.add_parser(
        "register",
        help="bring one image's points onto another's",
        description="Fit the transform that brings the points of MOVING onto those of FIXED, paired by name.",
        epilog="With --output DIR: transform.tfm for ITK and 3D Slicer, tables and pictures; with both images also the "
        "moving image on the fixed one's grid, and a checkerboard of the two.",
    )
    parser.add_argument("moving", type=Path, metavar="MOVING", help="file of points to be moved")
    parser.add_argument("fixed", type=Path, metavar="FIXED", help="file of points to be reached")
    parser.add_argument(
        "--kind", choices=_KINDS, default="rigid", help="what is fitted; tps: thin-plate spline (default: rigid)"
    )
    parser.add_argument("--robust", action="store_true", help="leave out pairs that do not agree with the others")
    parser.add_argument("--weigh", action="store_true", help="weigh points by their expected errors (error_mm)")
    parser.add_argument(
        "--smooth", type=positive, default=0.0, metavar="S", help="let a spline miss points: 1 is nearly affine"
    )
    parser.add_argument(
        "--match",
        type=positive,
        default=10.0,
        metavar="MM",
        help="longest distance at which points of a name that stands several times are one (default: 10)",
    )
    for side in ("moving", "fixed"):
        parser.add_argument(f"--{side}-image", type=Path, metavar="FILE", help=f"the image of the {side} points")
        parser.add_argument(
            f"--{side}-spacing", type=positive, metavar="MM", help="pixel spacing of a film that does not say it"
        )
    parser.add_argument("--refine", action="store_true", help="go on from there by the images' mutual information")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for transform, tables and pictures")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist (default: refuse to)")
    parser.set_defaults(run=_register)


def _register(arguments: argparse.Namespace) -> int:
    if arguments.smooth and arguments.kind != "tps":
        raise InputError("only a spline is smoothed; add --kind tps, or leave --smooth out")
    from lmk3d.apps.register_files import register_files
    from lmk3d.apps.registration import RegisterOptions
    from lmk3d.apps.sides import Side

    registration, paths = register_files(
        Side(arguments.moving, arguments.moving_image, arguments.moving_spacing),
        Side(arguments.fixed, arguments.fixed_image, arguments.fixed_spacing),
        arguments.output,
        options=RegisterOptions(
            arguments.kind, arguments.robust, arguments.weigh, arguments.smooth, match_mm=arguments.match
        ),
        refine=arguments.refine,
        overwrite=arguments.overwrite,
    )
    say(*_lines(registration))
    if paths:
        say(f"wrote {', '.join(str(path) for path in paths)}")
    return 0


def _lines(registration: Registration) -> list[str]:
    """The pairs with their errors, the transform's matrix, and what was left out."""
    from lmk3d.report import aligned

    unit = registration.unit
    rows = [["landmark", "weight", f"residual {unit}", f"left out {unit}"]]
    for pair in registration.pairs:
        weight = f"{pair.weight:.2f}" if pair.used else "outlier"
        spared = "-" if math.isnan(pair.left_out_mm) else f"{pair.left_out_mm:.3f}"
        rows.append([pair.name, weight, f"{pair.residual_mm:.3f}", spared])
    used = sum(pair.used for pair in registration.pairs)
    left_out = registration.left_out_rms_mm
    end = "" if math.isnan(left_out) else f", left out one by one {left_out:.3f} {unit}"
    lines = [
        *aligned(rows),
        (
            f"{registration.kind} from {used} of {len(registration.pairs)} pairs: residual {registration.rms_mm:.3f} "
            f"{unit}{end} (root mean squares)"
        ),
        "moving to fixed, RAS:" if registration.transform.is_linear else "moving to fixed, RAS, its affine part:",
        *("  " + "  ".join(f"{value:11.5f}" for value in row) for row in registration.transform.affine),
    ]
    alone = {side: [name for name, where in registration.alone if where == side] for side in ("moving", "fixed")}
    lines += [f"without a partner in {side}: {', '.join(names)}" for side, names in alone.items() if names]
    if (done := registration.refinement) is not None:
        taken = f"moved the points by {done.moved_mm:.3f} {unit}" if done.kept else "was no better and is not taken"
        lines.append(f"refinement {taken}: mutual information {done.metric_before:.4f} to {done.metric_after:.4f}")
    return lines
