"""Where landmarks usually lie: a hint in images of the training's field of view, and none in others."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.codecs import UsualPlaces
from lmk3d.geometry import Grid, film_affine, random_rotation

POINTS = np.array([[0.0, 0, 40], [0, 0, 0], [0, 5, -40]])


def grid_of(sides=(40, 100, 120), spacing=2.0, axes=None, center=(0, 0, 0)):
    return Grid.around(center, sides, spacing, np.eye(3) if axes is None else axes)


def patients(generator, count=40, sigma=8.0):
    """Patients laid down up to some mm away from the middle of images that lie anywhere in the world."""
    grids = [grid_of(center=generator.normal(scale=100, size=3)) for _ in range(count)]
    together = generator.normal(scale=sigma, size=(count, 1, 3))
    return [grid.center_mm + POINTS + off for grid, off in zip(grids, together, strict=True)], grids


@pytest.fixture
def places():
    return UsualPlaces.learn(*patients(np.random.default_rng(0)))


def test_offsets_are_from_the_middle_of_each_image(places):
    assert_allclose(places.offsets_mm, POINTS, atol=4)
    doubt = (3 / 43) * np.diag([4.0, 10.0, 12.0]) ** 2  # of three patients beside 40
    assert_allclose(places.covariance, 40 / 43 * 64 * np.eye(3) + doubt, atol=25)
    assert_array_equal(places.fields_mm, [[80, 200, 240]] * 2)


def test_missing_points_count_for_nothing():
    points, grids = patients(np.random.default_rng(1))
    for own in points[::2]:
        own[1] = np.nan
    points[3][:] = np.nan
    found = UsualPlaces.learn(points, grids)
    assert np.isfinite(found.covariance).all()
    assert_allclose(found.offsets_mm, POINTS, atol=5)


def test_a_landmark_that_nobody_marked_has_no_usual_place(places):
    points, grids = patients(np.random.default_rng(0))
    found = UsualPlaces.learn([np.vstack([own, [np.nan] * 3]) for own in points], grids)
    assert_allclose(found.covariance, places.covariance)
    nats = found.unlikely(np.vstack([POINTS, [[0.0, 0, 0]]])[:, None] + [[0, 0, 0], [0, 0, 40]], grid_of())
    assert nats[3, 0] == nats[3, 1]  # not the image's middle


def test_a_neighbour_is_as_unlikely_as_it_is_far_from_the_usual_place_but_never_impossible(places):
    peaks = POINTS[:, None] + np.array([[0.0, 0, 0], [0, 0, 12], [0, 0, 60], [np.nan] * 3])
    nats = places.unlikely(peaks, grid_of())
    assert (nats[:, 0] < 0.2).all()
    assert_allclose(nats[:, 1], 12**2 / 2 / places.covariance[2, 2], atol=0.8)
    assert_allclose(nats[:, 2:], 6.0)


@pytest.mark.parametrize(
    ("sides", "hints"),
    [((40, 100, 120), True), ((42, 100, 110), True), ((40, 100, 140), False), ((40, 80, 120), False)],
)
def test_there_is_no_usual_place_in_another_field_of_view(places, sides, hints):
    assert places.unlikely(POINTS[:, None] + 30.0, grid_of(sides)).any() == hints


def test_the_place_is_the_same_wherever_and_however_the_image_is_stored(places):
    peaks = POINTS[:, None] + np.array([[1.0, -5, 9], [3, 2, -12]])
    usual = places.unlikely(peaks, grid_of())
    flipped = grid_of(axes=np.diag([-1.0, -1, 1])[:, [0, 1, 2]])
    assert_allclose(places.unlikely(peaks, flipped), usual, atol=1e-9)
    stored = grid_of((120, 40, 100), axes=np.eye(3)[:, [2, 0, 1]], center=(7, 8, 9))
    assert_allclose(places.unlikely(peaks + stored.center_mm, stored), usual, atol=1e-9)
    oblique = grid_of((4, 10, 12), 20.0, random_rotation(np.random.default_rng(2)))  # whose box is much larger
    assert not places.unlikely(peaks, oblique).any()


def test_a_film_is_seen_along_its_own_axes():
    grid = Grid((100, 120, 1), film_affine((1.0, 1.0)))
    assert_allclose(grid.upright_sides_mm[:2], [100, 120])
