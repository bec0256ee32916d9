"""Registration by landmarks: the transform that brings one image's points onto another's, and how good it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.apps.pairing import pair_landmarks
from lmk3d.errors import InputError
from lmk3d.fits import SPACE, find_inliers, fit_subsets, fit_transform, leave_one_out, pairs_needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.fits import Axes, Kind
    from lmk3d.geometry import Grid
    from lmk3d.landmarks import Landmarks
    from lmk3d.warps import Transform

    FloatArray = NDArray[np.float64]

__all__ = ["Pair", "Refinement", "RegisterOptions", "Registration", "fitting_axes", "register_points"]

# A rigid fit between images of which one is twice as large as the other: one of them is in another unit.
_LARGEST_SCALE = 2.0
# A mirror image is told by fitting twice as well, and only where the fit as it is is bad: this part of the size.
_MIRROR_GAIN, _MIRROR_SHARE = 0.5, 0.02


@dataclass(frozen=True)
class RegisterOptions:
    """How to register.

    Args:
        kind: "rigid", "similarity", "affine" or "tps".
        robust: leave out pairs that do not agree with the others.
        weigh: weigh each pair by one over the sum of its two squared expected errors, which both sides must have.
        smooth: of a spline, see ``lmk3d.fits.fit_transform``.
        match_mm: longest distance at which two points of a name that stands several times are one.
    """

    kind: Kind = "rigid"
    robust: bool = False
    weigh: bool = False
    smooth: float = 0.0
    match_mm: float = 10.0


@dataclass(frozen=True, eq=False)
class Pair:
    """Two points that belong together, and how far the transform leaves them apart.

    Args:
        name: the landmark.
        moving_mm, moved_mm, fixed_mm: (3,) world RAS: as given, transformed, as given.
        weight: in the fit, 1 on average; 0 for an outlier.
        residual_mm: from ``moved_mm`` to ``fixed_mm``.
        left_out_mm: the same distance for the fit to all other pairs; NaN for outliers and where that fit is open.
    """

    name: str
    moving_mm: FloatArray
    moved_mm: FloatArray
    fixed_mm: FloatArray
    weight: float
    residual_mm: float
    left_out_mm: float

    @property
    def used(self) -> bool:
        return self.weight > 0


@dataclass(frozen=True)
class Refinement:
    """What the images themselves added.

    Args:
        metric_before, metric_after: mutual information in nats at the landmarks' transform and at the end.
        moved_mm: how far the fixed points' places moved by it, on average.
        kept: whether the refined transform was taken; else it was no better and the landmarks' one stands.
    """

    metric_before: float
    metric_after: float
    moved_mm: float
    kept: bool


@dataclass(frozen=True, eq=False)
class Registration:
    """A transform from the moving to the fixed world, with what it was made of.

    Args:
        kind: what was fitted.
        transform: moving to fixed, world RAS mm.
        axes: the directions that were fitted in.
        pairs: all pairs, also outliers.
        alone: names, one for each point that has no partner, each with the side it stands on or "missing".
        unit: of all lengths.
        refinement: where images refined it.
    """

    kind: Kind
    transform: Transform
    axes: Axes
    pairs: tuple[Pair, ...]
    alone: tuple[tuple[str, str], ...]
    unit: str
    refinement: Refinement | None = None
    about: dict[str, str] = field(default_factory=dict)

    @property
    def rms_mm(self) -> float:
        """Root mean square residual of the pairs used."""
        return float(np.sqrt(np.mean([pair.residual_mm**2 for pair in self.pairs if pair.used])))

    @property
    def left_out_rms_mm(self) -> float:
        """Root mean square leave-one-out error; NaN where no pair has one."""
        errors = np.array([pair.left_out_mm for pair in self.pairs])
        errors = errors[~np.isnan(errors)]
        return float(np.sqrt((errors**2).mean())) if len(errors) else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and texts for a JSON file; RAS, moving to fixed."""
        bent = not self.transform.is_linear
        return {
            **self.about,
            "kind": self.kind,
            "frame": "RAS",
            "unit": self.unit,
            "matrix": self.transform.affine.tolist(),
            "bending": {"centers": self.transform.centers_mm.tolist(), "weights": self.transform.weights.tolist()}
            if bent
            else None,
            "rms_residual": self.rms_mm,
            "rms_leave_one_out": _plain(self.left_out_rms_mm),
            "pairs": [
                {
                    "name": pair.name,
                    "weight": pair.weight,
                    "moving": pair.moving_mm.tolist(),
                    "moved": pair.moved_mm.tolist(),
                    "fixed": pair.fixed_mm.tolist(),
                    "residual": pair.residual_mm,
                    "leave_one_out": _plain(pair.left_out_mm),
                }
                for pair in self.pairs
            ],
            "alone": [{"name": name, "side": side} for name, side in self.alone],
            "refinement": None if self.refinement is None else asdict(self.refinement),
        }


def fitting_axes(
    moving: Landmarks, fixed: Landmarks, moving_grid: Grid | None = None, fixed_grid: Grid | None = None
) -> Axes:
    """The directions to fit in: space, or between films their planes.

    Without images, points that all lie at S = 0 are those of films, which files have there.

    Raises:
        InputError: if one side is a film and the other a volume.
    """
    sides = []
    for landmarks, grid in ((moving, moving_grid), (fixed, fixed_grid)):
        if grid is not None:
            sides.append(grid.axes[:, :2] if grid.shape[2] == 1 else np.eye(3))
        else:
            own = landmarks.points_mm[landmarks.present]
            sides.append(np.eye(3)[:, :2] if len(own) and not own[:, 2].any() else np.eye(3))
    if sides[0].shape != sides[1].shape:
        film = ("moving", "fixed")[sides[1].shape[1] == 2]
        raise InputError(f"the {film} side is a film and the other one a volume; register two of a kind")
    return sides[0], sides[1]


