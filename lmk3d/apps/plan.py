"""A plan of measurements: named points, lines, planes and what is to be measured between them, as one JSON file.

::

    {
        "name": "aortic root",
        "unit": "mm",
        "points": {
            "annulus_centre": {"mean": ["r_hinge", "l_hinge", "n_hinge"]},
            "below": {"foot": "left_ostium", "on": "annulus"},
        },
        "lines": {"axis": ["annulus_centre", "sinotubular_centre"]},
        "planes": {
            "annulus": {"through": ["r_hinge", "l_hinge", "n_hinge"], "towards": "sinotubular_centre"},
            "cross": {"through": ["annulus_centre"], "normal": "axis"},
        },
        "measures": {
            "left_height": {"height": ["left_ostium", "annulus"]},
            "diameter": {"distance": ["r_hinge", "l_hinge"]},
            "tilt": {"angle": ["axis", "annulus"]},
            "at_annulus": {"angle": ["left_ostium", "annulus_centre", "right_ostium"]},
            "round_axis": {
                "angle": [["annulus_centre", "left_ostium"], ["annulus_centre", "right_ostium"]],
                "in": "cross",
            },
            "relative": {"ratio": ["left_height", "diameter"]},
        },
    }
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.apps.formulas import (
    angle_between,
    angle_in_plane,
    angle_to_plane,
    best_plane,
    foot_on_line,
    foot_on_plane,
    height_above,
    tilt_between,
)
from lmk3d.errors import InputError, did_you_mean
from lmk3d.io.text import brief, check_keys, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["MeasurePlan", "Scene", "read_plan"]

_KEYS = {"name", "description", "unit", "points", "lines", "planes", "measures"}
_KINDS = ("distance", "height", "angle", "ratio")
# Points of a plane that spread less than this part of their length sideways are a line.
_FLAT = 0.01
# Two points this near in mm are one, and give no direction.
_SAME_MM = 1e-6


@dataclass(frozen=True, eq=False)
class MeasurePlan:
    """A plan as its file has it, its names checked.

    Args:
        name: what it is called.
        unit: that its lengths are in; "mm", or "px" for films without spacing.
        points, lines, planes, measures: entries by name, see the module.
        where: the file, for errors.
    """

    name: str
    unit: str
    points: dict[str, dict[str, Any]]
    lines: dict[str, list[str]]
    planes: dict[str, dict[str, Any]]
    measures: dict[str, dict[str, Any]]
    where: str

    def kind(self, name: str) -> str:
        """Which of distance, height, angle and ratio a measure is."""
        return next(kind for kind in _KINDS if kind in self.measures[name])

    def needs(self, name: str) -> tuple[str, ...]:
        """The landmarks that a measure (or an element) is made of, each once."""
        found: dict[str, None] = {}
        self._collect(name, found, measure=True)
        return tuple(found)

    @property
    def landmarks(self) -> tuple[str, ...]:
        """All landmarks that the plan speaks of."""
        return tuple(dict.fromkeys(own for name in self.measures for own in self.needs(name)))

    def _collect(self, item: Any, found: dict[str, None], *, measure: bool = False) -> None:
        if isinstance(item, (list, tuple)):
            for own in item:
                self._collect(own, found, measure=measure)
        elif measure and item in self.measures:
            entry = self.measures[item]
            self._collect(entry[self.kind(item)], found, measure=self.kind(item) == "ratio")
            self._collect([entry["in"]] if "in" in entry else [], found)
        elif item in self.points:
            entry = self.points[item]
            self._collect(entry.get("mean", [entry.get("foot"), entry.get("on")]), found)
        elif item in self.lines:
            self._collect(self.lines[item], found)
        elif item in self.planes:
            entry = self.planes[item]
            self._collect([*entry["through"], *(entry[key] for key in ("towards", "normal") if key in entry)], found)
        else:
            found[item] = None


@dataclass(eq=False)
class Scene:
    """A plan laid over points: each element is made when it is first asked for.

    Args:
        plan: what to make.
        places: (S, 3) positions of each landmark; row 0 is as measured, the others are drawn about it.
    """

    plan: MeasurePlan
    places: Mapping[str, FloatArray]
    _made: dict[str, Any] = field(default_factory=dict)

    def measure(self, name: str) -> FloatArray:
        """(S,) values of a measure: mm, degrees, or a ratio's number.

        Raises:
            InputError: if the points as measured give none: they coincide, or a plane's lie on a line.
        """
        if name not in self._made:
            entry, kind = self.plan.measures[name], self.plan.kind(name)
            make = {"distance": self._distance, "height": self._height, "angle": self._angle, "ratio": self._ratio}
            self._made[name] = make[kind](name, entry)
        return np.asarray(self._made[name])

    def segments(self, name: str) -> tuple[tuple[FloatArray, FloatArray], ...]:
        """(3,) ends of the lines that a measure is drawn with, as measured; a ratio has none of its own."""
        kind = self.plan.kind(name)
        items = self.plan.measures[name][kind]
        if kind == "ratio":
            return ()
        if kind in ("distance", "height"):
            return ((self.point(items[0])[0], self._nearest(items[0], items[1])[0]),)
        if len(items) == 3:
            items = [[items[1], items[0]], [items[1], items[2]]]
        lines = [self.line(own) for own in items if not self._is_plane(own)]
        return tuple((start[0], end[0]) for start, end in lines)

    def point(self, name: str) -> FloatArray:
        """(S, 3) of a landmark or a made point."""
        if name in self.plan.points and name not in self._made:
            entry = self.plan.points[name]
            if "mean" in entry:
                self._made[name] = np.mean([self.point(own) for own in entry["mean"]], axis=0)
            else:
                self._made[name] = self._nearest(entry["foot"], entry["on"])
        return np.asarray(self._made[name] if name in self._made else self.places[name])

    def line(self, item: str | list[str]) -> tuple[FloatArray, FloatArray]:
        """(S, 3) start and end of a named line or of one given by its two points."""
        first, second = self.plan.lines[item] if isinstance(item, str) else item
        start, end = self.point(first), self.point(second)
        if np.linalg.norm(end[0] - start[0]) < _SAME_MM:
            raise self._open(f"{first!r} and {second!r} lie in one place and give no direction")
        return start, end

    def plane(self, name: str) -> tuple[FloatArray, FloatArray]:
        """(S, 3) point and unit normal of a plane."""
        if name not in self._made:
            entry = self.plan.planes[name]
            points = np.stack([self.point(own) for own in entry["through"]], axis=-2)
            if "normal" in entry:
                start, end = self.line(entry["normal"])
                made = points[:, 0], (end - start) / np.linalg.norm(end - start, axis=-1, keepdims=True)
            else:
                spread = np.linalg.svd(np.nan_to_num(points[0] - points[0].mean(0)), compute_uv=False)
                if not np.isnan(points[0]).any() and spread[1] <= max(_FLAT * spread[0], _SAME_MM):
                    raise self._open(f"the points of plane {name!r} lie on a line ({', '.join(entry['through'])})")
                made = best_plane(points)
            if "towards" in entry:
                away = height_above(self.point(entry["towards"]), made)
                made = made[0], np.where((away < 0)[:, None], -made[1], made[1])
            self._made[name] = made
        first, second = self._made[name]
        return first, second

    def _nearest(self, name: str, other: str) -> FloatArray:
        """(S, 3) the place on another element that is nearest to a point."""
        if self._is_plane(other):
            return foot_on_plane(self.point(name), self.plane(other))
        if isinstance(other, list) or other in self.plan.lines:
            return foot_on_line(self.point(name), self.line(other))
        return self.point(other)

    def _distance(self, _: str, entry: dict[str, Any]) -> FloatArray:
        first, second = entry["distance"]
        return np.asarray(np.linalg.norm(self.point(first) - self._nearest(first, second), axis=-1))

    def _height(self, _: str, entry: dict[str, Any]) -> FloatArray:
        first, second = entry["height"]
        return height_above(self.point(first), self.plane(second))

    def _angle(self, _: str, entry: dict[str, Any]) -> FloatArray:
        items = entry["angle"]
        if len(items) == 3:
            items = [[items[1], items[0]], [items[1], items[2]]]
        flat = [self._is_plane(own) for own in items]
        directions = [self.plane(own)[1] if is_flat else np.subtract(*self.line(own)[::-1])
                      for own, is_flat in zip(items, flat, strict=True)]  # fmt: skip
        if "in" in entry:
            return angle_in_plane(directions[0], directions[1], self.plane(entry["in"])[1])
        first, second = directions[::-1] if flat == [True, False] else directions
        return (angle_between, angle_to_plane, tilt_between)[sum(flat)](first, second)

    def _ratio(self, name: str, entry: dict[str, Any]) -> FloatArray:
        over, under = (self.measure(own) for own in entry["ratio"])
        if abs(under[0]) < _SAME_MM:
            raise self._open(f"ratio {name!r} divides by {entry['ratio'][1]!r}, which is zero")
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(over / under)

    def _is_plane(self, item: Any) -> bool:
        return _known(item, self.plan.planes)

    def _open(self, text: str) -> InputError:
        return InputError(f"{self.plan.where}: {text}; check the points, or choose others")


def _known(item: Any, part: Mapping[str, Any]) -> bool:
    """Whether something, of whatever type a file has it, is the name of an entry."""
    return isinstance(item, str) and item in part


def read_plan(path: Path) -> MeasurePlan:
    """Read a plan and check that all its names mean something.

    Raises:
        InputError: naming the entry.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("measures"), dict) or not content["measures"]:
        raise InputError(f'{path}: is no plan; write {{"measures": {{"NAME": {{"distance": ["A", "B"]}}}}}}')
    check_keys(content, _KEYS, str(path))
    parts = {key: content.get(key, {}) for key in ("points", "lines", "planes", "measures")}
    for key, part in parts.items():
        if not isinstance(part, dict):
            raise InputError(f"{path}: {key} is {brief(part)}; write an entry for each name")
    if (unit := content.get("unit", "mm")) not in ("mm", "px"):
        raise InputError(f"{path}: unit {brief(unit)} is unknown; write mm or px")
    plan = MeasurePlan(str(content.get("name", path.stem)), unit, **parts, where=str(path))
    _Checker(plan).check()
    return plan


