"""Distances, angles and planes of points in space; everything is (..., 3) world mm, so many draws are one call.

A line is two points, in order; a plane a point on it and its unit normal. NaN in gives NaN out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Line = tuple[FloatArray, FloatArray]
    Plane = tuple[FloatArray, FloatArray]

__all__ = [
    "angle_between",
    "angle_in_plane",
    "angle_to_plane",
    "best_plane",
    "foot_on_line",
    "foot_on_plane",
    "height_above",
    "tilt_between",
]


def foot_on_line(point: FloatArray, line: Line) -> FloatArray:
    """Foot of the perpendicular: a + ((p - a) . u) u with u the line's unit direction.

    >>> foot_on_line(np.array([3.0, 4.0, 0.0]), (np.zeros(3), np.array([10.0, 0.0, 0.0])))
    array([3., 0., 0.])
    """
    along = _unit(line[1] - line[0])
    return line[0] + _dot(point - line[0], along)[..., None] * along


def foot_on_plane(point: FloatArray, plane: Plane) -> FloatArray:
    """Foot of the perpendicular: p - h n, with the height h.

    >>> foot_on_plane(np.array([3.0, 4.0, 5.0]), (np.zeros(3), np.array([0.0, 0.0, 1.0])))
    array([3., 4., 0.])
    """
    return point - height_above(point, plane)[..., None] * plane[1]


def height_above(point: FloatArray, plane: Plane) -> FloatArray:
    """Signed distance of points from a plane, (p - a) . n: positive on the side its normal points to.

    >>> float(height_above(np.array([3.0, 4.0, -5.0]), (np.zeros(3), np.array([0.0, 0.0, 1.0]))))
    -5.0
    """
    return _dot(point - plane[0], plane[1])


def angle_between(first: FloatArray, second: FloatArray) -> FloatArray:
    """Angle of two directions, 0 to 180 degrees: ``atan2(|u x v|, u . v)``, which is exact also near 0 and 180.

    >>> float(np.round(angle_between(np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0])), 9))
    45.0

    Source:
        Kahan 2006, "How futile are mindless assessments of roundoff", sec. 12, on why not the arc cosine.
    """
    across = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.degrees(np.arctan2(across, _dot(first, second)))


def angle_in_plane(first: FloatArray, second: FloatArray, normal: FloatArray) -> FloatArray:
    """Angle from one direction to another as seen in a plane, -180 to 180 degrees.

    Both are projected; it is positive where the turn is counterclockwise for a viewer whom the normal points to.

    >>> x, y, z = np.eye(3)
    >>> float(angle_in_plane(y + 7 * z, x - 2 * z, z))
    -90.0
    """
    first, second = (own - _dot(own, normal)[..., None] * normal for own in (first, second))
    return np.degrees(np.arctan2(_dot(np.cross(first, second), normal), _dot(first, second)))


def angle_to_plane(direction: FloatArray, normal: FloatArray) -> FloatArray:
    """Angle of a line with a plane, 0 to 90 degrees: what is left to 90 of its angle with the normal.

    >>> float(np.round(angle_to_plane(np.array([1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])), 9))
    45.0
    """
    return np.abs(90.0 - angle_between(direction, normal))


def tilt_between(first: FloatArray, second: FloatArray) -> FloatArray:
    """Angle of two planes by their normals, 0 to 90 degrees, whichever way these point.

    >>> float(np.round(tilt_between(np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, -1.0])), 9))
    45.0
    """
    angle = angle_between(first, second)
    return np.minimum(angle, 180.0 - angle)


def best_plane(points: FloatArray) -> Plane:
    """The plane of least squared distances from (..., M, 3) points, M at least 3, through their mean.

    Its normal points to where a viewer sees the points, in the order they are given, run counterclockwise.

    >>> center, normal = best_plane(np.array([[0.0, 0, 1], [2, 0, 1], [2, 2, 1], [0, 2, 1]]))
    >>> center.tolist(), np.abs(normal).tolist(), bool(normal[2] > 0)
    ([1.0, 1.0, 1.0], [0.0, 0.0, 1.0], True)

    Returns:
        (..., 3) mean and (..., 3) unit normal; NaN where a point is NaN.
    Source:
        Pearson 1901: the direction of least variance.
    """
    center = points.mean(-2)
    offset = points - center[..., None, :]
    gone = np.isnan(center).any(-1)
    normal = np.linalg.svd(np.where(gone[..., None, None], 0.0, offset))[2][..., 2, :]
    turn = np.cross(offset, np.roll(offset, -1, axis=-2)).sum(-2)  # twice the area of the polygon, as a vector
    normal = np.where((_dot(normal, turn) < 0)[..., None], -normal, normal)
    return center, np.where(gone[..., None], np.nan, normal)


def _dot(first: FloatArray, second: FloatArray) -> FloatArray:
    return np.asarray((first * second).sum(-1))


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))
