"""What the command line does, as three functions: load a bundle, train one, measure its errors."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmk3d.components import find_bundle
from lmk3d.conformal import COVERAGE
from lmk3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lmk3d.inference import LandmarkDetector
    from lmk3d.metrics import Summary

    AnyPath = str | os.PathLike[str]

__all__ = ["evaluate", "load", "refuse_report", "train"]


def load(bundle: AnyPath = "cascade", *, device: str = "auto", coverage: float = COVERAGE) -> LandmarkDetector:
    """A trained bundle, ready to be called with images.

    Args:
        bundle: its folder, or the name of a shipped one.
        device: "cpu", "cuda", "cuda:1"; "auto" for CUDA where it is there.
        coverage: share of new patients, in (0, 1), whose true point lies within a point's error radius.
    Raises:
        InputError: if there is no such bundle, no such device, or the bundle cannot be used.

    >>> from lmk3d.synthetic import cta_phantom
    >>> detector = load("cascade", device="cpu")
    >>> phantom = cta_phantom(0, spacing_mm=4.0)
    >>> landmarks = detector(phantom.volume.data, affine=phantom.volume.grid.affine)
    >>> landmarks.names == detector.names
    True
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage must lie between 0 and 1, got {coverage}")
    folder = find_bundle(bundle)
    from lmk3d.inference import LandmarkDetector

    detector = LandmarkDetector.from_bundle(folder, device=device)
    detector.coverage = coverage
    return detector


def train(  # noqa: PLR0913 - the options of the command
    dataset: AnyPath,
    output: AnyPath,
    *,
    method: str | None = None,
    budget_s: float | None = None,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Path:
    """Look at a data set, write a bundle for it, train and evaluate it; a training that was interrupted resumes.

    Args:
        dataset: the data set's JSON file; see ``lmk3d.read_dataset``.
        output: folder of the bundle, which ``load`` then takes.
        method: "cascade", or one of ``lmk3d.configure.methods``.
        budget_s: bound of the whole run in seconds.
        device: "cpu", "cuda", "cuda:1"; "auto" for CUDA where it is there.
        overrides: values of train.json by id, such as {"epochs": 50}.
        trust: run the train.json of an existing bundle also where it holds code of others.
    Returns:
        The folder of the bundle.
    Raises:
        InputError: if the data set has problems, a setting is wrong, the budget is too short, or the bundle that is
            there does not fit.
    """
    begun, folder = time.monotonic(), Path(output)
    from lmk3d.configure import train_dataset  # which takes seconds of the budget, many on a busy machine

    if not trust and (folder / "train.json").is_file():
        from lmk3d.configure.trust import check_trusted

        check_trusted(folder)
    train_dataset(
        _json_of(dataset),
        folder,
        method=method,
        budget_s=None if budget_s is None else budget_s - (time.monotonic() - begun),
        device=_device(device),
        overrides=dict(overrides or {}),
    )
    return folder


def evaluate(  # noqa: PLR0913 - the options of the command
    bundle: AnyPath,
    dataset: AnyPath,
    output: AnyPath | None = None,
    *,
    section: str = "validation",
    sdr_mm: Sequence[float] | None = None,
    device: str = "auto",
    coverage: float = COVERAGE,
    overwrite: bool = False,
) -> Summary:
    """Predict the cases of a data set and say how far the points lie from the ground truth.

    Prints a table; ``output`` also gets tables, curves, the worst cases and a page.

    Args:
        bundle: its folder, or the name of a shipped one. For a detector in memory, and for points in files, see
            ``lmk3d.evaluation.evaluate_detector`` and ``evaluate_points``.
        dataset: the data set's JSON file.
        output: folder of the report; none is written when None.
        section: "training", "validation" or "test".
        sdr_mm: distances of the success rates; the bundle's own when None.
        device: "cpu", "cuda", "cuda:1"; "auto" for CUDA where it is there.
        coverage: share of new patients, in (0, 1), that the error radii are to hold for.
        overwrite: replace an earlier report.
    Returns:
        All figures, in mm, or in px where the images have no spacing.
    Raises:
        InputError: if the bundle, the data set, one of its files or the output cannot be used.
    """
    folder = None if output is None else Path(output)
    refuse_report(folder, overwrite=overwrite)
    path, data, device = find_bundle(bundle), _json_of(dataset), _device(device)
    from lmk3d.evaluation import evaluate as evaluate_bundle

    return evaluate_bundle(path, data, folder, section=section, sdr_mm=sdr_mm, device=device, coverage=coverage)


def refuse_report(folder: Path | None, *, overwrite: bool) -> None:
    """Refuse to write a report where an earlier one is.

    Raises:
        InputError: if there is one and it is not to be overwritten.
    """
    if folder is not None and (folder / "summary.json").exists() and not overwrite:
        raise InputError(f"{folder}: holds a report already; choose another folder, or --overwrite to replace it")


def _device(name: str) -> str:
    if name == "cpu":
        return name
    from lmk3d.weights import find_device

    return str(find_device(name))


def _json_of(dataset: AnyPath) -> Path:
    """The data set's file; what ``read_dataset`` makes of it no longer says where it was."""
    if not isinstance(dataset, str | os.PathLike):
        raise TypeError(f"dataset must be the path of a data set's JSON file, got a {type(dataset).__name__}")
    return Path(dataset)
