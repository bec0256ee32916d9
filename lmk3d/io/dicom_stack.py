"""Slices of a DICOM series put in order: one volume on one grid."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS
from lmk3d.io.dicom_marks import copy_key, differences
from lmk3d.io.dicom_pixels import read_pixels
from lmk3d.io.packed import check_shape, make_volume, rescaled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.geometry import Volume
    from lmk3d.io.dicom_frames import Frame

    FloatArray = NDArray[np.float64]

__all__ = ["check_alike", "order_slices", "stack_slices"]

# A slice may lie this part of the slice distance off its place: headers are rounded, a missing slice is off by more.
_PLACE_TOLERANCE = 0.1
# Direction cosines and spacings are rounded to 4 to 6 digits.
_SAME = 1e-3


def stack_slices(frames: Sequence[Frame], path: Path, *, notes: tuple[str, ...] = ()) -> Volume:
    """The volume (columns, rows, slices) of the slices of one series.

    Args:
        frames: all of them with a position, in any order; of a file that is there twice, with the same UID, place and
            pixels, one counts.
        path: what to call the series in errors.
        notes: see ``Volume``.
    Raises:
        InputError: if they are no uniform stack: mixed sizes, directions or spacings, missing or doubled places.
    """
    frames = _without_copies(frames)
    check_alike(frames, path)
    ordered, affine = order_slices(frames, path)
    rows, columns = ordered[0].shape
    check_shape((columns, rows, len(ordered)), path)
    return make_volume(_read_stack(ordered, path), LPS_TO_RAS @ affine, path, notes=notes)


def _without_copies(frames: Sequence[Frame]) -> list[Frame]:
    """The images without copies of them in other files; what only calls itself a copy is an error."""
    found: dict[tuple[object, ...], Frame] = {}
    for frame in frames:
        first = found.setdefault(copy_key(frame), frame)
        if first is frame:
            continue
        ours, theirs = (read_pixels(one.entry)[0][one.index] for one in (frame, first))
        if frame.scale != first.scale or not np.array_equal(ours, theirs):
            raise InputError(
                f"{frame.entry}: has the UID and the place of {first.entry} and other pixels; give one of them"
            )
    return list(found.values())


def check_alike(frames: Sequence[Frame], path: Path) -> None:
    """See that slices have one size, direction and spacing.

    Raises:
        InputError: if they do not.
    """
    sizes = Counter(frame.shape for frame in frames)
    if len(sizes) > 1:
        text = ", ".join(f"{columns} x {rows} ({count})" for (rows, columns), count in sizes.most_common(3))
        raise InputError(f"{path}: mixes image sizes {text}; give the files of one stack")
    for what in ("orientation", "spacing"):
        values = np.array([getattr(frame, what) for frame in frames], dtype=np.float64)
        if not np.abs(values - values[0]).max() <= _SAME:
            raise InputError(f"{path}: mixes slices of different {what}; give the files of one stack")


def order_slices(frames: Sequence[Frame], path: Path) -> tuple[list[Frame], FloatArray]:
    """The slices along their normal, and the (4, 4) LPS affine of (column, row, slice).

    Raises:
        InputError: if they do not lie at even distances, or at one place.
    """
    first = frames[0]
    axes = np.asarray(first.orientation)
    lengths = np.linalg.norm(axes, axis=1)
    if not (np.abs(lengths - 1).max() <= 0.01 and abs(axes[0] @ axes[1]) <= 0.01):
        raise InputError(f"{path}: its slice directions {axes.tolist()} are no unit vectors at right angles")
    normal = np.cross(axes[0], axes[1])
    ordered = sorted(frames, key=lambda frame: float(np.asarray(frame.position) @ normal))
    places = np.array([frame.position for frame in ordered])
    step = _step(ordered, places, normal, path)
    down, across = first.spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = axes[0] * across, axes[1] * down, step, places[0]
    return ordered, affine


def _step(frames: list[Frame], places: FloatArray, normal: FloatArray, path: Path) -> FloatArray:
    """(3,) mm from one slice to the next, checked to hold for all of them."""
    if len(places) == 1:
        return normal * (frames[0].thickness or 1.0)
    along = np.diff(places @ normal)
    if along.min() < 1e-3:
        raise InputError(f"{path}: has {_crowd(frames, along)}; give the files of one stack")
    step = (places[-1] - places[0]) / (len(places) - 1)
    off = np.linalg.norm(places - (places[0] + np.arange(len(places))[:, None] * step), axis=1)
    if off.max() > _PLACE_TOLERANCE * np.linalg.norm(step):
        raise InputError(
            f"{path}: its slices lie {along.min():.3g} to {along.max():.3g} mm apart (are some missing?); give the "
            "whole stack, or resample it to even distances"
        )
    return np.asarray(step)


def _crowd(frames: list[Frame], along: FloatArray) -> str:
    what = differences(frames)
    reason = f"which differ in {what}" if what else "and their headers do not say what tells them apart"
    return f"{len(frames)} slices at {1 + int((along >= 1e-3).sum())} places, {reason}"


def _read_stack(frames: list[Frame], path: Path) -> NDArray[Any]:
    """(columns, rows, slices) in the stored type, or rescaled."""
    places: dict[Any, list[int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.entry, []).append(place)
    scales = {frame.scale for frame in frames}
    own_scale = len(scales) > 1
    bare = sum(not frame.is_scaled for frame in frames)
    if own_scale and bare:
        raise InputError(
            f"{path}: {bare} of its {len(frames)} slices say no rescale slope and intercept, the others do; correct "
            "their headers, or give the files of one stack"
        )
    first, dark = read_pixels(frames[0].entry)
    rows, columns = frames[0].shape
    data = np.empty((columns, rows, len(frames)), np.float32 if own_scale else first.dtype, order="F")
    for entry, own in places.items():
        pixels, inverse = (first, dark) if entry == frames[0].entry else read_pixels(entry)
        if inverse != dark:
            raise InputError(f"{path}: mixes MONOCHROME1 and MONOCHROME2 slices; give the files of one stack")
        if pixels.dtype != first.dtype:
            raise InputError(f"{path}: mixes {first.dtype} and {pixels.dtype} pixels; give the files of one stack")
        for place in own:
            plane = pixels[frames[place].index].T
            data[:, :, place] = plane * frames[place].scale[0] + frames[place].scale[1] if own_scale else plane
    return data if own_scale else rescaled(data, *scales.pop())
