"""Transforms as files that ITK and 3D Slicer read: .tfm (text) and .h5 (HDF5), through SimpleITK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS
from lmk3d.io.atomic import atomic_path
from lmk3d.warps import Transform, displacements

if TYPE_CHECKING:
    from lmk3d.geometry import Grid

__all__ = ["TRANSFORM_FORMATS", "read_transform", "write_transform"]

TRANSFORM_FORMATS = (".tfm", ".h5")
"""Endings of transforms' files."""
_TEXT = ".txt"  # which ITK writes and reads as it does .tfm
_SECONDS = 20  # a sound one takes a tenth of a second, a damaged one may take for ever
# What no patient needs: where rounding would decide on the millimetres.
_FARTHEST_MM, _FLATTEST = 1e7, 1e8


def write_transform(transform: Transform, path: str | os.PathLike[str], *, grid: Grid | None = None) -> None:
    """Write a transform in ITK's way: in LPS, from the fixed world to the moving one, as an image is resampled.

    3D Slicer turns that round as it reads it: the moving image or its points, put under the transform, move onto the
    fixed ones. A spline becomes a displacement field, whose values outside ``grid`` are zero.

    Args:
        transform: from the moving to the fixed world, RAS mm.
        path: .tfm or .h5; an existing file is replaced.
        grid: where a spline is needed: the fixed image's.
    Raises:
        InputError: if no format has this ending, a spline is to be a .tfm, or the file cannot be written.
        ValueError: if a spline comes without a grid, or folds.
    """
    import SimpleITK as sitk

    path = Path(path)
    if path.suffix.lower() not in TRANSFORM_FORMATS:
        raise InputError(f"{path}: is no transform's name; end it in {' or '.join(TRANSFORM_FORMATS)}")
    itk: Any
    if transform.is_linear:
        back = LPS_TO_RAS @ np.linalg.inv(transform.affine) @ LPS_TO_RAS
        itk = sitk.AffineTransform(back[:3, :3].ravel().tolist(), back[:3, 3].tolist())
    elif path.suffix.lower() == ".tfm":
        raise InputError(f"{path}: a spline's displacement field is too large for text; write .h5")
    elif grid is None:
        raise ValueError("a spline is written as a field on a grid; give the fixed image's")
    else:
        itk = _field(transform, grid)
    with atomic_path(path) as temporary:
        sitk.WriteTransform(itk, str(temporary))


def read_transform(path: str | os.PathLike[str]) -> Transform:
    """Read a linear transform that ITK, Slicer or ``write_transform`` wrote, as a map from moving to fixed in RAS.

    SimpleITK reads it in a process of its own: damaged files kill the process that reads them.

    Raises:
        InputError: if it cannot be read, is not linear, not of three dimensions, or cannot be inverted.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if path.suffix.lower() not in (*TRANSFORM_FORMATS, _TEXT):
        raise InputError(
            f"{path}: is no transform's name; save it in ITK or Slicer as {' or '.join(TRANSFORM_FORMATS)}"
        )
    root = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    try:
        reader = subprocess.run(
            [sys.executable, "-m", "lmk3d.io.transform_reader", str(path.resolve())],
            capture_output=True,
            check=True,
            timeout=_SECONDS,
            env={**os.environ, "PYTHONPATH": root},
        )
        linear, ends = json.loads(reader.stdout)
    except (subprocess.SubprocessError, ValueError):
        raise InputError(f"{path}: is not a transform that ITK can read; give a .tfm or .h5 file") from None
    if not linear:
        raise InputError(f"{path}: is not linear in three dimensions; give a rigid, similarity or affine transform")
    back = np.eye(4)
    back[:3, :3], back[:3, 3] = (np.array(ends[1:]) - ends[0]).T, ends[0]
    if not np.isfinite(back).all() or np.abs(back).max() > _FARTHEST_MM or np.linalg.cond(back[:3, :3]) > _FLATTEST:
        raise InputError(f"{path}: is damaged, it leads nowhere or folds space flat; save the transform again")
    return Transform.linear(LPS_TO_RAS @ np.linalg.inv(back) @ LPS_TO_RAS)


def _field(transform: Transform, grid: Grid) -> Any:
    """ITK's displacement field transform."""
    import SimpleITK as sitk

    nodes, moves = displacements(transform, grid)
    image = sitk.GetImageFromArray(
        np.ascontiguousarray((moves * [-1.0, -1.0, 1.0]).transpose(2, 1, 0, 3)), isVector=True
    )
    lps = LPS_TO_RAS @ nodes.affine
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(nodes.spacing_mm.tolist())
    image.SetDirection((lps[:3, :3] / nodes.spacing_mm).ravel().tolist())
    return sitk.DisplacementFieldTransform(image)
