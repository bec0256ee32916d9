"""What SimpleITK reads and writes: voxels without a second copy, in world RAS."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS
from lmk3d.io.packed import check_shape, itk_affine

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.geometry import Volume

__all__ = ["read_itk", "write_itk"]

_WRITTEN = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


def read_itk(path: Path, image_io: str, *, most: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read one grey image.

    Args:
        path: the file; whoever calls has seen that it and what it names are regular files.
        image_io: name of ITK's class for the format.
        most: voxels that the file can hold; a header that says more is refused before memory is asked for.
    Returns:
        The voxels, first axis fastest, and (4, 4) voxel index to world RAS in the file's units.
    Raises:
        InputError: if ITK cannot read it, or it holds several values a voxel, or it is no volume.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003 - its own signature
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        check_shape(reader.GetSize(), path)
        if reader.GetNumberOfComponents() > 1:
            raise InputError(f"{path}: holds several values a voxel (colour?); give an image of grey values")
        if (count := int(np.prod(reader.GetSize(), dtype=object))) > most:
            raise InputError(f"{path}: holds less than the {count} voxels its header says; copy it again")
        image = reader.Execute()
    except InputError:
        raise
    except (RuntimeError, ValueError) as error:  # ValueError: a message that is no UTF-8
        raise InputError(f"{path}: is damaged, or cannot be read ({_reason(error)}); save it again") from None
    dims = len(image.GetSize())
    used = min(dims, 3)
    direction = np.reshape(image.GetDirection(), (dims, dims))[:used, :used]
    affine = itk_affine(image.GetSpacing()[:used], direction, image.GetOrigin()[:used])
    return np.asarray(_Held(image)).T, affine


class _Held:
    """Lends an image's own memory to NumPy, which may write there: nobody else has the image."""

    def __init__(self, image: Any) -> None:
        import SimpleITK as sitk

        lent = sitk.GetArrayViewFromImage(image).__array_interface__
        self.image, self.__array_interface__ = image, {**lent, "data": (lent["data"][0], False)}


def _reason(error: Exception) -> str:
    """The sentence of an error of ITK that says something, without names and places in its source."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = next((line for line in reversed(lines) if "[nrrd]" in line or "ERROR: " in line), lines[-1])
    text = re.sub(r"^.*(\]|ERROR:|\): )\s*(\w+: )?|\. .*", "", line.strip())
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def write_itk(volume: Volume, path: Path) -> None:
    """Write the format that the name says, packed, in the volume's own type.

    Raises:
        InputError: if ITK does not know the type, or cannot write.
    """
    import SimpleITK as sitk

    data, grid = volume.data, volume.grid
    if f"{data.dtype.kind}{data.dtype.itemsize}" not in _WRITTEN:
        raise InputError(f"an image of {data.dtype} cannot be written as {path.suffix}; convert it to float32")
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, dtype=data.dtype.newbyteorder("=")))
    lps = LPS_TO_RAS @ grid.affine
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection((lps[:3, :3] / grid.spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    try:
        # The higher levels take several times as long for a few per cent.
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be written ({_reason(error)}); free some space or write elsewhere") from None
