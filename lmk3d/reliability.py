"""How well the radii round predicted points hold what they promise, by the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lmk3d.metrics import PointError

__all__ = ["RadiusFigures", "RadiusSummary", "radius_summary"]


@dataclass(frozen=True)
class RadiusFigures:
    """Of some found points that have a radius.

    Args:
        n: how many they are.
        within: part of them whose ground truth lies within the radius; NaN where there are none.
        median: of the radii, in the unit of the points; NaN where there are none.
    """

    n: int
    within: float
    median: float


@dataclass(frozen=True)
class RadiusSummary:
    """What radii promised, and what they hold.

    Args:
        coverage: part of the points that were to lie within their radii.
        overall: all points together.
        landmarks: each landmark alone.
    """

    coverage: float
    overall: RadiusFigures
    landmarks: dict[str, RadiusFigures]


def radius_summary(rows: Iterable[PointError], names: Sequence[str], coverage: float) -> RadiusSummary:
    """Compare radii with the distances from the ground truth.

    Points that were missed, or have no ground truth, or no radius (such as those that are not trusted), are left out:
    a radius is promised for points that are reported.

    Args:
        rows: of all cases; ``expected_mm`` is the radius.
        names: the landmarks.
        coverage: what the radii promised.
    """
    known = [row for row in rows if row.status == "found" and np.isfinite(row.expected_mm)]
    own = {name: [row for row in known if row.name == name] for name in names}
    return RadiusSummary(coverage, _figures(known), {name: _figures(some) for name, some in own.items()})


def _figures(rows: Sequence[PointError]) -> RadiusFigures:
    if not rows:
        return RadiusFigures(0, float("nan"), float("nan"))
    radii, errors = (np.array([getattr(row, key) for row in rows]) for key in ("expected_mm", "error_mm"))
    return RadiusFigures(len(rows), float((errors <= radii).mean()), float(np.median(radii)))
