"""All problems of a data set at once, and its fingerprint."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.errors import InputError, did_you_mean
from lmk3d.geometry import LPS_TO_RAS, Volume, apply_affine
from lmk3d.io.datasets import Case, Dataset, few_cases, parse_dataset
from lmk3d.io.fingerprint import Fingerprint, ImageFacts, measure_image, summarise
from lmk3d.io.images import read_image
from lmk3d.io.points import read_points
from lmk3d.io.strays import find_strays
from lmk3d.terminal import counted

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from lmk3d.landmarks import Landmarks

__all__ = ["CheckResult", "Fingerprint", "check_dataset"]

# A point may lie on the outermost voxels' faces and, drawn by hand, a little beyond.
_MARGIN_VOX = 1.0
# Of so many pairs at least, such a part the wrong way round is no matter of how patients lie.
_FEWEST_PAIRS, _TURNED = 5, 0.9
_LISTED = 5


@dataclass(frozen=True)
class CheckResult:
    """What ``check_dataset`` found.

    Args:
        problems: one line each, in the order of the cases; empty when all is well.
        fingerprint: of the images that could be read.
        notes: what may be meant but should be known, one line each: copies of an image, patients who are in two
            sections, left and right the other way round, very few cases.
    """

    problems: list[str]
    fingerprint: Fingerprint
    notes: list[str] = field(default_factory=list)


def check_dataset(path: str | os.PathLike[str]) -> CheckResult:
    """Look at every file of a data set once, one at a time.

    Found are: missing and unreadable files, images in two sections, constant images and such with NaN, cases without
    points, names that are unknown or doubled, points outside the image or in the other handedness (LPS for RAS), units
    that do not fit, landmarks without a point in training. Copies of an image under another name, and patients in more
    than one section, are noted, and so are volumes in which left points lie right of their partners.

    Args:
        path: the data set's JSON file.
    """
    path = Path(path)
    try:
        dataset, faults = parse_dataset(path)
    except InputError as error:
        return CheckResult([str(error)], summarise(path.stem, (), []))
    if not dataset.landmark_names:
        return CheckResult(faults, summarise(dataset.name, (), []))
    check = _Check(dataset, faults)
    for section, cases in dataset.sections.items():
        for case in cases:
            check.look_at(case, section)
    check.across_cases()
    fingerprint = summarise(dataset.name, dataset.landmark_names, check.facts)
    return CheckResult(check.problems, fingerprint, check.notes)


@dataclass
class _Check:
    """The running state of one check."""

    dataset: Dataset
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: list[ImageFacts] = field(default_factory=list)
    where: dict[Path, str] = field(default_factory=dict)
    voxels: dict[bytes, str] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    turned: list[bool] = field(default_factory=list)
    shapes: list[tuple[str, NDArray[np.float64]]] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)

    def look_at(self, case: Case, section: str) -> None:
        """Read one case and note what is wrong with it."""
        at = f"{section}, case {case.name}"
        self.names[case.name] += 1
        key = case.image.resolve() / (case.series or "")
        if key in self.where:
            self.problems.append(f"{at}: {case.image} is already the image of {self.where[key]}; keep it in one place")
        known = self.where.setdefault(key, at) != at
        volume = None if known else self.image(case, at)
        if case.points is None and section != "test":
            self.problems.append(f"{at}: has no points; give a file of points or leave the case out")
        if case.points is not None and not known:
            owner = self.where.setdefault(case.points.resolve(), at)
            if owner != at:
                self.problems.append(f"{at}: {case.points} holds the points of {owner}; give each case its own")
        points = self.points(case.points, volume, at, "points")
        self.points(case.second_points, volume, at, "second_points")
        if volume is not None:
            self.facts.append(measure_image(volume, points, case.name, section))
            self.check_known(volume, case, section)
            if points is not None:
                self.check_sides(points, volume, at)

    def image(self, case: Case, at: str) -> Volume | None:
        """The image, or None if it cannot be used."""
        try:
            volume = read_image(case.image, series=case.series, spacing_mm=case.spacing_mm)
        except InputError as error:
            self.problems.append(f"{at}: {error}")
            return None
        self.notes += [f"{at}: {case.image}: {note}" for note in volume.notes]
        if volume.data.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(volume.data)))):
            self.problems.append(
                f"{at}: {case.image} has {counted(bad, 'voxel')} that are NaN or infinite; give them a value"
            )
            if bad == volume.data.size:
                return None
        elif volume.data.min() == volume.data.max():
            self.problems.append(f"{at}: {case.image} is constant ({volume.data.flat[0]}); leave the case out")
        return volume

    def points(self, path: Path | None, volume: Volume | None, at: str, key: str) -> Landmarks | None:
        """The points of a file, or None if they cannot be read."""
        if path is None:
            return None
        try:
            landmarks = read_points(path)
        except InputError as error:
            self.problems.append(f"{at}: {error}")
            return None
        self.check_names(landmarks, f"{at}: {path}")
        if not landmarks.present.any():
            self.problems.append(f"{at}: {path} has no points, only missing ones; leave {key} out")
        elif volume is not None:
            self.check_places(landmarks, volume, f"{at}: {path}")
        return landmarks

    def check_names(self, landmarks: Landmarks, at: str) -> None:
        """Note names that are unknown or doubled."""
        known = self.dataset.landmark_names
        for name in sorted(set(landmarks.names) - set(known)):
            hint = did_you_mean(name, known, "add it to landmarks or remove it")
            self.problems.append(f"{at} names {name!r}, which is none of the data set's landmarks; {hint}")
        counts = Counter(landmarks.names)
        if twice := [name for name, count in counts.items() if count > 1 and name not in self.dataset.several]:
            self.problems.append(
                f"{at} has {_some(twice)} more than once; keep one point for each name, or list it under several"
            )

    def check_places(self, landmarks: Landmarks, volume: Volume, at: str) -> None:
        """Note points that lie outside the image, and the likely reason."""
        if landmarks.unit != volume.unit:
            self.problems.append(
                f"{at} is in {landmarks.unit}, its image in {volume.unit}; give spacing_mm, or points in its unit"
            )
            return
        points = landmarks.points_mm[landmarks.present]
        inside = volume.grid.contains(points, margin_vox=_MARGIN_VOX)
        if inside.all():
            return
        outside = int((~inside).sum())
        flipped = int(volume.grid.contains(apply_affine(LPS_TO_RAS, points), margin_vox=_MARGIN_VOX).sum())
        if outside > len(points) / 2 and flipped > len(points) / 2:
            reason = "inside with x and y turned round: the frame is wrong (LPS for RAS, or the other way)"
        elif outside > len(points) / 2:
            reason = "do they belong to this image?"
        else:
            there = [name for name, present in zip(landmarks.names, landmarks.present, strict=True) if present]
            reason = _some([name for name, ok in zip(there, inside, strict=True) if not ok])
        lie = f"{counted(len(points), 'point')} {'lies' if len(points) == 1 else 'lie'}"
        self.problems.append(f"{at}: {outside} of {lie} outside the image; {reason}")

    def check_sides(self, landmarks: Landmarks, volume: Volume, at: str) -> None:
        """Remember the shape, and which left points lie right of their partners; of films what lies within them."""
        dims = 2 if volume.grid.shape[2] == 1 else 3
        single = [name for name in self.dataset.landmark_names if name not in self.dataset.several]
        if len(landmarks.names) == len(set(landmarks.names)):
            self.shapes.append((at, (landmarks.ordered(single).points_mm @ volume.grid.upright)[:, :dims]))
        if dims == 2:
            return
        right_mm = dict(zip(landmarks.names, landmarks.points_mm[:, 0].tolist(), strict=True))
        for left, right in self.dataset.pairs:
            if np.isfinite(further := right_mm.get(left, np.nan) - right_mm.get(right, np.nan)):
                self.turned.append(further > 0)

    def check_known(self, volume: Volume, case: Case, section: str) -> None:
        """Note an image that was there before under another name, and a patient who is in another section, too."""
        place = f"{section}, case {case.name}"
        first = self.voxels.setdefault(_digest(volume), place)
        home = self.patients.setdefault(case.patient or place, section)
        if first != place:
            apart = first.partition(",")[0] != section
            self.notes.append(
                f"{place}: the same image as {first}; "
                + ("its error is not that of a new patient" if apart else "it counts twice")
            )
        elif home != section:
            self.notes.append(
                f"{place}: patient {case.patient} is in {home}, too; the error is not that of a new patient"
            )

    def check_shapes(self, shapes: list[tuple[str, NDArray[np.float64]]]) -> None:
        """Note points that are not where the other cases have them."""
        names = [name for name in self.dataset.landmark_names if name not in self.dataset.several]
        known = [pair for pair in self.dataset.pairs if set(pair) <= set(names)]
        strays = find_strays([shape for _, shape in shapes], names, known, unit=self.facts[0].unit if shapes else "mm")
        self.notes += [f"{at}: {line}" for (at, _), lines in zip(shapes, strays, strict=True) for line in lines]

    def across_cases(self) -> None:
        """Note what only all cases together show."""
        if twice := [name for name, count in self.names.items() if count > 1]:
            self.problems.append(f"cases share the names {_some(twice)}; give each case a `name` of its own")
        if len({fact.unit for fact in self.facts}) > 1:
            self.problems.append("some images are in mm and some in px; give spacing_mm for those without a spacing")
        if len(self.turned) >= _FEWEST_PAIRS and np.mean(self.turned) > _TURNED:
            self.notes.append(
                f"in {np.mean(self.turned):.0%} of all pairs the left point lies right of its partner: the frame of the"
                " points is wrong (LPS for RAS, or the other way), or pairs names the right one first"
            )
        for dims in (2, 3):
            self.check_shapes([(at, shape) for at, shape in self.shapes if shape.shape[1] == dims])
        kept = self.dataset.with_validation().sections.get("training", [])
        if kept and (note := few_cases(sum(case.points is not None for case in kept))):
            self.notes.append(note)
        training = [fact for fact in self.facts if fact.section == "training"]
        if training and self.dataset.sections.get("training"):
            never = [
                name for name in self.dataset.landmark_names if not any(fact.points.get(name) for fact in training)
            ]
            if never:
                self.problems.append(
                    f"training has no point of {_some(never)}; mark them or take them out of landmarks"
                )


def _digest(volume: Volume) -> bytes:
    """The same for images of the same voxels, in whatever format they are stored."""
    digest = hashlib.blake2b(repr(volume.grid.shape).encode(), digest_size=16)
    for k in range(volume.grid.shape[2]):  # slice by slice: a volume may be too large for a second copy
        digest.update(volume.data[:, :, k].tobytes())
    return digest.digest()


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
