"""Hounsfield units of one subject, and the frame its heart is drawn in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.shapes import unit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Frame", "Tissue"]


@dataclass(frozen=True)
class Tissue:
    """Hounsfield units of one subject.

    Args:
        blood: aorta, its branches and the left heart.
        right_blood: right heart and pulmonary arteries: contrast that has partly left.
        vein_blood: veins of the body.
        muscle, myocardium, fat, lung: those tissues.
        wall: vessel walls.
        cava: upper caval vein, through which contrast may still flow in undiluted.
        arm_vein: vein from the left arm to the upper caval vein.
    """

    blood: float
    right_blood: float
    vein_blood: float
    muscle: float
    myocardium: float
    fat: float
    lung: float
    wall: float
    cava: float
    arm_vein: float


@dataclass(frozen=True)
class Frame:
    """Where the heart lies: points relative to the aortic valve, in the mean heart's directions, to the body's."""

    valve: FloatArray
    turn: FloatArray
    scale: float

    def at(self, *offset: ArrayLike) -> FloatArray:
        """Body position of offsets (R, A, S) from the valve."""
        return self.valve + self.scale * np.asarray(offset, dtype=float).reshape(-1, 3) @ self.turn.T

    def to(self, x: float, y: float, z: float) -> FloatArray:
        """Unit direction in the body."""
        return self.turn @ unit((x, y, z))