@dataclass(frozen=True)
class _Checker:
    """Finds the first entry of a plan that cannot be made."""

    plan: MeasurePlan

    def check(self) -> None:
        plan = self.plan
        seen: set[str] = set()
        for part in (plan.points, plan.lines, plan.planes, plan.measures):
            for name in part:
                if name in seen:
                    raise InputError(f"{plan.where}: {brief(name)} stands for two things; give each its own name")
                seen.add(name)
        for name, entry in plan.points.items():
            self._point(f"point {brief(name)}", entry)
        for name, ends in plan.lines.items():
            self._line(f"line {brief(name)}", ends)
        for name, entry in plan.planes.items():
            self._plane(f"plane {brief(name)}", entry)
        for name, entry in plan.measures.items():
            self._measure(f"measure {brief(name)}", entry)
        self._loops()

    def _point(self, what: str, entry: Any) -> None:
        self._keys(what, entry, {"mean", "foot", "on"})
        if "mean" in entry:
            if set(entry) != {"mean"} or not isinstance(entry["mean"], list) or not entry["mean"]:
                raise self._wrong(what, 'write {"mean": ["A", "B"]}')
            self._points(what, entry["mean"])
        elif set(entry) != {"foot", "on"}:
            raise self._wrong(what, 'write {"mean": ["A", "B"]} or {"foot": "A", "on": "a line or plane"}')
        else:
            self._points(what, [entry["foot"]])
            if not _known(entry["on"], self.plan.planes):
                self._line(what, entry["on"])

    def _line(self, what: str, item: Any) -> None:
        ends = self.plan.lines.get(item) if isinstance(item, str) else item
        if ends is None:
            raise self._unknown(what, item, [*self.plan.lines, *self.plan.planes])
        if not isinstance(ends, list) or len(ends) != 2:
            raise self._wrong(what, 'a line is its two points, ["A", "B"]')
        self._points(what, ends)

    def _plane(self, what: str, entry: Any) -> None:
        self._keys(what, entry, {"through", "towards", "normal"})
        through = entry.get("through")
        least = 1 if "normal" in entry else 3
        if not isinstance(through, list) or (len(through) != 1 if least == 1 else len(set(map(str, through))) < 3):
            raise self._wrong(what, 'write {"through": three points or more} or {"through": ["A"], "normal": a line}')
        self._points(what, [*through, *([entry["towards"]] if "towards" in entry else [])])
        if "normal" in entry:
            self._line(what, entry["normal"])

    def _measure(self, what: str, entry: Any) -> None:
        self._keys(what, entry, {*_KINDS, "in"})
        kinds = [kind for kind in _KINDS if kind in entry]
        if len(kinds) != 1 or not isinstance(entry[kinds[0]], list) or ("in" in entry and kinds != ["angle"]):
            raise self._wrong(what, f"write one of {', '.join(_KINDS)} with a list of what it is between")
        items = entry[kinds[0]]
        if kinds == ["angle"] and len(items) == 3:
            self._points(what, items)
            if len(set(items)) < 3:
                raise self._wrong(what, "an angle at a point is between three different ones")
        elif len(items) != 2:
            raise self._wrong(what, "a measure is between two things, an angle between two lines or three points")
        else:
            self._two(what, kinds[0], items)
        if "in" in entry:
            if not _known(entry["in"], self.plan.planes):
                raise self._unknown(what, entry["in"], self.plan.planes)
            if any(_known(item, self.plan.planes) for item in items):
                raise self._wrong(what, "an angle in a plane is between two lines or three points")

    def _two(self, what: str, kind: str, items: list[Any]) -> None:
        plan = self.plan
        if kind == "ratio":
            for item in items:
                if not _known(item, plan.measures):
                    raise self._unknown(what, item, plan.measures)
            return
        if kind == "angle":
            for item in items:
                if not _known(item, plan.planes):
                    self._line(what, item)
            return
        self._points(what, items[:1])
        self._target(what, kind, items)

    def _target(self, what: str, kind: str, items: list[Any]) -> None:
        """What a distance or a height is measured to."""
        plan, second = self.plan, items[1]
        if kind == "height" and not _known(second, plan.planes):
            raise self._unknown(what, second, plan.planes)
        if isinstance(second, list) or _known(second, plan.lines):
            self._line(what, second)
        elif not _known(second, plan.planes):
            self._points(what, [second])
            if second == items[0]:
                raise self._wrong(what, "a distance is between two different things")

    def _points(self, what: str, names: Iterable[Any]) -> None:
        for name in names:
            if not isinstance(name, str) or not name:
                raise self._wrong(what, f"{brief(name)} is no point's name")
            if name in self.plan.lines or name in self.plan.planes or name in self.plan.measures:
                raise self._wrong(what, f"{brief(name)} is no point")

    def _loops(self) -> None:
        """Refuse what is made of itself."""
        try:
            for name in (*self.plan.points, *self.plan.measures):
                self.plan.needs(name)
        except RecursionError:
            raise InputError(
                f"{self.plan.where}: {brief(name)} is made of itself; build it from other points"
            ) from None

    def _keys(self, what: str, entry: Any, known: set[str]) -> None:
        if not isinstance(entry, dict):
            raise self._wrong(what, f"it is {brief(entry)}, not an entry in braces")
        check_keys(entry, known, f"{self.plan.where}, {what}")

    def _wrong(self, what: str, text: str) -> InputError:
        return InputError(f"{self.plan.where}, {what}: cannot be made; {text}")

    def _unknown(self, what: str, item: Any, known: Iterable[str]) -> InputError:
        hint = did_you_mean(str(item), known, "add it to the plan")
        return InputError(f"{self.plan.where}, {what}: {brief(item)} is not in the plan; {hint}")
