"""Data sets: one JSON file in the manner of MONAI's datalists, naming images and their points."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmk3d.errors import InputError
from lmk3d.io.findings import some
from lmk3d.io.text import brief, check_keys, read_json
from lmk3d.terminal import counted

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from lmk3d.landmarks import Landmarks

__all__ = [
    "SECTIONS",
    "Case",
    "Dataset",
    "bare_name",
    "by_patient",
    "case_points",
    "few_cases",
    "parse_dataset",
    "read_dataset",
]

SECTIONS = ("training", "validation", "test")
_FEW = 10  # training cases, below which a network learns them by heart
_KEYS = {"name", "description", "landmarks", "pairs", "one_sided", "several", "structures", "spacing_mm", *SECTIONS}
_TEXTS = ("image", "points", "label", "second_points", "name", "series", "patient")
_CASE_KEYS = {*_TEXTS, "spacing_mm"}


@dataclass(frozen=True)
class Case:
    """One image of a data set.

    Args:
        name: what tables and error messages call it.
        image: the image's file or folder.
        points: its landmarks, or None where nobody marked them.
        second_points: the same landmarks by another rater, or None.
        spacing_mm: pixel spacing of a picture that does not say its own.
        series: which series of a DICOM folder with several.
        patient: who it is, where a patient has several images; None where it is the only one.
    """

    name: str
    image: Path
    points: Path | None = None
    second_points: Path | None = None
    spacing_mm: float | None = None
    series: str | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Dataset:
    """What a data set's file says.

    Args:
        name: a short name.
        landmark_names: the names that its points may have, in the order of a network's channels.
        pairs: (left, right) names that change places when an image is mirrored.
        one_sided: names without a partner that lie off the midline: missing in a mirrored image.
        several: names of which an image may show more than one point.
        structures: closed contours by name, each the names of the landmarks round it in order.
        description: free text.
        sections: the cases of "training", "validation" and "test", as far as there are any.

    >>> scans = [Case(f"scan {number}", Path(f"{number}.nii"), Path(f"{number}.csv")) for number in range(20)]
    >>> dataset = Dataset("hips", ("left", "right"), pairs=(("left", "right"),), sections={"training": scans})
    >>> held_out = dataset.with_validation()
    >>> len(held_out.cases("training")), [case.name for case in held_out.cases("validation")]
    (18, ['scan 9', 'scan 19'])
    """

    name: str
    landmark_names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    one_sided: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    structures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    description: str = ""
    sections: dict[str, list[Case]] = field(default_factory=dict)

    def cases(self, section: str) -> list[Case]:
        """The cases of one section.

        Raises:
            InputError: if the data set has none there.
        """
        if not self.sections.get(section):
            there = ", ".join(name for name, cases in self.sections.items() if cases) or "none"
            raise InputError(
                f"data set {self.name!r} has no cases in section {section!r}; sections with cases: {there}"
            )
        return self.sections[section]

    def with_validation(self) -> Dataset:
        """The same with cases to validate on: where it names none, those of every tenth marked patient are kept."""
        training = self.sections.get("training", [])
        marked = [case for case in training if case.points is not None]
        patients = by_patient([case.patient for case in marked])
        if self.sections.get("validation") or len(patients) < 2:
            return self
        kept = [marked[row] for rows in patients[9::10] or patients[-1:] for row in rows]
        held = set(kept)
        rest = [case for case in training if case not in held]
        return replace(self, sections={**self.sections, "training": rest, "validation": kept})


def case_points(case: Case, *, second: bool = False) -> Landmarks:
    """The landmarks of a case, or those of its second rater; a table of pixels is read with the case's image.

    Raises:
        InputError: if the case has none, or as ``read_points`` and ``read_image``.
    """
    from lmk3d.io.images import read_image
    from lmk3d.io.points import read_points

    path = case.second_points if second else case.points
    if path is None:
        raise InputError(f"{case.name}: has no points; give a file of points")
    return read_points(path, image=lambda: read_image(case.image, series=case.series, spacing_mm=case.spacing_mm))


def read_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Read a data set's JSON file; its paths are relative to the file.

    {"name", "description", "landmarks": [...], "pairs": [["left", "right"], ...], "one_sided": [...],
    "several": [...], "structures": {"heart": ["heart_0", ...], ...}, "spacing_mm",
    "training": [{"image", "points", "second_points", "name", "spacing_mm", "series", "patient"}, ...], "validation",
    "test"};
    needed are "landmarks", one section, and "image" in each case; "label", as in MONAI's data lists, means the
    same as "points". Whether the files exist is not looked at.

    Raises:
        InputError: naming what is wrong; for an unknown key with the nearest known one.
    """
    dataset, faults = parse_dataset(path)
    if faults:
        raise InputError(faults[0])
    return dataset