def register_points(
    moving: Landmarks, fixed: Landmarks, options: RegisterOptions | None = None, *, axes: Axes = SPACE
) -> Registration:
    """Fit a transform to the points that the two sides share.

    Args:
        moving, fixed: world RAS, of one unit; missing points and names that stand on one side only are left out.
        options: kind of transform, weights, robustness.
        axes: the directions that the points may lie in, see ``fitting_axes``.
    Raises:
        InputError: if units differ, too few points are shared, they lie on a line where they must not, expected errors
            are missing for weights, one side is a mirror image, or a rigid fit meets another size.
    """
    options = options or RegisterOptions()
    if moving.unit != fixed.unit:
        raise InputError(f"the moving points are in {moving.unit}, the fixed ones in {fixed.unit}; give both in mm")
    rigid = options.kind == "rigid"
    rows = np.array(pair_landmarks(moving, fixed, axes=axes, match_mm=options.match_mm, rigid=rigid))
    start, end = moving.points_mm[rows[:, 0]], fixed.points_mm[rows[:, 1]]
    names = [moving.names[row] for row in rows[:, 0]]
    if len(rows) < (needed := pairs_needed(options.kind, axes[0].shape[1])):
        alone = ", ".join(dict.fromkeys(name for name, _ in _alone(moving, fixed, rows))) or "none"
        raise InputError(
            f"{len(rows)} landmarks are on both sides ({', '.join(names)}; on one side only or missing: {alone}) and "
            f"{options.kind} needs {needed}; give more, of the same names"
        )
    weights = _weights(moving.rows(rows[:, 0]), fixed.rows(rows[:, 1])) if options.weigh else np.ones(len(rows))
    try:
        if options.robust:
            weights = weights * find_inliers(options.kind, start, end, weights, axes=axes)
        used = weights > 0
        _check_hand_and_size(start[used], end[used], axes, moving.unit, rigid=rigid)
        transform = fit_transform(options.kind, start, end, weights, axes=axes, smooth=options.smooth)
        left_out = leave_one_out(options.kind, start, end, weights, axes=axes, smooth=options.smooth)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from None
    moved = transform(start)
    residuals = np.linalg.norm(moved - end, axis=1)
    measures = zip(weights / weights[used].mean(), residuals, left_out, strict=True)
    pairs = tuple(
        Pair(names[row], start[row], moved[row], end[row], *map(float, own)) for row, own in enumerate(measures)
    )
    return Registration(options.kind, transform, axes, pairs, _alone(moving, fixed, rows), moving.unit)


def _weights(moving: Landmarks, fixed: Landmarks) -> FloatArray:
    """One over the variance of each pair's distance, from the expected errors of its two points."""
    variance = np.zeros(len(moving))
    for side, landmarks in (("moving", moving), ("fixed", fixed)):
        deviations = landmarks.deviation_mm()
        wrong = [name for name, own in zip(landmarks.names, deviations, strict=True) if not own > 0]
        if wrong:
            raise InputError(
                f"the {side} points have no expected error above 0 for {', '.join(wrong)}; give error_mm, or leave out "
                f"the weights"
            )
        variance += deviations**2
    return 1 / variance


def _check_hand_and_size(start: FloatArray, end: FloatArray, axes: Axes, unit: str, *, rigid: bool) -> None:
    """Refuse mirror images, and for a rigid fit two sizes."""
    near, far = start @ axes[0], end @ axes[1]
    dims = near.shape[1]
    if len(near) < dims + 1:
        return
    size = float(np.linalg.norm(np.ptp(far, axis=0)))
    mirrored = near * np.r_[-1.0, np.ones(dims - 1)]
    plain, turned = (float(np.sqrt(((_moved(points, far) - far) ** 2).sum(1).mean())) for points in (near, mirrored))
    if turned < _MIRROR_GAIN * plain and plain > _MIRROR_SHARE * size:
        raise InputError(
            f"the fixed points look like a mirror image of the moving ones (mirrored they fit to {turned:.3g} {unit}, "
            f"as they are to {plain:.3g} {unit}); is left called right, or an axis flipped? correct one side"
        )
    spread = [float(np.sqrt(((points - points.mean(0)) ** 2).sum())) for points in (near, far)]
    if rigid and not 1 / _LARGEST_SCALE < spread[1] / max(spread[0], 1e-12) < _LARGEST_SCALE:
        raise InputError(
            f"the fixed points lie {spread[1] / max(spread[0], 1e-12):.3g} times as far apart as the moving ones; is "
            f"one side in another unit (cm, pixels)? correct it, or fit a similarity"
        )


def _moved(near: FloatArray, far: FloatArray) -> FloatArray:
    fit = fit_subsets("similarity", near, far)
    return near @ fit[:-1, :-1].T + fit[:-1, -1]


def _alone(moving: Landmarks, fixed: Landmarks, rows: NDArray[np.int64]) -> tuple[tuple[str, str], ...]:
    """Points without a partner."""
    alone = []
    for column, (side, landmarks) in enumerate((("moving", moving), ("fixed", fixed))):
        paired = set(rows[:, column].tolist())
        for row, name in enumerate(landmarks.names):
            if row not in paired:
                alone.append((name, side if landmarks.present[row] else f"missing in {side}"))
    return tuple(alone)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
