"""Which point belongs to which: by name, and among several points of one name by where they lie."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.errors import InputError
from lmk3d.fits import SPACE, fit_subsets
from lmk3d.geometry import apply_affine
from lmk3d.metrics import match_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.fits import Axes
    from lmk3d.landmarks import Landmarks

    FloatArray = NDArray[np.float64]
    Rows = tuple[tuple[int, int], ...]

__all__ = ["pair_landmarks"]

# Starts that are tried and, of those, matched again and again until nothing changes.
_STARTS, _FOLLOWED = 3000, 40
# Another matching of as many points that is at most this much worse could as well be the true one.
_AS_GOOD = 1.5
# A patient is not twice as large as on the other image; films may be magnified.
_SCALES = (0.5, 2.0)


@dataclass(frozen=True, eq=False)
class _Group:
    """Rows of one name that are there, on either side."""

    moving: list[int]
    fixed: list[int]


def pair_landmarks(
    moving: Landmarks, fixed: Landmarks, *, axes: Axes = SPACE, match_mm: float = 10.0, rigid: bool = True
) -> list[tuple[int, int]]:
    """Rows of ``moving`` and ``fixed`` that belong together.

    A name that stands once on either side is paired by name. Points of a name that stands several times (three spinous
    processes) are matched: of all poses that a few pairs of one name can give, that one wins which leaves the least
    total distance, and in it the nearest points are partners. What is then further apart than ``match_mm`` has none.

    Args:
        moving, fixed: of one unit; missing points have no partner.
        axes: the directions in which either side's points may lie, as for ``lmk3d.fits``.
        match_mm: longest distance of matched instances; less than half of that between neighbours.
        rigid: whether the two are of one size; else poses may scale by a factor of up to two.
    Returns:
        (row of moving, row of fixed), by row of moving.
    Raises:
        InputError: if no name stands on both sides, or the instances can be matched in two ways about equally well.
    """
    groups = _groups(moving, fixed)
    if not groups:
        names = [", ".join(dict.fromkeys(side.names)) or "nothing" for side in (moving, fixed)]
        raise InputError(
            f"no landmark is there on both sides (moving has {_short(names[0])}; fixed has {_short(names[1])}); "
            f"give the same names"
        )
    if all(len(own.moving) == len(own.fixed) == 1 for own in groups.values()):
        return sorted((own.moving[0], own.fixed[0]) for own in groups.values())
    start, end = moving.points_mm @ axes[0], fixed.points_mm @ axes[1]
    followed = _search(groups, start, end, match_mm, rigid=rigid)
    if not followed:
        several = [name for name, own in groups.items() if max(len(own.moving), len(own.fixed)) > 1]
        raise InputError(f"the points of {', '.join(several)} cannot be told apart; add landmarks that stand once")
    _, rows = followed[0]
    best = _cost(followed[0])
    rivals = [one for one in followed[1:] if len(one[1]) == len(rows) and not set(one[1]) <= set(rows)]
    if rivals and (rival := min(map(_cost, rivals))) <= _AS_GOOD * best:
        raise InputError(
            f"points of one name can be matched in two ways ({best:.2g} or {rival:.2g} {moving.unit} apart on "
            f"average); add a landmark that stands once, or number the names"
        )
    return sorted(rows)


def _groups(moving: Landmarks, fixed: Landmarks) -> dict[str, _Group]:
    """The rows of each name that is there on both sides."""
    groups = {}
    for name in dict.fromkeys(moving.names):
        sides = [
            [row for row, own in enumerate(side.names) if own == name and side.present[row]] for side in (moving, fixed)
        ]
        if all(sides):
            groups[name] = _Group(*sides)
    return groups


def _search(
    groups: dict[str, _Group], start: FloatArray, end: FloatArray, limit: float, *, rigid: bool
) -> list[tuple[float, Rows]]:
    """Matchings from many starts, each with its total distance, the best first; each matching once."""
    found: dict[Rows, float] = {}
    poses = _poses(groups, start, end, rigid=rigid)
    tried = sorted((_match(groups, apply_affine(pose, start), end, limit) for pose in poses), key=lambda one: one[0])
    for first in list({rows: None for _, rows in tried})[:_FOLLOWED]:
        rows = first
        for _ in range(10):
            chosen = np.array(rows, dtype=int).reshape(-1, 2)
            if len(chosen) < start.shape[1]:
                break
            pose = fit_subsets("rigid" if rigid else "similarity", start[chosen[:, 0]], end[chosen[:, 1]])
            cost, again = _match(groups, apply_affine(pose, start), end, limit)
            found[again] = min(cost, found.get(again, np.inf))
            if again == rows:
                break
            rows = again
    return sorted(((cost, rows) for rows, cost in found.items()), key=lambda one: one[0])


def _poses(groups: dict[str, _Group], start: FloatArray, end: FloatArray, *, rigid: bool) -> FloatArray:
    """(S, D + 1, D + 1) poses that as many pairs of one name as fix a pose give, all of them or a sample."""
    pairs = np.array([pair for own in groups.values() for pair in itertools.product(own.moving, own.fixed)])
    size, generator = start.shape[1], np.random.default_rng(0)
    if len(pairs) < size:
        return np.empty((0, size + 1, size + 1))
    if comb(len(pairs), size) <= _STARTS:
        chosen = np.array(list(itertools.combinations(range(len(pairs)), size)))
    else:
        chosen = np.argsort(generator.random((_STARTS, len(pairs))), axis=1)[:, :size]
    rows = pairs[chosen]  # (S, D, 2)
    ordered = np.sort(rows, axis=1)
    rows = rows[(np.diff(ordered, axis=1) > 0).all((1, 2))]  # no point twice
    if not len(rows):
        return np.empty((0, size + 1, size + 1))
    poses = fit_subsets("rigid" if rigid else "similarity", start[rows[..., 0]], end[rows[..., 1]])
    scale = np.abs(np.linalg.det(poses[:, :-1, :-1])) ** (1 / size)
    return poses[(scale > _SCALES[0]) & (scale < _SCALES[1])]


def _match(groups: dict[str, _Group], moved: FloatArray, end: FloatArray, limit: float) -> tuple[float, Rows]:
    """Total distance of a pose, a point without a partner counting as the limit; and the pairs of rows."""
    total, rows = 0.0, []
    deep = ((0, 0), (0, 3 - end.shape[1]))  # a plane's points are matched as points in space
    moved, end = np.pad(moved, deep), np.pad(end, deep)
    for own in groups.values():
        near, far = moved[own.moving], end[own.fixed]
        pairs = match_points(near, far, limit_mm=limit)
        total += limit * (min(len(near), len(far)) - len(pairs))
        total += sum(float(np.linalg.norm(near[m] - far[f])) for m, f in pairs)
        rows += [(own.moving[m], own.fixed[f]) for m, f in pairs]
    return total, tuple(sorted(rows))


def _cost(one: tuple[float, Rows]) -> float:
    return one[0] / max(len(one[1]), 1)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "\N{HORIZONTAL ELLIPSIS}"