def few_cases(count: int) -> str | None:
    """What to expect of a training on so few cases; None where there are enough for a first one."""
    if count >= _FEW:
        return None
    return (
        f"{counted(count, 'training case')} with points, fewer than ten: expect large errors on new patients, and "
        "figures that are chance; mark more"
    )


def parse_dataset(path: str | os.PathLike[str]) -> tuple[Dataset, list[str]]:
    """The sound part of a data set's JSON file, and all that is wrong with the rest, one line each.

    Raises:
        InputError: if the file cannot be read, or is no JSON object.
    """
    path, faults = Path(path), _Faults()
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f'{path}: is no data set; write {{"landmarks": [...], "training": [...]}}')
    with faults:
        check_keys(content, _KEYS, str(path))
    dataset = Dataset(path.stem, ())
    with faults:
        dataset = replace(dataset, name=_text(content.get("name") or path.stem, f"{path}: name"))
    with faults:
        dataset = replace(dataset, description=_text(content.get("description") or "", f"{path}: description"))
    with faults:
        dataset = replace(dataset, landmark_names=_names(content, path))
    names = dataset.landmark_names
    if names:  # without them nothing that speaks of them can be judged
        with faults:
            dataset = replace(dataset, pairs=_pairs(content.get("pairs", []), names, path))
        with faults:
            dataset = replace(dataset, one_sided=_one_sided(content, dataset, path))
        with faults:
            dataset = replace(dataset, several=_several(content, names, path))
        with faults:
            dataset = replace(dataset, structures=_structures(content.get("structures", {}), names, path))
    sections = {section: _section(content, section, path, faults) for section in SECTIONS if section in content}
    if not any(content.get(section) for section in SECTIONS):
        faults.lines.append(f"{path}: has no cases; list some under {', '.join(SECTIONS)}")
    return replace(dataset, sections=sections), faults.lines


