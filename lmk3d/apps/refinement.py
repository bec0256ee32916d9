"""Registration refined by the images themselves: mutual information from where the landmarks put them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.apps.registration import Refinement
from lmk3d.errors import InputError
from lmk3d.fits import into_space
from lmk3d.geometry import LPS_TO_RAS, apply_affine
from lmk3d.warps import Transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.apps.registration import Registration
    from lmk3d.geometry import Volume

    FloatArray = NDArray[np.float64]

__all__ = ["refine"]

# Voxels that the metric looks at: more makes it slower and no better.
_SAMPLES = 50_000
_BINS = 50
_SEED = 1


def refine(registration: Registration, moving: Volume, fixed: Volume) -> Registration:
    """Refine a linear registration by the mutual information of the two images.

    The landmarks' transform is the start and the search is local, so it must be right to about the size of the
    structures in the images. Leave-one-out errors stay those of the landmarks' fit.

    Args:
        registration: rigid, similarity or affine; between films in their planes.
        moving, fixed: the images.
    Returns:
        The registration with the refined transform, or with its own where the images prefer that.
    Raises:
        InputError: if it is a spline, or the images hardly overlap.
    Source:
        Mattes et al. 2003 (metric), as SimpleITK has it.
    """
    if registration.kind == "tps":
        raise InputError("a spline is not refined by the images; fit rigid, similarity or affine")
    axes = tuple(_axes(volume, own) for volume, own in zip((moving, fixed), registration.axes, strict=True))
    start = _flat(_inverse(registration.transform.affine), axes[::-1])
    fixed_mm = np.array([pair.fixed_mm for pair in registration.pairs])
    try:
        before, after, back = _search(
            _itk_image(fixed, axes[1]),
            _itk_image(moving, axes[0]),
            start,
            (fixed_mm @ axes[1]).mean(0),
            registration.kind,
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"the images cannot be compared where the landmarks put them ({reason}); do they overlap, and do the "
            f"points belong to these images?"
        ) from None
    moving_mm = np.array([pair.moving_mm for pair in registration.pairs])
    affine = into_space(_inverse(back), moving_mm, fixed_mm, (axes[0], axes[1]))
    transform = Transform.linear(affine)
    moved = transform(registration.transform.inverse(fixed_mm)) - fixed_mm
    kept = after > before
    done = Refinement(before, after, float(np.linalg.norm(moved, axis=1).mean()), kept)
    if not kept:
        return replace(registration, refinement=done)
    pairs = tuple(
        replace(
            pair,
            moved_mm=(place := transform(pair.moving_mm)),
            residual_mm=float(np.linalg.norm(place - pair.fixed_mm)),
        )
        for pair in registration.pairs
    )
    return replace(registration, transform=transform, pairs=pairs, refinement=done)


def _axes(volume: Volume, fitted: FloatArray) -> FloatArray:
    """(3, D) axes that ITK's coordinates count along: LPS of a volume, its own two of a film."""
    return LPS_TO_RAS[:3, :3] if fitted.shape[1] == 3 else volume.grid.axes[:, :2]


def _flat(affine: FloatArray, axes: tuple[FloatArray, ...]) -> FloatArray:
    """(D + 1, D + 1) of a (4, 4) affine in coordinates along ``axes[0]`` and then ``axes[1]``."""
    dims = axes[0].shape[1]
    flat = np.eye(dims + 1)
    flat[:dims, :dims] = axes[1].T @ affine[:3, :3] @ axes[0]
    flat[:dims, dims] = axes[1].T @ affine[:3, 3]
    return flat


def _inverse(affine: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(affine), dtype=np.float64)


def _itk_image(volume: Volume, axes: FloatArray) -> Any:
    """The image in ITK's hands, of D dimensions."""
    import SimpleITK as sitk

    dims, grid = axes.shape[1], volume.grid
    data = volume.data if dims == 3 else volume.data[:, :, 0]
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, dtype=np.float32))
    image.SetOrigin((axes.T @ grid.affine[:3, 3]).tolist())
    image.SetSpacing(grid.spacing_mm[:dims].tolist())
    image.SetDirection((axes.T @ grid.axes[:, :dims]).ravel().tolist())
    return image


def _search(
    fixed: Any, moving: Any, start: FloatArray, center: FloatArray, kind: str
) -> tuple[float, float, FloatArray]:
    """Mutual information before and after, and the refined (D + 1, D + 1) way back."""
    import SimpleITK as sitk

    dims = fixed.GetDimension()
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=0.5, minStep=1e-3, numberOfIterations=200, gradientMagnitudeTolerance=1e-9
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, _SAMPLES / fixed.GetNumberOfPixels()), _SEED)
    method.SetInitialTransform(_itk_transform(kind, start, center), inPlace=False)
    found = method.Execute(fixed, moving)
    ends = np.array([found.TransformPoint(point) for point in np.vstack([np.zeros(dims), np.eye(dims)]).tolist()])
    back = np.eye(dims + 1)
    back[:dims, :dims], back[:dims, dims] = (ends[1:] - ends[0]).T, ends[0]
    values = []
    for flat in (start, back):
        method.SetInitialTransform(_itk_transform("affine", flat, center), inPlace=False)
        values.append(-float(method.MetricEvaluate(fixed, moving)))
    return values[0], values[1], back


def _itk_transform(kind: str, flat: FloatArray, center: FloatArray) -> Any:
    """ITK's transform of a kind that does what a (D + 1, D + 1) affine does, turning about ``center``."""
    import SimpleITK as sitk

    dims = len(center)
    kinds = {
        ("rigid", 2): sitk.Euler2DTransform,
        ("rigid", 3): sitk.VersorRigid3DTransform,
        ("similarity", 2): sitk.Similarity2DTransform,
        ("similarity", 3): sitk.Similarity3DTransform,
        ("affine", 2): lambda: sitk.AffineTransform(2),
        ("affine", 3): lambda: sitk.AffineTransform(3),
    }
    transform = kinds[kind, dims]()
    transform.SetCenter(center.tolist())
    transform.SetMatrix(flat[:dims, :dims].ravel().tolist())
    transform.SetTranslation((apply_affine(flat, center) - center).tolist())
    return transform
