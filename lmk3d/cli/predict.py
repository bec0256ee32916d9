"""``lmk3d predict``: landmarks of scans, as files and as a table."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.cli.options import FORMATS, add_device_argument, bundle_folder, formats, positive, use_device

if TYPE_CHECKING:
    import argparse

    from lmk3d.prediction import Prediction

__all__ = ["add_commands", "add_detector_arguments", "describe"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the shell."""
    parser = subparsers.add_parser(
        "predict",
        help="find the landmarks of scans",
        description="Find the landmarks of scans and write them as files that open in 3D Slicer.",
        epilog="Each scan gives NAME.mrk.json and NAME.manifest.json; NAME is that of the scan without its ending.",
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="images, folders of images, DICOM folders or zips")
    add_detector_arguments(parser)
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="folder to write to (default: the current one)"
    )
    parser.add_argument(
        "--format",
        dest="formats",
        type=formats,
        default=("mrk.json",),
        metavar="LIST",
        help=f"any of {','.join(FORMATS)}, with commas between them (default: mrk.json)",
    )
    parser.add_argument(
        "--preview", action="store_true", help="also write a picture of three planes through each point"
    )
    parser.add_argument("--series", metavar="UID", help="which series of a DICOM folder that holds several")
    parser.add_argument(
        "--spacing", type=positive, metavar="MM", help="pixel spacing of radiographs whose files do not say it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist (default: refuse to)")
    parser.set_defaults(run=_predict)


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which bundle to use and where to compute."""
    parser.add_argument(
        "--bundle", default="cascade", metavar="B", help="a bundle's folder, or the name of a shipped one (cascade)"
    )
    add_device_argument(parser)


def describe(prediction: Prediction) -> str:
    """What the table of a prediction is about: the image, its size, and the frame its points are in."""
    if prediction.grid is None or prediction.landmarks is None:
        return str(prediction.image)
    unit = prediction.landmarks.unit
    shape = " x ".join(str(side) for side in prediction.grid.shape)
    spacing = " x ".join(f"{step:.3g}" for step in prediction.grid.spacing_mm)
    frame = "world RAS in mm" if unit == "mm" else "in pixels, since the file tells no spacing (give --spacing)"
    found = len({name for name in prediction.landmarks.names if len(prediction.landmarks[name])})
    return (
        f"{prediction.image}: {shape} voxels of {spacing} {unit}; "
        f"{found} of {len(set(prediction.landmarks.names))} landmarks, {frame}"
    )


def _problem(prediction: Prediction) -> str:
    """Why an image could not be used, in one line that names it."""
    from lmk3d.cli.shell import wrong_input

    error = prediction.error or RuntimeError("no landmarks came out")
    text = wrong_input(error) or " ".join(f"{type(error).__name__}: {error}".split())
    return text if str(prediction.image) in text else f"{prediction.image}: {text}"


def _predict(arguments: argparse.Namespace) -> int:
    # Torch's threads wait for each other asleep, not spinning: on a busy machine that takes half the time. Read when
    # torch is imported, which has not happened yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from lmk3d.cli.shell import WRONG_INPUT
    from lmk3d.cli.table import landmark_table
    from lmk3d.prediction import PredictOptions, predict_files

    def report(prediction: Prediction) -> None:
        if prediction.landmarks is None:
            if arguments.debug and prediction.error is not None:
                raise prediction.error
            sys.stdout.flush()
            print(f"lmk3d: error: {_problem(prediction)}", file=sys.stderr, flush=True)
            return
        print(describe(prediction))
        print(landmark_table(prediction.landmarks))
        print(f"wrote {', '.join(str(path) for path in prediction.outputs)}\n", flush=True)

    results = predict_files(
        [Path(text) for text in arguments.inputs],
        bundle_folder(arguments.bundle),
        output=arguments.output,
        options=PredictOptions(
            formats=arguments.formats,
            preview=arguments.preview,
            # Whether CUDA is there only torch can tell, which takes seconds to import: meanwhile the image is read.
            device=arguments.device if arguments.device == "auto" else use_device(arguments.device),
            series=arguments.series,
            spacing_mm=arguments.spacing,
            overwrite=arguments.overwrite,
        ),
        report=report,
    )
    failed = sum(result.landmarks is None for result in results)
    if failed and len(results) > 1:
        print(f"{len(results) - failed} of {len(results)} scans done, {failed} could not be used")
    gc.freeze()  # or the interpreter looks through a million of torch's objects before it ends
    return WRONG_INPUT if failed else 0
