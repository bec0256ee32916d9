"""Outlines of a left hand's bones that grow and ripen with age, for bone age without any film.

Ages of appearance are roughly those of Greulich and Pyle's atlas; the shapes are ellipses that turn into rounded boxes,
no anatomy. What matters is that size, presence and shape of each bone depend on age, and on the child.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.landmarks import Landmarks
from lmk3d.synthetic.draws import Draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["HAND_BONES", "HandPhantom", "hand_phantom"]

OUTLINE = 16
"""Points of each bone's outline."""

AGES_MONTHS = (12.0, 216.0)
"""Ages that are drawn."""


@dataclass(frozen=True)
class _Bone:
    """One grown-up bone: middle (to the right and down, mm), half width and half length, tilt, when it appears."""

    center: tuple[float, float]
    half: tuple[float, float]
    tilt_deg: float = 0.0
    appears_months: float = -1.0


_BONES = {
    "radius": _Bone((-10, 62), (9, 26), -2),
    "ulna": _Bone((14, 64), (6, 25), 2),
    "radius_epiphysis": _Bone((-11, 31), (13, 4), -6, 12),
    "ulna_epiphysis": _Bone((14, 34), (7, 3.5), 4, 72),
    "scaphoid": _Bone((-14, 18), (7, 6), 35, 62),
    "lunate": _Bone((0, 20), (6, 5.5), 0, 46),
    "triquetrum": _Bone((12, 18), (5.5, 5), -20, 30),
    "pisiform": _Bone((17, 15), (4, 4), 0, 118),
    "trapezium": _Bone((-22, 7), (6, 6), 20, 64),
    "trapezoid": _Bone((-12, 5), (5, 5), 0, 67),
    "capitate": _Bone((-1, 5), (7, 8.5), 0, 3),
    "hamate": _Bone((11, 6), (7, 6.5), 0, 4),
    "metacarpal_1": _Bone((-34, -12), (5.5, 18), -40),
    "metacarpal_2": _Bone((-15, -34), (5, 28), -8),
    "metacarpal_3": _Bone((-3, -34), (5, 27), -1),
    "metacarpal_4": _Bone((8, -30), (4.2, 24), 5),
    "metacarpal_5": _Bone((18, -25), (4.2, 22), 12),
}

HAND_BONES = tuple(_BONES)
"""Names of the 17 bones; their points are ``<bone>_01`` to ``<bone>_16``."""


@dataclass(frozen=True, eq=False)
class HandPhantom:
    """One drawn hand.

    Args:
        landmarks: 272 points, mm, on a film; a bone that has not appeared yet is missing.
        age_months: the child's age, which the bones' own runs ahead of or behind by some months.
    """

    landmarks: Landmarks
    age_months: float


def hand_phantom(seed: int, *, age_months: float | None = None) -> HandPhantom:
    """Draw a left hand seen from its palm; one seed gives the same hand everywhere.

    Args:
        seed: a non-negative integer.
        age_months: from 12 to 216; drawn evenly where None.
    Raises:
        ValueError: if the age is out of range.
    """
    low, high = AGES_MONTHS
    if age_months is not None and not low <= age_months <= high:
        raise ValueError(f"age_months must be in [{low:g}, {high:g}], got {age_months}")
    draws = Draws(seed, stream=0)
    drawn = draws.uniform(low, high)
    age = drawn if age_months is None else float(age_months)
    # Bones ripen up to a year early or late; three numbers added are nearly normal, with a deviation of 7 months.
    # At 11 months the long bones, capitate and hamate are there in every child: no hand lacks them.
    ripe = max(age + float(draws.jitter(7.0, (3,)).sum()), 11.0)
    size, turn, shift = draws.near(1.0, 0.07), float(draws.jitter(10.0, ())), draws.jitter(8.0, (2,))
    points = np.concatenate([_outline(bone, ripe, draws) for bone in _BONES.values()]) * size
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    points = points @ np.array([[cosine, sine], [-sine, cosine]]) + shift + [90.0, 110.0]
    names = tuple(f"{name}_{number:02d}" for name in _BONES for number in range(1, OUTLINE + 1))
    flat = np.where(np.isnan(points[:, 0]), np.nan, 0.0)
    return HandPhantom(Landmarks(names, np.column_stack([-points, flat])), age)


def _outline(bone: _Bone, ripe: float, draws: Draws) -> FloatArray:
    """(16, 2) outline in mm at this age of the bones; NaN before the bone appears."""
    wobble, spread, late = draws.jitter(0.25, (OUTLINE, 2)), draws.jitter(0.05, (2,)), float(draws.jitter(6.0, ()))
    hand = 0.42 + 0.58 * min(ripe / 200.0, 1.0) ** 0.8  # the whole hand's growth
    half = np.array(bone.half) * hand * (1 + spread)
    ripeness = min(ripe / 200.0, 1.0)
    if bone.appears_months >= 0:
        since = ripe - bone.appears_months - late
        if since <= 0:
            return np.full((OUTLINE, 2), np.nan)
        # A centre of ossification begins as a small disc and fills its place.
        ripeness = min(since / (190.0 - bone.appears_months), 1.0)
        grown = 0.25 + 0.75 * ripeness**0.6
        half = half * grown + (1 - ripeness) * (half.min() - half) * grown
    angle = 2 * np.pi * np.arange(OUTLINE) / OUTLINE
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # Corners come out with age: a superellipse whose exponent falls from 1 (an ellipse) to 0.55.
    shape = np.sign(circle) * np.abs(circle) ** (1.0 - 0.45 * ripeness)
    tilt = np.radians(bone.tilt_deg)
    turned = (shape * half) @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    return np.asarray(np.array(bone.center) * hand + turned + wobble)
