"""Registration of an image to a template: the affine through which the first stage looks at it.

Nothing is resampled for it and no point is moved: the grid that the network looks through is laid over the image as the
template lies in it, so that a prediction is mapped back exactly by that grid's own affine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS, Grid, apply_affine
from lmk3d.transforms.sampling import resample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    FloatArray = NDArray[np.float64]

__all__ = ["Template", "register"]

_BINS, _STEPS = 32, 200


@dataclass(frozen=True, eq=False)
class Template:
    """The image that all others are laid over.

    Args:
        data: (I, J, K) stored numbers.
        grid: where they lie.
        middle_mm: (3,) of the whole image it was cut from, which is laid on the middle of another one to begin with.
    """

    data: Tensor
    grid: Grid
    middle_mm: FloatArray

    @classmethod
    def cut(
        cls, data: Tensor, grid: Grid, points_mm: FloatArray, *, shape: Sequence[int], margin_mm: float
    ) -> Template:
        """The part of an image round its landmarks.

        Args:
            data: (I, J, K) stored numbers on ``grid``.
            grid: where they lie.
            points_mm: (N, 3) the landmarks; NaN ones are left out.
            shape: voxels of the template, whose spacing is chosen so that it holds the landmarks.
            margin_mm: how far it reaches beyond their box at least, along the grid's own axes.
        """
        along = points_mm[np.isfinite(points_mm).all(1)] @ grid.axes
        low, high = along.min(0) - margin_mm, along.max(0) + margin_mm
        seen = np.array(shape) > 1
        spacing = float(((high - low) / np.array(shape))[seen].max())
        own = Grid.around(grid.axes @ ((low + high) / 2), shape, spacing, grid.axes)
        return cls(resample(data, grid, own, fill=float(data.numpy().min())), own, grid.center_mm)


def register(template: Template, data: Tensor, grid: Grid) -> FloatArray:
    """Where the template lies in an image.

    Args:
        template: what to look for.
        data: (I, J, K) stored numbers on ``grid``.
        grid: where they lie; a film is laid over a film as it is looked at, whatever plane of the world each lies in.
    Returns:
        (4, 4) affine, template world to image world in RAS mm.
    Raises:
        InputError: if one is a film and the other a volume, or the search fails, as with an empty image.
    Source:
        Appearance-context network 2021, sec. III: affine, mutual information (Mattes 2003), by SimpleITK.
    """
    import SimpleITK as sitk

    if (template.grid.shape[2] == 1) != (grid.shape[2] == 1):
        raise InputError("the template is a film and the image is none, or the other way round; choose another bundle")
    dims = 2 if grid.shape[2] == 1 else 3
    fixed, moving = _image(template.data, template.grid), _image(data, grid)
    there, here = (np.linalg.inv(_frame(one)) for one in (template.grid, grid))
    first = sitk.AffineTransform(dims)
    first.SetCenter(apply_affine(there, template.grid.center_mm)[:dims].tolist())
    step = apply_affine(here, grid.center_mm) - apply_affine(there, template.middle_mm)
    first.SetTranslation(step[:dims].tolist())
    search = sitk.ImageRegistrationMethod()
    search.SetMetricAsMattesMutualInformation(_BINS)
    search.SetInterpolator(sitk.sitkLinear)
    search.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, _STEPS)
    search.SetOptimizerScalesFromPhysicalShift()
    search.SetShrinkFactorsPerLevel([4, 2, 1])
    search.SetSmoothingSigmasPerLevel([2, 1, 0])
    search.SetInitialTransform(first, inPlace=False)
    try:
        found = search.Execute(fixed, moving)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-200:]
        raise InputError(f"the image cannot be laid over the template: {reason}") from error
    origin = np.array(found.TransformPoint([0.0] * dims))
    matrix = np.column_stack([np.array(found.TransformPoint(row.tolist())) - origin for row in np.eye(dims)])
    affine = np.eye(4)
    affine[:dims, :dims], affine[:dims, 3] = matrix, origin
    if dims == 2:  # the planes may lie at different heights
        affine[2, 3] = step[2]
    return _frame(grid) @ affine @ there


def _frame(grid: Grid) -> FloatArray:
    """(4, 4) from the mm that an image is laid over another one in to the world: LPS, of a film along its own axes."""
    if grid.shape[2] > 1:
        return LPS_TO_RAS
    frame = np.eye(4)
    frame[:3, :3] = grid.axes
    return frame


def _image(data: Tensor, grid: Grid) -> Any:
    """As SimpleITK has it: axes in the other order, a film without its third one."""
    import SimpleITK as sitk

    dims, affine = 2 if grid.shape[2] == 1 else 3, np.linalg.inv(_frame(grid)) @ grid.affine
    array = torch.as_tensor(data).float().cpu().numpy()
    image = sitk.GetImageFromArray(array[:, :, 0].T if dims == 2 else array.transpose(2, 1, 0))
    image.SetSpacing(grid.spacing_mm[:dims].tolist())
    image.SetOrigin(affine[:dims, 3].tolist())
    image.SetDirection((affine[:dims, :dims] / grid.spacing_mm[:dims]).ravel().tolist())
    return image
