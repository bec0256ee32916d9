"""Voxels and millimetres, and fits of points to points."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.geometry import (
    LPS_TO_RAS,
    Grid,
    Volume,
    apply_affine,
    cube_rotations,
    film_affine,
    fit_similarity,
    random_rotation,
)

GONE = [np.nan] * 3
# 2 x 3 x 4 mm voxels; i runs to the left, j to the front, k up; the first voxel at RAS (10, -20, 30).
SCAN = Grid((5, 6, 7), np.array([[-2.0, 0, 0, 10], [0, 3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]]))


def test_voxels_and_millimetres_by_hand():
    assert_array_equal(SCAN.to_mm([1, 2, 3]), [8, -14, 42])  # 10 - 2, -20 + 6, 30 + 12
    assert_array_equal(SCAN.to_mm([-0.5, 0.5, 0]), [11, -18.5, 30])
    assert_allclose(SCAN.to_vox([[8, -14, 42], [9, -20, 30]]), [[1, 2, 3], [0.5, 0, 0]], atol=1e-15)
    assert_array_equal(SCAN.spacing_mm, [2, 3, 4])
    assert_array_equal(SCAN.axes, np.diag([-1, 1, 1]))
    assert_array_equal(SCAN.center_mm, [6, -12.5, 42])  # voxel (2, 2.5, 3)
    assert_array_equal(SCAN.sides_mm, [10, 18, 28])


def test_missing_points_stay_missing():
    assert_array_equal(SCAN.to_vox([GONE, [10, -20, 30]]), [GONE, [0, 0, 0]])
    assert_array_equal(SCAN.to_mm([[0, 0, 0], GONE]), [[10, -20, 30], GONE])
    assert_array_equal(SCAN.contains([GONE, [10, -20, 30]]), [False, True])


def test_a_grid_contains_its_voxels_up_to_their_faces():
    points = SCAN.to_mm([[-0.5, 0, 0], [-0.51, 0, 0], [4.5, 5.5, 6.5], [4.5, 5.5, 6.51]])
    assert_array_equal(SCAN.contains(points), [True, False, True, False])
    assert_array_equal(SCAN.contains(points, margin_vox=0.0), [False] * 4)
    assert_array_equal(SCAN.contains(points, margin_vox=0.52), [True] * 4)


def test_two_thousand_random_grids_agree_with_simpleitk(draw_grid):
    sitk = pytest.importorskip("SimpleITK")
    generator = np.random.default_rng(0)
    worst = 0.0
    for _ in range(2000):
        grid = draw_grid(generator, shape=generator.integers(1, 9, size=3))  # non-cubic; small, for ITK allocates it
        image = sitk.Image([int(side) for side in grid.shape], sitk.sitkUInt8)
        lps = LPS_TO_RAS @ grid.affine
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetSpacing(grid.spacing_mm.tolist())
        image.SetDirection((lps[:3, :3] / grid.spacing_mm).ravel().tolist())
        vox = generator.uniform(-20, 420, size=3)
        theirs = np.array(image.TransformContinuousIndexToPhysicalPoint(vox.tolist())) * [-1, -1, 1]
        back = np.array(image.TransformPhysicalPointToContinuousIndex((theirs * [-1, -1, 1]).tolist()))
        worst = max(worst, np.abs(grid.to_mm(vox) - theirs).max(), np.abs(grid.to_vox(theirs) - back).max())
        assert np.abs(apply_affine(lps, vox) - theirs * [-1, -1, 1]).max() < 1e-6
    assert worst < 1e-6


def test_two_thousand_random_grids_go_there_and_back_also_sheared(draw_grid):
    generator = np.random.default_rng(1)
    worst = 0.0
    for _ in range(2000):
        grid = draw_grid(generator, shear=0.3)
        vox = generator.uniform(-50, 450, size=(4, 3))
        there, back = grid.to_mm(grid.to_vox(vox)), grid.to_vox(grid.to_mm(vox))
        worst = max(worst, np.abs(there - vox).max(), np.abs(back - vox).max())
    assert worst < 1e-9


def test_a_grid_round_a_point_has_that_point_in_its_middle():
    axes = random_rotation(np.random.default_rng(2))
    grid = Grid.around([1, 2, 3], (4, 5, 1), (0.5, 2, 1), axes)
    assert_allclose(grid.center_mm, [1, 2, 3])
    assert_allclose(grid.to_mm([1.5, 2, 0]), [1, 2, 3])
    assert_allclose(grid.spacing_mm, [0.5, 2, 1])
    assert_allclose(grid.axes, axes)
    centred = Grid.around([0, 0, 0], (3, 3, 3), 2.0)
    assert_array_equal(centred.affine, [[2, 0, 0, -2], [0, 2, 0, -2], [0, 0, 2, -2], [0, 0, 0, 1]])


def test_blocks_lie_in_the_middle_of_their_voxels():
    coarse = SCAN.coarsened((2, 3, 1))
    assert coarse.shape == (2, 2, 7)  # the fifth voxel along i is left out
    assert_array_equal(coarse.spacing_mm, [4, 9, 4])
    assert_array_equal(coarse.to_mm([0, 0, 0]), SCAN.to_mm([0.5, 1, 0]))
    assert_array_equal(coarse.to_mm([1, 1, 6]), SCAN.to_mm([2.5, 4, 6]))


def test_a_part_keeps_its_place():
    part = SCAN.cropped((1, -2, 3), (2, 9, 1))
    assert part.shape == (2, 9, 1)
    assert_array_equal(part.to_mm([0, 0, 0]), SCAN.to_mm([1, -2, 3]))
    assert_array_equal(part.to_mm([1, 1, 1]), SCAN.to_mm([2, -1, 4]))


def test_a_grid_reads_the_affine_an_image_carries():
    class Image:
        shape, affine = (1, 5, 6, 7), SCAN.affine

    assert Grid.of(Image()).shape == SCAN.shape
    assert_array_equal(Grid.of(Image()).affine, SCAN.affine)


def test_a_grid_cannot_be_changed_from_outside():
    affine = np.eye(4)
    grid = Grid((1, 1, 1), affine)
    affine[0, 3] = 5
    assert_array_equal(grid.affine, np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 5


@pytest.mark.parametrize(
    ("shape", "affine", "text"),
    [
        ((3, 0, 3), np.eye(4), r"shape must be three sides of at least 1 voxel, got \(3, 0, 3\)"),
        ((3, 3), np.eye(4), r"shape must be three sides of at least 1 voxel, got \(3, 3\)"),
        ((3, 3, 3), np.eye(3), r"affine must be a finite \(4, 4\) matrix, got shape \(3, 3\)"),
        ((3, 3, 3), np.full((4, 4), np.nan), r"affine must be a finite \(4, 4\) matrix"),
        ((3, 3, 3), np.diag([1.0, 0, 1, 1]), r"affine is singular: its axes span no volume \(spacing \[1.0, 0"),
        ((3, 3, 3), np.ones((4, 4)), "affine is singular"),
    ],
)
def test_what_is_no_grid_is_refused(shape, affine, text):
    with pytest.raises(ValueError, match=text):
        Grid(shape, affine)


def test_a_small_voxel_is_no_singular_affine():
    assert_allclose(Grid((1, 1, 1), np.diag([1e-4, 1e-4, 1e-4, 1.0])).spacing_mm, 1e-4)


def test_a_volume_has_the_shape_of_its_grid():
    assert Volume(np.zeros((5, 6, 7), np.int16), SCAN).unit == "mm"
    with pytest.raises(ValueError, match=r"data of shape \(5, 6, 8\) does not fit a grid of shape \(5, 6, 7\)"):
        Volume(np.zeros((5, 6, 8)), SCAN)


def test_a_similarity_is_found_again(draw_grid):
    generator = np.random.default_rng(3)
    for scale in (1.0, 0.5, 3.0):
        points = generator.normal(size=(6, 3)) * 40
        truth = np.eye(4)
        truth[:3, :3], truth[:3, 3] = scale * random_rotation(generator), generator.normal(size=3) * 100
        assert_allclose(fit_similarity(points, apply_affine(truth, points)), truth, atol=1e-9)


def test_a_quarter_turn_is_fitted_by_hand():
    square = np.array([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    fit = fit_similarity(square, 2 * np.roll(square, -1, axis=0) + [1, 2, 3])  # each corner goes to the next, doubled
    assert_allclose(fit, [[0, -2, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]], atol=1e-12)
    rigid = fit_similarity(square, 2 * np.roll(square, -1, axis=0) + [1, 2, 3], scale=False)
    assert_allclose(rigid, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-12)


def test_a_mirrored_shape_is_never_fitted_by_a_mirror():
    points = np.random.default_rng(4).normal(size=(8, 3))
    fit = fit_similarity(points, points * [-1, 1, 1])
    assert np.linalg.det(fit[:3, :3]) > 0


def test_a_fit_leaves_missing_pairs_and_zero_weights_out():
    points = np.random.default_rng(5).normal(size=(6, 3))
    spoiled = points + np.array([1.0, 2, 3])
    spoiled[0], spoiled[1] = np.nan, 99
    moving = points.copy()
    moving[2] = np.nan
    expected = np.eye(4) + np.pad(np.array([[1.0], [2], [3], [0]]), ((0, 0), (3, 0)))
    assert_allclose(fit_similarity(moving, spoiled, [1, 0, 1, 1, 1, 1]), expected, atol=1e-12)


def test_weights_say_whose_distance_counts():
    # Translation alone is free here: the weighted means meet. Means 0 and (3 * 0 + 1 * 4) / 4 = 1 along x.
    square = np.array([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    doubled = np.concatenate([square, square])
    shifted = np.concatenate([square, square + np.array([4.0, 0, 0])])
    fit = fit_similarity(doubled, shifted, [3] * 4 + [1] * 4, scale=False)
    assert_allclose(fit[:3, 3], [1, 0, 0], atol=1e-12)


def test_a_batch_of_fits_is_a_loop_of_fits():
    generator = np.random.default_rng(6)
    moving, fixed = generator.normal(size=(2, 2, 5, 3))
    moving[1, 2] = np.nan
    weights = generator.uniform(0.1, 1, size=(2, 5))
    loop = [fit_similarity(*one) for one in zip(moving, fixed, weights, strict=True)]
    assert_allclose(fit_similarity(moving, fixed, weights), loop)


def test_two_pairs_are_too_few_for_a_fit():
    points = np.array([[0.0, 0, 0], [1, 0, 0], GONE])
    with pytest.raises(ValueError, match="a fit needs at least 3 pairs of points, got 2 of 3"):
        fit_similarity(points, points)


@pytest.mark.parametrize("max_angle", [np.pi, 0.3])
def test_random_rotations_are_rotations_up_to_their_angle(max_angle):
    generator = np.random.default_rng(7)
    turns = np.array([random_rotation(generator, max_angle) for _ in range(500)])
    assert_allclose(turns @ np.swapaxes(turns, 1, 2), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    assert_allclose(np.linalg.det(turns), 1)
    angles = np.arccos(np.clip((np.trace(turns, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert angles.max() <= max_angle + 1e-9
    assert angles.max() > 0.95 * max_angle
    assert np.abs(turns.mean(0) - np.eye(3) * np.trace(turns.mean(0)) / 3).max() < 0.15  # no direction is preferred


def test_uniform_rotations_send_an_axis_anywhere_alike():
    generator = np.random.default_rng(8)
    ends = np.array([random_rotation(generator)[:, 2] for _ in range(4000)])
    # Archimedes: each coordinate of a uniform direction is uniform in [-1, 1], with mean 0 and variance 1 / 3.
    assert_allclose(ends.mean(0), 0, atol=0.04)
    assert_allclose((ends**2).mean(0), 1 / 3, atol=0.02)


def test_a_film_is_looked_at_along_its_own_axes_and_a_volume_along_the_worlds():
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    assert_allclose(Grid.around([0, 0, 0], (4, 5, 1), 2.0, turn).upright, turn, atol=1e-12)
    assert_array_equal(Grid.around([0, 0, 0], (4, 5, 2), 2.0, turn).upright, np.eye(3))


def test_a_larger_world_has_the_same_voxels():
    grid = Grid.around([1.0, 2, 3], (4, 5, 6), (1.0, 2.0, 3.0))
    larger = grid.scaled(2.5)
    assert larger.shape == grid.shape
    assert_allclose(larger.to_mm([1, 2, 3]), 2.5 * grid.to_mm([1, 2, 3]))


def test_only_images_without_spacing_are_brought_to_one_size():
    data, grid = np.zeros((4, 10, 1)), Grid((4, 10, 1), np.eye(4))
    assert Volume(data, grid, "px").factor_to(250.0) == 25.0
    assert Volume(data, grid, "px").factor_to(None) == 1.0
    assert Volume(data, grid, "mm").factor_to(250.0) == 1.0


def test_a_film_starts_at_the_origin_with_columns_to_the_left_in_ras():
    assert_array_equal(film_affine((0.5, 0.25)) @ [2, 4, 0, 1], [-1, -1, 0, 1])


def test_a_plane_has_similarities_too():
    square = np.array([[0.0, 0], [2, 0]])
    assert_allclose(fit_similarity(square, [[1, 1], [1, 5]]), [[0, -2, 1], [2, 0, 1], [0, 0, 1]], atol=1e-12)


def test_the_first_half_of_the_cube_rotations_lies_far_apart():
    rotations = np.array(cube_rotations())
    assert_allclose(rotations[0], np.eye(3))
    assert len({tuple(matrix.round().ravel()) for matrix in rotations}) == 24
    assert_allclose(np.linalg.det(rotations), 1)
    angles = np.degrees(np.arccos(np.clip((np.einsum("nij,mij->nm", rotations, rotations) - 1) / 2, -1, 1)))
    assert angles[:12, :12][~np.eye(12, dtype=bool)].min() > 119
    assert (angles[12:, :12].min(1) < 91).all()
