"""Fits of one set of points to another: rigid, similarity, affine, thin-plate spline; robust, and left out one by one.

All take paired points, (N, 3) world mm each, and leave a pair out that has a NaN on either side or weighs nothing.
Volumes are fitted in space, films in their planes: ``axes`` are the directions in which the points of either side may
lie, the columns of (3, D) matrices; the identity is space, two columns are a plane.
"""

from __future__ import annotations

import itertools
from math import comb
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lmk3d.geometry import fit_similarity
from lmk3d.warps import Transform, thin_plate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]
    Axes = tuple[FloatArray, FloatArray]

__all__ = [
    "SPACE",
    "Kind",
    "find_inliers",
    "fit_subsets",
    "fit_transform",
    "into_space",
    "leave_one_out",
    "pairs_needed",
]

Kind = Literal["rigid", "similarity", "affine", "tps"]

SPACE = (np.eye(3), np.eye(3))
"""The axes of a fit between volumes."""

# Points that spread this part of their length sideways fix a rotation about that length to some 10 times their error.
_FLAT = 0.01
# Subsets that are tried; with half of the pairs wrong, one of 2000 triples is right with a chance of 1 - 1e-115.
_SUBSETS = 2000
# Exact points leave residuals of rounding alone, which no scale can be read from.
_ROUNDING = 1e-7


def pairs_needed(kind: Kind, dims: int = 3) -> int:
    """How many pairs of points fix a transform: D for rigid and similarity, D + 1 for affine and spline."""
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    return dims if kind in ("rigid", "similarity") else dims + 1


def fit_transform(
    kind: Kind,
    moving_mm: ArrayLike,
    fixed_mm: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    axes: Axes = SPACE,
    smooth: float = 0.0,
) -> Transform:
    """The transform that brings ``moving_mm`` nearest to ``fixed_mm``.

    Args:
        kind: "rigid", "similarity" (never reflections), "affine", or "tps": affine and the least bending that reaches
            every fixed point.
        moving_mm, fixed_mm: (N, 3) paired world points; a pair with a NaN on either side is left out.
        weights: (N,) non-negative weights of the squared distances; equal when None. They need ``smooth`` to change a
            spline, which else goes through every point anyway.
        axes: the directions that either side's points may lie in, see above; across a plane nothing is fitted but the
            distance of the two planes.
        smooth: bending's price for a spline, in units of the mean kernel between its points: 0 goes through all of
            them, 1 is nearly affine.
    Raises:
        ValueError: if there are too few pairs, or they lie in one place, on a line or in a plane where they must not,
            or a spline has two points in one place.
    Source:
        Umeyama 1991 (rigid, similarity); weighted least squares (affine); Bookstein 1989 and, with ``smooth`` and
        weights, Rohr et al. 2001 (spline).

    >>> moving = np.array([[0, 0, 0], [40, 0, 0], [0, 30, 0], [0, 0, 20]])
    >>> move = fit_transform("rigid", moving, moving + [5, 0, -2])
    >>> move([[1, 1, 1]]).round(6)
    array([[ 6.,  1., -1.]])
    """
    moving, fixed, weight = _usable_pairs(moving_mm, fixed_mm, weights)
    from_axes, to_axes = axes
    dims = from_axes.shape[1]
    if len(moving) < pairs_needed(kind, dims):
        least = pairs_needed(kind, dims)
        raise ValueError(f"a fit ({kind}) needs at least {least} pairs of points, got {len(moving)}; give more")
    for side, points in (("moving", moving @ from_axes), ("fixed", fixed @ to_axes)):
        _check_spread(points, pairs_needed(kind, dims) - 1, side)
    if kind == "tps":
        return _fit_spline(moving, fixed, weight, axes, smooth)
    flat = fit_subsets(kind, moving @ from_axes, fixed @ to_axes, weight)
    return Transform.linear(into_space(flat, moving, fixed, axes))


