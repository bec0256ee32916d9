"""A frontal spine: 17 vertebrae from T1 to L5, four corners each, bent by three chosen Cobb angles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.canvas import closed_curve, curve
from lmk3d.synthetic.drawn import Drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lmk3d.synthetic.canvas import Canvas
    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]

__all__ = ["SPINE_LANDMARKS", "VERTEBRAE", "draw_spine"]

VERTEBRAE = (*(f"T{number}" for number in range(1, 13)), *(f"L{number}" for number in range(1, 6)))
"""From the neck down."""

_CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")
SPINE_LANDMARKS = tuple(f"V{number:02d}_{corner}" for number in range(1, 18) for corner in _CORNERS)
"""The corners; left and right are those of the film."""

# T1, T5, T12, L4: between their tilts lie the three Cobb angles.
_KEYS = (0, 4, 11, 15)
_SPAN_MM = 500.0  # from the top of T1 to the bottom of L5, straight


def draw_spine(draws: Draws, canvas: Canvas, scoliosis_deg: Sequence[float] | None) -> Drawn:
    """Draw a spine; see ``Drawn``: the masks are the vertebrae, whose contours run round their four corners.

    Args:
        draws: the subject's random numbers.
        canvas: to draw on.
        scoliosis_deg: proximal thoracic, main thoracic and thoracolumbar Cobb angle, 0 to 90 each; drawn where None.
    Raises:
        ValueError: if the angles are not three in that range.
    """
    drawn = np.array([draws.uniform(0, 15), draws.uniform(0, 50), draws.uniform(0, 35)])
    cobb = drawn if scoliosis_deg is None else np.asarray(scoliosis_deg, dtype=np.float64)
    if cobb.shape != (3,) or not ((cobb >= 0) & (cobb <= 90)).all():
        raise ValueError(f"scoliosis_deg must be three angles from 0 to 90, got {scoliosis_deg!r}")
    tilts = _tilts(draws, cobb)
    corners = _corners(draws, tilts)
    _trunk(draws, canvas, corners)
    masks = {}
    for name, quad in zip(VERTEBRAE, corners, strict=True):
        masks[name] = _vertebra(draws, canvas, quad)
    rows = np.arange(68).reshape(17, 4)[:, [0, 1, 3, 2]]  # round the corners, not across
    contours = {name: tuple(int(row) for row in own) for name, own in zip(VERTEBRAE, rows, strict=True)}
    return Drawn(SPINE_LANDMARKS, corners.reshape(-1, 2), draws.uniform(0.015, 0.04), contours, masks)


def _tilts(draws: Draws, cobb_deg: FloatArray) -> FloatArray:
    """(17,) degrees by which each vertebra leans, to the film's right below; bends alternate, and rest in between."""
    sign = 1.0 if draws.chance(0.7) else -1.0  # a main thoracic curve mostly bends to one side
    keys = sign * np.cumsum([0.0, -cobb_deg[0], cobb_deg[1], -cobb_deg[2]])
    levels = np.arange(17)
    place = np.clip(np.interp(levels, _KEYS, range(4)), 0, 3)
    whole = np.minimum(place.astype(int), 2)
    # A cosine's half wave: no vertebra between two keys leans more than they do, so that the angles are as chosen.
    share = (1 - np.cos(np.pi * (place - whole))) / 2
    tilts = keys[whole] + share * (keys[whole + 1] - keys[whole])
    tilts[16] = tilts[15] * 0.6  # L5 comes back to the pelvis
    heights = _heights()
    return tilts - (tilts * heights).sum() / heights.sum()  # upright on the whole


def _heights() -> FloatArray:
    """(17,) of each vertebra with the disc below it; they grow downwards."""
    return np.linspace(1.0, 1.75, 17) / np.linspace(1.0, 1.75, 17).sum() * _SPAN_MM


