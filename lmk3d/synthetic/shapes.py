"""Shapes in millimetres and the share of each voxel that they cover.

A shape knows its signed distance to good approximation near its surface; a voxel's share follows from it by a smooth
ramp as wide as voxel and scanner blur together. Only +, -, *, / and sqrt touch voxels: those round alike everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.window import Window, ramp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Field = NDArray[np.float32]

__all__ = ["Column", "Ellipsoid", "Shape", "Tube", "Wall", "curve", "unit"]


def unit(vector: FloatArray | list[float] | tuple[float, ...]) -> FloatArray:
    """A (3,) vector at length 1."""
    array = np.asarray(vector, dtype=np.float64)
    return array / np.sqrt((array**2).sum())


def curve(points: FloatArray, step: float) -> FloatArray:
    """A smooth curve through points, in steps of about ``step`` (a Catmull-Rom spline).

    Args:
        points: (M, D) with M at least 2; the first three columns are mm, others (a radius) come along.
        step: mm.
    Returns:
        (K, D); every given point is among them.
    """
    points = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    pieces = []
    for before, start, end, after in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        count = max(1, int(np.ceil(np.sqrt(((end - start)[:3] ** 2).sum()) / step)))
        t = (np.arange(count) / count)[:, None]
        pieces.append(
            start
            + t * (end - before) / 2
            + t**2 * (2 * before - 5 * start + 4 * end - after) / 2
            + t**3 * (3 * start - before - 3 * end + after) / 2
        )
    return np.concatenate([*pieces, points[-1:]])


@dataclass(frozen=True, eq=False)
class Shape:
    """Something with one HU that is painted over what was there.

    Args:
        hu: Hounsfield units inside.
    """

    hu: float

    def span(self, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(3,) lowest and highest position along each axis, in mm of ``p @ axes``."""
        raise NotImplementedError

    def moved(self, turn: FloatArray, shift_mm: FloatArray) -> Shape:
        """This shape after p -> turn @ p + shift."""
        raise NotImplementedError

    def cover(self, window: Window, edge_mm: float) -> Field:
        """Share of each of the window's voxels that lies inside."""
        raise NotImplementedError

    def depth(self, point_mm: FloatArray) -> float:
        """A depth in mm that ``point_mm`` surely has below the surface; negative: a surely kept distance from it.

        0 where nothing is known. It spares the voxels of boxes that lie wholly inside or outside.
        """
        return 0.0

    def paint(self, image: Field, window: Window, edge_mm: float) -> None:
        """Lay this shape over ``image``, the HU of ``window``, in place."""
        depth = self.depth(window.centre_mm)
        reach = window.radius_mm + edge_mm / 2
        if depth > reach:
            image[...] = self.hu
        if abs(depth) > reach:
            return
        share = self.cover(window, edge_mm)
        share *= np.float32(self.hu) - image
        image += share


