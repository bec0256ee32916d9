"""Whether a bundle knows which scans it is wrong on: its own kind, other scans, and changed ones, flagged or right.

    python tools/off_distribution.py cascade --phantoms 100 --changed 4 --other ct.nii.gz other_hospital/
    python tools/off_distribution.py my_bundle/ --dataset dataset.json --changed 4 --other other_hospital/

Three kinds of scans: of the training's kind (validation cases of ``--dataset``, new phantoms of the shipped cascade),
of which none should be flagged; ``--other`` scans without ground truth, of which none should be trusted; and changed
ones of the first kind, which should be right or flagged. Right is a median error within ``--right`` mm. A scan is
flagged where none of its points is trusted; of one that is doubtful the trusted points alone are measured.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lmk3d.cli.options import bundle_folder
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume, apply_affine
from lmk3d.inference import LandmarkDetector
from lmk3d.io import find_images, read_dataset, read_image
from lmk3d.io.datasets import case_points
from lmk3d.landmarks import VERDICTS
from lmk3d.synthetic import cta_phantom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lmk3d.landmarks import Landmarks

_FIRST_SEED = 900_000  # far above those that bundles are trained on
_OWN, _OTHER = "of the training's kind", "other"
_COLUMNS = ("kind", "scan", "verdict", "points", "median_mm", "trusted_points", "trusted_median_mm", "why")

Scan = tuple[Volume, "np.ndarray"]
"""A volume and the (N, 3) world mm of its landmarks; NaN where one is not in it, or nobody knows."""


@dataclass(frozen=True)
class Outcome:
    """What became of one scan; medians in mm are NaN where nothing is known or found."""

    kind: str
    scan: str
    verdict: str
    points: int
    median_mm: float
    trusted_points: int
    trusted_median_mm: float
    why: str

    @property
    def flagged(self) -> bool:
        return self.verdict == VERDICTS[2] or (self.points > 0 and self.trusted_points == 0)


def posed(scan: Scan, axes: Sequence[float], factor: float = 1.0) -> Scan:
    """The patient turned or mirrored about the middle of the image, by the signs of R, A and S, and enlarged."""
    volume, points = scan
    centre, move = volume.grid.center_mm, np.eye(4)
    move[:3, :3] = factor * np.diag(axes)
    move[:3, 3] = centre - move[:3, :3] @ centre
    changed = Volume(volume.data, Grid(volume.grid.shape, move @ volume.grid.affine), volume.unit)
    return changed, apply_affine(move, points)


def stored(scan: Scan, change: Callable[[np.ndarray], np.ndarray]) -> Scan:
    """Other numbers at the same places."""
    volume, points = scan
    return Volume(change(volume.data.astype(np.float32)), volume.grid, volume.unit), points


def framed(scan: Scan, share: float) -> Scan:
    """The middle of the image, or the image with its darkest number about it, ``share`` times as long on each side."""
    volume, points = scan
    sides = [max(1, round(share * side)) if side > 1 else 1 for side in volume.grid.shape]
    start = [(side - size) // 2 for side, size in zip(volume.grid.shape, sides, strict=True)]
    grid, data = volume.grid.cropped(start, sides), np.full(sides, volume.data.min())
    inner = tuple(slice(max(0, -at), max(0, -at) + min(side, size)) for at, side, size in _ends(volume, sides, start))
    outer = tuple(slice(max(0, at), max(0, at) + min(side, size)) for at, side, size in _ends(volume, sides, start))
    data[inner] = volume.data[outer]
    return Volume(data, grid, volume.unit), np.where(grid.contains(points)[:, None], points, np.nan)


def _ends(volume: Volume, sides: Sequence[int], start: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    return zip(start, volume.grid.shape, sides, strict=True)


def thick(scan: Scan) -> Scan:
    """Slices four times as thick."""
    volume, points = scan
    factors = (1, 1, 4) if volume.grid.shape[2] >= 16 else (2, 2, 1)
    grid = volume.grid.coarsened(factors)
    i, j, k = (side * factor for side, factor in zip(grid.shape, factors, strict=True))
    blocks = volume.data[:i, :j, :k].astype(np.float32)
    shape = [one for side, factor in zip(grid.shape, factors, strict=True) for one in (side, factor)]
    return Volume(blocks.reshape(shape).mean((1, 3, 5)), grid, volume.unit), points


def _shuffled(data: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).permutation(data.ravel()).reshape(data.shape)


def _noisy(data: np.ndarray) -> np.ndarray:
    return data + np.random.default_rng(0).normal(scale=0.5 * data.std(), size=data.shape).astype(np.float32)


CHANGES: dict[str, Callable[[Scan], Scan]] = {
    "upside down": lambda scan: posed(scan, (-1, 1, -1)),
    "prone": lambda scan: posed(scan, (-1, -1, 1)),
    "mirrored": lambda scan: posed(scan, (-1, 1, 1)),
    "twice the size": lambda scan: posed(scan, (1, 1, 1), 2.0),
    "half the size": lambda scan: posed(scan, (1, 1, 1), 0.5),
    "inverted": lambda scan: stored(scan, lambda data: data.max() + data.min() - data),
    "+1024": lambda scan: stored(scan, lambda data: data + 1024),
    "three times as bright": lambda scan: stored(scan, lambda data: 3 * data),
    "shuffled voxels": lambda scan: stored(scan, _shuffled),
    "noise": lambda scan: stored(scan, _noisy),
    "blurred": lambda scan: stored(scan, lambda data: ndimage.gaussian_filter(data, [3 * (n > 1) for n in data.shape])),
    "cut to 0.6": lambda scan: framed(scan, 0.6),
    "padded to 1.3": lambda scan: framed(scan, 1.3),
    "padded to 1.7": lambda scan: framed(scan, 1.7),
    "thick slices": thick,
}


def outcome(detector: LandmarkDetector, kind: str, name: str, scan: Scan) -> Outcome:
    """Detect, and compare what is found and what is trusted with what is known; a scan may be refused."""
    volume, truth = scan
    try:
        found = detector.detect(volume)
    except InputError as error:
        return Outcome(kind, name, "refused", 0, np.nan, 0, np.nan, str(error))
    errors = _errors(found, detector.names, truth)
    trusted = found.present & found.trusted
    verdict = "not assessed" if found.assessment is None else found.assessment.verdict
    doubts = () if found.assessment is None else (*found.assessment.reasons, *filter(None, found.assessment.doubts))
    medians = [float(np.nanmedian(some)) if np.isfinite(some).any() else np.nan for some in (errors, errors[trusted])]
    return Outcome(
        kind, name, verdict, int(found.present.sum()), medians[0], int(trusted.sum()), medians[1], "; ".join(doubts[:3])
    )


def _errors(found: Landmarks, names: Sequence[str], truth: np.ndarray) -> np.ndarray:
    """(R,) distance of each row from its landmark; that of a landmark that is not in the image is infinite."""
    rows = np.array([names.index(name) for name in found.names])
    errors = np.linalg.norm(found.points_mm - truth[rows], axis=1)
    absent = found.present & np.isnan(errors) & np.isfinite(truth).any()
    return np.where(absent, np.inf, errors)


def phantoms(count: int, names: Sequence[str]) -> Iterator[tuple[str, Scan]]:
    """Hearts and aortas by turns, as the shipped cascade is trained on."""
    for number in range(count):
        region = ("heart", "aorta")[number % 2]
        made = cta_phantom(_FIRST_SEED + number, region=region, spacing_mm=(1.0, 2.0)[number % 2])  # type: ignore[arg-type]
        yield f"{region} {_FIRST_SEED + number}", (made.volume, made.landmarks.ordered(names).points_mm)


def validation(dataset: Path, names: Sequence[str]) -> Iterator[tuple[str, Scan]]:
    """The validation cases of a data set."""
    for case in read_dataset(dataset).with_validation().cases("validation"):
        volume = read_image(case.image, series=case.series, spacing_mm=case.spacing_mm)
        yield case.name, (volume, case_points(case).ordered(names).points_mm)


def table(outcomes: Sequence[Outcome], right_mm: float) -> str:
    """One line for each kind of scan, then the rates."""
    lines = [f"{'kind':24s} scans trusted doubtful unlike   right   wrong: all, not flagged, trusted"]
    for kind in dict.fromkeys(one.kind for one in outcomes):
        own = [one for one in outcomes if one.kind == kind]
        verdicts = Counter(one.verdict for one in own)
        right = sum(one.median_mm <= right_mm for one in own)
        wrong = [one for one in own if one.median_mm > right_mm]
        missed = [one for one in wrong if not one.flagged]
        believed = [one for one in wrong if one.trusted_median_mm > right_mm]
        lines.append(
            f"{kind:24s} {len(own):5d} {verdicts['trusted']:7d} {verdicts['doubtful']:8d}"
            f" {verdicts[VERDICTS[2]]:6d} {right:7d}   {len(wrong):10d} {len(missed):12d}"
            f" {len(believed):8d}"
        )
    own = [one for one in outcomes if one.kind.startswith(_OWN) and one.median_mm <= right_mm]
    wrong = [one for one in outcomes if one.median_mm > right_mm]
    unknown = [one for one in outcomes if one.kind == _OTHER]
    lines.append(
        f"flagged wrongly: {_rate([one.flagged for one in own])} of those of the training's kind that are right"
    )
    lines.append(f"flagged: {_rate([one.flagged for one in wrong])} of those with a median error above {right_mm:g} mm")
    lines.append(
        f"flagged or without a point: {_rate([one.flagged or not one.points for one in unknown])} of other scans"
    )
    return "\n".join(lines)


def _rate(flags: Sequence[bool]) -> str:
    return f"{sum(flags)} of {len(flags)} ({100 * np.mean(flags):.1f} %)" if flags else "none of none"


def write(outcomes: Sequence[Outcome], path: Path) -> None:
    """One line for each scan."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows([getattr(one, name) for name in _COLUMNS] for one in outcomes)