def _corners(draws: Draws, tilts_deg: FloatArray) -> FloatArray:
    """(17, 4, 2) top left, top right, bottom left, bottom right of each vertebra."""
    heights = _heights() * (1 + draws.jitter(0.02, (17,))) * draws.near(1.0, 0.05)
    widths = np.linspace(28.0, 48.0, 17) * (1 + draws.jitter(0.03, (17,))) * draws.near(1.0, 0.07)
    bodies = heights * np.linspace(0.82, 0.74, 17)
    between = np.radians(np.concatenate([tilts_deg[:1], (tilts_deg[1:] + tilts_deg[:-1]) / 2]))
    steps = np.concatenate([heights[:1] / 2, (heights[1:] + heights[:-1]) / 2])
    middles = np.cumsum(steps[:, None] * np.stack([np.sin(between), np.cos(between)], axis=1), axis=0)
    middles += np.array([125.0, 62.0]) + draws.jitter((12.0, 18.0), (2,)) - [middles[:, 0].mean(), 0]
    angles = np.radians(tilts_deg)[:, None]
    across = np.concatenate([np.cos(angles), -np.sin(angles)], axis=1)
    down = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    # Both plates at the vertebra's own tilt, the lower one a little wider.
    top, bottom = widths[:, None] / 2 * across, widths[:, None] * 1.05 / 2 * across
    half = bodies[:, None] / 2 * down
    return middles[:, None] + np.stack([-half - top, -half + top, half - bottom, half + bottom], axis=1)


def _trunk(draws: Draws, canvas: Canvas, corners: FloatArray) -> None:
    """Everything the spine is seen through: the trunk, dark lungs, the heart, ribs, the pelvis."""
    middles = corners.mean(1)
    x, low = middles[:, 0], float(corners[-1, :, 1].max())
    trunk: list[tuple[float, float]] = [
        (x[0] - 16, -20),
        (x[0] + 16, -20),
        (x[0] + 24, 30),
        (x[3] + 105, 70),
        (x[8] + 110, 260),
        (x[13] + 96, 430),
    ]
    trunk += [(x[16] + 116, low + 40.0), (x[16] + 110, 680), (x[16] - 110, 680), (x[16] - 116, low + 40.0)]
    trunk += [(x[13] - 96, 430), (x[8] - 110, 260), (x[3] - 105, 70), (x[0] - 24, 30)]
    canvas.star(closed_curve(trunk), 0.34, fade_mm=12.0)
    floor = float(middles[10, 1])
    for side in (-1.0, 1.0):
        lung = [
            (26, middles[0, 1]),
            (66, middles[1, 1]),
            (94, middles[6, 1]),
            (98, floor),
            (60, floor - 16),
            (24, floor - 6),
        ]
        lung += [(20, middles[4, 1])]
        canvas.star(closed_curve([(x[5] + side * away, y) for away, y in lung]), -0.16, fade_mm=6.0)
        for level in range(11):
            start = corners[level, 1 if side > 0 else 0]
            slope, reach = 5 + 3.0 * level, 1.0 - 0.035 * max(0, level - 4)  # the lowest end within the skin
            rib = [
                start,
                start + (side * reach * 34, -8),
                start + (side * reach * 78, slope * 0.5),
                start + (side * reach * 94, slope + 22),
            ]
            canvas.stroke(curve(rib), 5.5, 0.10)
        wing = [(24, low + 6), (70, low - 34), (112, low - 22), (96, low + 50), (40, low + 62)]
        canvas.star(closed_curve([(x[16] + side * away, y) for away, y in wing]), 0.30, fade_mm=4.0)
    heart = middles[7] + np.array([26.0, -4.0])
    canvas.star(heart + closed_curve([(-44, -30), (6, -44), (42, 4), (34, 34), (-40, 36)]), 0.16, fade_mm=5.0)
    sacrum = corners[-1, 2:] + (0, 8)
    canvas.polygon([*sacrum, sacrum[1] + (-14, 66), sacrum[0] + (14, 66)], 0.30)
    canvas.blob((x[12], low - 60), 70.0, draws.uniform(0.05, 0.2))


def _vertebra(draws: Draws, canvas: Canvas, quad: FloatArray) -> NDArray[np.bool_]:
    """One body with denser plates, pedicles and a spinous process; its mask."""
    top_left, top_right, bottom_left, bottom_right = quad
    around = quad[[0, 1, 3, 2]]
    mask = canvas.polygon(around, 0.20)
    for start, stop in ((top_left, top_right), (bottom_left, bottom_right)):
        canvas.stroke([start, stop], 1.6, 0.13)
    for start, stop in ((top_left, bottom_left), (top_right, bottom_right)):
        canvas.stroke(curve([start, (start + stop) / 2 + 0.06 * (quad.mean(0) - (start + stop) / 2), stop]), 1.2, 0.10)
    middle, across, down = quad.mean(0), (top_right - top_left) / 2, (bottom_left - top_left) / 2
    for side in (-0.62, 0.62):
        canvas.blob(middle + side * across - 0.3 * down, 2.4, 0.22)
    canvas.stroke([middle + 0.2 * down, middle + 0.9 * down + draws.near(0, 0.05) * across], 4.0, 0.12)
    return mask
