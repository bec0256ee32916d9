"""All problems of a data set at once, and its fingerprint."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.errors import InputError, did_you_mean
from lmk3d.geometry import LPS_TO_RAS, Volume, apply_affine
from lmk3d.io.datasets import SECTIONS, Case, Dataset, few_cases, parse_dataset
from lmk3d.io.findings import LISTED, Finding, some, summed_up
from lmk3d.io.fingerprint import Fingerprint, ImageFacts, measure_image, summarise
from lmk3d.io.images import read_image
from lmk3d.io.outliers import find_outliers
from lmk3d.io.points import read_points
from lmk3d.io.strays import find_strays
from lmk3d.io.text import brief
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.landmarks import Landmarks

__all__ = ["CheckResult", "Fingerprint", "check_dataset"]

# A point may lie on the outermost voxels' faces and, drawn by hand, a little beyond.
_MARGIN_VOX = 1.0
# Of so many pairs at least, such a part the wrong way round is no matter of how patients lie.
_FEWEST_PAIRS, _TURNED = 5, 0.9
# So many copies, or cases turned alike, are one mistake.
_MANY = 20
# What 3D Slicer calls points that nobody named: F-1, F_1-1, P-3, MarkupsFiducial_2-1, Point 4, vtkMRML...
_DEFAULT_NAME = re.compile(
    r"(?:[A-Z]{1,2}|Markups\w*|Points?|Fiducials?|vtkMRML\w*)(?:_\d+)?[-_ ]\d+'*|\d+'*", re.ASCII
)
# A section and the name of a case; of all cases together.
_Place = tuple[str, str]
_ALL: _Place = ("", "")
_CASE = re.compile(rf": ({'|'.join(SECTIONS)}), case (\d+): ")


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
    total = sum(map(len, dataset.sections.values()))
    check = _Check(dataset, [_fault(line) for line in faults])
    total += len({(own.section, own.case) for own in check.problems if own.case})
    if dataset.landmark_names:
        for section, cases in dataset.sections.items():
            for case in cases:
                check.look_at(case, section)
        check.across_cases()
    fingerprint = summarise(dataset.name, dataset.landmark_names, check.facts)
    return CheckResult(summed_up(check.problems, total), fingerprint, summed_up(check.notes, total))


def _fault(line: str) -> Finding:
    """What is wrong with the data set's own file; where it is about a case, that is told apart."""
    if not (found := _CASE.search(line)):
        return Finding(line)
    return Finding(line[found.end() :], f"{line[: found.start()]}: {found[1]}", found[2])


