"""Whether radii hold what they promise: on cases they were not learnt from, beside the expected error of before.

    python tools/coverage.py BUNDLE DATASET --section test
    python tools/coverage.py FOLD1 fold1.json FOLD2 fold2.json ...
    python tools/coverage.py --shape fold1.json fold2.json ...

A single bundle uses its own radii. Of several, such as the trainings of ``lmk3d folds``, each uses the pooled scores of
all others: no radius has seen a patient that it is tested on, and no network either. A case whose image is among those
that the radii were learnt from, under another name, is left out.

With --shape no network is needed: the training cases' mean shape, aligned with the ground truth, is the prediction, and
claims the same scale everywhere. That tests the radii on how real patients differ, in seconds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.calibration import Calibration
from lmk3d.conformal import COVERAGE, Radii, image_key
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.io import read_dataset, read_image
from lmk3d.io.datasets import case_points
from lmk3d.metrics import compare, mean_shape_errors, unique_points
from lmk3d.reliability import radius_summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmk3d.metrics import PointError


def others(radii: Sequence[Radii]) -> list[Radii]:
    """For each training the pooled scores of all others; its own where it is the only one."""
    if len(radii) == 1:
        return list(radii)
    return [Radii.pooled([*radii[:row], *radii[row + 1 :]]) for row in range(len(radii))]


def measured(detector: LandmarkDetector, radii: Radii, dataset: Path, section: str) -> list[tuple[PointError, float]]:
    """Each point with its radius, and beside it the error that is expected without radii."""
    detector.calibration = replace(detector.calibration or Calibration({}), radii=radii)
    ratios = detector.network.error_ratio.cpu().numpy() / radii.factors(detector.coverage)
    ratio = dict(zip(detector.names, ratios, strict=True))
    rows = []
    for case in read_dataset(dataset).with_validation().cases(section):
        volume = read_image(case.image, series=case.series, spacing_mm=case.spacing_mm)
        if case.points is None or image_key(volume) in radii.patients:
            continue
        truth = replace(case_points(case), unit=volume.unit)
        own = compare(truth, detector.detect(volume), detector.names, case=case.name)
        rows += [(row, row.expected_mm * ratio[row.name]) for row in own]
    return rows


def shape_errors(dataset: Path, section: str) -> np.ndarray:
    """(C, N) distances of the training cases' aligned mean shape from the cases of a section."""
    known = read_dataset(dataset).with_validation()
    names = known.landmark_names
    training, others = (
        np.array([unique_points(case_points(case), names) for case in known.cases(one) if case.points])
        for one in ("training", section)
    )
    return mean_shape_errors(training, others, align=True)


def shape_coverage(datasets: Sequence[Path], section: str, coverage: float) -> None:
    """Print a line for each data set, and one for all together."""
    held, folds = [], []
    for number, dataset in enumerate(datasets):
        errors = shape_errors(dataset, "validation")
        folds.append(Radii.fit(errors, np.ones_like(errors), tuple(f"{number} {row}" for row in range(len(errors)))))
    for dataset, radii in zip(datasets, others(folds), strict=True):
        errors = shape_errors(dataset, section)
        radius = np.broadcast_to(radii.factors(coverage), errors.shape)
        held.append((errors <= radius)[np.isfinite(errors) & np.isfinite(radius)])
        print(
            f"{dataset.stem} ({len(radii)} patients): {100 * held[-1].mean():.1f} % of {len(held[-1])} points within "
            f"the {100 * (radii.given(coverage) or 0):.3g} % radius, median {np.nanmedian(radius):.3g}; mean error "
            f"{np.nanmean(errors):.3g}",
            flush=True,
        )
    everything = np.concatenate(held)
    print(f"all: {100 * everything.mean():.1f} % of {len(everything)} points")


def told(name: str, rows: Sequence[tuple[PointError, float]], names: Sequence[str], coverage: float) -> str:
    """One line on some points; the range is over landmarks."""
    figures = radius_summary([row for row, _ in rows], names, coverage)
    found = [(row, expected) for row, expected in rows if row.status == "found" and np.isfinite(row.expected_mm)]
    errors = [row.error_mm for row, _ in found]
    missed = sum(row.status == "missed" for row, _ in rows)
    each = [100 * own.within for own in figures.landmarks.values() if own.n]
    below = np.mean([row.error_mm <= expected for row, expected in found])
    return (
        f"{name}: {len({row.case for row, _ in rows})} cases, {figures.overall.n} points, {missed} missed; "
        f"{100 * figures.overall.within:.1f} % within the {100 * coverage:.3g} % radius "
        f"(landmarks {min(each):.0f} to {max(each):.0f} %), median radius {figures.overall.median:.3g}; "
        f"median expected error {np.median([expected for _, expected in found]):.3g} ({100 * below:.1f} % within); "
        f"mean error {np.mean(errors):.3g}, median {np.median(errors):.3g}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each bundle, and one for all together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, nargs="+", metavar="BUNDLE DATASET")
    parser.add_argument("--shape", action="store_true", help="data sets alone: radii round the aligned mean shape")
    parser.add_argument("--section", default="validation", help="of the data sets (default: validation)")
    parser.add_argument("--coverage", type=float, default=COVERAGE, help="share of patients (default: 0.9)")
    given = parser.parse_args(argv)
    if given.shape:
        shape_coverage(given.pairs, given.section, given.coverage)
        return
    detectors = [LandmarkDetector.from_bundle(folder) for folder in given.pairs[::2]]
    known = [None if own.calibration is None else own.calibration.radii for own in detectors]
    if wanting := [str(folder) for folder, own in zip(given.pairs[::2], known, strict=True) if own is None]:
        raise InputError(f"{wanting[0]}: has no radii; run lmk3d calibrate")
    rows, promised, names = [], given.coverage, detectors[0].names
    radii = others([own for own in known if own is not None])
    for folder, dataset, detector, own in zip(given.pairs[::2], given.pairs[1::2], detectors, radii, strict=True):
        detector.coverage, promised = given.coverage, own.given(given.coverage) or given.coverage
        some = measured(detector, own, dataset, given.section)
        print(told(f"{folder.name} ({len(own)} patients)", some, names, promised), flush=True)
        rows += [(replace(row, case=f"{folder} {row.case}"), expected) for row, expected in some]
    if len(detectors) > 1:
        print(told("all", rows, names, promised), flush=True)


if __name__ == "__main__":
    main()
