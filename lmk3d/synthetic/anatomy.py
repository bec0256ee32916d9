"""Draws one subject: shapes, exact landmark positions and tissue, all in world RAS mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.landmarks import Landmarks
from lmk3d.synthetic.aorta import draw_aorta
from lmk3d.synthetic.bones import draw_spine
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.heart import draw_heart
from lmk3d.synthetic.tissue import Tissue
from lmk3d.synthetic.trunk import draw_trunk, into_chest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.shapes import Shape
    from lmk3d.synthetic.variation import Variation

    FloatArray = NDArray[np.float64]

__all__ = ["AORTIC_LANDMARKS", "CARDIAC_LANDMARKS", "Anatomy", "draw_anatomy"]

CARDIAC_LANDMARKS: tuple[str, ...] = (
    "right_coronary_ostium",
    "left_coronary_ostium",
    "left_main_bifurcation",
    "non_coronary_commissure",
    "heart_apex",
)
"""The five of the coronary task."""

AORTIC_LANDMARKS: tuple[str, ...] = (
    "brachiocephalic_origin",
    "brachiocephalic_bifurcation",
    "left_common_carotid_origin",
    "left_subclavian_origin",
    "coeliac_origin",
    "superior_mesenteric_origin",
    "right_renal_origin",
    "left_renal_origin",
    "aortic_bifurcation",
)
"""The nine of the aortic task."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One subject.

    Args:
        shapes: in the order of painting, world RAS mm.
        landmarks: all fourteen, none missing.
        background_hu: what the body's cavity holds where no shape lies.
        turn: (3, 3) the body's right, front and up in the world, in columns.
        heart_mm: (3,) middle of the heart.
        spine_mm: (2, 3) the body's middle at the base of the neck and below the iliac fork.
    """

    shapes: tuple[Shape, ...]
    landmarks: Landmarks
    background_hu: float
    turn: FloatArray
    heart_mm: FloatArray
    spine_mm: FloatArray


def draw_anatomy(seed: int, variation: Variation | None = None) -> Anatomy:
    """Draw the subject of a seed; the same one for every region, grid and noise.

    Args:
        seed: a non-negative integer.
        variation: what sets the subject apart from the usual ones; see ``lmk3d.synthetic.variation``.
    """
    draws = Draws(seed, stream=0, spread=1.0 if variation is None else variation.spread)
    tissue = _draw_tissue(draws)
    size = draws.near(1.0, 0.10)
    if variation is not None:
        tissue, size = variation.tissue, size * variation.size
    scale = size * draws.uniform(0.94, 1.06, (3,))
    spine = draw_spine(draws, scale)
    valve = np.array([-4.0, 21.0, 0.0]) * scale + draws.jitter([7.0, 6.0, 9.0])
    heart = draw_heart(draws, valve, tissue, None if variation is None else variation.chambers)
    shift = into_chest(heart.landmarks["heart_apex"], scale)
    heart, valve = heart.shifted(shift), valve + shift
    aorta = draw_aorta(draws, valve, heart.aorta_start, spine, tissue, variation)
    trunk = draw_trunk(draws, spine, aorta.renal_ends, tissue)
    shapes = [*trunk.inner, *trunk.outer, *heart.shapes, *aorta.walls, *aorta.arteries, *heart.arteries]
    if variation is not None:
        shapes = variation.changed(shapes, spine, heart, aorta)

    turn, shift = draws.tilt(8.0), draws.jitter([25.0, 25.0, 60.0])
    found = {**heart.landmarks, **aorta.landmarks}
    names = CARDIAC_LANDMARKS + AORTIC_LANDMARKS
    points = np.stack([found[name] for name in names]) @ turn.T + shift
    middle = (valve + found["heart_apex"]) / 2 + np.array([16.0, -4.0, 8.0])
    ends = np.array([[0.0, 0.0, 160.0], [0.0, 0.0, -315.0]]) * scale
    return Anatomy(
        shapes=tuple(shape.moved(turn, shift) for shape in shapes),
        landmarks=Landmarks(names, points),
        background_hu=tissue.fat + 5,
        turn=turn,
        heart_mm=turn @ middle + shift,
        spine_mm=ends @ turn.T + shift,
    )


def _draw_tissue(draws: Draws) -> Tissue:
    blood = draws.uniform(260.0, 490.0)
    right_blood = 60 + (blood - 60) * draws.uniform(0.15, 1.0)
    vein_blood = draws.uniform(50.0, 150.0)
    return Tissue(
        blood=blood,
        right_blood=right_blood,
        cava=right_blood,
        vein_blood=vein_blood,
        arm_vein=vein_blood,
        muscle=draws.uniform(45.0, 62.0),
        myocardium=draws.uniform(85.0, 120.0),
        fat=draws.uniform(-110.0, -90.0),
        lung=draws.uniform(-870.0, -780.0),
        wall=draws.uniform(40.0, 65.0),
    )
