"""How neighbouring landmarks lie to each other: a tree over them, and the joint choice among their peaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IndexArray = NDArray[np.intp]

__all__ = ["LandmarkTree"]

_DOUBT = 0.15  # of a distance: how much it may differ between patients, before any was seen
_DOUBTERS = 3  # as many shapes is that doubt worth
_FARTHEST = 12.5  # nats, five standard deviations: no step counts as more unlikely, for a patient may be unlike all
_FAINTEST = 1e-3  # of the best peak's weight: no peak counts as less likely
_UNKNOWN = 2 * np.log(_FAINTEST)  # nats of a peak that is none


@dataclass(frozen=True, eq=False)
class LandmarkTree:
    """A tree over N landmarks whose edges join those that stay the closest to each other, in upright patients.

    A map may be highest where something looks alike, on the next vertebra or the other lip. The tree chooses among all
    landmarks' peaks at once.

    Args:
        parents: (N,) of each landmark; -1 of the first one, which is the root.
        steps_mm: (N, 3) mean step from the parent to the landmark.
        covariances: (N, 3, 3) mm^2 of the steps.
    Source:
        Felzenszwalb and Huttenlocher 2005, "Pictorial structures for object recognition", with their tree of the
        steps that vary least; the truncation of what a step may cost is ours.

    >>> column = np.array([[0.0, 0, 0], [0, 0, 30], [0, 0, 60]])
    >>> tree = LandmarkTree.from_shapes([column, 1.1 * column, column + [3, 0, 0]])
    >>> tree.parents
    array([-1,  0,  1])
    >>> peaks = column[:, None] + [[0, 0, 0], [0, 0, 30]]  # the second peak of each is its neighbour's place
    >>> places, _ = tree.chosen(peaks, np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]]), np.ones(3, bool), noise_mm=1.0)
    >>> places[:, 2]
    array([ 0., 30., 60.])
    """

    parents: IndexArray
    steps_mm: FloatArray
    covariances: FloatArray

    @classmethod
    def from_shapes(cls, shapes_mm: Sequence[FloatArray]) -> LandmarkTree:
        """Learn it from (N, 3) shapes in world mm, of which any may miss points (NaN); few shapes give wide steps."""
        shapes = np.asarray(shapes_mm, dtype=np.float64)
        count = shapes.shape[1]
        parents, steps, covariances = np.full(count, -1), np.zeros((count, 3)), np.tile(np.eye(3), (count, 1, 1))
        nearest, spread = np.zeros(count, dtype=np.intp), np.full(count, np.inf)
        left, new = np.arange(1, count), 0
        while len(left):  # Prim: join the landmark whose step from the tree varies least
            mean, covariance = _steps(shapes[:, left] - shapes[:, new, None])
            varies = np.linalg.slogdet(covariance)[1]
            closer = varies < spread[left]
            rows = left[closer]
            nearest[rows], spread[rows] = new, varies[closer]
            steps[rows], covariances[rows] = mean[closer], covariance[closer]
            new = left[spread[left].argmin()]
            parents[new] = nearest[new]
            left = left[left != new]
        return cls(parents, steps, covariances)

    def chosen(
        self,
        peaks_mm: FloatArray,
        weights: FloatArray,
        present: NDArray[np.bool_],
        *,
        noise_mm: float,
        unlikely: Callable[[FloatArray], FloatArray] | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Where each landmark is, judged by the weights of its peaks and by the steps to its neighbours'.

        A map may show nothing where its landmark is. So the places to which a step leads from a neighbour's peaks can
        be chosen, too, where that saves more than one step that no training shape had.

        Args:
            peaks_mm: (N, K, 3) candidates of each landmark in world mm, best first; NaN where there is none.
            weights: (N, K) how likely each is by itself, on any scale.
            present: (N,) whether it is in the image at all; of those that are not the first peak is taken.
            noise_mm: standard deviation of a peak's own error.
            unlikely: (N, M, 3) places to (N, M) nats by which each is less likely for another reason.
        Returns:
            (N, 3) world mm and (N,) weights of the best choice of all, which is found exactly.
        """
        peaks_mm, weights, worth = self._candidates(peaks_mm, weights, present)
        if unlikely is not None:
            worth -= unlikely(peaks_mm)
        precisions = np.linalg.inv(self.covariances + 2 * noise_mm**2 * np.eye(3))
        order, choices = list(self._outwards()), np.zeros(worth.shape, dtype=np.intp)
        for child in order[:0:-1]:  # from the leaves to the root: what a subtree is worth for each peak of its parent
            parent = self.parents[child]
            joint = np.tile(worth[child], (worth.shape[1], 1))
            if present[child] and present[parent]:
                joint = joint - self._unlikely(peaks_mm[parent], peaks_mm[child], child, precisions[child])
            choices[child] = joint.argmax(1)
            worth[parent] += joint.max(1)
        chosen = np.zeros(len(worth), dtype=np.intp)
        for landmark in order:
            parent = self.parents[landmark]
            chosen[landmark] = worth[landmark].argmax() if parent < 0 else choices[landmark, chosen[parent]]
        best = np.where(present, chosen, 0)[:, None]
        return np.take_along_axis(peaks_mm, best[..., None], 1)[:, 0], np.take_along_axis(weights, best, 1)[:, 0]

    def ways(self) -> list[tuple[int, int, int]]:
        """Both ways along each edge: from which landmark, to which one, and the way's number from 0 to 2 N - 1.

        A landmark's own number leads to it from its parent; N more lead from it to the parent.
        """
        down = [(int(parent), child, child) for child, parent in enumerate(self.parents) if parent >= 0]
        return down + [(child, parent, number + len(self.parents)) for parent, child, number in down]

    def _candidates(
        self, peaks_mm: FloatArray, weights: FloatArray, present: NDArray[np.bool_]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(N, 2 K, 3) places, (N, 2 K) weights and nats that each is worth: the peaks, then the neighbours' guesses."""
        known = np.isfinite(peaks_mm).all(2) & (weights > 0)
        peaks_mm = np.where(known[..., None], peaks_mm, np.nan)
        best = np.maximum(weights.max(1, keepdims=True), np.finfo(float).tiny)
        worth = np.where(known, np.log(np.maximum(weights / best, _FAINTEST)), _UNKNOWN)
        led: dict[int, list[tuple[int, FloatArray]]] = {}
        for start, end, way in self.ways():
            if present[start] and known[end].any():
                step = self.steps_mm[end] if way < len(weights) else -self.steps_mm[start]
                led.setdefault(end, []).append((start, step))
        guesses = np.full_like(peaks_mm, np.nan)
        for landmark, ways in led.items():
            places = np.concatenate([peaks_mm[start] + step for start, step in ways])
            order = np.argsort(-np.concatenate([weights[start] for start, _ in ways]), kind="stable")
            guesses[landmark] = places[order[: weights.shape[1]]]
        guessed = np.where(np.isfinite(guesses).all(2), -_FARTHEST, _UNKNOWN)
        pairs = ((peaks_mm, guesses), (weights, np.zeros_like(weights)), (worth, guessed))
        places, likely, nats = (np.concatenate(pair, axis=1) for pair in pairs)
        return places, likely, nats

    def _unlikely(
        self, parents_mm: FloatArray, children_mm: FloatArray, child: int, precision: FloatArray
    ) -> FloatArray:
        """(K, K) nats by which each step from a parent's peak to a child's falls short of the mean step."""
        with np.errstate(invalid="ignore"):
            off = children_mm[None] - parents_mm[:, None] - self.steps_mm[child]
            square = np.einsum("pci,ij,pcj->pc", off, precision, off)
        return np.minimum(np.where(np.isfinite(square), square / 2, _FARTHEST), _FARTHEST)

    def _outwards(self) -> Iterator[int]:
        """The landmarks, each behind its parent."""
        reached = [0]
        for landmark in reached:
            yield landmark
            reached += np.flatnonzero(self.parents == landmark).tolist()


def _steps(steps_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean (M, 3) and the covariance (M, 3, 3) of steps (S, M, 3), with the doubt that few of them leave."""
    there = np.asarray(np.isfinite(steps_mm).all(2))
    count = there.sum(0)[:, None]
    known = np.where(there[..., None], steps_mm, 0.0)
    mean = known.sum(0) / np.maximum(count, 1)
    off = np.where(there[..., None], steps_mm - mean, 0.0)
    scatter = np.einsum("smi,smj->mij", off, off)
    doubt = (_DOUBT**2 * (mean**2).sum(1) + np.where(count[:, 0], 1e-6, 1e6))[:, None, None] * np.eye(3)
    return mean, (scatter + _DOUBTERS * doubt) / (count[..., None] + _DOUBTERS)
