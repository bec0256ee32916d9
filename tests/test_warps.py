"""Linear and bent maps, their way back, and images carried along."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.fits import fit_transform
from lmk3d.geometry import Grid, Volume, apply_affine, film_affine, random_rotation
from lmk3d.warps import Transform, displacements, resample, thin_plate

PLANE = (np.eye(3)[:, :2],) * 2


def points(seed, count=9):
    return np.random.default_rng(seed).uniform(-40, 40, size=(count, 3))


@pytest.fixture(params=[3, 2])
def bent(request):
    """A spline that moves points by some millimetres, in space and in a plane."""
    keep = np.arange(3) < request.param
    start = points(0) * keep
    end = (start @ random_rotation(np.random.default_rng(1), 0.3).T + points(2) * 0.05) * keep
    return fit_transform("tps", start, end, axes=PLANE if request.param == 2 else (np.eye(3),) * 2)


def test_the_kernels_by_hand():
    assert thin_plate(np.array([3.0, 4, 0])) == -5  # -r in space
    assert_allclose(thin_plate(np.array([3.0, 4])), 25 * np.log(5))  # r^2 log r in a plane
    assert thin_plate(np.zeros(2)) == 0


def test_a_linear_map_and_back():
    affine = np.array([[2.0, 0, 0, 1], [0, 2, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]])
    transform = Transform.linear(affine)
    assert transform.is_linear
    assert_allclose(transform([1, 1, 1]), [3, 4, 5])
    assert_allclose(transform.inverse([3, 4, 5]), [1, 1, 1])
    assert_allclose(transform.jacobian(points(0)), np.broadcast_to(2 * np.eye(3), (9, 3, 3)))
    assert np.isnan(transform([[np.nan] * 3])).all()


def test_a_bent_map_and_back(bent):
    places = points(3, 200)
    assert not bent.is_linear
    assert_allclose(bent(bent.inverse(places)), places, atol=2e-6)


def test_the_jacobian_is_the_slope(bent):
    places, step = points(4), 1e-4
    slopes = [(bent(places + step * axis) - bent(places - step * axis)) / (2 * step) for axis in np.eye(3)]
    assert_allclose(bent.jacobian(places), np.stack(slopes, axis=-1), atol=1e-5)


def test_displacements_lead_back_and_fill_the_grid(bent):
    grid = Grid.around((1, 2, 0), (90, 40, 1), 0.8)
    nodes, moves = displacements(bent, grid)
    assert nodes.shape == (48, 22, 1)
    assert_allclose(nodes.to_mm([47, 21, 0]), grid.to_mm([89, 39, 0]))
    places = nodes.to_mm(np.stack(np.meshgrid(*map(np.arange, nodes.shape), indexing="ij"), axis=-1))
    assert_allclose(bent(places + moves), places, atol=2e-6)


def test_a_spline_that_folds_is_refused():
    start = np.array([[0.0, 0, 0], [30, 0, 0], [0, 30, 0], [30, 30, 0], [14, 15, 0], [16, 15, 0]])
    end = start.copy()
    end[4:, 0] = end[[5, 4], 0] + [10, -10]  # two neighbours change sides
    fold = fit_transform("tps", start, end, axes=PLANE)
    with pytest.raises(ValueError, match="the spline folds the image over itself near RAS"):
        displacements(fold, Grid.around((15, 15, 0), (60, 60, 1), 1.0))


def test_an_image_follows_its_transform(draw_grid):
    generator = np.random.default_rng(5)
    grid = Grid.around((3, -4, 9), (24, 22, 20), 2.0, random_rotation(generator, 0.4))
    places = grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    ramp = places @ [1.0, -2.0, 0.5]  # linear interpolation is exact on it
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = random_rotation(generator, 0.2), [4, -3, 2]
    target = Grid.around((5, -6, 10), (9, 8, 7), 1.5)
    moved = resample(Volume(ramp, grid), Transform.linear(turn), target)
    ends = target.to_mm([[4, 4, 3], [1, 6, 2]])
    assert_allclose(moved.data[[4, 1], [4, 6], [3, 2]], apply_affine(np.linalg.inv(turn), ends) @ [1.0, -2.0, 0.5])
    assert moved.grid is target


def test_outside_stands_the_smallest_value_and_integers_stay():
    data = np.full((4, 4, 4), 7, np.int16)
    data[0, 0, 0] = -1000
    moved = resample(Volume(data, Grid((4, 4, 4), np.eye(4))), Transform.linear(np.eye(4)), Grid((8, 4, 4), np.eye(4)))
    assert moved.data.dtype == np.int16
    assert moved.data[3, 3, 3] == 7
    assert moved.data[6, 0, 0] == -1000


def test_a_film_is_carried_within_its_plane(bent):
    grid = Grid((60, 50, 1), film_affine((1.0, 1.0)))
    data = np.random.default_rng(6).integers(0, 255, grid.shape).astype(np.uint8)
    shift = np.eye(4)
    shift[:3, 3] = [-5, -3, 0]  # five columns to the right, three rows down
    moved = resample(Volume(data, grid), Transform.linear(shift), grid)
    np.testing.assert_array_equal(moved.data[3:, 5:], data[:-3, :-5])


def test_a_bent_image_lies_where_its_points_go(bent):
    deep = bent.axes.shape[1] == 3
    grid = Grid.around((0, 0, 0), (50, 45, 40 if deep else 1), 2.0)
    wide = Grid.around((0, 0, 0), (120, 120, 120 if deep else 1), 2.0)
    axes = [np.arange(side) for side in wide.shape]
    ramp = wide.to_mm(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)) @ [1.0, -1.0, 0.5]
    moved = resample(Volume(ramp, wide), bent, grid)
    vox = np.random.default_rng(7).integers(0, grid.shape, size=(50, 3))
    origins = bent.inverse(grid.to_mm(vox))  # the map between its nodes is read linearly, to some hundredths of a mm
    assert_allclose(moved.data[tuple(vox.T)], origins @ [1.0, -1.0, 0.5], atol=0.1)
