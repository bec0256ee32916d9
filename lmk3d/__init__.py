"""Anatomical landmarks in 3D scans and radiographs: find them, read and write them, train a network for them.

Find the landmarks of a scan with a trained bundle:

    import lmk3d

    detector = lmk3d.load("cascade")                # a shipped bundle, or the folder of one's own
    landmarks = detector("scan.nii.gz")             # or an image of nibabel, SimpleITK or MONAI, or array and affine
    lmk3d.write_points(landmarks, "scan.mrk.json")  # for 3D Slicer; landmarks.to_dataframe() for pandas

Detect: ``load``, ``LandmarkDetector``. Read and write: ``read_image``, ``write_image``, ``read_points``,
``write_points``, ``as_volume``, ``read_dataset``. What they hold: ``Landmarks``, ``Volume``, ``Grid``, ``Dataset``.
Train and measure: ``check_dataset``, ``train``, ``evaluate``. Wrong input raises ``InputError``.

World coordinates are RAS in mm; voxels are array indices (i, j, k). Everything else is in the packages, imported by
their own names: ``lmk3d.codecs``, ``lmk3d.networks``, ``lmk3d.transforms``, ``lmk3d.losses``, ``lmk3d.metrics``, ...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmk3d.api import evaluate, load, train
    from lmk3d.errors import InputError
    from lmk3d.geometry import Grid, Volume
    from lmk3d.inference import LandmarkDetector
    from lmk3d.io import (
        Dataset,
        as_volume,
        check_dataset,
        read_dataset,
        read_image,
        read_points,
        write_image,
        write_points,
    )
    from lmk3d.landmarks import Landmarks

__all__ = [
    "Dataset",
    "Grid",
    "InputError",
    "LandmarkDetector",
    "Landmarks",
    "Volume",
    "as_volume",
    "check_dataset",
    "evaluate",
    "load",
    "read_dataset",
    "read_image",
    "read_points",
    "train",
    "write_image",
    "write_points",
]

_ROOMS = {
    "api": ("evaluate", "load", "train"),
    "errors": ("InputError",),
    "geometry": ("Grid", "Volume"),
    "inference": ("LandmarkDetector",),
    "io": (
        *("Dataset", "as_volume", "check_dataset", "read_dataset"),
        *("read_image", "read_points", "write_image", "write_points"),
    ),
    "landmarks": ("Landmarks",),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"lmk3d.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
