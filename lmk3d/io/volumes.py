"""Images of other libraries as a ``Volume``: files, nibabel, SimpleITK, MONAI, arrays with an affine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS, Volume
from lmk3d.io.images import read_image
from lmk3d.io.packed import itk_affine, make_volume

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["as_volume"]

_ARGUMENT = "argument image"
_TAKEN = "a path, a Volume, an image of nibabel or SimpleITK, a MetaTensor, or an array with affine=..."


def as_volume(
    image: Any, *, affine: ArrayLike | None = None, series: str | None = None, spacing_mm: float | None = None
) -> Volume:
    """The image as a ``Volume``, in world RAS mm, whatever library it comes from.

    Args:
        image: the path of a file or folder that ``read_image`` reads; a ``Volume``; an image of nibabel; one of
            SimpleITK, whose two-dimensional images are radiographs (rows, columns, 1); a ``MetaTensor`` of MONAI, or a
            NumPy array or torch tensor with ``affine``: (I, J, K), channel first (1, I, J, K), (I, J) of radiographs.
        affine: (4, 4) voxel index to world RAS mm of an array; every other image has its own.
        series, spacing_mm: of a path; see ``read_image``.
    Raises:
        InputError: if the image cannot be read, is not one image of grey values, or is an array without an affine.
        TypeError: for anything else, and for an argument that this kind of image does not take.

    >>> volume = as_volume(np.zeros((4, 3, 2)), affine=np.diag([0.5, 0.5, 2.0, 1.0]))
    >>> volume.grid.to_mm([3, 2, 1])
    array([1.5, 1. , 2. ])
    """
    is_path = isinstance(image, str | os.PathLike)
    if not is_path and (series, spacing_mm) != (None, None):
        raise TypeError("series and spacing_mm belong to a file; leave them out of an image in memory")
    is_array = isinstance(image, np.ndarray) or (_is(image, "torch", "Tensor") and not _is_meta(image))
    if affine is not None and not is_array:
        raise TypeError(f"a {type(image).__name__} has its own affine; leave affine out")
    if is_path:
        return read_image(image, series=series, spacing_mm=spacing_mm)
    if isinstance(image, Volume):
        return image
    if _is(image, "SimpleITK", "Image"):
        return _of_itk(image)
    if _is(image, "nibabel.spatialimages", "SpatialImage"):
        return _of_nibabel(image)
    return _of_tensor(image, affine)


def _is(image: object, module: str, name: str) -> bool:
    """Whether it is of that class, without importing its module: nothing can be of a class that is not there."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(image, kind)


def _is_meta(image: object) -> bool:
    return _is(image, "monai.data.meta_tensor", "MetaTensor")


def _volume(data: NDArray[Any], affine: ArrayLike) -> Volume:
    """The volume of these voxels in the machine's byte order."""
    native = data.astype(data.dtype.newbyteorder("="), copy=False)
    return make_volume(native, np.asarray(affine, dtype=np.float64), _ARGUMENT)


def _of_itk(image: Any) -> Volume:
    """Of SimpleITK, whose arrays are in the order k, j, i and whose world is LPS."""
    import SimpleITK as sitk

    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{_ARGUMENT}: holds several values a voxel (colour?); give an image of grey values")
    data, dims = sitk.GetArrayFromImage(image), image.GetDimension()
    used = min(dims, 3)
    direction = np.reshape(image.GetDirection(), (dims, dims))[:used, :used]
    affine = itk_affine(image.GetSpacing()[:used], direction, image.GetOrigin()[:used])
    if dims == 2:  # rows come first in radiographs, and columns (x) in ITK
        return _volume(data, affine[:, [1, 0, 2, 3]])
    return _volume(data.T, affine)


def _of_nibabel(image: Any) -> Volume:
    """Of nibabel, whose affine is RAS; units of the header that are not mm count, as in files."""
    from nibabel.nifti1 import Nifti1Header

    data, affine = np.asanyarray(image.dataobj), image.affine
    if affine is None:
        raise InputError(f"{_ARGUMENT}: is a nibabel image without an affine; give it one")
    if data.dtype == np.float64 and image.get_data_dtype() != np.float64:
        data = data.astype(np.float32)  # stored integers, scaled by the header
    if isinstance(image.header, Nifti1Header):
        from lmk3d.io.nifti_forms import in_mm

        affine = in_mm(image.header, affine)
    return _volume(data, affine)


def _of_tensor(image: Any, affine: ArrayLike | None) -> Volume:
    """Of a ``MetaTensor``, or of an array with its affine."""
    if _is_meta(image):
        if image.has_pending_operations:
            raise InputError(f"{_ARGUMENT}: has transforms that wait to be done (lazy); apply them first")
        affine = image.affine.detach().cpu().numpy()
        affine = LPS_TO_RAS @ affine if image.meta.get("space") == "LPS" else affine
    elif not isinstance(image, np.ndarray) and not _is(image, "torch", "Tensor"):
        raise TypeError(f"image is a {type(image).__name__}; give {_TAKEN}")
    if affine is None:
        shape = " x ".join(str(side) for side in image.shape)
        raise InputError(
            f"{_ARGUMENT}: an array ({shape}) does not say where its voxels lie; "
            "give affine=, the (4, 4) matrix from voxel index to world RAS in mm"
        )
    if not isinstance(image, np.ndarray):
        tensor = image.detach().cpu()
        image = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return _volume(image[0] if image.ndim == 4 and image.shape[0] == 1 else image, affine)