class _Faults:
    """Collects the ``InputError`` of each block that it guards."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, InputError):
            self.lines.append(str(error))
        return isinstance(error, InputError)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{what} is {brief(value)}; write a text")
    return value


def _names(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = _strings(content.get("landmarks"), f"{path}: landmarks")
    if not names:
        raise InputError(f"{path}: landmarks is missing or empty; list the names of the landmarks")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise InputError(f"{path}: landmarks names {some(twice)} more than once; name each once")
    return names


def _one_sided(content: dict[str, Any], dataset: Dataset, path: Path) -> tuple[str, ...]:
    one_sided = _strings(content.get("one_sided"), f"{path}: one_sided")
    alone = set(dataset.landmark_names) - {name for pair in dataset.pairs for name in pair}
    for name in one_sided:
        if name not in alone:
            raise InputError(f"{path}: one_sided names {brief(name)}, which must be a landmark that is in no pair")
    return one_sided


def _several(content: dict[str, Any], names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    several = _strings(content.get("several"), f"{path}: several")
    if unknown := sorted(set(several) - set(names)):
        raise InputError(
            f"{path}: several names {brief(unknown[0])}, which is no landmark; use the names under landmarks"
        )
    return several


def by_patient(patients: Sequence[str | None]) -> list[list[int]]:
    """Which cases belong together, as lists of their numbers; one whose patient is None is the only one of his.

    >>> by_patient(["eve", None, "eve", None])
    [[0, 2], [1], [3]]
    """
    rows: dict[str | int, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(row if patient is None else patient, []).append(row)
    return list(rows.values())


def _strings(value: object, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise InputError(f"{what} must be a list of names; correct it")
    return tuple(value)


def _pairs(value: object, names: tuple[str, ...], path: Path) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list):
        raise InputError(f'{path}: pairs must be a list of [["left", "right"], ...]')
    pairs: list[tuple[str, str]] = []
    seen: set[str] = set()
    known = set(names)
    for item in value:
        pair = _strings(item, f"{path}: each of pairs")
        if len(pair) != 2 or pair[0] == pair[1]:
            raise InputError(f"{path}: pair {brief(item)} must be two different names")
        for name in pair:
            if name not in known:
                raise InputError(
                    f"{path}: pairs names {brief(name)}, which is no landmark; use the names under landmarks"
                )
            if name in seen:
                raise InputError(f"{path}: {brief(name)} is in two pairs; a landmark has one partner")
            seen.add(name)
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def _structures(value: object, names: tuple[str, ...], path: Path) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise InputError(f'{path}: structures must be an object {{"name": ["landmark", ...], ...}}')
    found = {str(name): _strings(members, f"{path}: structures, {name}") for name, members in value.items()}
    used: set[str] = set()
    known = set(names)
    for name, members in found.items():
        if len(members) < 3:
            has = f"{path}: structure {brief(name)} has {counted(len(members), 'landmark')}"
            raise InputError(f"{has}; a contour needs three or more")
        for member in members:
            if member not in known or member in used:
                wrong = "is in two structures" if member in used else "is no landmark"
                raise InputError(f"{path}: structures names {brief(member)}, which {wrong}; use each landmark once")
            used.add(member)
    return found


def _section(content: dict[str, Any], section: str, path: Path, faults: _Faults) -> list[Case]:
    entries, cases = content[section], list[Case]()
    with faults:
        if not isinstance(entries, list):
            raise InputError(f"{path}: {section} must be a list of cases; write [...]")
        for number, entry in enumerate(entries, 1):
            with faults:
                cases.append(_case(entry, content.get("spacing_mm"), path, f"{path}: {section}, case {number}"))
    return cases


def _case(entry: object, spacing_mm: object, path: Path, where: str) -> Case:
    if not isinstance(entry, dict):
        raise InputError(f'{where}: is {brief(entry)}; write {{"image": ..., "points": ...}}')
    check_keys(entry, _CASE_KEYS, where)
    for key in _TEXTS:
        value = entry.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise InputError(f"{where}: {key} is {brief(value)}; write a text")
        if value is not None and "\0" in value:
            raise InputError(f"{where}: {key} has a NUL character; remove it")
    if entry.get("image") is None:
        raise InputError(f"{where}: has no image; give the path of one")
    points, label = entry.get("points"), entry.get("label")
    if points and label and points != label:
        raise InputError(f"{where}: points is {brief(points)}, but label {brief(label)}; give one, they mean the same")
    own = {**entry, "points": points or label}
    files = {key: path.parent / own[key] for key in ("image", "points", "second_points") if own.get(key)}
    return Case(
        name=entry.get("name") or bare_name(files["image"]),
        spacing_mm=_spacing(entry.get("spacing_mm", spacing_mm), where),
        series=entry.get("series"),
        patient=entry.get("patient"),
        **files,
    )


def _spacing(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= sys.float_info.max:
        raise InputError(f"{where}: spacing_mm is {brief(value)}; write a number of mm above 0")
    return float(value)


def bare_name(path: Path) -> str:
    """A file's name without its ending, both parts of .nii.gz included."""
    name = path.name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem if path.suffix else name
