"""A data set written several times over, each time with other cases kept for validation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lmk3d.errors import InputError
from lmk3d.io.atomic import atomic_path, refuse_existing
from lmk3d.io.datasets import by_patient, read_dataset
from lmk3d.io.text import read_json
from lmk3d.terminal import counted

__all__ = ["write_folds"]

_FILES = ("image", "points", "label", "second_points")


def write_folds(source: Path, folder: Path, count: int, *, overwrite: bool = False) -> list[Path]:
    """Write ``fold1.json`` to ``foldN.json``, so that every marked case is kept for validation in one of them.

    The patients of ``training`` who have points, and those of ``validation``, are dealt out in turn, each with all his
    cases; of ten folds the last one keeps what ``Dataset.with_validation`` does. Whatever else the data set says stays.

    Args:
        source: a data set's JSON file.
        folder: where to write; made if it is not there.
        count: how many folds, from 2 to the number of patients with points.
        overwrite: replace files that exist.
    Returns:
        The files, in order.
    Raises:
        InputError: for a data set that cannot be read, a count that does not fit it, a file that exists, or
            a folder that cannot be made.
    """
    read_dataset(source)
    content = read_json(source)
    cases = [*content.get("training", []), *content.get("validation", [])]
    keys = [json.dumps(case, sort_keys=True) for case in cases]  # an entry that stands twice is held out twice
    marked = [row for row, case in enumerate(cases) if case.get("points") or case.get("label")]
    patients = by_patient([cases[row].get("patient") for row in marked])
    if not 2 <= count <= len(patients):
        advice = f"choose from 2 to {len(patients)}" if len(patients) > 1 else "at least two are needed"
        raise InputError(
            f"{source}: has {counted(len(patients), 'patient')} with points, not enough for {count} folds; {advice}"
        )
    targets = [folder / f"fold{number}.json" for number in range(1, count + 1)]
    refuse_existing(targets, overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None
    for start, target in enumerate(targets):
        kept = [marked[row] for rows in patients[start::count] for row in rows]
        held = {keys[row] for row in kept}
        sections = {
            "training": [case for case, key in zip(cases, keys, strict=True) if key not in held],
            "validation": [cases[row] for row in kept],
            "test": content.get("test", []),
        }
        fold = {
            **content,
            "name": f"{content.get('name') or source.stem}, fold {start + 1} of {count}",
            **{section: [_moved(case, source, folder) for case in some] for section, some in sections.items()},
        }
        with atomic_path(target) as path:
            path.write_text(json.dumps(fold, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return targets


def _moved(case: dict[str, Any], source: Path, folder: Path) -> dict[str, Any]:
    """The case with its paths as they read from the other folder."""
    # Folders are resolved, since ".." behind a link leads elsewhere; a case's own files may be links.
    paths = {key: source.parent.resolve() / case[key] for key in _FILES if case.get(key)}
    return case | {key: _seen_from(path, folder.resolve()) for key, path in paths.items()}


def _seen_from(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive
        return path.as_posix()
