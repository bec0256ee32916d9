"""Films laid over a template, and points mapped back through it."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, apply_affine
from lmk3d.synthetic import film_phantom
from lmk3d.transforms.registration import Template, register
from lmk3d.transforms.sampling import resample, stored_tensor

pytest.importorskip("SimpleITK")


def film():
    phantom = film_phantom(3, kind="skull", side_px=160)
    return stored_tensor(phantom.volume).float(), phantom.volume.grid, phantom.landmarks.points_mm


def test_a_film_that_was_moved_turned_and_stretched_is_found_again():
    data, grid, points = film()
    template = Template.cut(data, grid, points, shape=(80, 72, 1), margin_mm=15.0)
    move = np.eye(4)
    move[:2, :2] = [[1.06, 0.08], [-0.05, 0.95]]
    move[:2, 3] = [5.0, -4.0]
    moved = resample(data, Grid(grid.shape, move @ grid.affine), grid, fill=0.0)
    found = register(template, moved, grid)
    away = np.linalg.norm(apply_affine(found, points) - apply_affine(move, points), axis=1)
    before = np.linalg.norm(points - apply_affine(move, points), axis=1)
    assert before.mean() > 8
    assert away.mean() < 1.0
    assert_allclose(found[2], [0, 0, 1, 0], atol=1e-9)  # it stays in its plane
    assert_allclose(found[:2, 2], 0, atol=1e-9)


def test_films_in_other_planes_of_the_world_are_laid_over_each_other():
    data, grid, points = film()
    template = Template.cut(data, grid, points, shape=(80, 72, 1), margin_mm=15.0)
    stand = np.array([[0.0, 0, 1, 7], [1, 0, 0, -30], [0, 1, 0, 12], [0, 0, 0, 1]])
    found = register(template, data, Grid(grid.shape, stand @ grid.affine))  # the film as it is, but sagittal
    assert np.linalg.norm(apply_affine(found, points) - apply_affine(stand, points), axis=1).max() < 0.5


def test_the_template_holds_the_landmarks_and_their_margin():
    data, grid, points = film()
    template = Template.cut(data, grid, points, shape=(60, 40, 1), margin_mm=10.0)
    inside = template.grid.to_vox(points)[:, :2] * template.grid.spacing_mm[0]
    free = np.minimum(inside.min(0), (np.array([59, 39]) * template.grid.spacing_mm[0] - inside.max(0)))
    # To the outermost voxels' centres, so half a voxel less; the tighter side has just the margin.
    assert free.min() == pytest.approx(10 - template.grid.spacing_mm[0] / 2, abs=1e-6)
    assert template.data.shape == template.grid.shape == (60, 40, 1)
    assert_allclose(template.middle_mm, grid.center_mm)


def test_what_cannot_be_laid_over_each_other_is_refused():
    data, grid, points = film()
    template = Template.cut(data, grid, points, shape=(32, 32, 1), margin_mm=10.0)
    with pytest.raises(InputError, match="the template is a film and the image is none"):
        register(template, torch.zeros(8, 8, 8), Grid((8, 8, 8), np.eye(4)))
    far = Grid(grid.shape, grid.affine)
    with pytest.raises(InputError, match="the image cannot be laid over the template"):
        register(template, torch.full(grid.shape, torch.nan), far)
