"""Refinement by mutual information, on images whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from lmk3d.apps.refinement import refine
from lmk3d.apps.registration import RegisterOptions, fitting_axes, register_points
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume, apply_affine, random_rotation
from lmk3d.landmarks import Landmarks
from lmk3d.synthetic.radiograph import XRayView, radiograph
from lmk3d.warps import Transform

pytest.importorskip("SimpleITK")
NAMES = tuple("abcdef")


def blobs(points_mm, seed=0):
    """A function of the world: soft blobs of several sizes and heights."""
    generator = np.random.default_rng(seed)
    centers = generator.uniform(-35, 35, size=(40, 3))
    sizes, heights = generator.uniform(5, 10, size=40), generator.uniform(200, 900, size=40)
    away = np.linalg.norm(points_mm[..., None, :] - centers, axis=-1)
    return (heights * np.exp(-((away / sizes) ** 2))).sum(-1)


def image(grid, pose, curve=lambda x: x):
    places = grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    return Volume(curve(blobs(apply_affine(pose, places))).astype(np.float32), grid)


@pytest.fixture(scope="module")
def pair():
    """Moving and fixed volume of other contrast, their points, and the truth from moving to fixed."""
    truth = np.eye(4)
    truth[:3, :3], truth[:3, 3] = random_rotation(np.random.default_rng(1), 0.2), [6, -4, 5]
    fixed = image(Grid.around((0, 0, 0), (36, 34, 32), 2.5), np.eye(4))
    axes = random_rotation(np.random.default_rng(2), 0.3)
    moving = image(Grid.around(np.linalg.inv(truth)[:3, 3], (38, 38, 36), 2.5, axes), truth, lambda x: 900 - np.sqrt(x))
    points = np.random.default_rng(3).uniform(-25, 25, size=(6, 3))
    return moving, fixed, apply_affine(np.linalg.inv(truth), points), points, truth


def test_images_correct_what_the_landmarks_miss(pair):
    moving, fixed, start, end, _ = pair
    noise = np.random.default_rng(4).normal(size=(2, 6, 3)) * 2.0
    coarse = register_points(Landmarks(NAMES, start + noise[0]), Landmarks(NAMES, end + noise[1]))
    done = refine(coarse, moving, fixed)
    errors = [np.linalg.norm(own.transform(start) - end, axis=1).mean() for own in (coarse, done)]
    assert errors[0] > 1
    assert errors[1] < 0.25  # a tenth of a voxel
    assert done.refinement.kept
    assert done.refinement.metric_after > done.refinement.metric_before
    assert done.left_out_rms_mm == coarse.left_out_rms_mm
    assert np.linalg.det(done.transform.affine[:3, :3]) == pytest.approx(1, abs=1e-6)


def test_megavolt_and_kilovolt_films_are_registered_in_their_plane():
    grid = Grid.around((0, 0, 0), (40, 40, 40), 2.5)
    body = Volume((image(grid, np.eye(4)).data * 1.5 - 400).astype(np.float32), grid)
    views = [XRayView.frontal((0, 0, 0), (90, 80), 2.0, shift_mm=(5, -4), turn_deg=5),
             XRayView.frontal((0, 0, 0), (84, 90), 2.0)]  # fmt: skip
    films = [radiograph(body, views[0], energy="mv", photons=1e5, blur_mm=1.5), radiograph(body, views[1])]
    points = np.random.default_rng(5).uniform(-30, 30, size=(6, 3))
    start, end = (view.project(points) for view in views)
    noise = np.random.default_rng(6).normal(size=(2, 6, 3)) * [2, 2, 0]
    near, far = Landmarks(NAMES, start + noise[0]), Landmarks(NAMES, end + noise[1])
    coarse = register_points(near, far, axes=fitting_axes(near, far, films[0].grid, films[1].grid))
    done = refine(coarse, *films)
    errors = [np.linalg.norm(own.transform(start) - end, axis=1).mean() for own in (coarse, done)]
    assert errors[1] < 0.5 < errors[0]  # a quarter of a pixel
    assert np.abs((done.transform(start) - end)[:, 2]).max() < 1e-9


def test_a_spline_and_images_apart_are_refused(pair):
    moving, fixed, start, end, _ = pair
    bent = register_points(Landmarks(NAMES, start), Landmarks(NAMES, end + start * 0.01), RegisterOptions("tps"))
    with pytest.raises(InputError, match="a spline is not refined by the images"):
        refine(bent, moving, fixed)
    rigid = register_points(Landmarks(NAMES, start), Landmarks(NAMES, end))
    far = rigid.transform.affine.copy()
    far[:3, 3] += 5000
    with pytest.raises(InputError, match="the images cannot be compared where the landmarks put them"):
        refine(replace(rigid, transform=Transform.linear(far)), moving, fixed)
