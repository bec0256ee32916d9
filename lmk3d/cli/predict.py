"""``lmk3d predict``: landmarks of scans, as files and as a table."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.cli.options import (
    FORMATS,
    add_coverage_argument,
    add_device_argument,
    bundle_folder,
    formats,
    positive,
    use_device,
)
from lmk3d.cli.progress import Progress
from lmk3d.cli.trust import UNTRUSTED, add_keep_untrusted_argument, trust_lines, verdict_counts
from lmk3d.terminal import counted, duration, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from lmk3d.prediction import Prediction

__all__ = ["add_commands", "add_detector_arguments", "describe"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the shell."""
    parser = subparsers.add_parser(
        "predict",
        help="find the landmarks of scans",
        description="Find the landmarks of scans and write them as files that open in 3D Slicer.",
        epilog="Each scan gives NAME.mrk.json and NAME.manifest.json; NAME is that of the scan without its ending. "
        "Exit code: 0 when the points of all scans are trusted, 3 when those of one at least are doubtful or it is "
        "unlike the training data, 2 when a scan or an argument cannot be used.",
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="images, folders of images, DICOM folders or zips")
    add_detector_arguments(parser)
    _add_output_arguments(parser)
    parser.add_argument(
        "--series", metavar="WHICH", help="UID, number or description of the series, if there are several"
    )
    parser.add_argument(
        "--spacing", type=positive, metavar="MM", help="pixel spacing of radiographs whose files do not say it"
    )
    add_coverage_argument(parser)
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="do the scans on a Ray cluster: its address, auto, or local to start one here"
    )
    parser.set_defaults(run=_predict)


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is written, and where to."""
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
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="do all scans again and replace files that exist (default: skip what is done, keep what is there)",
    )
    parser.add_argument(
        "--names", action="store_true", help="leave patients' names and ids in file names, manifests and messages"
    )
    add_keep_untrusted_argument(
        parser, "write points that are not trusted, too, marked (default: they are withheld, and the reasons written)"
    )


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which bundle to use and where to compute."""
    parser.add_argument(
        "--bundle", default="cascade", metavar="B", help="a bundle's folder, or the name of a shipped one (cascade)"
    )
    add_device_argument(parser)


def describe(prediction: Prediction) -> str:
    """What the table of a prediction is about: the image, its size, and the frame its points are in."""
    if prediction.grid is None or prediction.landmarks is None:
        return _shown(prediction)
    unit = prediction.landmarks.unit
    shape = " x ".join(str(side) for side in prediction.grid.shape)
    spacing = " x ".join(f"{step:.3g}" for step in prediction.grid.spacing_mm)
    frame = "world RAS in mm" if unit == "mm" else "in pixels, since the file tells no spacing (give --spacing)"
    landmarks = prediction.landmarks
    found = len({name for name in landmarks.names if len(landmarks[name])})
    withheld = f" ({int(landmarks.held_back.sum())} withheld)" if landmarks.held_back.any() else ""
    return (
        f"{_shown(prediction)}: {shape} voxels of {spacing} {unit}; "
        f"{found} of {counted(len(set(landmarks.names)), 'landmark')}{withheld}, {frame}"
    )


def _problem(prediction: Prediction) -> str:
    """Why an image could not be used, in one line that names it."""
    from lmk3d.cli.shell import wrong_input

    error = prediction.error or RuntimeError("no landmarks came out")
    text = wrong_input(error) or " ".join(f"{type(error).__name__}: {error}".split())
    text = text if str(prediction.image) in text else f"{prediction.image}: {text}"
    return prediction.patient.hide(text)


