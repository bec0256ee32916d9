"""NIfTI images, .nii and .nii.gz: nibabel reads the header, the voxels go straight into their array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.packed import check_shape, check_spacing, make_volume, open_source, rescaled

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.geometry import Volume

__all__ = ["nifti_image", "read_nifti", "write_nifti"]


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file.

    The affine is that of nibabel: sform, else qform, else (both codes 0) the default that puts the middle of the image
    at the origin. Stored integers stay, unless the header scales them to fractions: then float32.

    Raises:
        InputError: if the file is no NIfTI image, is damaged, is 4D or in colour, or has no usable geometry.
    """
    with open_source(path) as (_, source):
        start = source.take(4)
        size = next((size for size in (348, 540) if start in (size.to_bytes(4, "little"), size.to_bytes(4, "big"))), 0)
        block = start + source.take(size - 4)
        if not size or len(block) < size:
            raise InputError(f"{path}: is no NIfTI image, or is cut off; give a .nii or .nii.gz file")
        header = _parse(block, path)
        shape, dtype = _shape(header, path), _dtype(header, path)
        affine, (slope, intercept) = _affine(header, path), _scaling(header, path)
        source.take(_offset(header, size, path) - size)
        data = source.array(shape, dtype)
    return make_volume(rescaled(data, slope, intercept), affine, path)


def _parse(block: bytes, path: Path) -> Any:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    header = (Nifti1Header if len(block) == 348 else Nifti2Header)(block, check=False)
    magic = bytes(header["magic"])
    if magic[:3] in (b"ni1", b"ni2"):
        raise InputError(f"{path}: is the header of a pair .hdr/.img; save the image as one .nii file")
    if magic[:3] not in (b"n+1", b"n+2"):
        raise InputError(f"{path}: is no NIfTI image (its magic is {magic!r}); give a .nii or .nii.gz file")
    return header


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    dims = [int(side) for side in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise InputError(f"{path}: says it has {dims[0]} dimensions; its header is damaged, save the image again")
    shape = tuple(dims[1 : 1 + dims[0]])
    if header["intent_code"] in (1007, 2003, 2004):  # vectors and colours beyond the fourth axis
        raise InputError(f"{path}: holds several values a voxel; give an image of grey values")
    check_shape(shape, path)
    check_spacing(header["pixdim"][1 : 1 + min(3, dims[0])], path)
    return shape


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise InputError(f"{path}: has voxels of unknown type {int(header['datatype'])}; save it again") from None
    if dtype.fields is not None:
        raise InputError(f"{path}: is in colour (RGB); give an image of grey values")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(f"{path}: its voxels are {dtype}, no plain numbers; save it as integers or float32")
    return np.dtype(dtype)


def _affine(header: Any, path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    from nibabel.spatialimages import HeaderDataError

    try:
        with np.errstate(invalid="ignore"):
            return np.asarray(header.get_best_affine(), dtype=np.float64)
    except (ValueError, HeaderDataError) as error:
        raise InputError(f"{path}: its orientation cannot be used ({error}); correct its sform or qform") from None


def _scaling(header: Any, path: Path) -> tuple[float, float]:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError(f"{path}: its intensity scale cannot be used ({error}); save it again") from None
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept or 0.0))


def _offset(header: Any, size: int, path: Path) -> int:
    offset = float(header["vox_offset"])
    if offset == 0:  # some writers leave it out
        return size + 4
    if not size <= offset < 1e9:  # extensions are small; a damaged offset is wild
        raise InputError(f"{path}: says its voxels begin at byte {offset:g}; its header is damaged, save it again")
    return int(offset)


def write_nifti(volume: Volume, path: Path) -> None:
    """Write NIfTI-1; see ``nifti_image``."""
    nifti_image(volume).to_filename(path)


def nifti_image(volume: Volume) -> Any:
    """The volume as nibabel's ``Nifti1Image`` in its own type, its affine as sform (in float32, as the format has it).

    The qform is written too where the axes are at right angles, for readers that look at nothing else.

    Raises:
        InputError: if NIfTI does not know the type.
    """
    from nibabel.nifti1 import Nifti1Image

    data, affine = volume.data, volume.grid.affine
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    elif data.dtype.kind not in "iuf" or data.dtype.itemsize > 8:
        raise InputError(f"an image of {data.dtype} cannot be written as NIfTI; convert it to float32")
    image = Nifti1Image(data, affine, dtype=data.dtype)
    axes = volume.grid.axes
    orthogonal = np.allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner" if orthogonal else "unknown")
    image.header.set_xyzt_units("mm" if volume.unit == "mm" else "unknown")
    return image
