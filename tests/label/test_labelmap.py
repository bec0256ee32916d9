from __future__ import annotations

import numpy as np

from lmk3d.geometry import Grid
from lmk3d.label import label_map
from lmk3d.landmarks import Landmarks


def test_a_ball_lies_round_its_point_on_any_grid(draw_grid):
    grid = draw_grid(np.random.default_rng(0), shape=(40, 37, 33), spacing_mm=(0.8, 1.2))
    volume, labels = label_map(Landmarks(("a",), [grid.center_mm]), grid, radius_mm=4.0)
    inside = grid.to_mm(np.argwhere(volume.data == labels["a"]))
    assert np.linalg.norm(inside - grid.center_mm, axis=1).max() <= 4.0
    voxel = abs(np.linalg.det(grid.affine[:3, :3]))
    assert len(inside) * voxel == np.clip(len(inside) * voxel, 0.9 * 268.1, 1.1 * 268.1)  # 4/3 pi 4^3
    assert volume.grid is grid


def test_labels_have_no_gap_where_a_point_is_missing_and_are_shared_by_a_name():
    grid = Grid((30, 30, 1), np.eye(4))
    points = Landmarks(("a", "b", "c", "c"), [[5, 5, 0], [np.nan] * 3, [20, 5, 0], [20, 20, 0]])
    volume, labels = label_map(points, grid)
    assert labels == {"a": 1, "c": 2}
    assert volume.data[5, 5, 0] == 1
    assert volume.data[20, 5, 0] == volume.data[20, 20, 0] == 2


def test_where_balls_meet_the_nearer_point_wins_and_the_rim_cuts():
    grid = Grid((10, 5, 5), np.eye(4))
    volume, _ = label_map(Landmarks(("a", "b", "far"), [[0, 2, 2], [3, 2, 2], [90, 2, 2]]), grid)
    assert volume.data[:, 2, 2].tolist() == [1, 1, 2, 2, 2, 2, 2, 0, 0, 0]


def test_thick_slices_are_met_by_every_ball():
    grid = Grid((20, 20, 6), np.diag([1.0, 1.0, 10.0, 1.0]))
    volume, _ = label_map(Landmarks(("a",), [[10, 10, 25]]), grid)  # half way between two slices
    assert {2, 3} <= set(np.argwhere(volume.data)[:, 2])
