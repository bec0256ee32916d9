"""Cuts: where they lie, what they hold, how they are turned to the viewer."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.geometry import LPS_TO_RAS, Grid, Volume, random_rotation
from lmk3d.plots.planes import (
    STANDARD_PLANES,
    cut,
    field_of_view,
    film_plane,
    grey_window,
    letter,
    plane_through,
    whole_cut,
)

AXIAL, CORONAL, SAGITTAL = STANDARD_PLANES


def oblique_grid(seed, shape=(30, 24, 20)):
    generator = np.random.default_rng(seed)
    flips = generator.choice([-1.0, 1.0], 3)
    axes = random_rotation(generator) * flips
    return Grid.around(generator.uniform(-100, 100, 3), shape, generator.uniform(0.3, 3.0, 3), axes)


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_shows_the_world_on_any_grid(seed):
    # A volume that is linear in the world is sampled exactly, so each pixel tells where it lies.
    grid = oblique_grid(seed)
    slope = np.array([1.0, 20.0, -3.0])
    world = grid.to_mm(np.stack(np.indices(grid.shape), axis=-1))
    volume = Volume(world @ slope, grid)
    plane = STANDARD_PLANES[seed % 3].through(grid.center_mm)
    size_mm = 4 * grid.spacing_mm.max()
    shown = cut(volume, plane, (size_mm, size_mm / 2), (7, 9))
    across, down = (np.arange(9) - 4) / 9 * size_mm, (np.arange(7) - 3) / 7 * size_mm / 2
    expected = plane.center_mm + across[None, :, None] * plane.right - down[:, None, None] * plane.up
    inside = np.isfinite(shown)
    assert inside.mean() > 0.5
    assert_allclose(shown[inside], (expected @ slope)[inside], atol=1e-3)


def test_the_viewer_sees_the_patient_from_below_and_from_the_front():
    data = np.zeros((9, 9, 9), np.uint8)
    data[6, 4, 4], data[4, 6, 4], data[4, 4, 6] = 1, 2, 3  # right, anterior, superior of the middle
    volume = Volume(data, Grid.around((0, 0, 0), data.shape, 1.0))
    axial, coronal, sagittal = (cut(volume, plane, 9, (9, 9)) for plane in STANDARD_PLANES)
    assert (axial[4, 2], axial[2, 4]) == (1, 2)  # right is on the left, anterior up
    assert (coronal[4, 2], coronal[2, 4]) == (1, 3)
    assert (sagittal[4, 2], sagittal[2, 4]) == (2, 3)  # anterior on the left, superior up


def test_letters_name_where_directions_point():
    assert [letter(plane.right) + letter(plane.up) for plane in STANDARD_PLANES] == ["LA", "LS", "PS"]
    assert letter([0.6, 0.1, -0.7]) == "I"
    assert letter([0.9, 0.1, -0.7]) == "R"


def test_outside_the_image_is_nan():
    volume = Volume(np.ones((4, 4, 4)), Grid.around((0, 0, 0), (4, 4, 4), 1.0))
    shown = cut(volume, AXIAL, 6, (6, 6))
    assert_array_equal(np.isfinite(shown).sum(0), [0, 4, 4, 4, 4, 0])
    assert np.isnan(cut(volume, AXIAL.through((50, 0, 0)), 6, (6, 6))).all()


@pytest.mark.parametrize("dtype", [np.float16, ">i2", bool, np.uint64, np.float64])
def test_every_type_of_voxel_can_be_shown(dtype):
    data = np.arange(60).reshape(3, 4, 5)
    if np.dtype(dtype) == bool:
        data = data % 2
    volume = Volume(data.astype(dtype), Grid.around((0, 0, 0), data.shape, 1.0))
    shown = cut(volume, AXIAL, (3, 4), (4, 3))
    assert_array_equal(shown, data[::-1, ::-1, 2].T)


def test_a_volume_larger_than_memory_is_cut_without_a_copy():
    side = 20_000  # 8 TB if anything made a copy; as a broadcast it takes a byte
    data = np.broadcast_to(np.uint8(7), (side, side, side))
    volume = Volume(data, Grid.around((0, 0, 0), data.shape, 0.1))
    assert (cut(volume, SAGITTAL, 10, (50, 50)) == 7).all()
    assert grey_window(volume) == (7, 8)


@pytest.mark.parametrize("seed", range(4))
def test_a_plane_through_two_points_holds_them_and_tilts_little(seed):
    first, second = np.random.default_rng(seed).uniform(-9, 9, (2, 3))
    plane, tilt_deg = plane_through(first, second)
    assert_allclose((np.array([first, second]) - plane.center_mm) @ plane.normal, 0, atol=1e-12)
    assert np.linalg.norm(plane.position(first) - plane.position(second)) == pytest.approx(
        np.linalg.norm(first - second)
    )
    frame = np.array([plane.right, plane.up, plane.normal])
    assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert 0 <= tilt_deg < 35.3  # the diagonal of a cube is the worst case
    assert letter(plane.up) in "AS"


def test_tilt_by_hand():
    assert plane_through((0, 0, 0), (1, 1, 1))[1] == pytest.approx(35.264, abs=1e-3)  # asin(1 / sqrt 3)
    plane, tilt_deg = plane_through((0, 0, 5), (3, 4, 5))
    assert (plane.name, tilt_deg) == ("axial", 0)
    plane, tilt_deg = plane_through((1, 2, 3), (1, 2, 3))
    assert tilt_deg == 0
    assert_array_equal(plane.center_mm, [1, 2, 3])


def film_grid(rows, columns, spacing_mm=1.0):
    """Row r, column c at LPS (c, r, 0) times the spacing."""
    lps = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]) @ np.diag([spacing_mm, spacing_mm, 1, 1])
    return Grid((rows, columns, 1), LPS_TO_RAS @ lps)


def test_a_film_is_seen_as_it_is_stored():
    data = np.arange(35).reshape(5, 7, 1)
    grid = film_grid(5, 7, 0.2)
    plane, size_mm = whole_cut(grid, film_plane(grid))
    assert_allclose(size_mm, [1.4, 1.0])
    assert_allclose(cut(Volume(data, grid), plane, size_mm, (5, 7)), data[:, :, 0], atol=1e-6)


def test_the_whole_cut_holds_all_that_the_plane_meets():
    grid = Grid.around((5, 0, 0), (10, 20, 30), (1, 1, 2))
    plane, size_mm = whole_cut(grid, CORONAL.through((0, 3, 1)))
    assert_allclose(size_mm, [10, 60])
    assert_allclose(plane.center_mm, [5, 3, 0])
    # A cube cut at 45 degrees about the superior axis: the cut is its diagonal wide.
    half = np.pi / 4
    axes = np.array([[np.cos(half), -np.sin(half), 0], [np.sin(half), np.cos(half), 0], [0, 0, 1]])
    assert_allclose(whole_cut(Grid.around((0, 0, 0), (8, 8, 8), 1.0, axes), CORONAL)[1], [8 * np.sqrt(2), 8])
    wider = whole_cut(grid, CORONAL.through((0, 3, 1)), [[-10, 3, 0]])  # ten beyond the right edge, which is at 0
    assert_allclose(wider[1], [20, 60])
    assert_allclose(wider[0].center_mm, [0, 3, 0])


def test_a_cut_that_misses_the_image_still_has_a_size():
    grid = Grid.around((0, 0, 0), (4, 4, 4), 1.0)
    assert_allclose(whole_cut(grid, AXIAL.through((0, 0, 50)))[1], [4, 4])


def test_field_of_view_is_a_part_of_the_image_but_never_a_few_voxels():
    assert field_of_view(Grid.around((0, 0, 0), (200, 100, 50), 1.0), 0.4) == pytest.approx(40)
    assert field_of_view(Grid.around((0, 0, 0), (50, 50, 10), (1, 1, 5)), 0.4) == pytest.approx(120)  # 24 x 5


def test_hounsfield_greys_leave_the_air_black():
    generator = np.random.default_rng(1)
    data = np.where(np.arange(40)[:, None, None] < 20, -1000, 50) + generator.normal(0, 10, (40, 30, 30))
    data[30:, 10:20, 10:20] = 400  # contrast: one voxel in eighteen of the body
    black, white = grey_window(Volume(data.astype(np.int16), Grid.around((0, 0, 0), data.shape, 1.0)))
    assert -100 < black < 40
    assert white == 400


def test_sparse_images_are_not_drowned_by_their_background():
    data = np.zeros((40, 40, 40), np.uint8)
    data[20, 20, :] = 200
    assert grey_window(Volume(data, Grid.around((0, 0, 0), data.shape, 1.0))) == (0, 200)


@pytest.mark.parametrize("rare", [-9, 9])
@pytest.mark.parametrize("count", [1, 3, 300])
def test_a_few_odd_voxels_do_not_break_the_greys(rare, count):
    data = np.zeros(3072)
    data[:count] = rare
    black, white = grey_window(Volume(data.reshape(16, 16, 12), Grid.around((0, 0, 0), (16, 16, 12), 1.0)))
    assert -9 <= black < white <= 9


def test_constant_and_empty_images_have_greys_too():
    grid = Grid.around((0, 0, 0), (3, 3, 3), 1.0)
    assert grey_window(Volume(np.full((3, 3, 3), -5.0), grid)) == (-5, -4)
    assert grey_window(Volume(np.full((3, 3, 3), np.nan), grid)) == (0, 1)
