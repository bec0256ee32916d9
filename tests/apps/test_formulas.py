"""Formulas of points in space, by hand and against each other."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

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

X, Y, Z = np.eye(3)


def vectors(seed, count=50):
    return np.random.default_rng(seed).normal(size=(count, 3)) * 30


def test_feet_are_square_to_what_they_stand_on():
    point, start, end = vectors(0), vectors(1), vectors(2)
    foot = foot_on_line(point, (start, end))
    assert_allclose(((point - foot) * (end - start)).sum(-1), 0, atol=1e-8)
    plane = best_plane(np.stack([start, end, vectors(3)], axis=-2))
    foot = foot_on_plane(point, plane)
    assert_allclose(height_above(foot, plane), 0, atol=1e-10)
    assert_allclose(np.linalg.norm(point - foot, axis=-1), np.abs(height_above(point, plane)))


def test_heights_by_hand():
    # The plane x + y + z = 3 is 3 / sqrt(3) from the origin, which lies below it.
    plane = (np.array([1.0, 1, 1]), np.array([1.0, 1, 1]) / np.sqrt(3))
    assert_allclose(height_above(np.zeros(3), plane), -np.sqrt(3))
    assert_allclose(foot_on_plane(np.zeros(3), plane), [1, 1, 1])


@pytest.mark.parametrize("angle", [0.0, 1e-7, 30, 90, 179.9999999, 180])
def test_angles_keep_their_digits_at_the_ends(angle):
    turned = np.cos(np.radians(angle)) * X + np.sin(np.radians(angle)) * Y
    assert_allclose(angle_between(5 * X, 3 * turned), angle, atol=1e-12, rtol=1e-9)


def test_angles_with_planes_by_hand():
    assert_allclose(angle_to_plane(X, Z), 0, atol=1e-12)
    assert_allclose(angle_to_plane(-Z, Z), 90)
    assert_allclose(angle_to_plane(X + np.sqrt(3) * Z, Z), 60)
    assert_allclose(tilt_between(Z, -Z), 0, atol=1e-12)
    assert_allclose(tilt_between(X, X + Y), 45)


def test_angles_in_a_plane_are_signed_and_turn_with_the_viewer():
    assert_allclose(angle_in_plane(X, Y + 9 * Z, Z), 90)
    assert_allclose(angle_in_plane(X, Y, -Z), -90)
    assert_allclose(angle_in_plane(Y, X, Z), -90)


def test_the_best_plane_is_that_of_least_squares():
    from scipy.optimize import minimize

    points = vectors(4, 9) * [1, 0.7, 0.1] + 20
    center, normal = best_plane(points)

    def cost(direction):
        unit = direction / np.linalg.norm(direction)
        return (((points - center) @ unit) ** 2).sum()

    best = minimize(cost, Z, tol=1e-12).x
    assert_allclose(np.abs(normal @ best) / np.linalg.norm(best), 1, atol=1e-9)
    assert_allclose(center, points.mean(0))


def test_the_normal_points_to_whom_the_points_run_counterclockwise():
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    assert best_plane(square)[1][2] > 0
    assert best_plane(square[::-1])[1][2] < 0


def test_many_planes_at_once_are_those_one_by_one_and_nan_stays_nan():
    points = np.random.default_rng(5).normal(size=(6, 4, 3))
    points[2, 1] = np.nan
    center, normal = best_plane(points)
    for row in (0, 1, 3, 4, 5):
        assert_allclose(normal[row], best_plane(points[row])[1])
    assert np.isnan(center[2]).all()
    assert np.isnan(normal[2]).all()
