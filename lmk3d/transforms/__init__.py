"""MONAI dict transforms; ``sampling`` and ``intensity``, which prediction needs, do without MONAI's slow import."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmk3d.transforms.dense import EncodeDensed
    from lmk3d.transforms.loading import BlockMeansd, LoadCased
    from lmk3d.transforms.patches import RandPatchesd
    from lmk3d.transforms.posing import (
        EncodePointsd,
        LayOverd,
        PosedImaged,
        RandFieldOfViewd,
        RandMirrord,
        RandPosed,
        RandWavesd,
    )
    from lmk3d.transforms.scanners import RandConvolutionsd, RandLowResolutiond

__all__ = [
    "BlockMeansd",
    "EncodeDensed",
    "EncodePointsd",
    "LayOverd",
    "LoadCased",
    "PosedImaged",
    "RandConvolutionsd",
    "RandFieldOfViewd",
    "RandLowResolutiond",
    "RandMirrord",
    "RandPatchesd",
    "RandPosed",
    "RandWavesd",
]

_ROOMS = {
    "dense": ("EncodeDensed",),
    "loading": ("BlockMeansd", "LoadCased"),
    "patches": ("RandPatchesd",),
    "posing": (
        *("EncodePointsd", "LayOverd", "PosedImaged"),
        *("RandFieldOfViewd", "RandMirrord", "RandPosed", "RandWavesd"),
    ),
    "scanners": ("RandConvolutionsd", "RandLowResolutiond"),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"lmk3d.transforms.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
