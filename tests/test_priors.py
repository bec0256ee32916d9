"""What is learnt from a data list before the first step of a training."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.codecs import LandmarkTree, ShapeModel, UsualPlaces
from lmk3d.geometry import film_affine
from lmk3d.io import read_image, read_points
from lmk3d.priors import learn_places, learn_shape, learn_tree
from lmk3d.synthetic import film_phantom
from lmk3d.training import datalist

NAMES = ["top", "left", "right"]


def same(one, other):
    assert_array_equal(one.parents, other.parents)
    assert_allclose(one.steps_mm, other.steps_mm, atol=1e-9)
    assert_allclose(one.covariances, other.covariances, atol=1e-9)


@pytest.fixture
def shapes(tiny_dataset):
    return [read_points(case["label"]).ordered(NAMES).points_mm for case in datalist(str(tiny_dataset), "training")]


def test_a_shape_is_learnt_from_a_data_list(tiny_dataset, shapes):
    found = learn_shape(datalist(str(tiny_dataset), "training"), NAMES)
    assert_allclose(found.mean_mm, ShapeModel.from_shapes(shapes).mean_mm)


def test_a_tree_is_learnt_from_a_data_list(tiny_dataset, shapes):
    same(learn_tree(datalist(str(tiny_dataset), "training"), NAMES), LandmarkTree.from_shapes(shapes))


def test_places_are_learnt_from_a_data_list(tiny_dataset, shapes):
    cases = datalist(str(tiny_dataset), "training")
    found = learn_places(cases, NAMES)
    kept = UsualPlaces.learn(shapes, [read_image(case["image"]).grid for case in cases])
    assert_allclose(found.offsets_mm, kept.offsets_mm)
    assert_allclose(found.covariance, kept.covariance)
    assert_allclose(found.fields_mm, kept.fields_mm)


def test_films_are_taken_along_their_own_axes_and_at_one_size():
    cases = [{"image": {"kind": "skull", "seed": seed, "side_px": 64, "unit": "px"}} for seed in range(2)]
    films = [film_phantom(seed, side_px=64, unit="px") for seed in range(2)]
    names = list(films[0].landmarks.names)
    axes = film_affine((1.0, 1.0))[:3, :3]
    shapes = [film.landmarks.points_mm @ axes * (128 / max(film.volume.grid.shape)) for film in films]
    same(learn_tree(cases, names, films=True, side_px=128.0), LandmarkTree.from_shapes(np.array(shapes)))