def _predict(arguments: argparse.Namespace) -> int:
    # Torch's threads wait for each other asleep, not spinning: on a busy machine that takes half the time. Read when
    # torch is imported, which has not happened yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # One array is filled once: finding huge pages for it costs a virtual machine more than they save (0.4 s of 2.7 s).
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    _import_nibabel()
    from lmk3d.cli.shell import WRONG_INPUT
    from lmk3d.landmarks import VERDICTS
    from lmk3d.prediction import PredictOptions, predict_files
    from lmk3d.predictor import predict_here

    engine = predict_here
    if arguments.ray is not None:
        from lmk3d.cluster import RayEngine

        engine = RayEngine(arguments.ray)
    printer = _Printer(debug=arguments.debug)
    with _terminated_like_ctrl_c():
        results = predict_files(
            [Path(text) for text in arguments.inputs],
            bundle_folder(arguments.bundle),
            output=arguments.output,
            options=PredictOptions(
                formats=arguments.formats,
                preview=arguments.preview,
                # Whether CUDA is there only torch can tell, which takes seconds to import: not before the image is
                # read. With a cluster, it is a worker's question.
                device=_device(arguments),
                series=arguments.series,
                spacing_mm=arguments.spacing,
                coverage=arguments.coverage,
                overwrite=arguments.overwrite,
                patient_names=arguments.names,
                keep_untrusted=arguments.keep_untrusted,
            ),
            report=printer,
            engine=engine,
        )
    printer.sum_up(results)
    if any(result.error is not None for result in results):
        return WRONG_INPUT
    return 0 if all(result.verdict in ("", VERDICTS[0]) for result in results) else UNTRUSTED


def _import_nibabel() -> None:
    """Import it without pydicom and, by that, half of the web: nobody here reads the DICOM that NIfTI may carry.

    Measured: 0.06 instead of 0.17 s of 2.0 s for a scan of 512^3 voxels. Only in a process of our own, since others
    may want what nibabel makes of DICOM.
    """
    if {"nibabel", "pydicom"} & sys.modules.keys():
        return
    sys.modules["pydicom"] = None  # type: ignore[assignment]  # the language's way to say that there is none
    try:
        import nibabel.nifti2  # noqa: F401
    finally:
        del sys.modules["pydicom"]


def _device(arguments: argparse.Namespace) -> str:
    elsewhere = arguments.device == "auto" or arguments.ray is not None
    return str(arguments.device) if elsewhere else use_device(arguments.device)


@contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """Let ``kill`` end the block as Ctrl-C does, so that temporary files go."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only the main one may change it
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Printer:
    """Prints each result as it comes: a table for a single scan, a line for each of several."""

    def __init__(self, *, debug: bool) -> None:
        self.debug, self.failed, self.start = debug, 0, time.monotonic()
        self.progress, self.told = Progress(), set[str]()

    def __call__(self, result: Prediction) -> None:
        self.progress.clear()
        if result.error is not None:
            self.failed += 1
            sys.stdout.flush()
            if self.debug:
                say(*"".join(traceback.format_exception(result.error)).split("\n"), file=sys.stderr)
            say(f"lmk3d: error: {_problem(result)}", file=sys.stderr)
        elif result.skipped:
            say(f"{_shown(result)}: done already, skipped{f', {result.verdict}' if result.verdict else ''}")
        elif result.total == 1:
            self._print_table(result)
        else:
            verdict = f"{result.verdict}: " if result.verdict else ""
            say(f"{verdict}{describe(result)}, {result.seconds['detect']:.1f} s")
            self._print_notes(result)
        self.progress.draw(result.finished, result.total, self.failed, quick=result.skipped)

    def _print_table(self, result: Prediction) -> None:
        from lmk3d.cli.table import landmark_table

        if result.landmarks is not None:
            say(*trust_lines(result.landmarks), describe(result), *landmark_table(result.landmarks))
            if result.landmarks.held_back.any():
                say("points that are not trusted are withheld; --keep-untrusted writes them, marked")
        self._print_notes(result)
        say(f"wrote {', '.join(str(path) for path in result.outputs)}")

    def _print_notes(self, result: Prediction) -> None:
        """What to know of each image, and, once in a run, of the bundle."""
        ours = () if result.landmarks is None else result.landmarks.notes
        for note in result.notes:
            if note not in ours or note not in self.told:
                say(f"note: {note}")
        self.told.update(ours)

    def sum_up(self, results: list[Prediction]) -> None:
        """The end of a batch: how many were done, and which could not be used and why."""
        if len(results) < 2:
            return
        skipped = sum(result.skipped for result in results)
        before = f" ({skipped} of them by an earlier run)" if skipped else ""
        done = len(results) - self.failed
        taken = duration(time.monotonic() - self.start)
        say(f"{done} of {len(results)} scans done{before}, {self.failed} could not be used; {taken}")
        if trust := verdict_counts(result.verdict for result in results if result.error is None):
            say(trust)
        for result in results:
            if result.error is not None:
                say(f"  {_problem(result)}")


def _shown(prediction: Prediction) -> str:
    return prediction.patient.hide(str(prediction.image))
