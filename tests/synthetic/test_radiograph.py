"""Radiographs of a CT: geometry and attenuation by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.geometry import Grid, Volume, random_rotation
from lmk3d.synthetic.radiograph import XRayView, radiograph

CENTER = np.array([5.0, -7, 11])


def block(hu, side_mm=60.0):
    """A cube of one material about the centre, 3 mm voxels, in air."""
    grid = Grid.around(CENTER, (40, 40, 40), 3.0)
    places = grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    inside = (np.abs(places - CENTER) < side_mm / 2).all(-1)
    return Volume(np.where(inside, hu, -1000).astype(np.int16), grid)


def view(**more):
    return XRayView.frontal(CENTER, (31, 41), 4.0, **more)


def test_points_are_magnified_by_hand():
    # Source 1000 mm before the centre, film 500 mm behind it: what lies at the centre's depth grows 1.5 times.
    own = view()
    middle = own.own_grid.to_mm([15, 20, 0])
    assert_allclose(own.project(CENTER), middle)
    assert_allclose(
        own.project(CENTER + np.array([10, 0, 20])), middle + np.array([15, 30, 0])
    )  # right is left, up is up
    assert_allclose(own.project(CENTER + np.array([10, -250, 0])), middle + np.array([12, 0, 0]))
    assert np.isnan(own.project([np.nan] * 3)).all()


def test_a_film_moved_in_its_plane_moves_its_points_rigidly():
    points = CENTER + np.random.default_rng(0).normal(size=(6, 3)) * 50
    plain, moved = view().project(points), view(shift_mm=(8, -5), turn_deg=20).project(points)
    gaps = [np.linalg.norm(own[:, None] - own, axis=-1) for own in (plain, moved)]
    assert_allclose(gaps[0], gaps[1], atol=1e-9)
    # The film went 8 mm along its columns, so that what it shows lies 8 mm nearer to its first one.
    straight = view(shift_mm=(8, -5)).project(points)
    assert_allclose(straight, plain + np.array([8, -5, 0]))


@pytest.mark.parametrize(("energy", "hu", "per_mm"), [("kv", 0, 0.0193), ("kv", 1000, 0.0386), ("mv", 0, 0.00494),
                                                      ("mv", 1950, 0.00988), ("mv", -500, 0.00247)])  # fmt: skip
def test_a_ray_through_a_block_by_hand(energy, hu, per_mm):
    film = radiograph(block(hu), view(), energy=energy)
    assert film.data[15, 20, 0] == pytest.approx(60 * per_mm, rel=0.01)  # 60 mm straight through the middle
    assert film.data[0, 0, 0] == pytest.approx(0, abs=1e-6)
    assert film.data.shape == (31, 41, 1)


def test_megavolts_hardly_tell_bone_from_water():
    contrast = {}
    for energy in ("kv", "mv"):
        bone, water = (radiograph(block(hu), view(), energy=energy).data[15, 20, 0] for hu in (1000, 0))
        contrast[energy] = bone / water
    assert contrast["kv"] == pytest.approx(2.0, rel=0.01)
    assert contrast["mv"] == pytest.approx(1 + 1000 / 1950, rel=0.01)


def test_a_ball_is_seen_where_its_middle_projects_on_any_grid():
    turned = random_rotation(np.random.default_rng(1))
    grid = Grid.around(CENTER, (50, 45, 40), 2.0, turned)
    ball = CENTER + np.array([9.0, -12, 14])
    places = grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    data = np.clip(8 - np.linalg.norm(places - ball, axis=-1), 0, 1) * 2000 - 1000
    ball = (places * (data + 1000)[..., None]).sum((0, 1, 2)) / (data + 1000).sum()  # as its voxels have it
    own = XRayView.frontal(CENTER, (80, 90), 1.5, shift_mm=(4, 3), turn_deg=-15)
    film = radiograph(Volume(data, grid), own)
    pixels = film.grid.to_mm(np.stack(np.meshgrid(*map(np.arange, film.grid.shape), indexing="ij"), axis=-1))
    center = (pixels * film.data[..., None]).sum((0, 1, 2)) / film.data.sum()
    assert_allclose(center, own.project(ball), atol=0.05)


def test_noise_has_the_size_that_photons_give_it():
    air = Volume(np.full((20, 20, 20), -1000, np.int16), Grid.around(CENTER, (20, 20, 20), 3.0))
    own = XRayView.frontal(CENTER, (120, 120), 1.0)
    film = radiograph(air, own, photons=1e4, seed=1)
    assert film.data.std() == pytest.approx(0.01, rel=0.05)  # 1 / sqrt(10 000)
    assert_array_equal(film.data, radiograph(air, own, photons=1e4, seed=1).data)
    assert not np.array_equal(film.data, radiograph(air, own, photons=1e4, seed=2).data)


def test_blur_widens_an_edge_and_keeps_the_level():
    sharp, soft = radiograph(block(0), view()), radiograph(block(0), view(), blur_mm=6.0)
    assert np.abs(np.diff(soft.data[15, :, 0])).max() < 0.6 * np.abs(np.diff(sharp.data[15, :, 0])).max()
    assert soft.data[15, 20, 0] == pytest.approx(sharp.data[15, 20, 0], rel=0.03)


def test_what_cannot_be_projected_is_refused():
    with pytest.raises(ValueError, match="energy must be kv or mv, got 'MV'"):
        radiograph(block(0), view(), energy="MV")
    with pytest.raises(ValueError, match="the source lies in the film's plane"):
        radiograph(block(0), XRayView(view().film.center_mm, view().film))
