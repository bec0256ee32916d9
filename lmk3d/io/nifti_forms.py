"""Where a NIfTI header puts its voxels: two forms that may disagree, and which of them 3D Slicer takes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.geometry import apply_affine

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Forms", "in_mm"]

# NIFTI_UNITS_METER and _MICRON; ITK takes every other code for mm, and nibabel these two as well.
_TO_MM = {1: 1000.0, 3: 0.001}
# Two forms that differ by less than this part of a voxel are the same one, rounded.
_SAME = 0.1
# Largest cosine between two axes that ITK takes for right angles.
_SQUARE = 1e-4


@dataclass(frozen=True)
class Forms:
    """The sform and the qform of a header, in world RAS mm.

    Args:
        header: nibabel's, not checked.
        shape: voxels along each axis.
    """

    header: Any
    shape: tuple[int, ...]

    def codes(self) -> tuple[int, int]:
        """Of the sform and of the qform; a negative one, as damaged headers have, is none."""
        return max(int(self.header["sform_code"]), 0), max(int(self.header["qform_code"]), 0)

    def name(self) -> str:
        """The form that is used, such as "sform (code 1)"."""
        sform, qform = self.codes()
        if sform:
            return f"sform (code {sform})"
        return f"qform (code {qform})" if qform else "none (both codes are 0)"

    def affine(self) -> FloatArray:
        """(4, 4): the sform, else the qform, else nibabel's default; not finite where that is damaged."""
        sform, qform = self.codes()
        if sform:
            return self._sform()
        return self._qform() if qform else in_mm(self.header, self.header.get_base_affine())

    def notes(self) -> tuple[str, ...]:
        """Where the forms disagree or are missing, and what 3D Slicer makes of that."""
        (sform, qform), used, (taken, theirs) = self.codes(), self.affine(), self._itk()
        apart = self._apart(used, theirs)
        if not sform and not qform:
            text = "its header gives no orientation (sform and qform code 0): the axes are taken as L, A, S with the"
            return (f"{text} middle at the origin, up to {apart:.4g} mm from where 3D Slicer (ITK 5) puts them",)
        notes = []
        if sform and qform and (between := self._apart(self._sform(), self._qform())):
            slicer = "it, too" if taken == "sform" else f"the {taken}"
            notes.append(
                f"sform (code {sform}) and qform (code {qform}) disagree by up to {between:.4g} mm; the sform is used, "
                f"3D Slicer (ITK 5) takes {slicer}"
            )
        if taken == "sform" and np.isnan(theirs).any():
            notes.append("its sform is sheared; 3D Slicer (ITK 5) refuses the file")
        elif taken == "sform" and apart:
            notes.append(
                f"the voxel sizes of its sform and of pixdim disagree; the sform is used, 3D Slicer (ITK 5) takes "
                f"pixdim, up to {apart:.4g} mm away"
            )
        return tuple(notes)

    def _itk(self) -> tuple[str, FloatArray]:
        """The form that ITK takes, and the affine that it makes of it, NaN where it refuses the file.

        The qform goes before a sform that is sheared or whose code is not 1; voxels are of the size of pixdim.

        Source: tried on all codes with SimpleITK 2.5 (ITK 5.4).
        """
        sform, qform = self.codes()
        steps = np.diag([*self.header["pixdim"][1:4].astype(np.float64), 1.0])
        if not sform and not qform:
            return "neither", in_mm(self.header, np.diag([-1.0, -1.0, 1.0, 1.0]) @ steps)
        matrix = np.array(self.header.get_sform(), dtype=np.float64)
        with np.errstate(all="ignore"):
            matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
            square = np.abs(matrix[:3, :3].T @ matrix[:3, :3] - np.eye(3)).max() <= _SQUARE
            if not sform or (qform and (sform != 1 or not square)):
                return "qform", self._qform()
            return "sform", in_mm(self.header, matrix @ steps) if square else np.full((4, 4), np.nan)

    def _sform(self) -> FloatArray:
        return in_mm(self.header, self.header.get_sform())

    def _qform(self) -> FloatArray:
        from nibabel.spatialimages import HeaderDataError

        header = self.header.copy()
        # 0 and all else that is not negative counts as 1, as in the standard's own code.
        header["pixdim"][0] = -1.0 if header["pixdim"][0] < 0 else 1.0
        try:
            with np.errstate(all="ignore"):
                return in_mm(self.header, header.get_qform())
        except (ValueError, HeaderDataError):  # a quaternion that is no rotation
            return np.full((4, 4), np.nan)

    def _apart(self, one: FloatArray, other: FloatArray) -> float:
        """The largest distance in mm between the image's corners by two affines; 0 for rounding."""
        corners = np.array(list(product(*((0.0, side - 1.0) for side in (*self.shape, 1, 1)[:3]))))
        with np.errstate(all="ignore"):
            apart = float(np.linalg.norm(apply_affine(one, corners) - apply_affine(other, corners), axis=1).max())
            return 0.0 if apart <= _SAME * np.linalg.norm(one[:3, :3], axis=0).min() else apart


def in_mm(header: Any, affine: ArrayLike) -> FloatArray:
    """An affine in the units that a header of nibabel says, in mm."""
    matrix = np.array(affine, dtype=np.float64)
    matrix[:3] *= _TO_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    return matrix
