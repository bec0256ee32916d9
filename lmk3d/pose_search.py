"""How a patient lies: the pose of the shape model that views from many sides agree on, and its closest rival."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from lmk3d.codecs import ShapeModel
    from lmk3d.geometry import Grid

    FloatArray = NDArray[np.float64]

__all__ = ["PoseSearch", "View"]

_DIFFERENT = 3.0  # tolerances between two poses that are not the same
_PROMISING = 0.6  # share of agreeing landmarks from which a view is worth an upright one at once
# Upright views tend to show what they expect: 0.6 to 0.85 of the landmarks agree with a wrong pose within 2 tolerances,
# but 0.4 to 0.6 within one; with the right pose 0.75 to 1 do at an early epoch, all at the end (mouse skulls).
_CLEAR = 0.75
_CERTAIN = 0.6  # runner-up below which a pose is beyond doubt
_FITS = 3  # different poses that are fitted to one view's peaks
_RIVALS = 4  # poses that get an upright view of their own after a search that nothing ended
_SETTLED = 3  # upright views of one pose at most; nearly always one is enough
# A view from the side sees the same anatomy elsewhere in its grid: 40 degrees are well within the 65 of the
# training, and the axis is none of the shape's, which may be one of symmetry.
_ANGLE = np.deg2rad(40.0)
_CROSS = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)  # with the axis (1, 1, 1)
_ASIDE = np.eye(3) + np.sin(_ANGLE) * _CROSS + (1 - np.cos(_ANGLE)) * _CROSS @ _CROSS


@dataclass(frozen=True, eq=False)
class View:
    """What the first stage sees on one grid, and how the shape model fits it.

    Args:
        points_mm: (N, K, 3) peaks of each landmark, best first, world RAS mm; NaN where there is none.
        weights: (N, K) their weights, 0 to 1.
        presence: (N,) how likely each landmark is in the image.
        heights: (N, K) of the peaks, where the maps have such.
        pose: (4, 4) mean shape's frame to world RAS mm; None where no shape fits.
        support: what the peaks say for the pose, 0 to N; see ``ShapeModel.fits``.
        agreement: share of the landmarks that have a peak within two tolerances of where the pose expects them.
        close: the same within one tolerance.
        runner_up: support of the best pose that differs from this one over this one's support, 0 to 1: near 0 the pose
            is beyond doubt, near 1 another one fits as well. 0 where no pose was searched.
    """

    points_mm: FloatArray
    weights: FloatArray
    presence: FloatArray
    heights: FloatArray | None = None
    pose: FloatArray | None = None
    support: float = 0.0
    agreement: float = 0.0
    close: float = 0.0
    runner_up: float = 0.0


@dataclass(eq=False)
class _Candidate:
    """An upright view, its worth, and a view turned against it once that was asked for."""

    view: View
    worth: float
    turned: View | None = None


@dataclass(frozen=True, eq=False)
class PoseSearch:
    """Finds the pose of a shape model in a scan from views of many sides.

    Args:
        look: what the first stage sees on a grid.
        upright: the grid along the axes and at the size of the shape in a (4, 4) pose.
        shape: the model.
        tolerance_mm: of its fits; see ``ShapeModel.fits``.
    """

    look: Callable[[Grid], View]
    upright: Callable[[FloatArray], Grid]
    shape: ShapeModel
    tolerance_mm: float

    def __call__(self, sides: Iterable[Grid]) -> View:
        """The upright view of the best pose.

        A view with which most landmarks agree is worth an upright one at once. Where most agree closely with that, a
        view turned against it must find the same pose, since an upright view tends to show what it expects, and one
        turned halfway round the shape's long axis, about which poses are mistaken most, must show none that comes near;
        then the search is over. Otherwise it goes through all sides, and the best different poses get upright views.
        They are compared by what upright and turned views say for them.

        Args:
            sides: grids over the scan, one for each side; at least one.
        Returns:
            The best pose's view, with its runner-up; a view without a pose where the shape fits none.
        """
        seen: list[View] = []
        candidates: list[_Candidate] = []
        for grid in sides:
            view = self.look(grid)
            seen += (posed := self._posed(view))
            if posed and posed[0].agreement > _PROMISING and self._is_new(posed[0], candidates):
                added = self._add(candidates, self._settled(posed[0]))
                if added is not None and added.view.close > _CLEAR:
                    seen += self._check(added)
                    if added.turned is not None and self._same(added.turned, added.view):
                        seen += self._half_turned(added.view)
                        if (best := self._best(candidates, seen)).runner_up < _CERTAIN:
                            return best
        self._add_rivals(candidates, seen)
        return self._best(candidates, seen) if candidates else view

    def _posed(self, view: View) -> list[View]:
        """The view with each pose that its peaks speak for, best first."""
        tolerance, found = self.tolerance_mm, []
        peaks, weights = view.points_mm, view.weights
        apart = _DIFFERENT * tolerance
        for pose, support in self.shape.fits(peaks, weights, tolerance_mm=tolerance, count=_FITS, apart_mm=apart):
            agreement, close = (
                float(np.isfinite(self.shape.agreeing(pose, peaks, within_mm=limit)).all(1).mean())
                for limit in (2 * tolerance, tolerance)
            )
            found.append(replace(view, pose=pose, support=support, agreement=agreement, close=close))
        return found

    def _settled(self, view: View) -> View:
        """The best upright view of a view's pose: another one follows while they are unclear and move the pose."""
        uprights: list[View] = []
        for _ in range(_SETTLED):
            uprights += (posed := self._posed(self.look(self.upright(_pose(view))))[:1])
            if not posed or posed[0].close > _CLEAR:
                break
            last, view = view, posed[0]
            if self.shape.distance_mm(_pose(view), _pose(last)) < self.tolerance_mm:
                break
        return max(uprights, key=lambda one: self._worth(_pose(one), one), default=view)

    def _worth(self, pose: FloatArray, view: View) -> float:
        """What a view's peaks say for a pose that need not be its own.

        Half of the tolerance keeps what a wrong pose finds near its landmarks by chance out.
        """
        return self.shape.support(pose, view.points_mm, view.weights, tolerance_mm=self.tolerance_mm / 2)

    def _check(self, candidate: _Candidate) -> list[View]:
        """View a candidate from the side and weigh its worth anew; the poses that this view shows."""
        pose = _pose(candidate.view)
        view = self.look(self.upright(_turned(pose, _ASIDE)))
        candidate.worth = (self._worth(pose, candidate.view) + self._worth(pose, view)) / 2
        posed = self._posed(view)
        candidate.turned = posed[0] if posed else view
        return posed

    def _half_turned(self, view: View) -> list[View]:
        """The poses that are seen from half a turn about the longest axis of the shape."""
        axis = np.linalg.svd(self.shape.mean_mm)[2][0]
        return self._posed(self.look(self.upright(_turned(_pose(view), 2 * np.outer(axis, axis) - np.eye(3)))))

    def _add(self, candidates: list[_Candidate], view: View) -> _Candidate | None:
        """Keep an upright view as a candidate, the best alone of those with the same pose; None if that was there."""
        same, worth = [one for one in candidates if self._same(view, one.view)], self._worth(_pose(view), view)
        if any(self._worth(_pose(one.view), one.view) >= worth for one in same):
            return None
        for one in same:
            candidates.remove(one)
        candidates.append(_Candidate(view, worth))
        return candidates[-1]

    def _is_new(self, view: View, candidates: list[_Candidate]) -> bool:
        """Whether a view shows another pose than the candidates, or one of theirs better."""
        return all(view.support > one.view.support for one in candidates if self._same(view, one.view))

    def _same(self, view: View, other: View) -> bool:
        """Whether two views show about the same pose; one without a pose shares none."""
        if view.pose is None or other.pose is None:
            return False
        return bool(self.shape.distance_mm(view.pose, other.pose) <= _DIFFERENT * self.tolerance_mm)

    def _add_rivals(self, candidates: list[_Candidate], seen: list[View]) -> None:
        """Give the best of the poses that were seen, but differ from all candidates, upright views."""
        count = _RIVALS
        for view in sorted(seen, key=lambda view: -view.support):
            if not count:
                break
            if not any(self._same(view, one.view) for one in candidates):
                self._add(candidates, self._settled(view))
                count -= 1

    def _best(self, candidates: list[_Candidate], seen: list[View]) -> View:
        """The candidate of most worth, after those that come near it were viewed from the side, too."""
        while True:
            best = max(candidates, key=lambda one: one.worth)
            near = [one for one in candidates if one.turned is None and one.worth > _CERTAIN * best.worth]
            if not near:
                break
            self._check(max(near, key=lambda one: one.worth))
        others = [(one.view, one.worth) for one in candidates]
        others += [(view, self._worth(_pose(view), view)) for view in seen]
        rival = max((worth for view, worth in others if not self._same(view, best.view)), default=0.0)
        return replace(best.view, runner_up=min(1.0, rival / max(best.worth, 1e-9)))


def _turned(pose: FloatArray, turn: FloatArray) -> FloatArray:
    """A (4, 4) pose after a (3, 3) rotation within its own frame."""
    turned = np.array(pose)
    turned[:3, :3] = turned[:3, :3] @ turn
    return turned


def _pose(view: View) -> FloatArray:
    if view.pose is None:
        raise ValueError("the view has no pose")
    return view.pose
