"""A sheet of film to draw on: soft-edged shapes whose geometry is known exactly, in millimetres of the film."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]
    Box = tuple[slice, slice]

__all__ = ["Canvas", "closed_curve", "curve"]


def curve(knots: ArrayLike, *, steps: int = 8) -> FloatArray:
    """A smooth line through (M, 2) knots, each of them a point of it: (steps * (M - 1) + 1, 2).

    Source:
        Catmull and Rom 1974, uniform; the ends' tangents point to their neighbours.
    """
    points = np.asarray(knots, dtype=np.float64)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    return np.concatenate([_spans(padded, steps), points[-1:]])


def closed_curve(knots: ArrayLike, *, steps: int = 8) -> FloatArray:
    """A smooth closed line through (M, 2) knots: (steps * M, 2), the first knot first and not repeated at the end."""
    points = np.asarray(knots, dtype=np.float64)
    return _spans(np.concatenate([points[-1:], points, points[:2]]), steps)


def _spans(padded: FloatArray, steps: int) -> FloatArray:
    """Catmull-Rom from the second to the last but one of the points."""
    before, start, stop, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = (np.arange(steps) / steps)[:, None, None]
    spans = 0.5 * (
        2 * start
        + (stop - before) * t
        + (2 * before - 5 * start + 4 * stop - after) * t**2
        + (3 * start - before - 3 * stop + after) * t**3
    )
    return spans.swapaxes(0, 1).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class Canvas:
    """A film under construction; every shape adds to what lies there, as rays that pass several things are weakened.

    Points are (x, y) in mm: x to the right along the columns, y down along the rows, (0, 0) the first pixel's centre.

    Args:
        image: (rows, columns) float32, what the rays met so far.
        spacing_mm: of the pixels.
        edge_mm: over which distance a shape fades in, half of it to either side of its outline.
    """

    image: NDArray[np.float32]
    spacing_mm: float
    edge_mm: float

    @classmethod
    def blank(cls, shape: tuple[int, int], spacing_mm: float) -> Canvas:
        """An empty film, its edges two pixels soft and half a millimetre at least."""
        return cls(np.zeros(shape, dtype=np.float32), spacing_mm, max(0.5, 2 * spacing_mm))

    def polygon(self, corners: ArrayLike, density: float) -> NDArray[np.bool_]:
        """Fill a convex polygon of (M, 2) corners, either way round; returns where each pixel's centre lies inside."""
        points = np.asarray(corners, dtype=np.float64)
        box, x, y = self._around(points, self.edge_mm)
        return self._filled(box, polygon_depth(points, x, y), density)

    def star(self, outline: ArrayLike, density: float, *, fade_mm: float = 0.0) -> NDArray[np.bool_]:
        """Fill a closed outline (M, 2) that every ray from its middle meets once.

        Args:
            outline: such as ``closed_curve`` draws.
            density: what it adds.
            fade_mm: over which distance it fades in, where more than the film's own edge.
        Returns:
            (rows, columns) whether each pixel's centre lies inside.
        """
        points = np.asarray(outline, dtype=np.float64)
        box, x, y = self._around(points, max(self.edge_mm, fade_mm))
        return self._filled(box, star_depth(points, x, y), density, fade_mm)

    def band(self, x_mm: ArrayLike, top_mm: ArrayLike, bottom_mm: ArrayLike, density: float) -> NDArray[np.bool_]:
        """Fill what lies between two lines over one range of x; returns whether each pixel's centre lies inside.

        Args:
            x_mm: (M,) rising.
            top_mm, bottom_mm: (M,) the lines' y there, straight between.
            density: what it adds.
        """
        across, top, bottom = (np.asarray(values, dtype=np.float64) for values in (x_mm, top_mm, bottom_mm))
        corners = np.array([[across[0], top.min()], [across[-1], bottom.max()]])
        box, x, y = self._around(corners, self.edge_mm)
        upper, lower = np.interp(x, across, top), np.interp(x, across, bottom)
        # The distance from a line is the height over it times the cosine of its slope.
        slant = np.interp(x, across, np.cos(np.arctan(np.gradient((top + bottom) / 2, across))))
        depth = np.minimum(y - upper, lower - y) * slant
        depth = np.minimum(depth, np.minimum(x - across[0], across[-1] - x))
        return self._filled(box, depth, density)

    def stroke(self, line: ArrayLike, width_mm: ArrayLike, density: float) -> None:
        """Draw a line of (M, 2) points, ``width_mm`` wide (or (M,) widths), with round ends."""
        self.tubes([(line, width_mm)], density)

    def tubes(self, lines: Sequence[tuple[ArrayLike, ArrayLike]], density: float) -> None:
        """Draw several lines with their widths as one shape, which is no denser where they meet."""
        parts = [np.asarray(line, dtype=np.float64) for line, _ in lines]
        radii = [
            np.broadcast_to(np.asarray(width, float) / 2, len(part))
            for part, (_, width) in zip(parts, lines, strict=True)
        ]
        reach = max(float(own.max()) for own in radii) + self.edge_mm
        box, x, y = self._around(np.concatenate(parts), reach)
        depth = np.full((y.size, x.size), -np.inf)
        for points, own in zip(parts, radii, strict=True):
            for start, stop, first, last in zip(points[:-1], points[1:], own[:-1], own[1:], strict=True):
                (rows, columns), across, down = self._around(np.stack([start, stop]), reach)
                part = depth[rows.start - box[0].start :, columns.start - box[1].start :][: down.size, : across.size]
                np.maximum(part, segment_depth(start, stop, (first, last), across, down), out=part)
        self._filled(box, depth, density)

    def blob(self, middle: ArrayLike, radius_mm: float, density: float) -> None:
        """A round haze: a Gaussian whose standard deviation is ``radius_mm``."""
        centre = np.asarray(middle, dtype=np.float64)
        box, x, y = self._around(centre[None], 4 * radius_mm)
        haze = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * radius_mm**2))
        self.image[box] += (density * haze).astype(np.float32)

    def exposed(self, draws: Draws, *, noise: float, bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """The film as it is stored: more matter is brighter, with noise, and never to the last value.

        Args:
            draws: the noise's random numbers.
            noise: standard deviation, as part of the film's whole range.
            bits: 8, or 16 for 12 bits in 16.
        """
        # A film saturates: the denser the matter already, the less more of it brightens.
        matter = np.clip(self.image / self.image.max(), 0.0, 1.0)
        shown = 0.04 + 0.90 * 1.6 * matter / (0.6 + matter)
        shown = shown + noise * draws.noise((1, *self.image.shape))[0]
        most = {8: 255, 16: 4095}[bits]
        stored = np.rint(np.clip(shown, 0.0, 1.0) * most)
        return stored.astype(np.uint8) if bits == 8 else stored.astype(np.uint16)

    def _around(self, points: FloatArray, margin_mm: float) -> tuple[Box, FloatArray, FloatArray]:
        """The rows and columns round some points, and the x (1, C) and y (R, 1) of their centres."""
        low = np.floor((points.min(0) - margin_mm) / self.spacing_mm).astype(int)
        high = np.ceil((points.max(0) + margin_mm) / self.spacing_mm).astype(int) + 1
        rows = slice(*np.clip([low[1], high[1]], 0, self.image.shape[0]).tolist())
        columns = slice(*np.clip([low[0], high[0]], 0, self.image.shape[1]).tolist())
        x = self.spacing_mm * np.arange(columns.start, columns.stop, dtype=np.float64)
        y = self.spacing_mm * np.arange(rows.start, rows.stop, dtype=np.float64)
        return (rows, columns), x[None], y[:, None]

    def _filled(self, box: Box, depth: NDArray[np.floating], density: float, fade_mm: float = 0.0) -> NDArray[np.bool_]:
        """Add a shape by the depth in mm below its outline; (rows, columns) where that is above 0."""
        coverage = np.clip(0.5 + depth / max(self.edge_mm, fade_mm), 0.0, 1.0)
        self.image[box] += (density * coverage).astype(np.float32)
        inside = np.zeros(self.image.shape, dtype=bool)
        inside[box] = depth > 0
        return inside


def polygon_depth(corners: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """How far (x, y) lies inside a convex polygon, at its nearest side; negative outside."""
    sides = np.roll(corners, -1, axis=0) - corners
    area = (corners[:, 0] * np.roll(corners[:, 1], -1) - np.roll(corners[:, 0], -1) * corners[:, 1]).sum()
    normals = np.sign(area) * np.stack([-sides[:, 1], sides[:, 0]], axis=1) / np.sqrt((sides**2).sum(1))[:, None]
    depth = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf)
    for corner, normal in zip(corners, normals, strict=True):
        np.minimum(depth, (x - corner[0]) * normal[0] + (y - corner[1]) * normal[1], out=depth)
    return depth


def star_depth(outline: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """How far (x, y) lies inside a closed outline, measured towards its middle and set right for the slant; about."""
    middle = (outline.max(0) + outline.min(0)) / 2
    offsets = outline - middle
    radii, angles = np.sqrt((offsets**2).sum(1)), np.arctan2(offsets[:, 1], offsets[:, 0])
    order = np.argsort(angles, kind="stable")
    radii, angles = radii[order], angles[order]
    turns = np.concatenate([angles[-1:] - 2 * np.pi, angles, angles[:1] + 2 * np.pi])
    around = np.concatenate([radii[-1:], radii, radii[:1]])
    slopes = np.gradient(around, turns)
    angle = np.arctan2(y - middle[1], x - middle[0])
    radius = np.interp(angle, turns, around)
    slant = radius / np.sqrt(radius**2 + np.interp(angle, turns, slopes) ** 2)
    return (radius - np.sqrt((x - middle[0]) ** 2 + (y - middle[1]) ** 2)) * slant


def segment_depth(
    start: FloatArray, stop: FloatArray, radii: Sequence[float], x: FloatArray, y: FloatArray
) -> FloatArray:
    """How far (x, y) lies inside a straight stroke with round ends, whose radius goes from the first to the last."""
    along = stop - start
    square = max(float(along @ along), 1e-12)
    share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / square, 0.0, 1.0)
    away = np.sqrt((x - start[0] - share * along[0]) ** 2 + (y - start[1] - share * along[1]) ** 2)
    return radii[0] + share * (radii[1] - radii[0]) - away
