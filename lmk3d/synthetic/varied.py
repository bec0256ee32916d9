"""Varied phantoms: scans of every kind of body and field of view, and scans that show none of the landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lmk3d.landmarks import Landmarks
from lmk3d.synthetic.anatomy import draw_anatomy
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.fields import BODY_VIEWS, BodyView, draw_field
from lmk3d.synthetic.foreign import draw_object, misplaced, revalued, shuffled
from lmk3d.synthetic.phantom import Phantom
from lmk3d.synthetic.render import render
from lmk3d.synthetic.scanner import scanned
from lmk3d.synthetic.variation import draw_variation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.geometry import Volume
    from lmk3d.synthetic.anatomy import Anatomy

    FloatArray = NDArray[np.float64]

__all__ = ["VIEWS", "View", "varied_phantom"]

View = Literal[BodyView, "unenhanced", "misplaced", "revalued", "shuffled", "object"]
"""A scan of a body; or one that shows none of the landmarks, for want of contrast or since it is no CT of a body."""

VIEWS: tuple[View, ...] = get_args(View)

_METAL_HU = 2000.0
_POSITIVE: tuple[BodyView, ...] = ("heart", "chest", "aorta", "abdomen", "body")


def varied_phantom(seed: int, *, view: View = "chest", spacing_mm: float | None = None) -> Phantom:
    """Draw a scan that differs from others as scans of other hospitals do; landmarks are exact as in ``cta_phantom``.

    Contrast phase, HU of every tissue, size, the aortic arch with the places of its branches, atria, disease, implants,
    arms, table, field of view, the order in which voxels are stored, blur, noise and artefacts are drawn. Some views
    show no landmark, so that a network may learn where to be silent: "pelvis" and "neck" lie beside them; "unenhanced"
    has no contrast in any vessel; "misplaced" is a body whose affine is wrong, "revalued" one whose numbers are no HU,
    "shuffled" one in pieces, "object" none at all.

    Args:
        seed: a non-negative integer.
        view: see above.
        spacing_mm: of the planes, drawn where None.
    Returns:
        ``landmarks`` has a missing row for each landmark outside the volume and for all in the views that show none;
        ``all_landmarks`` is where they lie in the body before its affine was made wrong.
    Raises:
        ValueError: if the seed is negative, the view unknown, or the spacing not positive.
    """
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    if view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}, got {view!r}")
    if spacing_mm is not None and not 0 < spacing_mm < 100:
        raise ValueError(f"spacing_mm must be a number in (0, 100), got {spacing_mm!r}")
    draws = Draws(seed, stream=6)
    shown: BodyView = view if view in BODY_VIEWS else _POSITIVE[int(draws.uniform(0, len(_POSITIVE)))]
    anatomy = draw_anatomy(seed, draw_variation(seed, "unenhanced" if view == "unenhanced" else None))
    volume = _scan(seed, anatomy, shown, spacing_mm)
    change = {"misplaced": misplaced, "revalued": revalued, "shuffled": shuffled}.get(view)
    if change is not None:
        volume = change(draws, volume)
    elif view == "object":
        volume = scanned(draw_object(draws, 2.0 if spacing_mm is None else spacing_mm), draws)
    points = anatomy.landmarks.points_mm.copy()
    points[~volume.grid.contains(points) | (view not in BODY_VIEWS)] = np.nan
    return Phantom(volume, Landmarks(anatomy.landmarks.names, points), anatomy.landmarks)


def _scan(seed: int, anatomy: Anatomy, view: BodyView, spacing_mm: float | None) -> Volume:
    draws = Draws(seed, stream=7)
    grid = draw_field(draws, anatomy, view, spacing_mm)
    image = render(anatomy, grid, blur_mm=draws.uniform(0.15, 1.1))
    metal = [(low + high) / 2 for low, high in (s.span(np.eye(3)) for s in anatomy.shapes if s.hu > _METAL_HU)]
    inside = [point for point in metal if grid.contains(point[None])[0]]
    chosen = [inside[index] for index in draws.order(len(inside))[:3]] if draws.chance(0.6) else []
    return scanned(image, draws, chosen)
