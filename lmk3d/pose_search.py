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

_PROMISING = 0.6  # share of agreeing landmarks from which a view is worth an upright one at once
_CLEAR = 0.9  # the same of an upright view from which on it is worth a turned one, and the search may end
_CERTAIN = 0.7  # runner-up below which a pose is beyond doubt; those of right poses are about 0.5
_FITS = 3  # different poses that are fitted to one view's peaks
_RIVALS = 4  # poses that get an upright view of their own after a search that nothing ended
_SETTLED = 3  # upright views of one pose at most; nearly always one is enough
# A view from aside sees the same anatomy elsewhere in its grid: 40 degrees are well within the 65 of the
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
    runner_up: float = 0.0


@dataclass(eq=False)
class _Candidate:
    """An upright view, and one turned against it once that was asked for."""

    view: View
    turned: View | None = None
    worth: float = 0.0

    def __post_init__(self) -> None:
        self.worth = self.view.support


@dataclass(frozen=True, eq=False)
class PoseSearch:
    """Finds the pose of a shape model in a scan by looking from many sides.

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

        A view with which most landmarks agree is worth an upright one at once. Where nearly all agree with that, too, a
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
            views = self._fitted(self.look(grid))
            seen += views
            if views[0].agreement > _PROMISING and self._is_new(views[0], candidates):
                added = self._add(candidates, self._settled(views[0]))
                if added is not None and added.view.agreement > _CLEAR:
                    seen += self._check(added)
                    if self._confirmed(added):
                        seen += self._half_turned(added.view)
                        if (best := self._best(candidates, seen)).runner_up < _CERTAIN:
                            return best
        self._add_rivals(candidates, seen)
        return self._best(candidates, seen) if candidates else seen[0]

    def _fitted(self, view: View) -> list[View]:
        """The view with each pose that its peaks speak for, best first; as it is where no shape fits them."""
        fits = self.shape.fits(view.points_mm, view.weights, tolerance_mm=self.tolerance_mm, count=_FITS)
        return [self._posed(view, *fit) for fit in fits] or [view]

    def _posed(self, view: View, pose: FloatArray, support: float) -> View:
        agreeing = self.shape.agreeing(pose, view.points_mm, tolerance_mm=self.tolerance_mm)
        return replace(view, pose=pose, support=support, agreement=float(np.isfinite(agreeing).all(1).mean()))

    def _settled(self, view: View) -> View:
        """An upright view of a view's pose, and again while that shows another pose that is better still."""
        upright = self._fitted(self.look(self.upright(_pose(view))))[0]
        for _ in range(_SETTLED - 1):
            if upright.pose is None or not self._differ(upright, view):
                break
            view, again = upright, self._fitted(self.look(self.upright(upright.pose)))[0]
            if again.support <= upright.support:
                break
            upright = again
        return view if upright.pose is None else upright

    def _check(self, candidate: _Candidate) -> list[View]:
        """Look at a candidate from aside and weigh its worth anew; what that view says for itself."""
        views = self._turned(candidate.view, _ASIDE)
        candidate.turned = turned = views[0]
        support = self.shape.support(
            _pose(candidate.view), turned.points_mm, turned.weights, tolerance_mm=self.tolerance_mm
        )
        candidate.worth = (candidate.view.support + support) / 2
        return views

    def _half_turned(self, view: View) -> list[View]:
        """What is seen upside down, half a turn about the longest axis of the shape."""
        axis = np.linalg.svd(self.shape.mean_mm)[2][0]
        return self._turned(view, 2 * np.outer(axis, axis) - np.eye(3))

    def _turned(self, view: View, turn: FloatArray) -> list[View]:
        pose = np.array(_pose(view))
        pose[:3, :3] = pose[:3, :3] @ turn
        return self._fitted(self.look(self.upright(pose)))

    def _add(self, candidates: list[_Candidate], view: View) -> _Candidate | None:
        """Keep an upright view as a candidate, the best alone of those with the same pose; None if that was there."""
        same = [one for one in candidates if not self._differ(view, one.view)]
        if any(one.view.support >= view.support for one in same):
            return None
        for one in same:
            candidates.remove(one)
        candidates.append(_Candidate(view))
        return candidates[-1]

    def _confirmed(self, candidate: _Candidate) -> bool:
        return candidate.turned is not None and not self._differ(candidate.turned, candidate.view)

    def _is_new(self, view: View, candidates: list[_Candidate]) -> bool:
        """Whether a view shows another pose than the candidates, or one of theirs better."""
        return all(view.support > one.view.support or self._differ(view, one.view) for one in candidates)

    def _differ(self, view: View, other: View) -> bool:
        """Whether two views show different poses; one without a pose differs from all."""
        if view.pose is None or other.pose is None:
            return True
        return bool(self.shape.differ(view.pose, other.pose, self.tolerance_mm))

    def _add_rivals(self, candidates: list[_Candidate], seen: list[View]) -> None:
        """Give the best of the poses that were seen, but differ from all candidates, upright views."""
        count = _RIVALS
        for view in sorted(seen, key=lambda view: -view.support):
            if not count:
                break
            if view.pose is not None and all(self._differ(view, one.view) for one in candidates):
                self._add(candidates, self._settled(view))
                count -= 1

    def _best(self, candidates: list[_Candidate], seen: list[View]) -> View:
        """The candidate of most worth, after those that come near it were looked at from aside, too."""
        while True:
            best = max(candidates, key=lambda one: one.worth)
            near = [one for one in candidates if one.turned is None and one.worth > _CERTAIN * best.worth]
            if not near:
                break
            self._check(max(near, key=lambda one: one.worth))
        others = [(one.view, one.worth) for one in candidates] + [(view, view.support) for view in seen]
        rival = max((worth for view, worth in others if self._differ(view, best.view)), default=0.0)
        return replace(best.view, runner_up=min(1.0, rival / best.worth))


def _pose(view: View) -> FloatArray:
    if view.pose is None:
        raise ValueError("the view has no pose")
    return view.pose
