"""NIfTI images, .nii, .nii.gz, pairs .hdr/.img: nibabel reads the header, voxels go straight into their array."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.nifti_forms import Forms
from lmk3d.io.packed import check_shape, check_spacing, make_volume, open_source, rescaled

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.geometry import Volume

__all__ = ["nifti_files", "nifti_form", "nifti_image", "read_nifti", "write_nifti"]

_PAIR = re.compile(r"\.(hdr|img)(\.gz)?$", re.IGNORECASE)
# Extensions of the header are small; a damaged offset is wild.
_MOST_BEFORE = 100_000_000


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file, or a pair by either of its names.

    The affine is the sform, else the qform, else (both codes 0) the default of nibabel, which puts the middle of the
    image at the origin; in mm, if the header says metres or micrometres. Where ITK, and with it 3D Slicer, puts the
    image elsewhere, or the two forms disagree, the notes say so. Stored integers stay, unless the header scales them to
    fractions: then float32.

    Raises:
        InputError: if the file is not a NIfTI image, is damaged, is 4D or in colour, or has no usable geometry.
    """
    header_path, voxel_path = nifti_files(path)
    with open_source(header_path) as (_, source):
        header, size = _read_header(source, header_path, pair=header_path != voxel_path)
        shape, dtype = _shape(header, path), _dtype(header, path)
        forms, (slope, intercept) = Forms(header, shape), _scaling(header, path)
        if header_path == voxel_path:
            source.skip(_offset(header, size, path) - size)
            data = source.array(shape, dtype)
        else:
            with open_source(voxel_path) as (_, voxels):
                voxels.skip(_offset(header, 0, path))
                data = voxels.array(shape, dtype)
    return make_volume(rescaled(data, slope, intercept), forms.affine(), path, notes=forms.notes())


def nifti_files(path: Path) -> tuple[Path, Path]:
    """Where header and voxels are: twice the same file, or the two of a pair .hdr/.img.

    Raises:
        InputError: if one of a pair is missing.
    """
    match = _PAIR.search(path.name)
    if not match:
        return path, path
    found = []
    for kind in ("hdr", "img"):
        ending = kind.upper() if match[1].isupper() else kind
        names = [path.name[: match.start()] + f".{ending}{packed}" for packed in (match[2] or "", "", ".gz")]
        if not (there := [path.with_name(name) for name in names if path.with_name(name).is_file()]):
            raise InputError(f"{path}: is one file of a pair; copy {names[0]} beside it, too")
        found.append(there[0])
    return found[0], found[1]


def nifti_form(path: Path) -> str:
    """Which of its forms the affine of a NIfTI image comes from, such as "sform (code 1)".

    Raises:
        InputError: if the header cannot be read.
    """
    header_path, voxel_path = nifti_files(path)
    with open_source(header_path) as (_, source):
        header, _size = _read_header(source, header_path, pair=header_path != voxel_path)
    return Forms(header, _shape(header, path)).name()


def _read_header(source: Any, path: Path, *, pair: bool) -> tuple[Any, int]:
    """The header as nibabel has it, and its size in bytes."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    start = source.take(4)
    size = next((size for size in (348, 540) if start in (size.to_bytes(4, "little"), size.to_bytes(4, "big"))), 0)
    block = start + source.take(size - 4)
    if not size or len(block) < size:
        raise InputError(f"{path}: is not a NIfTI image, or is cut off; give a .nii, .nii.gz or .hdr file")
    header = (Nifti1Header if size == 348 else Nifti2Header)(block, check=False)
    magic = bytes(header["magic"])[:4].rstrip(b"\0")  # the fourth byte must be 0, or others take it for Analyze
    known = magic in ((b"ni1", b"ni2") if pair else (b"n+1", b"n+2"))
    if not known and magic in (b"ni1", b"ni2", b"n+1", b"n+2"):
        raise InputError(f"{path}: its name and its header differ on whether it is a pair .hdr/.img; save it as .nii")
    if not known and pair:
        raise InputError(f"{path}: is an Analyze 7.5 image, which tells no left from right; convert it to NIfTI")
    if not known:
        raise InputError(f"{path}: is not a NIfTI image (its magic is {magic!r}); give a .nii or .nii.gz file")
    return header, size


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


def _scaling(header: Any, path: Path) -> tuple[float, float]:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError(f"{path}: its intensity scale cannot be used ({error}); save it again") from None
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept or 0.0))


def _offset(header: Any, least: int, path: Path) -> int:
    offset = float(header["vox_offset"])
    if offset == 0:  # some writers leave it out
        return least + 4 if least else 0
    if not least <= offset < _MOST_BEFORE:
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
