"""Registration of files: points and, where given, their images in; transform, tables, moved image and pictures out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.apps.registration import RegisterOptions, fitting_axes, register_points
from lmk3d.apps.sides import Side, read_side
from lmk3d.errors import InputError
from lmk3d.geometry import Grid
from lmk3d.io import atomic_path, refuse_existing, write_image, write_points
from lmk3d.io.csv_files import write_csv
from lmk3d.landmarks import Landmarks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.apps.registration import Registration
    from lmk3d.geometry import Volume
    from lmk3d.plots.overlays import Overlay

    FloatArray = NDArray[np.float64]

__all__ = ["register_files"]

# Room round the points that a spline is written for where there is no image, as a part of their extent.
_ROOM = 0.5


def register_files(
    moving: Side,
    fixed: Side,
    output: Path | None = None,
    *,
    options: RegisterOptions | None = None,
    refine: bool = False,
    overwrite: bool = False,
) -> tuple[Registration, list[Path]]:
    """Register two files of points and write what comes of it.

    The folder gets transform.tfm (of a spline transform.h5) for ITK and Slicer, registration.json, pairs.csv,
    moved.mrk.json and points.png; with both images also moved.nii.gz, the moving image on the fixed one's grid, and
    checkerboard.png.

    Args:
        moving, fixed: the two sides.
        output: folder for the files, made where it is not there; nothing is written when None.
        options: how to fit.
        refine: go on from the landmarks by the images' mutual information.
        overwrite: replace files that exist.
    Returns:
        The registration, and the files written.
    Raises:
        InputError: as ``register_points``, and where a file cannot be read or written, points lie outside their image,
            or images are missing for refinement.
    """
    options = options or RegisterOptions()
    both = moving.image is not None and fixed.image is not None
    if refine and not both:
        raise InputError("refinement compares images; give both, with --moving-image and --fixed-image")
    names = [f"transform.{'h5' if options.kind == 'tps' else 'tfm'}", "registration.json", "pairs.csv"]
    names += ["moved.mrk.json", "points.png", *(["moved.nii.gz", "checkerboard.png"] if both else [])]
    paths = {} if output is None else {name: output / name for name in names}
    refuse_existing(paths.values(), overwrite=overwrite)
    (near, near_image), (far, far_image) = read_side(moving), read_side(fixed)
    near, far = near.withheld(), far.withheld()
    grids = [None if image is None else image.grid for image in (near_image, far_image)]
    try:
        registration = register_points(near, far, options, axes=fitting_axes(near, far, *grids))
        if refine and near_image is not None and far_image is not None:
            from lmk3d.apps.refinement import refine as refine_by_images

            registration = refine_by_images(registration, near_image, far_image)
    except InputError as error:
        raise InputError(f"{moving.points} onto {fixed.points}: {error}") from None
    registration = replace(registration, about={"moving": str(moving.points), "fixed": str(fixed.points)})
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        try:
            _write(registration, near, (near_image, far_image), paths)
        except InputError:
            raise
        except ValueError as error:  # a spline that folds
            raise InputError(f"{moving.points} onto {fixed.points}: {error}") from None
    return registration, list(paths.values())


def _write(
    registration: Registration, moving: Landmarks, images: tuple[Volume | None, Volume | None], paths: dict[str, Path]
) -> None:
    from lmk3d.io.transforms import write_transform
    from lmk3d.plots import save_figure
    from lmk3d.plots.overlays import checkerboard, point_overlay
    from lmk3d.warps import resample

    near, far = images
    grid = _box(registration) if far is None else far.grid
    transform = next(path for name, path in paths.items() if name.startswith("transform."))
    write_transform(registration.transform, transform, grid=grid)
    with atomic_path(paths["registration.json"]) as temporary:
        text = json.dumps(registration.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    _write_pairs(registration, paths["pairs.csv"])
    moved = registration.transform(moving.points_mm)
    write_points(
        Landmarks(moving.names, moved, moving.confidence, moving.error_mm, moving.unit), paths["moved.mrk.json"]
    )
    overlay = _overlay(registration)
    save_figure(point_overlay(overlay, flat=registration.axes[0].shape[1] == 2), paths["points.png"])
    if near is not None and far is not None:
        resampled = resample(near, registration.transform, far.grid)
        write_image(resampled, paths["moved.nii.gz"])
        save_figure(checkerboard(overlay, far, resampled), paths["checkerboard.png"])


def _write_pairs(registration: Registration, path: Path) -> None:
    """One line for each pair: both points in RAS, its weight, residual and leave-one-out error."""
    unit = registration.unit
    heads = ["landmark", "weight", f"residual_{unit}", f"leave_one_out_{unit}"]
    heads += [f"{side}_{axis}_{unit}" for side in ("moving", "moved", "fixed") for axis in "ras"]
    lines: list[list[object]] = [
        [pair.name, pair.weight, pair.residual_mm, pair.left_out_mm, *pair.moving_mm, *pair.moved_mm, *pair.fixed_mm]
        for pair in registration.pairs
    ]
    write_csv([heads, *lines], path)


def _overlay(registration: Registration) -> Overlay:
    from lmk3d.plots.overlays import Overlay

    pairs, unit = registration.pairs, registration.unit
    left_out = registration.left_out_rms_mm
    end = "" if np.isnan(left_out) else f", left out one by one {left_out:.2f} {unit}"
    title = f"{registration.kind}, {len(pairs)} pairs: residual {registration.rms_mm:.2f} {unit}{end}"
    moved, fixed = (np.array([getattr(pair, side) for pair in pairs]) for side in ("moved_mm", "fixed_mm"))
    used = np.array([pair.used for pair in pairs])
    return Overlay(tuple(pair.name for pair in pairs), fixed, moved, used, title, unit)


def _box(registration: Registration) -> Grid:
    """A grid about the fixed points, for a spline without an image."""
    points = np.array([pair.fixed_mm for pair in registration.pairs])
    flat = registration.axes[1].shape[1] == 2
    axes = np.column_stack([registration.axes[1], np.cross(*registration.axes[1].T)]) if flat else np.eye(3)
    across = points @ axes
    low, high = across.min(0), across.max(0)
    side = (1 + 2 * _ROOM) * float((high - low).max())
    return Grid.around((low + high) / 2 @ axes.T, (48, 48, 1 if flat else 48), side / 47, axes)