@dataclass
class _Check:
    """The running state of one check."""

    dataset: Dataset
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    facts: list[ImageFacts] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)
    voxels: dict[bytes, str] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    turned: list[bool] = field(default_factory=list)
    shapes: list[tuple[_Place, NDArray[np.float64]]] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    unknown: dict[str, list[tuple[_Place, Path]]] = field(default_factory=dict)

    @cached_property
    def single(self) -> list[str]:
        """The names of which an image shows one point at most."""
        several = set(self.dataset.several)
        return [name for name in self.dataset.landmark_names if name not in several]

    def problem(self, at: _Place, text: str, file: object = "", kind: str = "") -> None:
        """Keep what must be corrected."""
        self.problems.append(Finding(text, *at, str(file), kind))

    def note(self, at: _Place, text: str, file: object = "") -> None:
        """Keep what may be meant and is likely to be so in many cases."""
        self.notes.append(Finding(text, *at, str(file)))

    def note_case(self, at: _Place, text: str, kind: str) -> None:
        """Keep what may be meant and is of this case: told case by case unless very many are alike."""
        self.notes.append(Finding(text, *at, kind=kind, alike=_MANY))

    def look_at(self, case: Case, section: str) -> None:
        """Read one case and note what is wrong with it."""
        at, place = (section, case.name), f"{section}, case {case.name}"
        self.names[case.name] += 1
        # Two names of one file are one; a circle of links is told where the image is read.
        key = f"{os.path.realpath(case.image)} {case.series or ''}"
        if key in self.where:
            text = f"{case.image} is already the image of {self.where[key]}; keep it in one place"
            self.problem(at, text, case.image)
        known = self.where.setdefault(key, place) != place
        volume = None if known else self.image(case, at)
        if case.points is None and section != "test":
            self.problem(at, "has no points; give a file of points or leave the case out")
        if case.points is not None and not known:
            owner = self.where.setdefault(os.path.realpath(case.points), place)
            if owner != place:
                self.problem(at, f"{case.points} holds the points of {owner}; give each case its own", case.points)
        points = self.points(case.points, volume, at, "points")
        self.points(case.second_points, volume, at, "second_points")
        if volume is not None:
            self.facts.append(measure_image(volume, points, case.name, section))
            self.check_known(volume, case, section)
            if points is not None:
                self.check_sides(points, volume, at)

    def image(self, case: Case, at: _Place) -> Volume | None:
        """The image, or None if it cannot be used."""
        try:
            volume = read_image(case.image, series=case.series, spacing_mm=case.spacing_mm)
        except InputError as error:
            self.problem(at, str(error), case.image)
            return None
        except OSError as error:  # of the path itself: too long, or through a file
            self.problem(at, f"{case.image}: cannot be read ({error.strerror}); correct the path", case.image)
            return None
        for note in volume.notes:
            self.note(at, f"{case.image}: {note}", case.image)
        if volume.data.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(volume.data)))):
            text = f"{case.image} has {counted(bad, 'voxel')} that are NaN or infinite; give them a value"
            self.problem(at, text, case.image)
            if bad == volume.data.size:
                return None
        elif volume.data.min() == volume.data.max():
            self.problem(at, f"{case.image} is constant ({volume.data.flat[0]}); leave the case out", case.image)
        return volume

    def points(self, path: Path | None, volume: Volume | None, at: _Place, key: str) -> Landmarks | None:
        """The points of a file, or None if they cannot be read."""
        if path is None:
            return None
        try:
            landmarks = read_points(path, image=None if volume is None else lambda: volume)
        except InputError as error:
            self.problem(at, str(error), path)
            return None
        if not len(landmarks):
            self.problem(at, f"{path} is an empty list of points; place them, or leave {key} out", path)
            return landmarks
        for note in landmarks.notes:
            self.note(at, f"{path}: {note}", path)
        if (suspect := int(landmarks.suspect.sum())) > 0:
            text = f"{path} does not trust {suspect} of its own points: is it a prediction that nobody has corrected?"
            self.note(at, text, path)
        self.check_names(landmarks, path, at)
        if not landmarks.present.any():
            self.problem(at, f"{path} has no points, only missing ones; leave {key} out", path)
        elif volume is not None:
            self.check_places(landmarks, volume, path, at)
        return landmarks

    def check_names(self, landmarks: Landmarks, path: Path, at: _Place) -> None:
        """Note names that are unknown or doubled."""
        unknown = sorted(set(landmarks.names) - set(self.dataset.landmark_names))
        if unknown and all(map(_DEFAULT_NAME.fullmatch, landmarks.names)):
            self.problem(
                at,
                f"{path} has names as 3D Slicer gives them ({some(landmarks.names, 3)}), none of the data set's "
                f"landmarks; in Slicer, name each point as in landmarks ({some(self.dataset.landmark_names, 3)})",
                path,
                "default names",
            )
            return
        for name in unknown:
            self.unknown.setdefault(name, []).append((at, path))
        counts = Counter(landmarks.names)
        if twice := sorted({name for name, count in counts.items() if count > 1} - set(self.dataset.several)):
            text = f"{path} has {some(twice)} more than once; keep one point for each name, or list it under several"
            self.problem(at, text, path)

    def check_unknown(self) -> None:
        """Note the unknown names: those of many cases in one line, the others case by case."""
        common = [name for name, places in self.unknown.items() if len(places) >= 3]
        for (at, path), names in _by_place(self.unknown, common).items():
            self.problem(at, f"{path} names {self.hints(names)}", path)
        if common:
            for at, path in dict.fromkeys(place for name in common for place in self.unknown[name]):
                self.problem(at, f"{path} names {self.hints(common)}", path, "unknown names")

    def hints(self, names: list[str]) -> str:
        """Unknown names, and what to do about them."""
        known = self.dataset.landmark_names
        if len(names) == 1:
            hint = did_you_mean(names[0], known, "add it to landmarks or remove it")
            return f"{brief(names[0])}, which is none of the data set's landmarks; {hint}"
        told = [(brief(name), did_you_mean(name, known, "")) for name in names[:LISTED]]
        shown = some([*(f"{name} ({hint})" if hint else name for name, hint in told), *names[LISTED:]])
        return f"{shown}, which are none of the data set's landmarks; rename them, or add them to landmarks"

    def check_places(self, landmarks: Landmarks, volume: Volume, path: Path, at: _Place) -> None:
        """Note points that lie outside the image, and the likely reason."""
        if landmarks.unit != volume.unit:
            text = f"{path} is in {landmarks.unit}, its image in {volume.unit}; give spacing_mm, or points in its unit"
            self.problem(at, text, path)
            return
        points = landmarks.points_mm[landmarks.present]
        inside = volume.grid.contains(points, margin_vox=_MARGIN_VOX)
        if inside.all():
            return
        outside = int((~inside).sum())
        reason = _outside_because(points, volume) if outside > len(points) / 2 else ""
        kind = f"outside: {reason}"
        if not reason:
            there = [name for name, present in zip(landmarks.names, landmarks.present, strict=True) if present]
            reason = some([name for name, ok in zip(there, inside, strict=True) if not ok])
        lie = f"{counted(len(points), 'point')} {'lies' if len(points) == 1 else 'lie'}"
        self.problem(at, f"{path}: {outside} of {lie} outside the image; {reason}", path, kind)

    def check_sides(self, landmarks: Landmarks, volume: Volume, at: _Place) -> None:
        """Remember the shape, and which left points lie right of their partners; of films what lies within them."""
        dims = 2 if volume.grid.shape[2] == 1 else 3
        if len(landmarks.names) == len(set(landmarks.names)):
            self.shapes.append((at, (landmarks.ordered(self.single).points_mm @ volume.grid.upright)[:, :dims]))
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
        at = (section, case.name)
        if first != place:
            apart = first.partition(",")[0] != section
            said = "its error is not that of a new patient" if apart else "it counts twice"
            self.note_case(at, f"the same image as {first}; {said}", said)
        elif home != section:
            text = f"patient {case.patient} is in {home}, too; the error is not that of a new patient"
            self.note_case(at, text, "patient")

    def check_shapes(self, shapes: list[tuple[_Place, NDArray[np.float64]]]) -> None:
        """Note points that are not where the other cases have them."""
        if not shapes:
            return
        single = set(self.single)
        known = [pair for pair in self.dataset.pairs if set(pair) <= single]
        strays = find_strays([shape for _, shape in shapes], self.single, known, unit=self.facts[0].unit)
        for (at, _), lines in zip(shapes, strays, strict=True):
            for line in lines:
                self.note_case(at, line, line)

    def across_cases(self) -> None:
        """Note what only all cases together show."""
        self.check_unknown()
        if twice := [name for name, count in self.names.items() if count > 1]:
            self.problem(_ALL, f"cases share the names {some(twice)}; give each case a `name` of its own")
        if len({fact.unit for fact in self.facts}) > 1:
            self.problem(_ALL, "some images are in mm and some in px; give spacing_mm for those without a spacing")
        if len(self.turned) >= _FEWEST_PAIRS and np.mean(self.turned) > _TURNED:
            self.note(
                _ALL,
                f"in {np.mean(self.turned):.0%} of all pairs the left point lies right of its partner: the frame of the"
                " points is wrong (LPS for RAS, or the other way), or pairs names the right one first",
            )
        for dims in (2, 3):
            self.check_shapes([(at, shape) for at, shape in self.shapes if shape.shape[1] == dims])
        for fact, lines in zip(self.facts, find_outliers(self.facts), strict=True):
            for line in lines:
                self.note((fact.section, fact.name), line)
        self.check_training()

    def check_training(self) -> None:
        """Note landmarks without a point in training, and a training of few cases."""
        kept = self.dataset.with_validation().sections.get("training", [])
        if kept and (note := few_cases(sum(case.points is not None for case in kept))):
            self.note(_ALL, note)
        training = [fact for fact in self.facts if fact.section == "training"]
        if not training:
            return
        names = self.dataset.landmark_names
        if never := [name for name in names if not any(fact.points.get(name) for fact in training)]:
            self.problem(_ALL, f"training has no point of {some(never)}; mark them or take them out of landmarks")