def fit_subsets(kind: Kind, moving: ArrayLike, fixed: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """(..., D + 1, D + 1) linear fits of (..., N, D) pairs, all at once and none checked; of a spline its affine part.

    Args:
        kind: as for ``fit_transform``.
        moving, fixed: paired coordinates without NaN.
        weights: (..., N); equal when None.
    """
    if kind in ("rigid", "similarity"):
        return fit_similarity(moving, fixed, weights, scale=kind == "similarity")
    start, end = np.asarray(moving, float), np.asarray(fixed, float)
    share = np.ones(start.shape[:-1]) if weights is None else np.asarray(weights, float)
    root = np.sqrt(share / share.sum(-1, keepdims=True))[..., None]
    start_mean, end_mean = ((root**2 * points).sum(-2, keepdims=True) for points in (start, end))
    matrix = np.swapaxes(np.linalg.pinv(root * (start - start_mean)) @ (root * (end - end_mean)), -1, -2)
    affine = np.zeros((*matrix.shape[:-2], matrix.shape[-1] + 1, matrix.shape[-1] + 1))
    affine[..., :-1, :-1], affine[..., -1, -1] = matrix, 1.0
    affine[..., :-1, -1] = (end_mean - start_mean @ np.swapaxes(matrix, -1, -2))[..., 0, :]
    return affine


def find_inliers(
    kind: Kind,
    moving_mm: ArrayLike,
    fixed_mm: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    axes: Axes = SPACE,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Which pairs agree on one transform; of N pairs (N - needed) / 2 may be wrong, needed as ``pairs_needed`` says.

    The fit to a few pairs whose median residual over all pairs is least gives the scale of the noise; pairs within 2.2
    or so of it (99 % of normal noise) are fitted again until they no longer change. A spline could follow any outlier
    and is judged by its affine part.

    Args:
        kind, moving_mm, fixed_mm, weights, axes: as for ``fit_transform``; a weight is one over a variance.
        seed: of the subsets, where there are too many to try all.
    Returns:
        (N,) True for the pairs to be kept; False also for missing ones.
    Raises:
        ValueError: if there are fewer than two pairs more than the fit needs: an outlier cannot be told then.
    Source:
        Least median of squares: Rousseeuw 1984; its scale and reweighting: Rousseeuw and Leroy 1987, ch. 5.1.
    """
    from scipy.stats import chi2

    moving, fixed = np.asarray(moving_mm, float) @ axes[0], np.asarray(fixed_mm, float) @ axes[1]
    weight = np.ones(len(moving)) if weights is None else np.asarray(weights, float)
    rows = np.flatnonzero(np.isfinite(moving).all(1) & np.isfinite(fixed).all(1) & (weight > 0))
    dims, count = moving.shape[1], len(rows)
    needed = pairs_needed(kind, dims)
    if count < needed + 2:
        raise ValueError(f"a robust fit ({kind}) needs at least {needed + 2} pairs of points, got {count}; give more")
    start, end, root = moving[rows], fixed[rows], np.sqrt(weight[rows] / weight[rows].mean())
    subsets = _subsets(count, needed, np.random.default_rng(seed))
    residuals = _residuals(fit_subsets(kind, start[subsets], end[subsets]), start, end) * root
    middle = (count + needed + 1) // 2  # the subset's own residuals are zero
    medians = np.sort(residuals, axis=1)[:, middle - 1]
    best = int(medians.argmin())
    floor = _ROUNDING * float(np.ptp(end, axis=0).max())
    edge = float(np.sqrt(chi2.ppf(0.99, dims)))
    sigma = medians[best] / np.sqrt(chi2.ppf(middle / (count + 1), dims)) * (1 + 5 / (count - needed))
    kept = residuals[best] <= max(edge * sigma, floor)
    for _ in range(20):
        again = _residuals(fit_subsets(kind, start[kept], end[kept], weight[rows][kept]), start, end) * root
        freedom = dims * max(int(kept.sum()) - needed, 1)
        sigma = max(sigma, float(np.sqrt((again[kept] ** 2).sum() / freedom)))
        kept, before = again <= max(edge * sigma, floor), kept
        if (kept == before).all() or kept.sum() < needed:
            break
    inliers = np.zeros(len(moving), dtype=bool)
    inliers[rows[kept]] = True
    return inliers


def leave_one_out(
    kind: Kind,
    moving_mm: ArrayLike,
    fixed_mm: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    axes: Axes = SPACE,
    smooth: float = 0.0,
) -> FloatArray:
    """(N,) distance in fixed mm of each fixed point from where a fit to all others puts it.

    It is the honest error of a fit: a residual is small where its own point bends the fit towards itself. NaN where a
    pair is missing or weighs nothing, or the others are too few.

    Args:
        kind, moving_mm, fixed_mm, weights, axes, smooth: as for ``fit_transform``.
    """
    moving, fixed = np.asarray(moving_mm, float), np.asarray(fixed_mm, float)
    weight = np.ones(len(moving)) if weights is None else np.asarray(weights, float)
    used = np.isfinite(moving).all(1) & np.isfinite(fixed).all(1) & (weight > 0)
    errors = np.full(len(moving), np.nan)
    for row in np.flatnonzero(used):
        others = used & (np.arange(len(used)) != row)
        try:
            fit = fit_transform(kind, moving[others], fixed[others], weight[others], axes=axes, smooth=smooth)
        except ValueError:  # the others do not fix it
            continue
        errors[row] = np.linalg.norm(fit(moving[row]) - fixed[row])
    return errors


def _usable_pairs(
    moving_mm: ArrayLike, fixed_mm: ArrayLike, weights: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The pairs that are there on both sides and weigh something; weights of mean 1."""
    moving, fixed = np.asarray(moving_mm, float).reshape(-1, 3), np.asarray(fixed_mm, float).reshape(-1, 3)
    weight = np.ones(len(moving)) if weights is None else np.asarray(weights, float)
    if moving.shape != fixed.shape or weight.shape != moving.shape[:1]:
        raise ValueError(f"points and weights must pair up, got {moving.shape}, {fixed.shape} and {weight.shape}")
    if (weight < 0).any() or np.isinf(weight).any():
        raise ValueError(f"weights must be finite and not negative, got {weight.min()} to {weight.max()}")
    used = np.isfinite(moving).all(1) & np.isfinite(fixed).all(1) & (weight > 0)
    return moving[used], fixed[used], weight[used] / weight[used].mean() if used.any() else weight[used]


def _check_spread(points: FloatArray, rank: int, side: str) -> None:
    """Refuse points that lie in fewer directions than a fit needs."""
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False) / np.sqrt(len(points))
    least = _FLAT * spread[0] if rank > 1 else 1e-6
    if spread[rank - 1] <= max(least, 1e-6):
        shape = ("in one place", "on a line", "in a plane")[rank - 1]
        raise ValueError(
            f"the {side} points lie {shape} (they spread {spread[0]:.3g} along it, {spread[rank - 1]:.2g} beside it), "
            f"which leaves the fit open; add a point elsewhere, or fit fewer parameters"
        )


def into_space(flat: FloatArray, moving: FloatArray, fixed: FloatArray, axes: Axes) -> FloatArray:
    """(4, 4) of a fit in D coordinates; across a plane lengths change as they do in it, and plane goes to plane.

    Args:
        flat: (D + 1, D + 1) from coordinates along ``axes[0]`` to those along ``axes[1]``.
        moving, fixed: (N, 3) world mm of points that lie in the two planes.
        axes: (3, D) each.
    """
    dims = flat.shape[0] - 1
    affine = np.eye(4)
    across = [np.linalg.svd(own.T)[2][dims:].T for own in axes]  # (3, 3 - D) what is square to the axes
    for own, normal in zip(axes, across, strict=True):
        if normal.shape[1]:  # the two planes' normals must go with their axes alike
            normal *= np.sign(np.linalg.det(np.column_stack([own, normal])))  # noqa: PLW2901
    grow = float(np.abs(np.linalg.det(flat[:dims, :dims])) ** (1 / dims))
    affine[:3, :3] = axes[1] @ flat[:dims, :dims] @ axes[0].T + grow * across[1] @ across[0].T
    depth = fixed.mean(0) @ across[1] - grow * moving.mean(0) @ across[0]
    affine[:3, 3] = axes[1] @ flat[:dims, dims] + across[1] @ depth
    return affine


def _fit_spline(moving: FloatArray, fixed: FloatArray, weight: FloatArray, axes: Axes, smooth: float) -> Transform:
    """Thin-plate spline through (or, with ``smooth``, near) the points."""
    start, end = moving @ axes[0], fixed @ axes[1]
    count, dims = start.shape
    gaps = np.linalg.norm(start[:, None] - start, axis=-1) + np.diag(np.full(count, np.inf))
    if gaps.min() < _ROUNDING * float(np.ptp(start, axis=0).max()):
        raise ValueError("two moving points lie in one place, which tears a spline; leave one of them out")
    # About the middle and in units of the spread, which keeps the equations well conditioned.
    middle, size = start.mean(0), float(np.ptp(start, axis=0).max())
    unit = (start - middle) / size
    kernel = thin_plate(unit[:, None] - unit)
    price = smooth * np.abs(kernel[~np.eye(count, dtype=bool)]).mean() / weight
    system = np.zeros((count + dims + 1, count + dims + 1))
    system[:count, :count] = kernel + np.diag(price)
    system[:count, count:] = np.column_stack([np.ones(count), unit])
    system[count:, :count] = system[:count, count:].T
    solved = np.linalg.solve(system, np.concatenate([end, np.zeros((dims + 1, dims))]))
    bend = solved[:count]
    # Back to mm: r -> r / size in space; r^2 log r in a plane also gains terms that are affine.
    flat = np.eye(dims + 1)
    flat[:dims, :dims] = solved[count + 1 :].T / size
    flat[:dims, dims] = solved[count] - flat[:dims, :dims] @ middle
    weights = bend / size ** (1 if dims == 3 else 2)
    flat[:dims] += _kernel_shift(start, weights, size)
    return Transform(into_space(flat, moving, fixed, axes), moving, weights @ axes[1].T, axes[0])


def _kernel_shift(start: FloatArray, weights: FloatArray, size: float) -> FloatArray:
    """(D, D + 1) affine part by which U in units differs from U in mm: (r/s)^2 log (r/s) has a term - (r/s)^2 log s.

    The weights sum to zero and so do their first moments: of the sum of w_i |p - p_i|^2 only constants remain.
    """
    dims = start.shape[1]
    shift = np.zeros((dims, dims + 1))
    if dims == 2:
        shift[:, dims] = -np.log(size) * (start**2).sum(1) @ weights
    return shift


def _subsets(count: int, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """(S, size) rows of subsets: all there are, or as many random ones as are tried."""
    if comb(count, size) <= _SUBSETS:
        return np.array(list(itertools.combinations(range(count), size)))
    return np.argsort(generator.random((_SUBSETS, count)), axis=1)[:, :size]


def _residuals(affines: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    """(..., N) distances of moved points from theirs, for (..., D + 1, D + 1) affines."""
    moved = start @ np.swapaxes(affines[..., :-1, :-1], -1, -2) + affines[..., None, :-1, -1]
    return np.asarray(np.linalg.norm(moved - end, axis=-1))
