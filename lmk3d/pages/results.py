"""What an evaluation and a training left in their folders, read for the report."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.text import plain_cell
from lmk3d.report import read_errors, read_summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.metrics import Summary

    Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

__all__ = ["Evaluation", "Picture", "Training", "read_results"]

_WORST = 12
_SETTINGS = ("method", "epochs", "validate_every", "learning_rate", "batch_size", "spacing_mm", "seed")


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows."""

    title: str
    png: bytes


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A folder that ``lmk3d evaluate`` wrote.

    Args:
        summary: all figures.
        errors: distances of each set and landmark; NaN is a missed point.
        worst: the rows of points.csv with the largest errors, the missed points first; "expected" is the radius or the
            expected error.
        pictures: of the worst cases.
    """

    summary: Summary
    errors: dict[str, dict[str, NDArray[np.float64]]]
    worst: list[dict[str, str]]
    pictures: list[Picture]


@dataclass(frozen=True, eq=False)
class Training:
    """A bundle's folder after ``lmk3d train``, or after a training MONAI's way.

    Args:
        name: of the folder.
        settings: a few numbers of its train.json.
        loss: steps and values.
        validation: epochs and values by metric.
        data: the data set's fingerprint as rows of a name and a text; empty where there is none.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Curve] = field(default_factory=dict)
    validation: dict[str, Curve] = field(default_factory=dict)
    data: list[tuple[str, str]] = field(default_factory=list)


def read_results(folders: Sequence[Path]) -> tuple[Evaluation | None, Training | None]:
    """The evaluation and the training that these folders hold.

    A bundle's own ``evaluation`` is taken where no other folder holds one.

    Raises:
        InputError: if a folder is not there or holds neither, or two folders hold the same kind.
    """
    evaluations, trainings = [], []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give what lmk3d evaluate or lmk3d train wrote")
        evaluated, trained = (folder / "summary.json").is_file(), (folder / "train.json").is_file()
        if not (evaluated or trained):
            raise InputError(f"{folder}: holds no results; give the folder that lmk3d evaluate or lmk3d train wrote")
        evaluations += [folder] if evaluated else []
        trainings += [folder] if trained else []
    for found, kind in ((evaluations, "evaluation"), (trainings, "training")):
        if len(found) > 1:
            raise InputError(
                f"{found[1]}: holds an {kind} as {found[0]} does; give one of each kind".replace("an t", "a t")
            )
    if not evaluations and (trainings[0] / "evaluation" / "summary.json").is_file():
        evaluations = [trainings[0] / "evaluation"]
    return (
        _read_evaluation(evaluations[0]) if evaluations else None,
        _read_training(trainings[0]) if trainings else None,
    )


def _read_evaluation(folder: Path) -> Evaluation:
    return Evaluation(
        read_summary(folder / "summary.json"),
        read_errors(folder / "errors.csv"),
        _worst_points(folder / "points.csv"),
        [_picture(path) for path in sorted(folder.glob("worst-*.png"))],
    )


def _worst_points(path: Path) -> list[dict[str, str]]:
    """Missed points, then the largest errors; the keys lose their unit."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                {key.removesuffix("_mm").removesuffix("_px"): plain_cell(text) for key, text in row.items()}
                for row in csv.DictReader(file)
            ]
        for row in rows:
            row["expected"] = row["radius"] if "radius" in row else row["expected_error"]
            for key in ("error", "confidence", "expected"):
                float(row[key] or "nan")
        missed = [row for row in rows if row["status"] == "missed"]
        found = sorted((row for row in rows if row["status"] == "found"), key=lambda row: -float(row["error"]))
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); run lmk3d evaluate again") from None
    return [*missed, *found][:_WORST]


def _picture(path: Path) -> Picture:
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        return Picture(str(image.info.get("Title") or path.stem), path.read_bytes())


def _read_training(folder: Path) -> Training:
    try:
        config = json.loads((folder / "train.json").read_text(encoding="utf-8"))
        settings = {key: config[key] for key in _SETTINGS if isinstance(config.get(key), (int, float, str))}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{folder / 'train.json'}: cannot be read ({error}); correct it, or train again") from None
    curves = _scalars(folder / "eval")
    loss = {name: curve for name, curve in curves.items() if "loss" in name}
    validation = {name: curve for name, curve in curves.items() if name not in loss}
    return Training(folder.resolve().name, settings, loss, validation, _fingerprint(folder / "fingerprint.json"))


def _scalars(folder: Path) -> dict[str, Curve]:
    """All scalars in the event files of a folder; what a later file says of a step replaces an earlier one's word."""
    files = sorted(folder.glob("events.out.tfevents.*"))
    if not files:
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, dict[int, float]] = {}
    for path in files:
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, {}).update({event.step: event.value for event in events.Scalars(tag)})
    return {
        tag: (np.array(sorted(steps), float), np.array([steps[step] for step in sorted(steps)]))
        for tag, steps in found.items()
    }


def _fingerprint(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        return []
    from lmk3d.io import Fingerprint

    try:
        text = Fingerprint(**json.loads(path.read_text(encoding="utf-8"))).table()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: is no fingerprint of a data set ({error}); remove it, or train again") from None
    rows: list[tuple[str, str]] = []
    for line in text.splitlines():
        name, said = line[:12].strip(), line[12:].strip()
        if not name and rows:  # goes on from the line before
            name, before = rows.pop()
            said = f"{before}; {said}" if re.match(r"\d+ of \d+: ", said) else f"{before} {said}"
        rows.append((name, said))
    return rows
