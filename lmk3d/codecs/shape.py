"""What the training shapes say: their mean up to a similarity, how landmarks vary together, and fits of it to peaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.geometry import apply_affine, fit_similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["ShapeModel"]

_TRIALS = (
    400  # triplets tried; with half of the peaks wrong, one in eight is right, so this many never fail in practice
)


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """A Gaussian over shapes: N landmarks about their mean, after a similarity has taken pose and size away.

    Args:
        mean_mm: (N, 3) the mean shape in its own frame, centred.
        covariance: (3N, 3N) mm^2, of the rows' coordinates one after another.

    >>> triangle = np.array([[0.0, 0, 0], [40, 0, 0], [0, 30, 0]])
    >>> model = ShapeModel.from_shapes([triangle, triangle + [1, 2, 3], 1.1 * triangle])
    >>> model.mean_mm.shape
    (3, 3)
    >>> pose, support = model.fit(triangle[:, None] + [100, 0, 0], np.ones((3, 1)), tolerance_mm=5.0)
    >>> round(support, 2)
    3.0
    >>> bool(np.allclose(apply_affine(pose, model.mean_mm), triangle + [100, 0, 0], atol=0.01))
    True
    """

    mean_mm: FloatArray
    covariance: FloatArray

    @classmethod
    def from_shapes(cls, shapes_mm: Sequence[FloatArray], *, shrinkage: float = 0.5) -> ShapeModel:
        """Learn it from (N, 3) shapes in world mm, of which any may miss points (NaN).

        Args:
            shapes_mm: at least two shapes of three points or more; those with fewer say nothing and are left out. The
                most complete one gives the frame its directions.
            shrinkage: how much of the covariance is kept off the diagonal; few shapes say little about it.
        Source:
            Generalised Procrustes analysis (Gower 1975) by repeated Umeyama fits; linear shrinkage towards the
            diagonal (Ledoit and Wolf 2004) with a fixed weight.
        Raises:
            ValueError: if a landmark is in no shape, or fewer than two shapes are left.
        """
        shapes = np.asarray(shapes_mm, dtype=np.float64)
        there = np.asarray(np.isfinite(shapes).all(-1))
        first = there.sum(1).argmax()
        usable = (there & there[first]).sum(1) >= 3
        shapes, mean = shapes[usable], shapes[first]
        if len(shapes) < 2:
            raise ValueError(f"a shape model needs at least 2 shapes of 3 points, got {len(shapes)}")
        never = ~there[usable].any(0)
        if never.any():
            raise ValueError(f"landmarks {np.flatnonzero(never).tolist()} are in none of the shapes")
        for _ in range(6):
            aligned = np.array([apply_affine(fit_similarity(shape, mean), shape) for shape in shapes])
            mean = np.nanmean(aligned, axis=0)
        size = np.mean([np.linalg.det(fit_similarity(mean, shape)[:3, :3]) for shape in shapes]) ** (1 / 3)
        mean = size * (mean - mean.mean(0))
        aligned = np.array([apply_affine(fit_similarity(shape, mean), shape) for shape in shapes])
        residual = np.nan_to_num((aligned - mean).reshape(len(shapes), -1))
        covariance = residual.T @ residual / (len(shapes) - 1)
        shrunk = shrinkage * covariance + (1 - shrinkage) * np.diag(np.diag(covariance))
        return cls(mean, shrunk + 1e-6 * np.eye(len(shrunk)))  # a micrometre: no direction is ever certain

    def fit(self, peaks_mm: FloatArray, weights: FloatArray, *, tolerance_mm: float) -> tuple[FloatArray, float] | None:
        """The best of ``fits``; None where there is none."""
        return next(iter(self.fits(peaks_mm, weights, tolerance_mm=tolerance_mm)), None)

    def fits(
        self, peaks_mm: FloatArray, weights: FloatArray, *, tolerance_mm: float, count: int = 1, apart_mm: float = 0.0
    ) -> list[tuple[FloatArray, float]]:
        """The similarities that lay the mean shape over candidate points, most of which may be wrong.

        Triplets of best peaks propose a pose; a pose's worth is the sum over landmarks of the best candidate's weight,
        fading with its distance; the best pose is then fitted again to the candidates it chose, and so is the best of
        those that differ from it, and so on.

        Args:
            peaks_mm: (N, K, 3) candidates of each landmark, best first; NaN where there is none.
            weights: (N, K) how likely each is, 0 to 1.
            tolerance_mm: distance at which a candidate's support has faded to exp(-1/2).
            count: of different poses, at most.
            apart_mm: how far different poses lie apart; see ``distance_mm``.
        Returns:
            For each pose, best first, (4, 4) mean shape's frame to world, and its support, the sum over landmarks of
            the faded weights (0 to N); none where fewer than three candidates agree.
        """
        peaks, weights = np.where(weights[..., None] > 0, peaks_mm, np.nan), np.nan_to_num(weights)
        usable = np.flatnonzero(weights[:, 0] > 0)
        if len(usable) < 3:
            return []
        generator = np.random.default_rng(0)  # the same fit for the same peaks, always
        # Gumbel's trick: the three largest of log weight + noise are a weighted draw without replacement.
        keys = np.log(weights[usable, 0]) + generator.gumbel(size=(_TRIALS, len(usable)))
        triplets = usable[np.argpartition(-keys, 2, axis=1)[:, :3]]
        poses = fit_similarity(self.mean_mm[triplets], peaks[triplets, 0])
        sizes = np.linalg.det(poses[:, :3, :3])
        poses = poses[(sizes > 0.5) & (sizes < 2)]  # a quarter larger or a fifth smaller than the mean at most
        worth = self._supports(poses, peaks, weights, tolerance_mm).max(-1).sum(-1)
        found: list[tuple[FloatArray, float]] = []
        for _ in range(count):
            if not len(poses):
                break
            fit = self._polished(best := poses[worth.argmax()], peaks, weights, tolerance_mm)
            if fit is not None and all(self.distance_mm(fit[0], pose) > apart_mm for pose, _ in found):
                found.append(fit)
            rest = self.distance_mm(poses, best if fit is None else fit[0]) > apart_mm
            rest[worth.argmax()] = False
            poses, worth = poses[rest], worth[rest]
        return sorted(found, key=lambda fit: -fit[1])

    def distance_mm(self, poses: FloatArray, pose: FloatArray) -> FloatArray:
        """How far each of (..., 4, 4) poses lays the mean shape from where another one does.

        Returns:
            (...) mm, the root mean square over the landmarks.
        """
        return np.asarray(np.sqrt(((self._laid(poses) - self._laid(pose)) ** 2).sum(-1).mean(-1)))

    def support(self, pose: FloatArray, peaks_mm: FloatArray, weights: FloatArray, *, tolerance_mm: float) -> float:
        """What candidates, as in ``fits``, say for a (4, 4) pose that need not be theirs: 0 to N."""
        peaks = np.where(weights[..., None] > 0, peaks_mm, np.nan)
        return float(self._supports(pose, peaks, weights, tolerance_mm).max(-1).sum())

    def agreeing(self, pose: FloatArray, peaks_mm: FloatArray, *, within_mm: float) -> FloatArray:
        """(N, 3) of each landmark's (N, K, 3) candidates the nearest to where a pose expects it, or NaN."""
        expected = self._laid(pose)
        distance = np.nan_to_num(np.linalg.norm(peaks_mm - expected[:, None], axis=2), nan=np.inf)
        nearest = peaks_mm[np.arange(len(expected)), distance.argmin(1)]
        return np.where(distance.min(1)[:, None] < within_mm, nearest, np.nan)

    def _laid(self, poses: FloatArray) -> FloatArray:
        """(..., N, 3) the mean shape in each of (..., 4, 4) poses."""
        return self.mean_mm @ np.swapaxes(poses[..., :3, :3], -1, -2) + poses[..., None, :3, 3]

    def _supports(self, poses: FloatArray, peaks: FloatArray, weights: FloatArray, tolerance_mm: float) -> FloatArray:
        """(..., N, K) weight of each candidate, faded by its distance from where the pose (..., 4, 4) expects it."""
        square = ((peaks - self._laid(poses)[..., None, :]) ** 2).sum(-1)
        return np.nan_to_num(weights * np.exp(-square / (2 * tolerance_mm**2)))

    def _polished(
        self, pose: FloatArray, peaks: FloatArray, weights: FloatArray, tolerance_mm: float
    ) -> tuple[FloatArray, float] | None:
        for _ in range(5):
            support = self._supports(pose, peaks, weights, tolerance_mm)
            chosen = support.argmax(1)
            row = np.arange(len(chosen))
            if (support[row, chosen] > 0).sum() < 3:
                return None
            pose = fit_similarity(self.mean_mm, peaks[row, chosen], support[row, chosen])
        return pose, float(self._supports(pose, peaks, weights, tolerance_mm).max(1).sum())

    def posterior(self, points_mm: FloatArray, noise_mm: FloatArray, pose: FloatArray) -> FloatArray:
        """The most likely shape, given points measured with noise: each is pulled to where the others expect it.

        Args:
            points_mm: (N, 3) world points; a NaN row was not measured and is filled in.
            noise_mm: (N,) root mean square error of each measured point.
            pose: (4, 4) mean shape's frame to world.
        Returns:
            (N, 3) world points.
        """
        inverse, scale = np.linalg.inv(pose), np.cbrt(np.linalg.det(pose[:3, :3]))
        offsets = (apply_affine(inverse, points_mm) - self.mean_mm).ravel()
        measured = np.isfinite(offsets)
        variance = np.repeat((noise_mm / scale) ** 2 / 3, 3)
        joint = self.covariance[np.ix_(measured, measured)] + np.diag(variance[measured])
        shift = self.covariance[:, measured] @ np.linalg.solve(joint, offsets[measured])
        return apply_affine(pose, self.mean_mm + shift.reshape(-1, 3))
