"""``lmk3d demo``: a phantom, the shipped weights, and how far they are from the truth; all of it offline."""

from __future__ import annotations

import argparse
from pathlib import Path

from lmk3d.cli.options import bundle_folder, use_device
from lmk3d.cli.predict import add_detector_arguments, describe
from lmk3d.terminal import say

__all__ = ["add_commands"]

_SEED = 900_001  # far above those of the phantoms that the shipped weights were trained on
_SPACING_MM = 0.6  # somewhat coarser than a real CTA of the heart, so that drawing it takes seconds


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the shell."""
    parser = subparsers.add_parser(
        "demo",
        help="see it work on a phantom, without data or network",
        description="Draw a CTA phantom, find its landmarks with the shipped weights, and compare them with the truth.",
    )
    add_detector_arguments(parser)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("lmk3d_demo"),
        metavar="DIR",
        help="folder to write to (default: lmk3d_demo)",
    )
    parser.add_argument("--seed", type=_seed, default=_SEED, help=f"which phantom (default: {_SEED})")
    parser.set_defaults(run=_demo)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; give a whole number from 0 on")
    return int(text)


def _demo(arguments: argparse.Namespace) -> int:
    bundle, device = bundle_folder(arguments.bundle), use_device(arguments.device)
    import numpy as np

    from lmk3d.cli.table import landmark_table
    from lmk3d.cli.trust import trust_lines
    from lmk3d.io import write_image, write_points
    from lmk3d.prediction import PredictOptions, predict_files
    from lmk3d.synthetic import cta_phantom

    say(f"drawing CTA phantom {arguments.seed}")
    phantom = cta_phantom(arguments.seed, spacing_mm=_SPACING_MM)
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    scan = folder / "phantom.nii.gz"
    write_image(phantom.volume, scan)
    write_points(phantom.landmarks, folder / "truth.mrk.json")
    # The folder is the demo's own: a second run replaces what the first one wrote.
    options = PredictOptions(preview=True, device=device, overwrite=True)
    (prediction,) = predict_files([scan], bundle, output=folder, options=options)
    if prediction.landmarks is None:
        raise prediction.error or RuntimeError("the prediction ended without a result")
    found = prediction.landmarks
    errors_mm = np.linalg.norm(found.points_mm - phantom.landmarks.ordered(found.names).points_mm, axis=1)
    say(*trust_lines(found), describe(prediction), *landmark_table(found, errors_mm=errors_mm))
    for note in prediction.notes:
        say(f"note: {note}")
    if np.isfinite(errors_mm).any():
        say(f"mean error {np.nanmean(errors_mm):.2f} mm, largest {np.nanmax(errors_mm):.2f} mm")
    say(f"wrote {', '.join(str(path) for path in (scan, folder / 'truth.mrk.json', *prediction.outputs))}")
    say(f"load {scan} and {prediction.outputs[0]} into 3D Slicer to see them together")
    return 0