def _by_place(unknown: dict[str, list[tuple[_Place, Path]]], common: list[str]) -> dict[tuple[_Place, Path], list[str]]:
    """The names that are not common, by the file that has them."""
    found: dict[tuple[_Place, Path], list[str]] = {}
    for name, places in unknown.items():
        for place in places if name not in common else ():
            found.setdefault(place, []).append(name)
    return found


def _outside_because(points: NDArray[np.float64], volume: Volume) -> str:
    """Why most of the points may lie outside: what else their numbers can be that lies inside."""
    grid, half = volume.grid, len(points) / 2
    if grid.contains(apply_affine(LPS_TO_RAS, points), margin_vox=_MARGIN_VOX).sum() > half:
        return "inside with x and y turned round: the frame is wrong (LPS for RAS, or the other way)"
    pixels = np.abs(points)
    if grid.shape[2] == 1 and (pixels <= (grid.shape[1], grid.shape[0], 0)).all(1).sum() > half:
        return "inside as pixels: call the columns of a table column,row, or write mm"
    if (pixels < grid.shape).all(1).sum() > half:
        return "inside as voxel indices: write world mm"
    return "do they belong to this image?"


def _digest(volume: Volume) -> bytes:
    """The same for images of the same voxels, in whatever format they are stored."""
    digest = hashlib.blake2b(repr(volume.grid.shape).encode(), digest_size=16)
    for k in range(volume.grid.shape[2]):  # slice by slice: a volume may be too large for a second copy
        digest.update(volume.data[:, :, k].tobytes())
    return digest.digest()
