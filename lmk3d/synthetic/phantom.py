"""A CTA of a drawn subject: chooses field of view, voxels and noise, and says which landmarks are seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lmk3d.geometry import Grid, Volume
from lmk3d.landmarks import Landmarks
from lmk3d.synthetic.anatomy import Anatomy, draw_anatomy
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.render import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Phantom", "Region", "cta_phantom"]

Region = Literal["heart", "aorta", "torso"]

_LARGEST_SIDE = 512


@dataclass(frozen=True, eq=False)
class Phantom:
    """One drawn CTA.

    Args:
        volume: int16 HU.
        landmarks: all fourteen names; those outside the volume are missing rows.
        all_landmarks: all fourteen, also those outside.
    """

    volume: Volume
    landmarks: Landmarks
    all_landmarks: Landmarks


def cta_phantom(
    seed: int,
    *,
    region: Region = "heart",
    shape: Sequence[int] | None = None,
    spacing_mm: ArrayLike | None = None,
    oblique: bool = True,
    noise_hu: float | None = None,
) -> Phantom:
    """Draw a CTA with exactly known landmarks; one seed gives the same phantom everywhere.

    The subject depends on the seed alone: region, grid and noise neither move nor change it. About one field of view in
    five is cropped so that landmarks may lie outside.

    Args:
        seed: a non-negative integer.
        region: "heart" (about 200 mm about the heart), "aorta" (from the neck's base to below the iliac fork, about
            the vessels), "torso" (the same heights, with the whole body's wall and air about it).
        shape: voxels along (i, j, k); drawn where None, 512 a side at most.
        spacing_mm: one number or three; drawn where None so that ``shape`` covers the region.
        oblique: tilt, flip and exchange the grid's axes at random; else i, j, k run along R, A, S.
        noise_hu: standard deviation of the noise; drawn from 8 to 32 where None.
    Raises:
        ValueError: if the seed is negative, the region unknown, or shape, spacing or noise are out of range.
    """
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    if region not in get_args(Region):
        raise ValueError(f"region must be one of {', '.join(get_args(Region))}, got {region!r}")
    if noise_hu is not None and not 0 <= noise_hu < 500:
        raise ValueError(f"noise_hu must be in [0, 500), got {noise_hu}")
    anatomy = draw_anatomy(seed)
    grid = draw_grid(Draws(seed, stream=1), anatomy, region, shape, spacing_mm, oblique=oblique)
    scanner = Draws(seed, stream=2)
    blur_mm, drawn_noise = scanner.uniform(0.15, 0.35), scanner.uniform(8.0, 32.0)
    volume = render(
        anatomy,
        grid,
        blur_mm=blur_mm,
        noise_hu=drawn_noise if noise_hu is None else noise_hu,
        draws=Draws(seed, stream=3),
    )
    points = anatomy.landmarks.points_mm.copy()
    points[~grid.contains(points)] = np.nan
    return Phantom(volume, Landmarks(anatomy.landmarks.names, points), anatomy.landmarks)


def draw_grid(
    draws: Draws,
    anatomy: Anatomy,
    region: Region,
    shape: Sequence[int] | None,
    spacing_mm: ArrayLike | None,
    *,
    oblique: bool,
) -> Grid:
    """The grid of a scan; every number is drawn whatever the options, so that an option changes only its own part."""
    centre, sides = _draw_box(draws, anatomy, region)
    fine = draws.uniform(0.35, 0.5) if region == "heart" else draws.uniform(0.6, 1.0)
    slices = draws.uniform(1.0, 1.5) if region == "heart" else draws.uniform(1.0, 2.2)
    spacing = fine * np.array([1.0, 1.0, slices])
    tilt = draws.tilt(14.0) if draws.chance(0.7) else draws.tilt(0.0)
    signs, order = np.where(draws.uniform(0.0, 1.0, (3,)) < 0.5, -1.0, 1.0), draws.order(3)
    if not draws.chance(0.35):
        order = [0, 1, 2]
    if not oblique:
        tilt, signs, order = np.eye(3), np.ones(3), [0, 1, 2]
    axes = (tilt * signs)[:, order]
    sides, spacing = sides[order], spacing[order]
    if shape is not None:
        sides_vox = _checked_shape(shape)
        step = sides / sides_vox if spacing_mm is None else _checked_spacing(spacing_mm)
    else:
        step = spacing if spacing_mm is None else _checked_spacing(spacing_mm)
        sides_vox = np.minimum(np.ceil(sides / step), _LARGEST_SIDE).astype(np.int64)
        if spacing_mm is None:
            step = np.maximum(step, sides / sides_vox)
    return Grid.around(centre, [int(side) for side in sides_vox], step, axes)


def _draw_box(draws: Draws, anatomy: Anatomy, region: Region) -> tuple[FloatArray, FloatArray]:
    """Middle (3,) and sides (3,) along R, A, S of the field of view."""
    cropped, share, end = draws.chance(0.22), draws.uniform(0.45, 0.8), draws.chance(0.5)
    wobble, grow = draws.jitter(1.0), draws.uniform(0.92, 1.1, (3,))
    where = draws.order(3)[0]
    if region == "heart":
        sides = np.array([200.0, 200.0, 165.0]) * grow
        centre = anatomy.heart_mm + wobble * np.array([14.0, 14.0, 12.0])
        if cropped:
            centre = centre + (1.0 if end else -1.0) * (1 - share) * sides * np.eye(3)[where]
        return centre, sides
    top, bottom = anatomy.spine_mm
    height = float(np.sqrt(((top - bottom) ** 2).sum()))
    sides = np.array([300.0, 230.0, height * 1.02] if region == "aorta" else [420.0, 320.0, height * 1.02])
    sides[:2] *= grow[:2]
    centre = (top + bottom) / 2 + wobble * np.array([15.0, 15.0, 12.0])
    if cropped:
        away = (1 - share) / 2 * (top - bottom)
        centre = centre + (away if end else -away)
        sides[2] *= share
    return centre, sides


def _checked_shape(shape: Sequence[int]) -> NDArray[np.int64]:
    sides = np.asarray(shape)
    if sides.shape != (3,) or not (sides == sides.astype(np.int64)).all() or sides.min() < 1:
        raise ValueError(f"shape must be three whole numbers of at least 1 voxel, got {shape}")
    return sides.astype(np.int64)


def _checked_spacing(spacing_mm: ArrayLike) -> FloatArray:
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape not in ((), (3,)) or not np.isfinite(spacing).all() or spacing.min() <= 0:
        raise ValueError(f"spacing_mm must be one or three positive numbers, got {spacing_mm!r}")
    return np.broadcast_to(spacing, (3,)).copy()