@dataclass(frozen=True, eq=False)
class Tube(Shape):
    """A bent tube with round ends: every point nearer to a polyline than a radius that changes along it.

    Args:
        points_mm: (M, 3) centreline.
        radii_mm: (M,).
    """

    points_mm: FloatArray
    radii_mm: FloatArray

    def span(self, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
        along = self.points_mm @ axes
        return (along - self.radii_mm[:, None]).min(0), (along + self.radii_mm[:, None]).max(0)

    def moved(self, turn: FloatArray, shift_mm: FloatArray) -> Tube:
        return replace(self, points_mm=self.points_mm @ turn.T + shift_mm)

    def widened(self, by_mm: float, hu: float) -> Tube:
        """A wall or sheath: the same tube, thicker, of another HU."""
        return Tube(hu, self.points_mm, self.radii_mm + by_mm)

    def cover(self, window: Window, edge_mm: float) -> Field:
        share = np.zeros(window.shape, dtype=np.float32)
        along = self.points_mm @ window.axes
        reach = (np.maximum(self.radii_mm[:-1], self.radii_mm[1:]) + edge_mm / 2)[:, None]
        starts, stops = window.boxes(
            np.minimum(along[:-1], along[1:]) - reach, np.maximum(along[:-1], along[1:]) + reach
        )
        for index in np.flatnonzero((stops > starts).all(1)):
            part = window.part(starts[index], stops[index])
            where = tuple(slice(a, b) for a, b in zip(part.start - window.start, part.stop - window.start, strict=True))
            np.maximum(share[where], self._segment(int(index), part, edge_mm), out=share[where])
        return share

    def _segment(self, index: int, window: Window, edge_mm: float) -> Field:
        start, end = self.points_mm[index], self.points_mm[index + 1]
        radius, change = float(self.radii_mm[index]), float(self.radii_mm[index + 1] - self.radii_mm[index])
        length2 = float(((end - start) ** 2).sum())
        foot = window.linear(start, (end - start) / length2)
        distance = -2 * foot
        np.maximum(foot, 0.0, out=foot)
        np.minimum(foot, 1.0, out=foot)
        distance += foot
        distance *= foot
        distance *= np.float32(length2)
        distance += window.square(start)
        np.maximum(distance, 0.0, out=distance)
        np.sqrt(distance, out=distance)
        foot *= np.float32(change)
        distance -= foot
        wide = radius + change / 2
        thin = wide / edge_mm
        if thin >= 0.5:
            # Blur adds the ramp's variance, edge^2 / 20, to the squared radius: taking it off keeps the tube's mass.
            distance -= np.float32(radius - wide + np.sqrt(wide**2 - edge_mm**2 / 20))
            return ramp(distance, edge_mm)
        # A thinner tube does not fill its voxels: the difference of two ramps, times what keeps its mass (the integral
        # of that difference over the tube's cross-section is a polynomial of radius over edge).
        distance -= np.float32(radius)
        share = ramp(distance.copy(), edge_mm)
        distance += np.float32(2 * wide)
        share -= ramp(distance, edge_mm)
        share *= np.float32(thin / (0.375 + thin**2 - 0.4 * thin**4))
        return share


@dataclass(frozen=True, eq=False)
class Ellipsoid(Shape):
    """An ellipsoid, an egg, a part of one cut off by planes, or its shell.

    Args:
        centre_mm: (3,).
        axes: (3, 3) unit directions of the half axes in its columns.
        radii_mm: (3,) half axes.
        egg: how much narrower the far end of the third axis is than an ellipsoid's, in (-1, 1).
        shell_mm: thickness of a shell about the surface; the solid where 0.
        cuts: planes (point, outward normal); what lies beyond any is cut off.
    """

    centre_mm: FloatArray
    axes: FloatArray
    radii_mm: FloatArray
    egg: float = 0.0
    shell_mm: float = 0.0
    cuts: tuple[tuple[FloatArray, FloatArray], ...] = ()

    def span(self, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
        wide = self.radii_mm * np.array([1 + abs(self.egg), 1 + abs(self.egg), 1.0]) + self.shell_mm / 2
        reach = np.sqrt((((axes.T @ self.axes) * wide) ** 2).sum(1))
        return self.centre_mm @ axes - reach, self.centre_mm @ axes + reach

    def moved(self, turn: FloatArray, shift_mm: FloatArray) -> Ellipsoid:
        cuts = tuple((turn @ point + shift_mm, turn @ normal) for point, normal in self.cuts)
        return replace(self, centre_mm=turn @ self.centre_mm + shift_mm, axes=turn @ self.axes, cuts=cuts)

    def depth(self, point_mm: FloatArray) -> float:
        if self.shell_mm or self.cuts or self.egg:
            return 0.0
        # |p / r| changes by at most 1 / min(r) a millimetre.
        local = (point_mm - self.centre_mm) @ self.axes / self.radii_mm
        return float((1 - np.sqrt((local**2).sum())) * self.radii_mm.min())

    def cover(self, window: Window, edge_mm: float) -> Field:
        distance = self._distance(window)
        if self.shell_mm:
            outer = ramp(distance - np.float32(self.shell_mm / 2), edge_mm)
            distance += np.float32(self.shell_mm / 2)
            outer -= ramp(distance, edge_mm)
        else:
            outer = ramp(distance, edge_mm)
        for point, normal in self.cuts:
            outer *= ramp(window.linear(point, normal), edge_mm)
        return outer

    def _distance(self, window: Window) -> Field:
        """Signed distance to first order at the surface: k0 (k0 - 1) / k1, with k0 = |p / r| and k1 = |p / r^2|."""
        x, y, z = (window.linear(self.centre_mm, self.axes[:, m] / self.radii_mm[m]) for m in range(3))
        if self.egg:
            narrow = np.float32(1) / (np.float32(1) - np.float32(self.egg) * np.clip(z, -1.2, 1.2))
            x *= narrow
            y *= narrow
        x *= x
        y *= y
        z *= z
        k0 = x + y
        k0 += z
        k0 += np.float32(1e-6)  # keeps the centre itself inside, where all terms vanish
        for term, radius in zip((x, y, z), self.radii_mm, strict=True):
            np.multiply(term, np.float32(1 / radius**2), out=term)
        x += y
        x += z
        x += np.float32(1e-12)
        root = np.sqrt(k0)
        k0 -= root
        k0 /= np.sqrt(x)
        return k0


@dataclass(frozen=True, eq=False)
class Column(Shape):
    """An elliptic cylinder, a vertebra's body or disc.

    Args:
        centre_mm: (3,).
        axes: (3, 3) unit directions in its columns, the third along the cylinder.
        radii_mm: (3,) half axes across, and half the height.
    """

    centre_mm: FloatArray
    axes: FloatArray
    radii_mm: FloatArray

    def span(self, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
        turned = axes.T @ self.axes
        reach = np.sqrt(((turned[:, :2] * self.radii_mm[:2]) ** 2).sum(1)) + np.abs(turned[:, 2]) * self.radii_mm[2]
        return self.centre_mm @ axes - reach, self.centre_mm @ axes + reach

    def moved(self, turn: FloatArray, shift_mm: FloatArray) -> Column:
        return replace(self, centre_mm=turn @ self.centre_mm + shift_mm, axes=turn @ self.axes)

    def cover(self, window: Window, edge_mm: float) -> Field:
        x, y = (window.linear(self.centre_mm, self.axes[:, m] / self.radii_mm[m]) for m in range(2))
        x *= x
        y *= y
        k0 = x + y
        k0 += np.float32(1e-6)  # keeps the axis itself inside, where all terms vanish
        x *= np.float32(1 / self.radii_mm[0] ** 2)
        y *= np.float32(1 / self.radii_mm[1] ** 2)
        x += y
        x += np.float32(1e-12)
        k0 -= np.sqrt(k0)
        k0 /= np.sqrt(x)
        height = np.abs(window.linear(self.centre_mm, self.axes[:, 2]))
        height -= np.float32(self.radii_mm[2])
        return ramp(np.maximum(k0, height), edge_mm)


@dataclass(frozen=True, eq=False)
class Wall(Shape):
    """Everything outside a stack of ellipses: the body's wall around its cavity, or the air around the body.

    Args:
        origin_mm: (3,) where x, y and z of the ellipses are 0.
        axes: (3, 3) unit directions of x, y (across) and z (along) in its columns.
        heights_mm: (M,) z of the given ellipses, evenly rising.
        ellipses_mm: (M, 3) half width along x, half depth along y, and y of the centre, linear in between.
    """

    origin_mm: FloatArray
    axes: FloatArray
    heights_mm: FloatArray
    ellipses_mm: FloatArray

    def span(self, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.full(3, -np.inf), np.full(3, np.inf)

    def moved(self, turn: FloatArray, shift_mm: FloatArray) -> Wall:
        return replace(self, origin_mm=turn @ self.origin_mm + shift_mm, axes=turn @ self.axes)

    def depth(self, point_mm: FloatArray) -> float:
        x, y, z = (point_mm - self.origin_mm) @ self.axes
        wide, deep, middle = (np.interp(z, self.heights_mm, column) for column in self.ellipses_mm.T)
        # As for an ellipsoid; 0.6 because the wall may lean by up to 53 degrees along z.
        return float(0.6 * (np.hypot(x / wide, (y - middle) / deep) - 1) * min(wide, deep))

    def cover(self, window: Window, edge_mm: float) -> Field:
        # The wall bends over centimetres: distances on a lattice of 5 mm, interpolated linearly, are right to 0.1 mm.
        steps = np.maximum(1, (5.0 / window.spacing_mm).astype(np.int64))
        first, last = window.start // steps, (window.stop - 1) // steps + 1
        lattice = Window(window.origin_mm, window.axes, window.spacing_mm * steps, first, last + 1)
        i, j, k = (
            _interpolation(np.arange(low, high) / step - start, int(end - start) + 1)
            for low, high, step, start, end in zip(window.start, window.stop, steps, first, last, strict=True)
        )
        distance = self._distance(lattice)
        distance = (i @ distance.reshape(len(distance), -1)).reshape(-1, *distance.shape[1:])
        return ramp((j @ distance) @ k.T, edge_mm)

    def _distance(self, window: Window) -> Field:
        z = window.linear(self.origin_mm, self.axes[:, 2])
        wide, deep, middle = (np.interp(z, self.heights_mm, column).astype(np.float32) for column in self.ellipses_mm.T)
        x = window.linear(self.origin_mm, self.axes[:, 0]) / wide
        y = (window.linear(self.origin_mm, self.axes[:, 1]) - middle) / deep
        k0 = np.sqrt(x**2 + y**2 + np.float32(1e-6))
        k1 = np.sqrt((x / wide) ** 2 + (y / deep) ** 2) + np.float32(1e-6)
        return np.asarray((k0 - k0**2) / k1, dtype=np.float32)


def _interpolation(places: FloatArray, count: int) -> Field:
    """(len(places), count) weights that interpolate values at 0, 1, ..., count - 1 linearly."""
    away = np.abs(places[:, None] - np.arange(count))
    return np.maximum(0.0, 1.0 - away).astype(np.float32)