def run(detector: LandmarkDetector, given: argparse.Namespace) -> Iterator[Outcome]:
    """All scans that were asked for, one after another."""
    sources = [phantoms(given.phantoms, detector.names)] if given.phantoms else []
    sources += [validation(given.dataset, detector.names)] if given.dataset else []
    left = given.changed
    for source in sources:
        for name, scan in source:
            yield outcome(detector, _OWN, name, scan)
            if left:
                left -= 1
                for change, make in CHANGES.items():
                    yield outcome(detector, change, f"{name}, {change}", make(scan))
    unknown = np.full((len(detector.names), 3), np.nan)
    for path in find_images(given.other) if given.other else []:
        yield outcome(detector, _OTHER, path.name, (read_image(path), unknown))


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each scan that is flagged or wrong, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a bundle's folder, or the name of a shipped one")
    parser.add_argument("--dataset", type=Path, help="JSON of a data set, whose validation cases are taken")
    parser.add_argument("--phantoms", type=int, default=0, help="new phantoms, for the shipped cascade")
    parser.add_argument("--changed", type=int, default=0, help="how many of those scans are also changed in every way")
    parser.add_argument("--other", type=Path, nargs="*", default=[], help="scans of other kinds, or folders of them")
    parser.add_argument("--right", type=float, default=10.0, help="median error in mm within which a scan is right")
    parser.add_argument("--output", type=Path, help="CSV to write, a line for each scan")
    given = parser.parse_args(argv)
    detector, outcomes = LandmarkDetector.from_bundle(bundle_folder(given.bundle)), []
    for one in run(detector, given):
        outcomes.append(one)
        if one.flagged or one.median_mm > given.right:
            print(
                f"{one.scan}: {one.verdict}, median {one.median_mm:.1f} mm of {one.points} points: {one.why}",
                flush=True,
            )
    print(table(outcomes, given.right))
    if given.output is not None:
        write(outcomes, given.output)


if __name__ == "__main__":
    main()
