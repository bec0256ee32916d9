"""The pose search with first stages that are known in full: right from some sides, deluded from all others."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.codecs import ShapeModel
from lmk3d.geometry import Grid, apply_affine, cube_rotations, random_rotation
from lmk3d.pose_search import PoseSearch, View

COUNT, TOLERANCE = 12, 1.0
SHAPE = ShapeModel(np.random.default_rng(0).uniform(-12, 12, size=(COUNT, 3)), 0.1 * np.eye(3 * COUNT))
SHAPE = ShapeModel(SHAPE.mean_mm - SHAPE.mean_mm.mean(0), SHAPE.covariance)


def pose_of(rotation, middle=(5.0, -3, 2)):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, middle
    return pose


def angle(axes, other):
    return np.degrees(np.arccos(np.clip((np.trace(axes.T @ other) - 1) / 2, -1, 1)))


class FirstStage:
    """Sees a patient in its pose from up to 65 degrees aside; from further it sees what it expects in its own grid.

    Such a delusion lies straight in the grid, so that all of its landmarks agree with the shape, with less weight.
    """

    def __init__(self, truth, *, weight=0.8, delusion=0.4):
        self.truth, self.weight, self.delusion, self.grids = truth, weight, delusion, []

    def __call__(self, grid):
        self.grids.append(grid)
        right = angle(grid.axes, self.truth[:3, :3]) < 65
        pose = self.truth if right else pose_of(grid.axes, grid.center_mm)
        weights = np.full((COUNT, 1), self.weight if right else self.delusion)
        return View(apply_affine(pose, SHAPE.mean_mm)[:, None], weights, np.ones(COUNT))


def upright(pose):
    return Grid.around(pose[:3, 3], (40, 40, 40), 1.0, pose[:3, :3])


def sides():
    return [upright(pose_of(axes)) for axes in cube_rotations()]


def search(stage):
    return PoseSearch(stage, upright, SHAPE, TOLERANCE)


@pytest.mark.parametrize("seed", range(4))
def test_a_view_that_agrees_with_itself_alone_is_not_believed(seed):
    truth = pose_of(random_rotation(np.random.default_rng(seed)))
    far = [grid for grid in sides() if angle(grid.axes, truth[:3, :3]) > 65]
    near = [grid for grid in sides() if angle(grid.axes, truth[:3, :3]) < 60]
    found = search(FirstStage(truth))([*far, *near])
    assert_allclose(found.pose, truth, atol=1e-6)
    assert_allclose(found.runner_up, 0.5, atol=0.02)  # 0.4 of each landmark against 0.8
    assert found.agreement == 1


def test_of_contradicting_poses_the_one_that_turned_views_confirm_is_kept_whatever_upright_views_say():
    truth = pose_of(random_rotation(np.random.default_rng(1)))
    far = [grid for grid in sides() if angle(grid.axes, truth[:3, :3]) > 65]
    near = [grid for grid in sides() if angle(grid.axes, truth[:3, :3]) < 60]
    found = search(FirstStage(truth, weight=0.6, delusion=0.9))([*far, *near])
    assert_allclose(found.pose, truth, atol=1e-6)
    assert_allclose(found.runner_up, 1.0)  # nobody may take it for certain


def test_a_clear_search_ends_soon():
    stage = FirstStage(pose_of(np.eye(3)), delusion=0.0)
    found = search(stage)(sides())
    first = next(number for number, axes in enumerate(cube_rotations()) if angle(axes, np.eye(3)) < 65)
    assert len(stage.grids) == first + 4  # the first right side, an upright view, two turned ones
    assert 30 < angle(stage.grids[-2].axes, np.eye(3)) < 50
    assert angle(stage.grids[-1].axes, np.eye(3)) > 179
    assert found.runner_up == 0


def test_a_patient_taken_for_one_upside_down_is_seen_the_right_way_up():
    """Views near a wrong pose confirm it, and no side shows the right one."""
    axis = np.linalg.svd(SHAPE.mean_mm)[2][0]
    right, wrong = pose_of(np.eye(3)), pose_of(2 * np.outer(axis, axis) - np.eye(3))

    def stage(grid):
        near_wrong = angle(grid.axes, wrong[:3, :3]) < 65
        weights = np.full((COUNT, 1), 0.5 if near_wrong else 0.9)
        return View(apply_affine(wrong if near_wrong else right, SHAPE.mean_mm)[:, None], weights, np.ones(COUNT))

    sides_seen = [grid for grid in sides() if angle(grid.axes, wrong[:3, :3]) < 65]
    assert sides_seen
    found = search(stage)(sides_seen)
    assert_allclose(found.pose, right, atol=1e-6)
    assert_allclose(found.runner_up, 5 / 9, atol=0.02)


def test_a_second_pose_of_the_same_view_is_a_rival():
    truth, other = pose_of(np.eye(3)), pose_of(random_rotation(np.random.default_rng(3)))

    def stage(grid):
        points = np.stack([apply_affine(pose, SHAPE.mean_mm) for pose in (truth, other)], axis=1)
        points[:4] = points[:4, ::-1]
        return View(points, np.tile([0.6, 0.3], (COUNT, 1)), np.ones(COUNT))

    found = search(stage)(sides()[:1])
    assert_allclose(found.pose, truth, atol=1e-6)
    assert_allclose(found.runner_up, (8 * 0.3 + 4 * 0.6) / (8 * 0.6 + 4 * 0.3), atol=0.05)


def test_where_no_shape_fits_there_is_a_view_without_a_pose():
    nowhere = View(np.full((COUNT, 1, 3), np.nan), np.zeros((COUNT, 1)), np.zeros(COUNT))
    found = search(lambda grid: nowhere)(sides())
    assert found.pose is None
    assert (found.support, found.runner_up) == (0, 0)


def test_an_upright_view_that_shows_nothing_leaves_the_view_that_showed_a_pose():
    truth, seen = pose_of(np.eye(3)), []

    def stage(grid):
        seen.append(grid)
        weights = np.full((COUNT, 1), 0.5 if len(seen) == 1 else 0.0)
        return View(apply_affine(truth, SHAPE.mean_mm)[:, None], weights, np.ones(COUNT))

    assert_allclose(search(stage)(sides()).pose, truth, atol=1e-6)


def test_upright_views_follow_one_another_while_they_move_the_pose():
    """A first stage that undoes only two thirds of the angle it sees a patient at, and never finds four landmarks."""

    def about_z(radians):
        return [[np.cos(radians), -np.sin(radians), 0], [np.sin(radians), np.cos(radians), 0], [0, 0, 1]]

    def stage(grid):
        turn = about_z(np.arctan2(grid.axes[1, 0], grid.axes[0, 0]) / 3)
        weights = np.where(np.arange(COUNT) < 8, 0.8, 0.0)[:, None]
        return View(apply_affine(pose_of(turn), SHAPE.mean_mm)[:, None], weights, np.ones(COUNT))

    found = search(stage)([upright(pose_of(about_z(1.0)))])
    assert angle(found.pose[:3, :3], np.eye(3)) < np.degrees(1 / 9) + 0.1
