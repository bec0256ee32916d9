"""Files in, images and landmarks out; every reader is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmk3d.io.atomic import atomic_path, refuse_existing
    from lmk3d.io.check import CheckResult, Fingerprint, check_dataset
    from lmk3d.io.datasets import Case, Dataset, few_cases, read_dataset
    from lmk3d.io.folds import write_folds
    from lmk3d.io.images import find_images, read_image, write_image
    from lmk3d.io.points import POINT_FORMATS, read_points, write_points
    from lmk3d.io.volumes import as_volume

__all__ = [
    "POINT_FORMATS",
    "Case",
    "CheckResult",
    "Dataset",
    "Fingerprint",
    "as_volume",
    "atomic_path",
    "check_dataset",
    "few_cases",
    "find_images",
    "read_dataset",
    "read_image",
    "read_points",
    "refuse_existing",
    "write_folds",
    "write_image",
    "write_points",
]

_ROOMS = {
    "atomic": ("atomic_path", "refuse_existing"),
    "check": ("CheckResult", "Fingerprint", "check_dataset"),
    "datasets": ("Case", "Dataset", "few_cases", "read_dataset"),
    "folds": ("write_folds",),
    "images": ("find_images", "read_image", "write_image"),
    "points": ("POINT_FORMATS", "read_points", "write_points"),
    "volumes": ("as_volume",),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"lmk3d.io.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
