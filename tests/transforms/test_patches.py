"""Patches for the second stage; that a blob stays at its landmark is tested with the poses."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from lmk3d.codecs import LandmarkTree
from lmk3d.geometry import Grid
from lmk3d.transforms import BlockMeansd, RandPatchesd
from lmk3d.transforms.intensity import Window

GONE = [np.nan] * 3
GRID = Grid.around([0, 0, 0], (30, 30, 30), 1.0)


def cut(points, make_sample, *, seed=0, **options):
    settings = {"level": 1, "spacing_mm": 1.0, "size": 8, "offset_mm": 1.0, "count": 6, "max_angle": 0.0, "zoom": 0.0}
    sample = BlockMeansd("image", 1.0)(make_sample(GRID, torch.rand(GRID.shape), points))
    patches = RandPatchesd("image", Window(0, 1), **{**settings, **options})
    patches.set_random_state(seed)
    return patches(sample)


def test_patches_are_named_by_their_level(make_sample):
    out = cut([[1.0, 2, 3], [-4, 0, 0]], make_sample)
    assert out["patches1"].shape == (6, 8, 8, 8)
    assert out["moves1"].shape == (6, 3)
    assert out["moves1"].dtype == torch.float32
    assert sorted(out["numbers1"].tolist()) == [0, 0, 0, 1, 1, 1]  # each landmark alike


def test_more_landmarks_than_patches_are_drawn_in_turn(make_sample):
    points = np.random.default_rng(0).uniform(-5, 5, size=(10, 3))
    drawn = [cut(points, make_sample, seed=seed)["numbers1"].tolist() for seed in range(20)]
    assert all(len(set(numbers)) == 6 for numbers in drawn)
    assert {number for numbers in drawn for number in numbers} == set(range(10))


def test_landmarks_that_are_not_in_the_image_are_left_out(make_sample):
    out = cut([GONE, [1.0, 2, 3], [99.0, 0, 0]], make_sample)
    assert out["numbers1"].tolist() == [1] * 6
    assert out["moves1"].isfinite().all()


def test_without_any_landmark_the_moves_are_unknown(make_sample):
    out = cut([GONE, GONE], make_sample)
    assert out["patches1"].isfinite().all()
    assert out["moves1"].isnan().all()
    outside = cut([[99.0, 0, 0], GONE], make_sample)
    assert outside["patches1"].isfinite().all()


@pytest.mark.parametrize("spacing_mm", [0.5, 1.0])
def test_offsets_have_the_spread_they_were_given(make_sample, spacing_mm):
    out = cut([[0.0, 0, 0]], make_sample, count=500, size=8, spacing_mm=spacing_mm, offset_mm=2.0)
    moves_mm = out["moves1"].numpy() * spacing_mm
    assert_allclose(moves_mm.std(0), 2.0, rtol=0.1)
    assert_allclose(moves_mm.mean(0), 0.0, atol=0.3)
    assert np.abs(moves_mm).max() <= 5.0  # two and a half of them at most


def test_a_patch_shows_its_landmark_where_the_move_says(make_sample):
    data = torch.zeros(GRID.shape)
    data[17, 12, 14] = 1.0
    point = GRID.to_mm([17, 12, 14])
    sample = BlockMeansd("image", 1.0)(make_sample(GRID, data, point))
    patches = RandPatchesd(
        "image", Window(0, 1), level=0, spacing_mm=1.0, size=9, offset_mm=0.0, count=1, max_angle=0.0, zoom=0.0
    )
    out = patches(sample)
    assert out["patches0"][0, 4, 4, 4] == 1.0
    assert out["patches0"].sum() == 1.0


def test_patches_of_a_film_lie_in_it_and_show_the_landmark_where_the_move_says(make_sample, draw_blob, find_blob):
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    film = Grid.around([7.0, -3, 11], (60, 50, 1), 1.0, turn)
    point = film.to_mm([27.3, 24.6, 0])
    sample = BlockMeansd("image", 1.0)(make_sample(film, draw_blob(film, point), [point]))
    patches = RandPatchesd(
        "image", Window(0, 1), level=0, spacing_mm=1.0, size=24, offset_mm=1.5, count=4, max_angle=0.4, zoom=0.1
    )
    patches.set_random_state(1)
    out = patches(sample)
    assert out["patches0"].shape == (4, 24, 24, 1)
    assert not out["moves0"][:, 2].any()
    for patch, move in zip(out["patches0"], out["moves0"].numpy(), strict=True):
        assert_allclose(find_blob(patch) - [11.5, 11.5, 0], move, atol=0.05)


def test_patches_near_neighbours_lead_to_the_landmarks_behind_them(make_sample):
    column = np.array([[0.0, 0, -8], [0, 1, 0], [1.0, 0, 8]])
    tree = LandmarkTree.from_shapes([column, column, column])
    out = cut(column, make_sample, tree=tree, size=24, count=200, offset_mm=0.5, max_angle=0.3, zoom=0.2)
    ways = {number: column[end] - column[start] for start, end, number in tree.ways()}
    numbers, moves = out["numbers1"].tolist(), out["moves1"].numpy()
    assert set(numbers) == set(ways)
    lengths = np.linalg.norm([ways[number] for number in numbers], axis=1)
    assert_allclose(np.linalg.norm(moves, axis=1), lengths, atol=lengths.max() * 0.2 + 3)  # turned, zoomed, 0.5 mm off
    upward = np.array([ways[number][2] > 0 for number in numbers])
    assert (np.sign(moves[:, 2]) == np.where(upward, 1, -1)).all()


def test_neighbours_beside_the_patch_and_missing_ones_are_unknown(make_sample):
    column = np.array([[0.0, 0, -8], [0, 1, 0], [1.0, 0, 8]])
    tree = LandmarkTree.from_shapes([column, column, column])
    assert cut(column, make_sample, tree=tree, size=8, count=20)["moves1"].isnan().all()  # 8 mm away, 4 are seen
    gone = cut([column[0], GONE, column[2]], make_sample, tree=tree, size=24, count=20)
    assert gone["moves1"].isnan().all()
    assert gone["patches1"].isfinite().all()
